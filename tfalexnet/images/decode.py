"""Decoding of a picture to the 8-bit RGB or grey pixels that an image viewer shows."""

import contextlib
import io
import os
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Picture = str | os.PathLike | bytes | Image.Image | np.ndarray
"""A picture that a user gives: a path, the bytes of a file, a Pillow image, or a uint8 array (RGB, RGBA or
grey; height × width [× channels])."""

ORIENTATION = 0x0112  # EXIF's tag; the value 1 means upright.
BITS_PER_SAMPLE = 258  # TIFF's tag.


class PictureError(ValueError):
    """A picture cannot be read. `name` is the file, or the kind of input; `reason` states what is wrong."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


def decode(picture: Picture) -> Image.Image:
    """Return the picture as an image viewer shows it: upright, opaque, 8 bits per channel, in "RGB" or "L".

    The EXIF orientation is applied, transparent pixels are laid on white, an animation is represented by
    its first frame, and grey levels of more than 8 bits are scaled from their range to 0–255. Colour
    profiles are ignored, as they were when the networks were trained.

    Raises:
        PictureError: the picture cannot be read.
        TypeError: the argument is not a `Picture`.
    """
    if isinstance(picture, np.ndarray):
        return _opaque(_from_array(picture))
    name, source = _source(picture)
    with warnings_suppressed:
        try:
            image = source if isinstance(source, Image.Image) else Image.open(source)
            image = ImageOps.exif_transpose(image)
            return _opaque(_eight_bits(image))
        except Image.UnidentifiedImageError:
            raise PictureError(name, "not a picture in a format that Pillow reads") from None
        except Image.DecompressionBombError as error:
            raise PictureError(name, f"refused: {error}") from None
        except Exception as error:  # Pillow's readers raise errors of many types for damaged files.
            raise PictureError(name, f"damaged picture ({error or type(error).__name__})") from error


def decode_plain_jpeg(picture: Picture, mode: str) -> Any:
    """Return the pixels of a plain JPEG, decoded by TensorFlow, or None for any other picture.

    TensorFlow's accurate decoder returns exactly the pixel values of Pillow and saves two copies of them.
    A plain JPEG is upright, baseline and in the given mode.

    Args:
        picture: a path or the bytes of a file; for other kinds of pictures the result is None.
        mode: "RGB" or "L".

    Returns:
        A uint8 tensor, (height, width, channels); None also if TensorFlow has not been imported.
    """
    tf = imported_tensorflow()
    if tf is None or isinstance(picture, np.ndarray | Image.Image):
        return None
    _, source = _source(picture)
    try:
        with warnings_suppressed:
            image = Image.open(source)
            upright = image.getexif().get(ORIENTATION, 1) == 1
            # The two libraries smooth a progressive file that ends early differently.
            if image.format != "JPEG" or image.mode != mode or not upright or image.info.get("progressive"):
                return None
        with tf.device("CPU"):
            return tf.io.decode_jpeg(source.getvalue(), dct_method="INTEGER_ACCURATE")
    except Exception:  # `decode` then raises an error with a better message.
        return None


def imported_tensorflow() -> Any:
    """Return TensorFlow if it has been imported, else None: importing it takes longer than it saves here."""
    tf = sys.modules.get("tensorflow")
    # Another thread may be importing it at this moment.
    return tf if hasattr(tf, "raw_ops") and hasattr(tf, "device") else None


class _SuppressedWarnings:
    """A context in which no thread issues warnings.

    Pillow warns of defects that it could repair, which the caller cannot act on. Python's warning filters
    are shared by all threads: the first thread to enter replaces them, the last one to leave restores them.
    """

    def __init__(self) -> None:
        self.lock, self.entered, self.filters = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.entered += 1
            if self.entered == 1:
                self.filters.enter_context(warnings.catch_warnings(action="ignore"))

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.entered -= 1
            if not self.entered:
                self.filters.close()


warnings_suppressed = _SuppressedWarnings()


def _source(picture: Any) -> tuple[str, Any]:
    """Return a name for messages, and what Pillow can open."""
    if isinstance(picture, Image.Image):
        return getattr(picture, "filename", "") or "image", picture
    if isinstance(picture, bytes):
        if not picture:
            raise PictureError("bytes", "empty")
        return "bytes", io.BytesIO(picture)
    if not isinstance(picture, str | os.PathLike):
        raise TypeError(
            f"Expected a picture as a path, bytes, a PIL.Image or a uint8 array. Received: {type(picture).__name__}"
        )
    name = os.fspath(picture)
    if not name:
        raise PictureError("''", "is not the name of a file")
    try:
        data = Path(name).read_bytes()
    except IsADirectoryError:
        raise PictureError(name, "is a folder, not a picture") from None
    except OSError as error:
        raise PictureError(name, (error.strerror or str(error)).lower()) from None
    if not data:
        raise PictureError(name, "empty file")
    return name, io.BytesIO(data)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8:
        raise TypeError(
            f"Expected an array of uint8, grey levels 0–255. Received: {array.dtype}. "
            "Convert it: (array * 255).round().astype('uint8') if it holds 0–1."
        )
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))):
        raise PictureError(
            "array",
            f"expected height × width [× 1, 3 or 4 channels], received shape {array.shape}; "
            "give several pictures as a list",
        )
    return Image.fromarray(array)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of more than 8 bits scaled to 0–255 (Pillow would clip it), any other unchanged."""
    if not image.mode.startswith(("I", "F")):
        return image
    levels = np.asarray(image, np.float64)
    bits_per_sample = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE)  # A TIFF may have 12 bits, for example.
    if image.mode == "F":
        white = 1.0 if levels.max() <= 1 else max(255.0, levels.max())
    elif bits_per_sample and bits_per_sample[0] < 16:
        white = 2.0 ** bits_per_sample[0] - 1
    else:
        white = 65535.0 if levels.max() <= 65535 else 2.0**32 - 1
    return Image.fromarray((levels / white * 255).clip(0, 255).round().astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """Return the image in "RGB" or "L", laid on white where it is transparent."""
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)
