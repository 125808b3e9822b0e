"""A photo as a panel of a figure, and names as captions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tfalexnet.figures.canvas import new_figure
from tfalexnet.images.decode import decode
from tfalexnet.images.opening import Picture
from tfalexnet.images.preprocessing import Box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SHOWN = 600  # Pixels of the longer side; a figure has no room for more.
PANEL = 4  # Inches of the width of a photo beside others.
LONGEST = 32  # Characters of a caption.


def show_photo(axes: "Axes", image: Image.Image, title: str = "") -> None:
    """Draw a photo without ticks. The axes count the pixels of the photo, however many are drawn."""
    width, height = image.size
    image = image.convert("RGB")
    image.thumbnail((SHOWN, SHOWN))
    axes.imshow(np.asarray(image), extent=(0, width, height, 0))
    axes.set(xticks=[], yticks=[], title=title)


def open_photo(picture: Picture) -> Image.Image:
    """Return a photo in RGB as an image viewer shows it.

    Raises:
        PictureError: it cannot be read.
    """
    return decode(picture).convert("RGB")


def panels(image: Image.Image, count: int, below: float) -> tuple["Figure", Sequence["Axes"]]:
    """Return a figure with panels for a photo side by side, as high as the photo and `below`, in inches, require."""
    height = min(max(PANEL * image.height / image.width, PANEL / 3), 2 * PANEL)
    figure = new_figure(PANEL * count + 1, height + 0.5 + below)
    return figure, figure.subplots(1, count)


def overlay(axes: "Axes", image: Image.Image, values: np.ndarray, box: Box, **style: Any) -> "AxesImage":
    """Draw a map over a part of a photo in grey, fade the other parts, and return the artist of the map.

    Args:
        axes: where.
        image: the photo.
        values: (rows, columns).
        box: the part.
        **style: of Matplotlib's `imshow`.
    """
    show_photo(axes, image.convert("L"))
    top, left, bottom, right = box
    artist = axes.imshow(values, extent=(left, right, bottom, top), **style)
    axes.set(xlim=(0, image.width), ylim=(image.height, 0))
    fade_around(axes, box)
    return artist


def outline(axes: "Axes", box: Box, **style: Any) -> None:
    """Outline a part of a photo in white; a black line beneath makes it visible on any picture.

    Args:
        axes: where.
        box: the part.
        **style: of Matplotlib's `Rectangle`, for the white line.
    """
    from matplotlib.patches import Rectangle

    top, left, bottom, right = box
    for width, settings in ((3, {"edgecolor": "black"}), (1.5, {"edgecolor": "white", **style})):
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, linewidth=width, **settings))


def show_input(axes: "Axes", image: Image.Image, box: Box, title: str) -> None:
    """Draw a photo with its part that becomes the input of the network outlined, and the rest faded."""
    show_photo(axes, image, title)
    axes.set(xlim=(0, image.width), ylim=(image.height, 0), xlabel="outlined: the input of the network")
    fade_around(axes, box)
    outline(axes, box)


def fade_around(axes: "Axes", box: Box) -> None:
    """Draw light grey over all of the axes except for a part."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    (start, end), (low, high) = axes.get_xlim(), axes.get_ylim()
    top, left, bottom, right = box
    around = [(start, low), (end, low), (end, high), (start, high), (start, low)]
    hole = [(left, bottom), (left, top), (right, top), (right, bottom), (left, bottom)]  # The other way round.
    path = Outline.make_compound_path(Outline(around, closed=True), Outline(hole, closed=True))
    axes.add_patch(PathPatch(path, facecolor="0.9", alpha=0.75, linewidth=0, zorder=0.5))


def short_name(label: str) -> str:
    """Return the first of the names of a class, "tench" of "tench, Tinca tinca"."""
    return shortened(label.split(",")[0])


def file_name(picture: Picture) -> str:
    """Return the name of a picture's file, "" of other pictures."""
    return shortened(Path(picture).name) if isinstance(picture, str | Path) else ""


def shortened(text: str) -> str:
    """Return a text without characters that Matplotlib would read as a formula, and of a length that fits a panel."""
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return text.replace("$", r"\$")
