"""Maps over a photo: what an answer depends on, and the answers to each position."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from tfalexnet.analysis.class_map import class_map as compute_class_map
from tfalexnet.analysis.heatmap import grad_cam, map_layer, occlusion, seen_box
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.evaluation.class_index import find_class
from tfalexnet.figures.canvas import COLOURS, require_matplotlib
from tfalexnet.figures.photo_panel import open_photo, overlay, panels, short_name, show_photo
from tfalexnet.hub.cache import Weights, find_weights
from tfalexnet.images.opening import Picture
from tfalexnet.inference.predict import predict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("grad-cam", "occlusion")
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
    figure, (left, right) = panels(image, 2)
    show_photo(left, image, f"{short_name(answer.label)}  {answer.score:.1%}")
    if method == "grad-cam":
        layer = map_layer(spec.architecture, layer)
        values = grad_cam(photo, path, index, layer)
        values = values / (values.max() or 1)
        style = {"cmap": "inferno", "vmin": 0, "vmax": 1}
        title, unit = f"Grad-CAM of {layer}", "share of the largest value"
    else:
        values = 100 * occlusion(photo, path, index)
        largest = abs(values).max() or 1
        style = {"cmap": "PuOr_r", "vmin": -largest, "vmax": largest}
        title, unit = "a grey square covers a part", "probability lost, percentage points"
    box = seen_box(spec.preprocessing, image.height, image.width)
    artist = overlay(right, image, values, box, interpolation="bilinear", **style)
    right.set_title(title)
    figure.colorbar(artist, ax=right, label=unit)
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

    image = open_photo(photo)
    probabilities, box, classes = compute_class_map(photo, weights, size)
    index = int(probabilities.mean(axis=(0, 1)).argmax()) if class_ is None else find_class(class_, classes)
    best = probabilities.argmax(axis=-1)
    found, counts = np.unique(best, return_counts=True)
    shown = found[np.argsort(-counts, kind="stable")][: len(MAP_COLOURS)]
    ranks = np.full(len(classes), len(shown))
    ranks[shown] = np.arange(len(shown))
    names = [short_name(classes[number].label) for number in shown]
    colours = list(MAP_COLOURS[: len(shown)])
    if len(found) > len(shown):
        names, colours = [*names, f"others ({len(found) - len(shown)})"], [*colours, "white"]
    figure, (first, second, third) = panels(image, 3, below=0.9)
    show_photo(first, image, "photo")
    style = {"cmap": ListedColormap(colours), "vmin": -0.5, "vmax": len(colours) - 0.5, "interpolation": "nearest"}
    overlay(second, image, ranks[best], box, **style)
    second.set_title("best class of each position")
    patches = [Patch(facecolor=colour, edgecolor="black", alpha=0.6) for colour in colours]
    second.legend(patches, names, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, fontsize=8, frameon=False)
    style = {"cmap": "inferno", "vmin": 0, "vmax": 1, "interpolation": "nearest"}
    artist = overlay(third, image, probabilities[..., index], box, **style)
    third.set_title(f"probability of {short_name(classes[index].label)}")
    figure.colorbar(artist, ax=third, label="probability")
    return figure
