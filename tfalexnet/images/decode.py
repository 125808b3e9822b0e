"""Decoding of a picture to the 8-bit RGB or grey pixels that an image viewer shows."""

import numpy as np
from PIL import Image

from tfalexnet.images.fast import loaded
from tfalexnet.images.grey_levels import BAND, is_deep, to_eight_bits
from tfalexnet.images.opening import MAX_PIXELS, Opened, Picture, PictureError, open_picture

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


def decode_plain_jpeg(opened: Opened, mode: str) -> np.ndarray | None:
    """Return the pixels of a plain JPEG, decoded by simplejpeg, or None for any other picture.

    A plain JPEG is undamaged, upright, baseline and in the given mode. The pixel values are those of Pillow, which uses
    the same decoder, libjpeg-turbo, and saves two copies of them.

    Args:
        opened: the picture.
        mode: "RGB" or "L".

    Returns:
        uint8 (height, width, channels); None also if simplejpeg is not loaded.
    """
    simplejpeg, image = loaded("simplejpeg"), opened.image
    # The versions of the decoder smooth a progressive file that ends early differently.
    if simplejpeg is None or opened.data is None or image.format != "JPEG" or image.info.get("progressive"):
        return None
    try:
        if image.mode != mode or image.getexif().get(ORIENTATION, 1) != 1:
            return None
        return simplejpeg.decode_jpeg(opened.data, {"RGB": "RGB", "L": "GRAY"}[mode])
    except Exception:  # Pillow decodes some damaged files too; of others it gives the better message.
        return None


def _on_white(image: Image.Image) -> Image.Image:
    """Return a transparent picture on white, in "RGB"; it is converted in bands, to save memory."""
    result, rows = Image.new("RGB", image.size), max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        result.paste(Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB"), (0, top))
    return result
