"""What the figures have in common: a new figure, colours, and files."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfalexnet.io.files import atomic_write, check_output
from tfalexnet.io.packages import require_packages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 150
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
"""Okabe and Ito, Color Universal Design (2008): told apart by people with any colour vision."""


def require_matplotlib() -> None:
    """Raise `ValueError` with the command that installs Matplotlib if it is absent; called before the work begins."""
    require_packages("plots", "matplotlib")


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure, in inches, that needs no display and that Matplotlib does not keep.

    Raises:
        ValueError: Matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def colour_bar(axes: "Axes", artist: Any, label: str) -> "Colorbar":
    """Draw the colours of an artist and their values beside its axes, as high as these are.

    The bar is grey beneath, as the photo is beneath transparent colours.
    """
    bar = axes.inset_axes((1.03, 0, 0.05, 1), facecolor="0.6")
    return axes.figure.colorbar(artist, cax=bar, label=label)


def transparent(name: str, opacity: float, zero: float = 0.0) -> "Colormap":
    """Return Matplotlib's colours of a name, transparent at a position from 0 to 1 and less so towards the ends."""
    import matplotlib
    from matplotlib.colors import ListedColormap

    positions = np.linspace(0, 1, 256)
    colours = matplotlib.colormaps[name](positions)
    colours[:, 3] = opacity * abs(positions - zero) / max(zero, 1 - zero)
    return ListedColormap(colours, name)


def save(figure: "Figure", output: str | os.PathLike, overwrite: bool = False) -> None:
    """Write a figure as a .png, .svg or .pdf.

    Raises:
        ValueError: the suffix is another.
        FileExistsError: the file exists.
    """
    output = Path(output)
    check_output(output, SUFFIXES, overwrite)
    with atomic_write(output) as temporary:
        figure.savefig(temporary, format=output.suffix[1:], dpi=DPI)
