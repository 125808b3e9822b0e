"""A picture from whatever holds it, as a person sees it."""

from __future__ import annotations

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
"""What can be labelled: a path, the bytes of a file, a Pillow image, or a uint8 array (RGB, RGBA or
grey; height × width [× channels])."""


ORIENTATION = 0x0112  # EXIF's tag; 1 is upright.


class PictureError(ValueError):
    """Something that should have been a picture. `name` is the file, `reason` what is wrong."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason


def decode(picture: Picture) -> Image.Image:
    """The picture as a person sees it: upright, opaque, 8 bits, in "RGB" or "L".

    EXIF orientation is applied, transparency laid on white, an animation shown by its first frame,
    and deep grey levels scaled from their own range. Colour profiles are ignored, as they were when
    the networks were trained.

    Raises:
        PictureError: it cannot be read as a picture.
        TypeError: it is none of the kinds of `Picture`.
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
        except Exception as error:  # Pillow's readers raise nearly every kind on damaged files.
            raise PictureError(name, f"damaged picture ({error or type(error).__name__})") from error


def decode_plain_jpeg(picture: Picture, mode: str) -> Any:
    """A uint8 tensor (height, width, channels) of a JPEG that needs no more than decoding; else None.

    TensorFlow's accurate decoder gives Pillow's levels to the bit and hands them on without two copies.
    """
    tf = imported_tensorflow()
    if tf is None or isinstance(picture, np.ndarray | Image.Image):
        return None
    _, source = _source(picture)
    try:
        with warnings_suppressed:
            image = Image.open(source)
            upright = image.getexif().get(ORIENTATION, 1) == 1
            # A progressive file may end early, and each library then smooths in its own way.
            if image.format != "JPEG" or image.mode != mode or not upright or image.info.get("progressive"):
                return None
        with tf.device("CPU"):
            return tf.io.decode_jpeg(source.getvalue(), dct_method="INTEGER_ACCURATE")
    except Exception:  # What is wrong with it, Pillow says better.
        return None


def imported_tensorflow() -> Any:
    """TensorFlow if it is there already: pictures are not worth its import."""
    found = sys.modules.get("tensorflow")
    # Another thread may be half through importing it.
    return found if hasattr(found, "raw_ops") and hasattr(found, "device") else None


class _Quiet:
    """No warnings: Pillow warns of what it could mend; the picture is there, and the caller cannot act on it.

    Python's filters belong to all threads: the first one in sets them aside, the last one out puts them back.
    """

    def __init__(self) -> None:
        self.lock, self.inside, self.aside = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            self.inside += 1
            if self.inside == 1:
                self.aside.enter_context(warnings.catch_warnings(action="ignore"))

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.aside.close()


warnings_suppressed = _Quiet()


def _source(picture: Any) -> tuple[str, Any]:
    """A name for messages, and what Pillow opens."""
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
        raise PictureError("''", "no name of a file")
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
    """Deep grey pictures scaled to 0–255; Pillow itself would clip them."""
    if not image.mode.startswith(("I", "F")):
        return image
    levels = np.asarray(image, np.float64)
    bits_per_sample = getattr(image, "tag_v2", {}).get(258)  # TIFF knows its depth, 12 bits say.
    if image.mode == "F":
        top = 1.0 if levels.max() <= 1 else max(255.0, levels.max())
    elif bits_per_sample and bits_per_sample[0] < 16:
        top = 2.0 ** bits_per_sample[0] - 1
    else:
        top = 65535.0 if levels.max() <= 65535 else 2.0**32 - 1
    return Image.fromarray((levels / top * 255).clip(0, 255).round().astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """On white where it is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return image if image.mode == mode else image.convert(mode)
