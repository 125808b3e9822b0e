"""A photo as a panel of a figure, and names as captions."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tfalexnet.images.decode import decode
from tfalexnet.images.opening import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 600  # Pixels of the longer side; a figure has no room for more.
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


def overlay(axes: "Axes", image: Image.Image, values: np.ndarray, box: tuple[float, float, float, float], **style):
    """Draw a map over the part `box` (top, left, bottom, right, in pixels) of a photo in grey, and return its artist."""
    show_photo(axes, image.convert("L"))
    top, left, bottom, right = box
    artist = axes.imshow(values, extent=(left, right, bottom, top), **style)
    axes.set(xlim=(0, image.width), ylim=(image.height, 0))
    return artist


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
