"""From a picture to exactly the array that the weights expect."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from tfalexnet.images.decode import Picture, decode, decode_plain_jpeg, imported_tensorflow
from tfalexnet.images.resize import resize_bilinear

LARGEST = 1 << 14  # Pixels a side, beyond any use; a damaged file could ask for any number.


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """How a picture becomes an input: resized, cropped, channels ordered, scaled, shifted.

    The result is `(crop of the resized picture · scale − mean) / std`, float32, crop×crop×channels.

    Attributes:
        resize: "squash" makes the picture size×size; "shorter side" keeps its proportions.
        size: pixels of the resized side.
        crop: pixels of the side of the centre crop.
        antialias: False is OpenCV's INTER_LINEAR, in floats; True is Pillow's BILINEAR, to whole
            grey levels.
        channels: order of the channels; "L" is one grey channel.
        scale: factor for the grey levels 0–255.
        mean: after scaling, one number a channel or a whole picture, crop×crop or larger (its
            centre is used), in the order of `channels`.
        std: after scaling, one number a channel.
    """

    resize: Literal["squash", "shorter side"]
    size: int
    crop: int
    antialias: bool
    channels: Literal["RGB", "BGR", "L"]
    mean: tuple[float, ...] | np.ndarray
    scale: float = 1.0
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name, known in {"resize": ("squash", "shorter side"), "channels": ("RGB", "BGR", "L")}.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"Expected `{name}` to be one of {', '.join(known)}. Received: {getattr(self, name)!r}"
                )
        sides = (self.crop, self.size)
        if not all(type(side) is int for side in sides) or not 0 < self.crop <= self.size <= LARGEST:
            raise ValueError(f"Expected 0 < crop <= size <= {LARGEST}. Received: crop={self.crop}, size={self.size}")
        channels = len(self.channels)
        mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        picture = mean.ndim == 3 and min(mean.shape[:2]) >= self.crop and mean.shape[2] == channels
        if not (mean.shape == (channels,) or picture) or not np.isfinite(mean).all():
            raise ValueError(
                f"Expected a mean of {channels} finite numbers, or a picture. Received: shape {mean.shape}"
            )
        if std.shape not in ((1,), (channels,)) or not (std > 0).all() or not np.isfinite([*std, self.scale]).all():
            raise ValueError(f"Expected finite `scale` and positive `std`. Received: {self.scale!r} and {self.std!r}")

    def __eq__(self, other: object) -> bool:
        """Whether pictures become the same; the mean counts as it is used, in float32."""
        return isinstance(other, Preprocessing) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @functools.cached_property
    def _identity(self) -> tuple[Any, ...]:
        mean = np.asarray(self.mean, np.float32)
        others = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | {"mean": None}
        return (*others.values(), mean.shape, mean.tobytes())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one input."""
        return self.crop, self.crop, len(self.channels)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON takes them; of a mean picture its shape and hash."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        mean = np.asarray(self.mean, np.float32)
        if mean.ndim > 1:
            fields["mean"] = {"shape": list(mean.shape), "sha256": hashlib.sha256(mean.tobytes()).hexdigest()}
        else:
            fields["mean"] = np.asarray(self.mean).tolist()
        return fields | {"std": list(self.std)}

    def summary(self, view: str = "") -> str:
        """The same in a line, with another view than the centre where one is given."""
        mean = np.asarray(self.mean)
        kind = "squashed to {0}×{0}" if self.resize == "squash" else "shorter side to {0}"
        antialiased = "antialiased" if self.antialias else "not antialiased"
        subtracted = "mean picture" if mean.ndim > 1 else f"({', '.join(f'{level:.6g}' for level in mean)})"
        divided = ", ".join(f"{level:.6g}" for level in self.std)
        levels = f"({self.channels} · {self.scale:.6g} − {subtracted}) / ({divided})"
        view = view or f"the centre {self.crop}×{self.crop}"
        return f"{kind.format(self.size)}, bilinear, {antialiased}; {view}; {levels}"

    def __call__(self, picture: Picture) -> np.ndarray:
        """The input for one picture, float32.

        Raises:
            PictureError: it cannot be read as a picture.
            TypeError: it is none of the kinds of `Picture`.
        """
        return self.views(picture, 1)[0]

    def views(self, picture: Picture, crops: Literal[1, 10] = 1) -> np.ndarray:
        """The inputs for one picture, (crops, crop, crop, channels), float32.

        Ten are those of the paper (section 4.1): the four corners and the centre of the size×size
        picture, and all five mirrored. A mean that is a picture is cut where the picture is.

        Raises:
            PictureError, TypeError: as above.
            ValueError: another number of crops.
        """
        if crops not in (1, 10):
            raise ValueError(f"Expected 1 or 10 crops. Received: {crops!r}")
        pixels, room = self.resized(picture), self.size - self.crop
        if crops == 1:
            return self.normalize(centre_crop(pixels, self.crop))[None]
        corners = [(0, 0), (0, room), (room, 0), (room, room), (room // 2, room // 2)]
        upright = [self.normalize(_cut(pixels, *corner, self.crop), corner) for corner in corners]
        return np.array(upright + [view[:, ::-1] for view in upright])

    def resized(self, picture: Picture) -> np.ndarray:
        """The picture before it is cropped: levels 0–255, size×size×channels, RGB, float32.

        Raises:
            PictureError, TypeError: as above.
        """
        mode = "L" if self.channels == "L" else "RGB"
        pixels = None if self.antialias else decode_plain_jpeg(picture, mode)
        if pixels is None:
            image = decode(picture)
            image = image if image.mode == mode else image.convert(mode)
            if self.antialias:
                image = image.resize(self._resized(*image.size), Image.Resampling.BILINEAR)
            pixels = np.asarray(image).reshape(image.height, image.width, -1)
        return centre_crop(self._interpolated(pixels), self.size).astype(np.float32, copy=False)

    def normalize(self, pixels: Any, corner: tuple[int, int] | None = None) -> Any:
        """The last step alone: RGB (or grey) levels 0–255, (…, crop, crop, channels), to inputs.

        Takes and gives a float32 array or tensor. `corner` is where a mean picture of the resized
        size is cut; None is the centre.
        """
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        mean = self._mean
        if corner is not None and np.shape(self.mean)[:2] == (self.size, self.size):
            mean = _cut(np.asarray(self.mean, np.float32), *corner, self.crop)
        # A pass over the picture is not done for nothing; BVLC's has neither scale nor deviation.
        pixels = (pixels if self.scale == 1 else pixels * np.float32(self.scale)) - mean
        return pixels if self.std == (1.0,) else pixels / np.asarray(self.std, np.float32)

    @functools.cached_property
    def _mean(self) -> np.ndarray:
        """What is subtracted from the centre; a whole picture also of one number a channel, which NumPy
        subtracts twice as fast.
        """
        mean = np.asarray(self.mean, np.float32)
        return centre_crop(mean, self.crop) if mean.ndim == 3 else np.tile(mean, (self.crop, self.crop, 1))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height after resizing."""
        if self.resize == "squash":
            return self.size, self.size
        shorter = min(width, height)
        return max(self.size, width * self.size // shorter), max(self.size, height * self.size // shorter)

    def _interpolated(self, pixels: Any) -> np.ndarray:
        """An array or a tensor, (height, width, channels), resized by OpenCV's INTER_LINEAR if it is not yet."""
        height, width = pixels.shape[:2]
        new = self._resized(width, height)
        if new == (width, height):
            return np.asarray(pixels)
        tf = imported_tensorflow()
        if tf is None:
            return resize_bilinear(np.asarray(pixels), *new[::-1])
        with tf.device("CPU"):
            # What tf.image.resize(antialias=False) calls, without a third of a millisecond around it.
            return tf.raw_ops.ResizeBilinear(images=pixels[None], size=new[::-1], half_pixel_centers=True)[0].numpy()


# Caffe's mean grey levels of ILSVRC 2012, in B, G, R (BVLC/caffe, data/ilsvrc12).
ILSVRC_MEAN_BGR = (104.00699, 116.66877, 122.67891)

# Section 2 of the paper: the shorter side to 256, its centre, the mean over the training pictures subtracted;
# here that of each channel, as Caffe publishes it.
PAPER = Preprocessing("shorter side", 256, 227, antialias=True, channels="RGB", mean=ILSVRC_MEAN_BGR[::-1])

BVLC = Preprocessing("squash", 256, 227, antialias=False, channels="BGR", mean=ILSVRC_MEAN_BGR)

# pytorch/vision, references/classification: levels 0–1, mean and deviation of ImageNet.
TORCHVISION = Preprocessing(
    "shorter side",
    256,
    224,
    antialias=True,
    channels="RGB",
    scale=1 / 255,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)


def centre_crop(pixels: np.ndarray, crop: int) -> np.ndarray:
    """The crop×crop middle of a picture."""
    top, left = ((side - crop) // 2 for side in pixels.shape[:2])
    return _cut(pixels, top, left, crop)


def _cut(pixels: np.ndarray, top: int, left: int, crop: int) -> np.ndarray:
    return pixels[top : top + crop, left : left + crop]
