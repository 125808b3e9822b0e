"""A network as a graph of its rows, as Caffe's draw_net draws it."""

from typing import TYPE_CHECKING

from tfalexnet.figures.canvas import COLOURS, new_figure
from tfalexnet.networks.spec import Activation, Architecture, Conv, Dense, Dropout, Flatten, Layer, Norm, Pad, Pool

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Inches: a box, and the space between two for the arrow.
WIDTH, HEIGHT, ARROW = 4.0, 0.42, 0.26
KINDS = {
    Pad: ("padding", "0.5"),
    Conv: ("convolution", COLOURS[0]),
    Activation: ("nonlinearity", COLOURS[4]),
    Norm: ("local response normalisation", COLOURS[5]),
    Pool: ("pooling", COLOURS[3]),
    Flatten: ("feature maps as one vector", "0.5"),
    Dense: ("fully connected", COLOURS[2]),
    Dropout: ("dropout, in training only", "1.0"),
}


def operation(row: Layer | None) -> tuple[str, str, str]:
    """Return the window, stride and padding of a row, "" where it has none."""
    if not isinstance(row, Conv | Pool):
        return "", "", ""
    padding = {"valid": 0, "caffe": getattr(row, "pad", 0), "same": "same"}[row.padding]
    if padding == "same" and row.stride == 1 and row.size % 2:
        padding = row.size // 2
    return f"{row.size}×{row.size}", str(row.stride), str(padding)


def _details(row: Layer) -> str:
    """Return what Caffe's draw_net writes into a box: the window, stride and padding, or the numbers of a row."""
    size, stride, padding = operation(row)
    match row:
        case Conv():
            groups = f", {row.groups} groups of channels" if row.groups > 1 else ""
            activation = f", {row.activation}" if row.activation else ""
            return f"{row.filters} filters {size}, stride {stride}, padding {padding}{groups}{activation}"
        case Pool():
            return f"{row.kind} of {size}, stride {stride}, padding {padding}"
        case Norm():
            across = row.region == "across_channels"
            over = f"{row.size} neighbouring channels" if across else f"{row.size}×{row.size} positions of a channel"
            where = f", in {row.groups} groups" if row.groups > 1 else ""
            return f"over {over}{where}; k {row.k:g}, α {row.alpha:.3g}, β {row.beta:g}"
        case Pad():
            return f"{row.size} on each side"
        case Dense():
            return f"{row.units} units" + (f", {row.activation}" if row.activation else "")
        case Dropout():
            return f"rate {row.rate:g}"
        case Activation():
            return row.function
    return ""


def draw_graph(net: Architecture) -> "Figure":
    """Return a figure of the rows of a network as boxes, from top to bottom, with the shapes between them."""
    from matplotlib.patches import FancyBboxPatch

    step = HEIGHT + ARROW
    total = (len(net.layers) + 2) * step + 0.5
    figure = new_figure(WIDTH + 0.6, total)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.3, WIDTH + 0.3), ylim=(0, total))
    axes.set_axis_off()
    axes.text(WIDTH / 2, total - 0.12, net.name, fontsize=11, weight="bold", ha="center", va="top")
    shapes = {"input": net.input_shape, **net.output_shapes()}
    rows: dict[str, tuple[str, str, str]] = {"input": ("pictures", "0.5", "on the arrows: height × width × channels")}
    rows |= {row.name: (*KINDS[type(row)], _details(row)) for row in net.layers}
    rows["softmax"] = ("probabilities of the classes", "0.5", "")
    top = total - 0.4
    for name, (kind, colour, details) in rows.items():
        box = FancyBboxPatch((0, top - HEIGHT), WIDTH, HEIGHT, "round,pad=0,rounding_size=0.06", gid=name)
        box.set(facecolor=(colour, 0.25), edgecolor="0.3", linewidth=1)
        axes.add_patch(box)
        middle = top - HEIGHT / 2
        raised = 0.085 if details else 0
        axes.text(WIDTH / 2, middle + raised, f"{name} ({kind})", fontsize=8, weight="bold", ha="center", va="center")
        axes.text(WIDTH / 2, middle - 0.095, details, fontsize=7.5, ha="center", va="center")
        if name in shapes:
            shape = shapes[name]
            label = "×".join(map(str, shape)) if shape[:2] != (1, 1) else str(shape[-1])
            end, style = (WIDTH / 2, top - step), {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", end, (WIDTH / 2, top - HEIGHT), arrowprops=style)
            axes.text(WIDTH / 2 + 0.12, top - HEIGHT - ARROW / 2, label, fontsize=7.5, color="0.3", va="center")
        top -= step
    return figure
