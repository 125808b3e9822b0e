"""Resizing of a picture, of which only the central box is computed."""

import numpy as np
from PIL import Image

from tfalexnet.images.fast import loaded

# A resized picture with a side of more than so many times that of its box is computed for the box only, by NumPy.
# For others Pillow is as fast.
THIN = 64
LARGE = 1 << 24  # Pixels of a picture of which only the rows that are used are copied out of Pillow.
ROWS = 64  # That OpenCV resizes at once: they fit in the cache, and so few are computed in the thread that calls.
EXACT = 1 << 24  # Positions are float32: products of integers up to this are exact.

PRECISION = 22  # Pillow's fixed-point weights have so many bits behind the point (its Resample.c, PRECISION_BITS).


def centre(side: int, part: int) -> slice:
    """Return the indices of the central `part` of `side` pixels; halves are rounded to even, as by torchvision."""
    start = round((side - part) / 2)
    return slice(start, start + part)


def central_box(pixels: np.ndarray, box: int) -> np.ndarray:
    """Return the central box×box pixels of a picture."""
    return pixels[tuple(centre(side, box) for side in pixels.shape[:2])]


def resize_antialiased(image: Image.Image, height: int, width: int, box: int) -> np.ndarray:
    """Return the central box×box pixels of a picture in another size, as Pillow's BILINEAR computes them.

    Pillow rounds after the first of its two passes, and which one is first depends on its version and the size. Of
    a picture whose sides differ by more than THIN times, a level may therefore differ by 1.

    Args:
        image: in "RGB" or "L".
        height: number of rows of the whole resized picture, at least `box`.
        width: number of its columns, at least `box`.
        box: pixels of each side of the result.

    Returns:
        uint8 (box, box, channels).
    """
    if max(height, width) <= THIN * box:
        pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        return central_box(pixels.reshape(height, width, -1), box)
    rows, columns = _weights(height, image.height, box), _weights(width, image.width, box)
    top, bottom = rows[0][0], rows[-1][0] + len(rows[-1][1])
    image = image.crop((0, top, image.width, bottom))
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    across = _weighted_sums(pixels.swapaxes(0, 1), columns).swapaxes(0, 1)
    return _weighted_sums(across, [(start - top, weights) for start, weights in rows])


def resize_bilinear(pixels: Image.Image | np.ndarray, height: int, width: int, box: int) -> np.ndarray:
    """Return the central box×box pixels of a picture in another size, as by OpenCV's INTER_LINEAR.

    It is not antialiased. The result is that of `tf.image.resize(antialias=False)`, to the bit.

    Args:
        pixels: "RGB" or "L" of Pillow; or (rows, columns, channels), of any dtype that float32 can represent.
        height: number of rows of the whole resized picture, at least `box`.
        width: number of its columns, at least `box`.
        box: pixels of each side of the result.

    Returns:
        (box, box, channels): float32, or the dtype of the pixels if their size does not change.
    """
    if isinstance(pixels, Image.Image):
        if pixels.width * pixels.height > LARGE:
            return _interpolate_rows_of(pixels, height, width, box)
        pixels = np.asarray(pixels).reshape(pixels.height, pixels.width, -1)
    if pixels.shape[:2] == (height, width):
        return central_box(pixels, box)
    return _interpolate(pixels, height, width, box)


def _weights(new: int, old: int, box: int) -> list[tuple[int, np.ndarray]]:
    """Return for the central `box` of `new` pixels the first old pixel that each uses, and the weights from there.

    The operations and their order are those of `precompute_coeffs` and `normalize_coeffs_8bpc` in Pillow's
    Resample.c, for the triangular filter: its support is one pixel, of the smaller of the two pictures.
    """
    scale = old / new
    support, weights, window = max(1.0, scale), [], centre(new, box)
    for index in range(window.start, window.stop):
        position = (index + 0.5) * scale
        start, end = max(0, int(position - support + 0.5)), min(old, int(position + support + 0.5))
        distance = np.abs((np.arange(start, end) - position + 0.5) * (1 / support))
        share = np.where(distance < 1, 1 - distance, 0)
        share /= share.cumsum()[-1] or 1
        weights.append((start, (0.5 + share * (1 << PRECISION)).astype(np.int32)))
    return weights


def _weighted_sums(pixels: np.ndarray, weights: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Return for each entry of `_weights` the weighted sum of rows, rounded: uint8 (entries, columns, channels)."""
    result = np.empty((len(weights), *pixels.shape[1:]), np.uint8)
    for row, (start, shares) in zip(result, weights, strict=True):
        total = np.full(row.shape, 1 << PRECISION - 1, np.int32)
        for line, share in zip(pixels[start:], shares, strict=False):
            total += np.multiply(line, share, dtype=np.int32)  # NumPy 1 would keep small shares in 8 bits.
        row[...] = (total >> PRECISION).clip(0, 255)
    return result


def _interpolate_rows_of(image: Image.Image, height: int, width: int, box: int) -> np.ndarray:
    above, below, down = _neighbours(height, image.height, box)
    used = np.unique([above, below])
    rows = [np.asarray(image.crop((0, row, image.width, row + 1))) for row in used.tolist()]
    pixels = np.concatenate(rows).reshape(len(rows), image.width, -1)
    return _interpolate_rows(pixels, np.searchsorted(used, above), np.searchsorted(used, below), down, width, box)


def _interpolate(pixels: np.ndarray, height: int, width: int, box: int) -> np.ndarray:
    """Return the same as TensorFlow: interpolation along the rows, then between them, each as a + (b − a)·t."""
    above, below, down = _neighbours(height, pixels.shape[0], box)
    used = np.unique([above, below])
    rows = pixels[used] if len(used) < len(pixels) else pixels
    return _interpolate_rows(rows, np.searchsorted(used, above), np.searchsorted(used, below), down, width, box)


def _interpolate_rows(
    rows: np.ndarray, above: np.ndarray, below: np.ndarray, down: np.ndarray, width: int, box: int
) -> np.ndarray:
    """Interpolate along `rows`, and between those of the indices `above` and `below` at the distances `down`."""
    across = _interpolate_along(rows, width, box)
    return _between(across[above], across[below], down[:, None, None])


def _interpolate_along(rows: np.ndarray, width: int, box: int) -> np.ndarray:
    """Return the central `box` columns of rows that are resized to `width`, float32."""
    cv2, old = loaded("cv2"), rows.shape[1]
    # For a power of two the distances are fractions of so few bits that OpenCV's products and sums are exact, like
    # those of `_between`.
    if cv2 and rows.dtype == np.uint8 and width.bit_count() == 1 and 2 * width * old < EXACT:
        across = np.empty((len(rows), box, rows.shape[2]), np.float32)
        for start in range(0, len(rows), ROWS):
            band = rows[start : start + ROWS].astype(np.float32)
            resized = cv2.resize(band, (width, len(band)), interpolation=cv2.INTER_LINEAR)
            across[start : start + ROWS] = resized.reshape(len(band), width, -1)[:, centre(width, box)]
        return across
    left, right, along = _neighbours(width, old, box)
    start, end = (rows.take(columns, axis=1).astype(np.float32, copy=False) for columns in (left, right))
    return _between(start, end, along[:, None])


def _between(start: np.ndarray, end: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return start + (end − start)·distance, in the memory of `end`."""
    end -= start
    end *= distance
    end += start
    return end


def _neighbours(new: int, old: int, box: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for the central `box` of `new` indices the old ones before and after, and the distance from the first."""
    window = centre(new, box)
    scale = np.float32(old) / np.float32(new)
    position = (np.arange(window.start, window.stop, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    before = np.floor(position)
    start, end = np.maximum(before, 0).astype(int), np.minimum(np.ceil(position), old - 1).astype(int)
    return start, end, position - before
