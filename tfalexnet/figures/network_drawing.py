"""A network drawn from its table: as volumes (Figure 2 of the paper), or as a graph (Caffe's draw_net)."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.figures.canvas import COLOURS, new_figure, require_matplotlib
from tfalexnet.figures.network_graph import KINDS, draw_graph, operation
from tfalexnet.hub.cache import find_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Activation, Architecture, Conv, Dense, Dropout, Flatten, Layer, Norm, Pool

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("volumes", "graph")
# Inches: the largest height of a feature map, the largest depth of its channels, the length of the longest vector and
# its thickness, the narrowest column, what separates columns, and a line of the table below.
SIDE, DEPTH, VECTOR, THICKNESS, COLUMN, GAP, LINE = 2.2, 0.8, 2.2, 0.1, 0.88, 0.3, 0.19
OBLIQUE = np.array([0.30, 0.22])  # Where a width of one inch is drawn.
FACES = {"front": 0.35, "top": 0.2, "right": 0.5}  # Opacity.
DRAWN = (Conv, Pool, Dense)
CROSSING = COLOURS[1]
HEADINGS = ("layer", "height × width", "channels", "window", "stride", "padding", "parameters", "followed by")
PAPER_WINDOW = (227, 11, 4, 55)  # Side of the input, size and stride of the first window, side of its output.
PAPER_NOTE = "The paper states 224×224 pixels; windows of 11×11 with stride 4 have 55×55 positions in 227×227."
# What follows a layer, in the words of the table; other rows by their names.
FOLLOWING = {Norm: "LRN", Dropout: "dropout", Flatten: "flattened"}


@dataclass(frozen=True)
class Stage:
    """An array between layers, and the row that computes it; None for the picture."""

    name: str
    row: Layer | None
    shape: tuple[int, int, int]
    towers: int
    followed_by: list[str] = field(default_factory=list)
    crossing: list[str] = field(default_factory=list)
    """The rows since the array before that read the channels of both towers."""


def architecture(
    network: str | os.PathLike | Architecture = "krizhevsky2012", style: Literal["volumes", "graph"] = "volumes"
) -> "Figure":
    """Return a figure of a network, drawn from its table.

    Args:
        network: the name of a network, a table, or weights as for `tfalexnet.predict`.
        style: "volumes" draws arrays as boxes, as in Figure 2 of the paper; "graph" draws rows as boxes, as Caffe's
            draw_net does.

    Raises:
        ValueError: there is no such style, or Matplotlib is not installed.
        WeightsNotFoundError, CheckpointError: as for `tfalexnet.predict`.
    """
    require_matplotlib()
    if style not in STYLES:
        raise ValueError(f"Expected `style` to be one of {', '.join(STYLES)}. Received: {style!r}")
    if isinstance(network, Architecture):
        net = network
    else:
        table = ARCHITECTURES.get(network) if isinstance(network, str) else None
        if table is None and isinstance(network, str) and network not in REGISTRY and not Path(network).exists():
            get_architecture(network)  # Its error names the networks.
        net = table or read_spec(find_weights(network)).architecture
    return draw_graph(net) if style == "graph" else _draw_volumes(net)


def stages(net: Architecture) -> list[Stage]:
    """Return the picture and the outputs of convolutions, poolings and fully connected layers.

    A network with convolutions in two groups has two towers, from its first convolution to the classifier.
    """
    shapes = net.output_shapes()
    drawn = [row for row in net.layers if isinstance(row, DRAWN)]
    both = drawn_towers(net)
    found, crossing, towers = [Stage("input", None, net.input_shape, 1)], [], 1
    for row in net.layers:
        channels_meet = isinstance(row, Dense | Conv) or (isinstance(row, Norm) and row.region == "across_channels")
        if towers == 2 and channels_meet and getattr(row, "groups", 1) == 1:
            crossing = [*crossing, row.name]
        if row in drawn:
            towers = 1 if row is net.classifier or (towers == 1 and isinstance(row, Pool)) else both
            followed_by = [_function(row.activation)] if getattr(row, "activation", None) else []
            found.append(Stage(row.name, row, shapes[row.name], towers, followed_by, crossing))
            crossing = []
        elif isinstance(row, Activation):
            found[-1].followed_by.append(_function(row.function))
        else:
            found[-1].followed_by.append(FOLLOWING.get(type(row), row.name))
    return found


def drawn_towers(net: Architecture) -> int:
    """Return 2 for a network with convolutions in two groups whose layers all divide into halves, else 1."""
    shapes = net.output_shapes()
    grouped = any(isinstance(row, Conv) and row.groups == 2 for row in net.layers)
    divided = [row for row in net.layers if isinstance(row, DRAWN) and row is not net.classifier]
    return 2 if grouped and all(shapes[row.name][-1] % 2 == 0 for row in divided) else 1


def _function(name: str) -> str:
    return "ReLU" if name == "relu" else name


def _draw_volumes(net: Architecture) -> "Figure":
    found = stages(net)
    maps = [stage for stage in found if not isinstance(stage.row, Dense)]
    vectors = [stage.shape[-1] / stage.towers for stage in found if isinstance(stage.row, Dense)]
    both = max(stage.towers for stage in found)
    scale = SIDE / max(max(stage.shape[:2]) for stage in maps)
    depth = DEPTH / max(stage.shape[-1] / stage.towers for stage in maps)
    vector = VECTOR / both / max(vectors, default=1)
    sizes = []
    for stage in found:
        height, width, channels = stage.shape
        if isinstance(stage.row, Dense):
            sizes.append(np.array([THICKNESS, channels / stage.towers * vector, THICKNESS]))
        else:
            sizes.append(np.array([channels / stage.towers * depth, height * scale, width * scale]))
    extents = [size[:2] + size[2] * OBLIQUE for size in sizes]
    columns = [max(COLUMN, extent[0] + GAP) for extent in extents]
    tallest = max(extent[1] for extent, stage in zip(extents, found, strict=True) if stage.towers == both)
    offsets = {1: [0.0], 2: [tallest / 2 + 0.12, -tallest / 2 - 0.12]}
    reach = max(max(extent[1] for extent in extents), 2 * offsets[both][0] + tallest) / 2
    lines = len(HEADINGS) - 1 + max(1, *(len(stage.followed_by) for stage in found))
    below = (lines + 5) * LINE
    left = 1.5 if both == 2 else 1.15  # For the headings.
    figure = new_figure(left + sum(columns) + 0.1, 2 * reach + below + 0.55)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, left + sum(columns) + 0.1), ylim=(-reach - below, reach + 0.55))
    axes.set_axis_off()
    centres = left + np.cumsum([0, *columns[:-1]]) + np.array(columns) / 2
    starts = [
        [np.array([x - extent[0] / 2, y - extent[1] / 2]) for y in offsets[stage.towers]]
        for x, extent, stage in zip(centres, extents, found, strict=True)
    ]
    for number, stage in enumerate(found):
        for tower, start in enumerate(starts[number]):
            _draw_box(
                axes, start, sizes[number], KINDS[type(stage.row)][1] if stage.row else "0.5", f"{stage.name}/{tower}"
            )
        if number:
            before = (found[number - 1], sizes[number - 1], starts[number - 1])
            _connect(axes, before, (stage, sizes[number], starts[number]), scale)
    _write_table(axes, net, found, centres, -reach - 0.35)
    _write_legend(axes, net, (left + sum(columns), reach + 0.45))
    _write_captions(axes, net, both, (0.1, reach + 0.4), (0.1, -reach - below + 0.12))
    return figure


def _draw_box(axes: "Axes", start: np.ndarray, size: np.ndarray, colour: str, name: str) -> None:
    """Draw a box of size (depth, height, width) from the lower left corner of its front."""
    from matplotlib.patches import Polygon

    right, up, back = np.array([size[0], 0]), np.array([0, size[1]]), size[2] * OBLIQUE
    corners = {"front": (start, right, up), "top": (start + up, right, back), "right": (start + right, back, up)}
    for face, (corner, one, other) in corners.items():
        points = [corner, corner + one, corner + one + other, corner + other]
        axes.add_patch(Polygon(points, facecolor="white", edgecolor="none", zorder=2))
        style = {"facecolor": (colour, FACES[face]), "edgecolor": "black", "linewidth": 0.6, "zorder": 2}
        axes.add_patch(Polygon(points, gid=f"{name}/{face}", **style))


def _connect(axes: "Axes", before: tuple, after: tuple, scale: float) -> None:
    """Draw the window that a layer moves over the array before, and arrows where data crosses between towers."""
    from matplotlib.patches import Polygon

    (source, source_size, source_starts), (stage, size, starts) = before, after
    targets = [start + np.array([0, size[1] / 2]) for start in starts]
    face = np.array([source_size[0], source_size[1] / 2]) + source_size[2] / 2 * OBLIQUE
    style = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "linewidth": 0.8}
    has_window = not isinstance(stage.row, Dense)
    if has_window:
        height, width = (min(stage.row.size, side) * scale for side in source.shape[:2])
        across, up = width / 2 * OBLIQUE, np.array([0, height / 2])
        corners = [-across - up, across - up, across + up, up - across]
        window = {"facecolor": "white", "edgecolor": "black", "linewidth": 0.6, "zorder": 3}
        for start in source_starts:
            axes.add_patch(Polygon([start + face + corner for corner in corners], gid=f"{stage.name}/window", **window))
    for tower, target in enumerate(targets):
        for other, source_start in enumerate(source_starts):
            centre = source_start + face
            if stage.crossing and (len(targets) == 1 or other != tower):
                gid = f"{source.name}-{stage.name}/crossing"
                arrow = {**style, "color": CROSSING, "linestyle": "--"}
                axes.annotate("", target, centre, arrowprops=arrow, zorder=4, gid=gid)
            elif len(source_starts) != len(targets) or other == tower:
                if has_window:
                    for corner in corners:
                        axes.plot(*zip(centre + corner, target, strict=True), color="0.35", linewidth=0.5, zorder=3)
                else:
                    axes.annotate("", target, centre, arrowprops={**style, "color": "0.35"}, zorder=4)


def _write_table(axes: "Axes", net: Architecture, found: list[Stage], centres: np.ndarray, top: float) -> None:
    """Write a column below each array."""
    counts = {name: int(np.prod(kernel)) + bias[0] for name, (kernel, bias) in net.parameter_shapes().items()}
    both = any(stage.towers == 2 for stage in found)
    for line, heading in enumerate(HEADINGS):
        heading += " (both towers)" if both and heading == "parameters" else ""
        axes.text(0.1, top - line * LINE, heading, fontsize=8, color="0.35")
    for stage, x in zip(found, centres, strict=True):
        height, width, channels = stage.shape
        cells = (
            stage.name,
            "" if isinstance(stage.row, Dense) else f"{height}×{width}",
            f"{channels // 2} + {channels // 2}" if stage.towers == 2 else f"{channels}",
            *operation(stage.row),
            f"{counts[stage.name]:,}" if stage.name in counts else "",
            *stage.followed_by,
        )
        for line, cell in enumerate(cells):
            weight = "normal" if line else "bold"
            axes.text(x, top - line * LINE, cell, fontsize=8, ha="center", weight=weight)


def _write_captions(axes: "Axes", net: Architecture, towers: int, title: tuple, note: tuple) -> None:
    total = sum(int(np.prod(kernel)) + bias[0] for kernel, bias in net.parameter_shapes().values())
    tower = "two towers, " if towers == 2 else ""
    axes.text(*title, f"{net.name}: {tower}{total:,} parameters", fontsize=11, weight="bold", va="top")
    lines = ["Thin lines: the window that a layer moves over the array before. LRN: local response normalisation."]
    lines += ["Heights and widths are drawn to one scale, channels to a second one, lengths of vectors to a third."]
    if towers == 2:
        lines[1] += " Dashed arrows: layers that read the channels of both towers."
    first = net.weighted[0]
    size, stride = getattr(first, "size", 0), getattr(first, "stride", 0)
    if (net.input_shape[0], size, stride, net.output_shapes()[first.name][0]) == PAPER_WINDOW:
        lines.append(PAPER_NOTE)
    axes.text(*note, "\n".join(lines), fontsize=8, color="0.35")


def _write_legend(axes: "Axes", net: Architecture, place: tuple[float, float]) -> None:
    """Name the colours of the boxes, to the left of a place."""
    from matplotlib.patches import Patch

    kinds = [KINDS[kind] for kind in DRAWN if any(isinstance(row, kind) for row in net.layers)]
    handles = [Patch(facecolor=(colour, FACES["front"]), edgecolor="black", linewidth=0.6) for _, colour in kinds]
    style = {"loc": "upper right", "bbox_transform": axes.transData, "ncols": len(kinds), "fontsize": 8}
    axes.legend(handles, [name for name, _ in kinds], bbox_to_anchor=place, frameon=False, **style)
