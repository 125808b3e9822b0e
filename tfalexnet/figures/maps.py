"""Maps over a photo: what an answer depends on, and the answers to each position."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from tfalexnet.analysis.class_map import class_map as compute_class_map
from tfalexnet.analysis.heatmap import POSITIONS, SHARE, covering_squares, grad_cam, map_layer, occlusion
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.evaluation.class_index import find_class
from tfalexnet.figures.canvas import COLOURS, colour_bar, require_matplotlib, transparent
from tfalexnet.figures.photo_panel import open_photo, outline, overlay, panels, short_name, show_input, show_photo
from tfalexnet.hub.cache import Weights, find_weights
from tfalexnet.images.opening import Picture
from tfalexnet.images.preprocessing import Box
from tfalexnet.inference.predict import predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("grad-cam", "occlusion")
OPACITY = 0.8  # Of a class, and of the largest value; 0 is transparent.
# Of the most frequent classes of a map: those of COLOURS that a grey photo beneath leaves distinct.
MAP_COLOURS = tuple(COLOURS[number] for number in (0, 1, 2, 5, 6))


def heatmap(
    photo: Picture,
    weights: Weights | None = None,
    class_: int | str | None = None,
    method: Literal["grad-cam", "occlusion"] = "grad-cam",
    layer: str | None = None,
) -> "Figure":
    """Return a figure of a photo, and of the parts that raise the score of a class.

    Args:
        photo: as for `tfalexnet.predict`.
        weights: as for `tfalexnet.predict`; with "grad-cam" not a network that was exported for another runtime.
        class_: the index of a class, its WordNet id or its name; None is the best class of the photo.
        method: "grad-cam" scales `tfalexnet.analysis.heatmap.grad_cam` to 0–1; "occlusion" is how far the probability
            falls when a part is covered.
        layer: of "grad-cam"; None is the last convolution.

    Raises:
        ValueError: there is no such class, method or layer; or Matplotlib is not installed.
        PictureError, WeightsNotFoundError, CheckpointError: as for `tfalexnet.predict`.
    """
    require_matplotlib()
    if method not in METHODS:
        raise ValueError(f"Expected `method` to be one of {', '.join(METHODS)}. Received: {method!r}")
    if layer is not None and method != "grad-cam":
        raise ValueError(f"Expected `layer` with method='grad-cam' only. Received: {layer!r} with {method!r}")
    path = find_weights(weights)
    spec = read_spec(path)
    image = open_photo(photo)
    answers = predict(photo, path, top=len(spec.classes))
    index = answers[0].index if class_ is None else find_class(class_, spec.classes)
    answer = next(answer for answer in answers if answer.index == index)
    name = short_name(answer.label)
    box = spec.preprocessing.seen_box(image.height, image.width)
    figure, (left, right) = panels(image, 2, below=0.6)
    figure.suptitle(f"{spec.architecture.name}\nwhat the score of “{name}” for the whole input depends on", fontsize=11)
    show_input(left, image, box, f"{name}: {answer.score:.1%}")
    if method == "grad-cam":
        layer = map_layer(spec.architecture, layer)
        values = grad_cam(photo, path, index, layer)
        size = "×".join(map(str, values.shape))
        values = values / (values.max() or 1)
        style = {"cmap": transparent("inferno", OPACITY), "vmin": 0, "vmax": 1}
        title, unit = f"Grad-CAM at {layer}, {size} values, interpolated", "share of the largest value"
    else:
        values = 100 * occlusion(photo, path, index)
        largest = abs(values).max() or 1
        style = {"cmap": transparent("PuOr_r", OPACITY, zero=0.5), "vmin": -largest, "vmax": largest}
        title, unit = f"a grey square at each of {values.size} places", "probability lost, % points"
        square = list(covering_squares(box, POSITIONS, SHARE))[POSITIONS // 2 * (POSITIONS + 1)]
        outline(left, square, linestyle="--")
        left.set_xlabel("outlined: the input of the network, and one square")
    artist = overlay(right, image, values, box, interpolation="bilinear", **style)
    right.set(title=title, xlabel="transparent: 0; light grey: outside the input")
    colour_bar(right, artist, unit)
    return figure


def class_map(
    photo: Picture, weights: Weights | None = None, class_: int | str | None = None, size: int | None = None
) -> "Figure":
    """Return a figure of a photo, of the best class of each position, and of the probability of one class there.

    Args:
        photo: as for `tfalexnet.predict`.
        weights: as for `tfalexnet.predict`; not a network that was exported for another runtime.
        class_: the index of a class, its WordNet id or its name; None is the class with the largest mean probability.
        size: pixels of the photo's shorter side after resizing; None is twice the network's input.

    Raises:
        ValueError: there is no such class, `size` is out of its range, or the network cannot take pictures of any
            size; or Matplotlib is not installed.
        PictureError, WeightsNotFoundError, CheckpointError: as for `tfalexnet.predict`.
    """
    require_matplotlib()
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    image, path = open_photo(photo), find_weights(weights)
    probabilities, box, window, classes = compute_class_map(photo, path, size)
    index = int(probabilities.mean(axis=(0, 1)).argmax()) if class_ is None else find_class(class_, classes)
    best = probabilities.argmax(axis=-1)
    found, counts = np.unique(best, return_counts=True)
    shown = found[np.argsort(-counts, kind="stable")][: len(MAP_COLOURS)]
    ranks = np.full(len(classes), len(shown))
    ranks[shown] = np.arange(len(shown))
    names = [short_name(classes[number].label) for number in shown]
    colours = list(MAP_COLOURS[: len(shown)])
    if len(found) > len(shown):
        others = len(found) - len(shown)
        names, colours = [*names, f"{others} other class{'es' if others > 1 else ''}"], [*colours, "white"]
    name = short_name(classes[index].label)
    rows, columns = best.shape
    figure, (first, second, third) = panels(image, 3, below=1.1)
    figure.suptitle(
        f"{read_spec(path).architecture.name}: {rows}×{columns} answers, each to a part of the photo around one cell"
    )
    show_photo(first, image, "photo")
    first.set_xlabel("outlined: the part that one cell answers for")
    style = {"cmap": ListedColormap(colours), "vmin": -0.5, "vmax": len(colours) - 0.5, "interpolation": "nearest"}
    overlay(second, image, ranks[best], box, alpha=OPACITY, **style)
    second.set(title="best class of the part", xlabel="outlined: that cell; light grey: no answers")
    patches = [Patch(facecolor=colour, edgecolor="black", alpha=OPACITY) for colour in colours]
    figure.legend(patches, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    values = probabilities[..., index]
    style = {"cmap": transparent("inferno", OPACITY), "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    artist = overlay(third, image, values, box, **style)
    third.set(title=f"“{name}” in the part", xlabel="transparent: 0")
    colour_bar(third, artist, "probability")
    cell = _cell(box, best.shape, rows // 2, columns // 2)
    (top, left, bottom, right), half = cell, window / 2
    y, x = (top + bottom) / 2, (left + right) / 2
    outline(first, (y - half, x - half, y + half, x + half))
    for axes in (second, third):
        outline(axes, cell)
    return figure


def _cell(box: Box, shape: tuple[int, int], row: int, column: int) -> Box:
    """Return the part of the photo that a cell of a map with this box covers."""
    top, left, bottom, right = box
    tall, wide = (bottom - top) / shape[0], (right - left) / shape[1]
    return top + row * tall, left + column * wide, top + (row + 1) * tall, left + (column + 1) * wide
