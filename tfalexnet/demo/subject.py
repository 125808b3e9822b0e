"""What the page shows of one set of weights: answers, feature maps, kernels and heatmaps, as arrays."""

import os
from collections import Counter
from pathlib import Path

import numpy as np

from tfalexnet.analysis.heatmap import grad_cam, scale_map
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.figures.network_drawing import drawn_towers
from tfalexnet.figures.tiles import filters, grid_columns, in_rgb, tile
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.decode import decode
from tfalexnet.images.preprocessing import centre_crop
from tfalexnet.inference.features import features
from tfalexnet.inference.predict import Prediction, top_predictions
from tfalexnet.networks.layer_names import PROBABILITIES
from tfalexnet.networks.spec import Conv, Dropout, Flatten, Pad
from tfalexnet.runtimes.selection import AUTO

PIXELS = "pixels"  # What the network sees of the photo, before the first layer.
SIDE = 480  # Pixels of a picture of maps, about.
SHOWN = 640  # Pixels of the longer side of a photo with its heatmap, at most.
DIMMED = 0.4  # Brightness of what the network does not see.
HOT, OPACITY = (230, 159, 0), 0.75  # Orange of Okabe and Ito, and how much it covers where the map is largest.
WHITE = 255
GAP = 40  # Pixels between towers.
TOWERS = "the towers are side by side"


class Subject:
    """Weights that are shown.

    Attributes:
        name: the name of the weights, or of their file.
        spec: table, preprocessing and classes.
        labels: the name of each class; equal names are followed by the index of the class.
        layers: `PIXELS` and the layers that change numbers, in the order of computation.
        towers: the number of towers in which the maps are shown.
        kernels: of the first convolution, their channels in the order red, green, blue.
    """

    def __init__(self, weights: str | os.PathLike | None = None, engine: str = AUTO) -> None:
        """Read the weights.

        Raises:
            WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`.
        """
        self.path, self.engine = find_weights(weights), engine
        checkpoint = read_checkpoint(self.path)
        self.spec = checkpoint.spec
        self.name = self.path.name.removesuffix(".weights.h5")
        names = [label for _, label in self.spec.classes]
        counts = Counter(names)
        self.labels = [f"{name} ({index})" if counts[name] > 1 else name for index, name in enumerate(names)]
        rows = self.spec.architecture.layers
        self.layers = [PIXELS, *(row.name for row in rows if not isinstance(row, Pad | Flatten | Dropout))]
        self.towers = drawn_towers(self.spec.architecture)
        first = next(row for row in rows if isinstance(row, Conv))
        self.kernels = in_rgb(checkpoint.parameters[first.name][0], self.spec.preprocessing)

    def answer(self, photo: str | Path, top: int = 5) -> list[Prediction]:
        """Return the best classes of a photo, as `tfalexnet.predict`.

        Raises:
            PictureError: the photo cannot be read.
        """
        return top_predictions(self._outputs(photo)[PROBABILITIES], self.spec.classes, top)

    def maps(self, photo: str | Path, layer: str) -> tuple[np.ndarray, str]:
        """Return the maps of a layer as a picture, and a line that describes it.

        Args:
            photo: the file.
            layer: of `layers`.

        Returns:
            uint8 (height, width, 1 or 3): a grid of maps, or a grid for each tower, with one scale of grey levels.
            Neither pixels nor the outputs of the classifier belong to a tower.

        Raises:
            PictureError: as for `answer`.
            ValueError: there is no such layer.
        """
        if layer not in self.layers:
            raise ValueError(f"Expected one of {', '.join(self.layers)}. Received: {layer!r}")
        if layer == PIXELS:
            pixels = self._seen(photo)
            return tile(pixels[..., None], max(1, SIDE // len(pixels)), 0), f"{pixels.shape[0]}×{pixels.shape[1]}"
        values = self._outputs(photo)[layer]
        low, high = min(0.0, float(values.min())), float(values.max())
        levels = ((values - low) / ((high - low) or 1) * WHITE).round().astype(np.uint8)
        crossed = self.layers.index(layer) >= self.layers.index(self.spec.architecture.classifier.name)
        count = 1 if crossed else self.towers
        towers = [_sheet(tower) for tower in np.split(levels, count, axis=-1)]
        text = f"{_shape(values.shape)}; black is {low:.3g}, white is {high:.3g}"
        return beside(towers), text + (f"; {TOWERS}" if count > 1 else "")

    def filters(self) -> np.ndarray:
        """Return the kernels of the first convolution as a picture: a grid for each tower, on one scale."""
        largest = np.abs(self.kernels).max()
        towers = np.split(self.kernels / (largest or 1), self.towers, axis=-1)
        return beside([filters(part, max(1, SIDE // _cells(*part.shape[1::2])), largest=1) for part in towers])

    def heatmap(self, photo: str | Path, label: str) -> np.ndarray:
        """Return the photo, orange in the parts that raise the score of a class (Grad-CAM), uint8 (height, width, 3).

        Args:
            photo: the file.
            label: of `labels`.

        Raises:
            PictureError: as for `answer`.
        """
        values = grad_cam(photo, self.path, self.labels.index(label))
        image = decode(photo).convert("RGB")
        image.thumbnail((SHOWN, SHOWN))
        top, left, bottom, right = map(round, self.spec.preprocessing.seen_box(image.height, image.width))
        shown = np.asarray(image.convert("L"), np.float32)[..., None].repeat(3, axis=-1)
        seen = shown[top:bottom, left:right].copy()
        opacity = OPACITY * scale_map(values / (values.max() or 1), bottom - top, right - left)[..., None]
        shown *= DIMMED
        shown[top:bottom, left:right] = (1 - opacity) * seen + opacity * HOT
        return shown.round().astype(np.uint8)

    def _outputs(self, photo: str | Path) -> dict[str, np.ndarray]:
        """Return all layers and the probabilities: always the same list, for which one network stays in memory."""
        return features(str(photo), [*self.layers[1:], PROBABILITIES], self.path, engine=self.engine)

    def _seen(self, photo: str | Path) -> np.ndarray:
        """Return what the network sees of a photo: uint8 (crop, crop, 1 or 3), RGB or grey."""
        preprocessing = self.spec.preprocessing
        pixels = centre_crop(preprocessing.resized(str(photo)), preprocessing.crop)
        return pixels.round().clip(0, WHITE).astype(np.uint8)


def _shape(shape: tuple[int, ...]) -> str:
    """Return a shape in words."""
    if len(shape) == 1:
        return f"{shape[0]} numbers"
    return f"{shape[2]} maps of {shape[0]}×{shape[1]}"


def beside(pictures: list[np.ndarray]) -> np.ndarray:
    """Return pictures of the same size from left to right with a white gap."""
    gap = np.full((len(pictures[0]), GAP, pictures[0].shape[2]), WHITE, np.uint8)
    return np.concatenate([part for picture in pictures for part in (gap, picture)][1:], axis=1)


def _cells(width: int, count: int) -> int:
    """Return the width of a grid of `count` tiles of this width with gaps of 1."""
    return grid_columns(count) * (width + 1) + 1


def _sheet(levels: np.ndarray) -> np.ndarray:
    """Return maps (height, width, channels), or numbers (units,), as a grid of tiles."""
    if levels.ndim == 1:
        return tile(levels[None, None, None], max(1, SIDE // grid_columns(len(levels))), 0, background=WHITE)
    return tile(levels[:, :, None], max(1, SIDE // _cells(*levels.shape[1:])), 1, background=WHITE)
