"""Decoding of a picture to the 8-bit RGB or grey pixels that an image viewer shows."""

import os
import sys
from typing import Any

from PIL import Image

from tfalexnet.images.grey_levels import BAND, is_deep, to_eight_bits
from tfalexnet.images.opening import MAX_PIXELS, Opened, Picture, PictureError, open_picture

_PROCESS = os.getpid()

ORIENTATION = 0x0112  # EXIF's tag; the value 1 means upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(picture: Picture, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the picture as an image viewer shows it: upright, opaque, 8 bits per channel, in "RGB" or "L".

    See `decode_opened`.

    Raises:
        PictureError, TypeError: as for `open_picture`.
    """
    with open_picture(picture, max_pixels) as opened:
        return decode_opened(opened)


def decode_opened(opened: Opened) -> Image.Image:
    """Return the picture upright, opaque, with 8 bits per channel, in "RGB" or "L".

    The EXIF orientation is applied, transparent pixels are laid on white, an animation is represented by
    its first frame, and grey levels of more than 8 bits are scaled from their range to 0–255. Colour
    profiles are ignored, as they were when the networks were trained.
    """
    image = opened.image
    image.load()
    if is_deep(image):  # Pillow would clip them, those with a transparent level too.
        try:
            pixels = to_eight_bits(image)
        except ValueError as error:
            raise PictureError(opened.name, str(error)) from None
    elif image.has_transparency_data:
        pixels = _on_white(image)
    else:
        mode = "L" if image.mode in ("1", "L") else "RGB"
        pixels = image if image.mode == mode else image.convert(mode)
    turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    return pixels if turn is None else pixels.transpose(turn)


def decode_plain_jpeg(opened: Opened, mode: str) -> Any:
    """Return the pixels of a plain JPEG, decoded by TensorFlow, or None for any other picture.

    TensorFlow's accurate decoder returns exactly the pixel values of Pillow and saves two copies of them.
    A plain JPEG is upright, baseline and in the given mode.

    Args:
        opened: the picture.
        mode: "RGB" or "L".

    Returns:
        A uint8 tensor, (height, width, channels); None also if TensorFlow has not been imported.
    """
    tf, image = imported_tensorflow(), opened.image
    # The two libraries smooth a progressive file that ends early differently.
    if tf is None or opened.data is None or image.format != "JPEG" or image.info.get("progressive"):
        return None
    try:
        if image.mode != mode or image.getexif().get(ORIENTATION, 1) != 1:
            return None
        with tf.device("CPU"):
            return tf.io.decode_jpeg(opened.data, dct_method="INTEGER_ACCURATE")
    except Exception:  # `decode_opened` then raises an error with a better message.
        return None


def imported_tensorflow() -> Any:
    """Return TensorFlow if it has been imported, else None: importing it takes longer than it saves here.

    In a process that was forked after this module was imported it is None, since TensorFlow's threads are missing
    there.
    """
    tf = sys.modules.get("tensorflow") if os.getpid() == _PROCESS else None
    # Another thread may be importing it at this moment.
    return tf if hasattr(tf, "raw_ops") and hasattr(tf, "device") else None


def _on_white(image: Image.Image) -> Image.Image:
    """Return a transparent picture on white, in "RGB"; it is converted in bands, to save memory."""
    result, rows = Image.new("RGB", image.size), max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        result.paste(Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB"), (0, top))
    return result
