"""The feature maps of a photo, and what a position in them sees of it."""

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from tfalexnet.analysis.heatmap import map_layer
from tfalexnet.analysis.receptive_field import receptive_fields
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.figures.canvas import COLOURS, colour_bar, new_figure, require_matplotlib
from tfalexnet.figures.photo_panel import fade_around, open_photo, show_photo
from tfalexnet.figures.tiles import tile
from tfalexnet.hub.cache import Weights, find_weights
from tfalexnet.images.opening import Picture
from tfalexnet.images.preprocessing import Box
from tfalexnet.inference.features import features
from tfalexnet.networks.spec import Activation, Architecture, Norm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS, SIDE = 3, 3.4  # Panels of `activations` side by side, and the inches of one.
WIDTH = 5  # Inches of `receptive_field`.


def activations(photo: Picture, layers: str | Iterable[str], weights: Weights | None = None) -> "Figure":
    """Return a figure of all feature maps of layers, after what the network sees of the photo.

    The maps of a layer are on one scale; a normalisation and the layer before it, if that is shown, share theirs.

    Args:
        photo: as for `tfalexnet.predict`.
        layers: as for `tfalexnet.features`, those with rows and columns.
        weights: as for `tfalexnet.features`.

    Raises:
        ValueError: there is no such layer, or it has no rows and columns; or Matplotlib is not installed.
        PictureError, WeightsNotFoundError, CheckpointError: as for `tfalexnet.features`.
    """
    require_matplotlib()
    path = find_weights(weights)
    spec = read_spec(path)
    preprocessing = spec.require_preprocessing(path)
    arrays = features(photo, layers, path)
    if vectors := [name for name, array in arrays.items() if array.ndim != 3]:
        raise ValueError(f"Expected layers with rows and columns. Received: {', '.join(vectors)}")
    image = open_photo(photo)
    top, left, bottom, right = map(round, preprocessing.seen_box(image.height, image.width))
    count = 1 + len(arrays)
    rows, columns = math.ceil(count / COLUMNS), min(count, COLUMNS)
    figure = new_figure((SIDE + 0.7) * columns, (SIDE + 0.3) * rows + 0.3)
    figure.suptitle(f"{spec.architecture.name}: feature maps, row by row in the order of the channels")
    operations = _operations(spec.architecture)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    show_photo(axes[0], image.crop((left, top, right, bottom)), "input of the network")
    limits = _limits(spec.architecture, arrays)
    for panel, (name, array) in zip(axes[1:], arrays.items(), strict=False):
        low, high = limits[name]
        colours = "PuOr" if low < 0 else "magma"
        gap, side = max(1, len(array) // 12), math.ceil(math.sqrt(array.shape[2]))  # Squares, as panels are.
        sheet = tile(array[:, :, None], scale=1, gap=gap, columns=side, background=np.nan)
        artist = panel.imshow(sheet[..., 0], cmap=colours, vmin=low, vmax=high, interpolation="nearest")
        panel.set(
            xticks=[],
            yticks=[],
            title=f"{name}{operations.get(name, '')}\n{array.shape[2]} maps of {array.shape[0]}×{array.shape[1]}",
        )
        panel.set_facecolor("0.5")
        colour_bar(panel, artist, "value")
    for panel in axes[count:]:
        panel.set_axis_off()
    return figure


def _operations(net: Architecture) -> dict[str, str]:
    """Return by layer its activation, if it has one, and what a nonlinearity or a normalisation follows."""
    follows = {
        row.name: f", after {before.name}"
        for before, row in itertools.pairwise(net.layers)
        if isinstance(row, Activation | Norm)
    }
    return follows | {row.name: f", with {row.activation}" for row in net.layers if getattr(row, "activation", None)}


def _limits(net: Architecture, arrays: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return the values of the ends of the colours by layer; 0 is in the middle where there are negative ones."""
    names = [row.name for row in net.layers]
    norms = [row.name for row in net.layers if isinstance(row, Norm)]
    before = {name: names[names.index(name) - 1] for name in norms if name != names[0]}
    groups: dict[str, list[str]] = {}
    for name in arrays:
        shared = before.get(name, name)
        groups.setdefault(shared if shared in arrays else name, []).append(name)
    limits = {}
    for members in groups.values():
        low = min(float(arrays[name].min()) for name in members)
        largest = max(float(np.abs(arrays[name]).max()) for name in members) or 1.0
        limits |= dict.fromkeys(members, (-largest if low < 0 else 0.0, largest))
    return limits


def receptive_field(photo: Picture, layer: str, weights: Weights | None = None) -> "Figure":
    """Return a figure of a photo with the part that the middle position of a layer's feature map depends on.

    The field of the position to its right shows the stride.

    Args:
        photo: as for `tfalexnet.predict`.
        layer: a layer before the fully connected ones.
        weights: as for `tfalexnet.predict`; only their table and preprocessing are used.

    Raises:
        ValueError: there is no such layer, or Matplotlib is not installed.
        PictureError, WeightsNotFoundError, CheckpointError: as for `tfalexnet.predict`.
    """
    require_matplotlib()
    from matplotlib.patches import Rectangle

    path = find_weights(weights)
    spec = read_spec(path)
    net, preprocessing = spec.architecture, spec.require_preprocessing(path)
    field = receptive_fields(net)[map_layer(net, layer)]
    rows, columns, _ = net.output_shapes()[layer]
    image = open_photo(photo)
    top, left, bottom, right = preprocessing.seen_box(image.height, image.width)
    down, across = (bottom - top) / net.input_shape[0], (right - left) / net.input_shape[1]

    def rectangle(box: Box, label: str, colour: str, dashes: str) -> Rectangle:
        y, x, last_y, last_x = box
        corner, size = (left + x * across, top + y * down), ((last_x - x) * across, (last_y - y) * down)
        return Rectangle(corner, *size, fill=False, edgecolor=colour, linestyle=dashes, linewidth=2, label=label)

    height = min(max(WIDTH * image.height / image.width, WIDTH / 3), 2 * WIDTH)
    figure = new_figure(WIDTH, height + 1.45)
    axes = figure.add_subplot()
    show_photo(axes, image)
    before = f"\nthe first position reaches {-field.top} pixels beyond the input" if field.top else ""
    axes.set_title(f"{net.name}, {layer}: {rows}×{columns} positions{before}", fontsize=10)
    row, column, size = rows // 2, columns // 2, "×".join(map(str, net.input_shape[:2]))
    axes.add_patch(rectangle((0, 0, *net.input_shape[:2]), f"input of the network, {size} pixels", COLOURS[6], "-"))
    if column + 1 < columns:
        label = f"receptive field of the position to the right, stride {field.stride} pixels"
        axes.add_patch(rectangle(field.box(row, column + 1), label, COLOURS[4], "--"))
    label = f"receptive field of row {row}, column {column}, {field.size}×{field.size} pixels of the input"
    axes.add_patch(rectangle(field.box(row, column), label, COLOURS[1], "-"))
    corners = np.array([patch.get_bbox().get_points() for patch in axes.patches])
    (x, y), (last_x, last_y) = corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)
    margin = 0.02 * max(last_x - x, last_y - y)
    x, last_x = min(0, x) - margin, max(image.width, last_x) + margin
    y, last_y = min(0, y) - margin, max(image.height, last_y) + margin
    axes.set(xlim=(x, last_x), ylim=(last_y, y))
    axes.set_facecolor("0.9")  # Of padding; over the photo too, where the network sees zeros.
    fade_around(axes, (top, left, bottom, right))
    figure.legend(loc="outside lower center", fontsize=8, facecolor="0.8")
    return figure
