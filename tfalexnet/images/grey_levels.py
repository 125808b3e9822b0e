"""Grey pictures of more than 8 bits: their levels scaled to 0–255, or refused where their range is uncertain."""

import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

# Tags of TIFF.
BITS_PER_SAMPLE = 258
PHOTOMETRIC = 262  # The value 0 means that the level 0 is white.
SAMPLE_FORMAT = 339

UNSIGNED, SIGNED = 1, 2  # Values of SAMPLE_FORMAT.
OVERSHOOT = 0.1  # Sharpening and resizing leave a range of floats by up to this share; the rest is clipped.
DARKEST = 0.1  # Least share of the range that the brightest pixel reaches; below it, another range was meant.
DARKEST_MEDIAN = 0.02  # The same of the median of the pixels that are not 0.
SAMPLE = 1 << 20  # Pixels of which the median is taken.
BAND = 1 << 20  # Pixels that are converted at a time, in 64 bits.


def is_deep(image: Image.Image) -> bool:
    """Return whether a picture has grey levels of more than 8 bits, or signed ones."""
    return image.mode.startswith(("I", "F")) or _tag(image, SAMPLE_FORMAT, UNSIGNED) == SIGNED


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey picture of more than 8 bits in "L", its range scaled to 0–255 (Pillow would clip it).

    Unsigned integers of 16 bits and less have the range of their bits. Others have the first range that holds the
    brightest pixel: 0–255, 0–65535 (0–32767 if they are signed, of 16 bits) or all bits for integers; 0–1, 0–255 or up
    to the brightest pixel for floats. The level that a PNG states as transparent becomes white.

    Args:
        image: as opened, with the tags of its file.

    Raises:
        ValueError: the range is uncertain, and the picture would be black, white or inverted.
    """
    signed = _tag(image, SAMPLE_FORMAT, UNSIGNED) == SIGNED
    bits = _tag(image, BITS_PER_SAMPLE, 16 if image.format and image.mode != "F" else 32)
    if signed and bits == 8:
        raise ValueError(_refusal("unsigned grey levels", "signed ones"))  # Pillow reads −1 as 255.
    # Pillow reads unsigned levels of 32 bits as signed.
    kind = np.uint32 if image.mode == "I" and bits == 32 and not signed and image.format else None
    low, high = (float(extreme([extreme(levels) for _, levels in _bands(image, kind)])) for extreme in (np.min, np.max))
    if not np.isfinite([low, high]).all():
        raise ValueError(_refusal("finite grey levels", "NaN or infinity"))
    if image.mode == "F":
        white = next((white for white in (1.0, 255.0) if high <= white * (1 + OVERSHOOT)), high)
    elif bits <= 16 and not signed:
        white = 2.0**bits - 1
    else:
        middle = 32767.0 if bits == 16 else 65535.0
        white = next(white for white in (255.0, middle, 2.0**32 - 1) if high <= white)
    if low < (-OVERSHOOT * white if image.mode == "F" else 0):
        raise ValueError(_refusal("grey levels from 0", f"{low:g} to {high:g}"))
    step = 1 + math.isqrt(image.width * image.height // SAMPLE)
    sample = np.concatenate([levels[::step, ::step].ravel() for _, levels in _bands(image, kind)])
    positive = sample[sample > 0]
    if positive.size and (high < DARKEST * white or np.median(positive) < DARKEST_MEDIAN * white):
        raise ValueError(_refusal("grey levels that use their range", f"{low:g} to {high:g} in 0 to {white:g}"))
    inverted, transparent = _tag(image, PHOTOMETRIC, 1) == 0, image.info.get("transparency")
    result = Image.new("L", image.size)
    for top, levels in _bands(image, kind):
        scaled = levels / np.float64(white) * 255
        scaled = (255 - scaled if inverted else scaled).clip(0, 255).round()
        scaled[levels == transparent] = 255
        result.paste(Image.fromarray(scaled.astype(np.uint8)), (0, top))
    return result


def _bands(image: Image.Image, kind: type | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of the first row and the levels, seen as `kind`, of bands: all at once would take gigabytes."""
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        levels = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        yield top, levels.view(kind) if kind else levels


def _tag(image: Image.Image, tag: int, default: int) -> int:
    """Return the value of a TIFF's tag, of the first channel where there are several."""
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return value[0] if isinstance(value, tuple) else value


def _refusal(expected: str, received: str) -> str:
    return f"expected {expected}; received {received}. Save it with 8 bits, or 16 of which all are used"
