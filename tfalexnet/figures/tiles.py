"""Pictures side by side on one sheet, and the filters of a convolution as such pictures."""

import math

import numpy as np

from tfalexnet.images.preprocessing import Preprocessing


def in_rgb(kernel: np.ndarray, preprocessing: Preprocessing | None) -> np.ndarray:
    """Return the kernel of a first convolution with its input channels in the order red, green, blue, or as it is."""
    return kernel[:, :, ::-1] if preprocessing is not None and preprocessing.channels == "BGR" else kernel


def filters(
    kernel: np.ndarray, scale: int = 4, gap: int = 1, columns: int | None = None, largest: float | None = None
) -> np.ndarray:
    """Return the filters of a convolution side by side, uint8 (height, width, 1 or 3).

    Args:
        kernel: (height, width, channels, filters). All filters are scaled by the same factor, and 0 becomes mid-grey;
            three channels are shown as red, green and blue in this order, others by their mean.
        scale: pixels of a weight, in height and width.
        gap: weights between two filters, white.
        columns: filters side by side; None for `grid_columns`.
        largest: the weight that becomes white, and its negative black; None for the largest magnitude shown.
    """
    if kernel.shape[2] not in (1, 3):
        kernel = kernel.mean(axis=2, keepdims=True)
    largest = largest or float(np.abs(kernel).max()) or 1.0
    levels = ((kernel / largest + 1) * 127.5).round().astype(np.uint8)
    return tile(levels, scale, gap, columns, background=255)


def grid_columns(count: int) -> int:
    """Return the smallest divisor of `count` from the root to twice that; if there is none, the root, rounded up."""
    square = math.ceil(math.sqrt(count))
    divisors = (columns for columns in range(square, 2 * square) if count % columns == 0)
    return next(divisors, square)


def tile(levels: np.ndarray, scale: int, gap: int, columns: int | None = None, background: float = 0) -> np.ndarray:
    """Return pictures side by side, (height, width, channels), in their dtype.

    Args:
        levels: (height, width, channels, pictures).
        scale: pixels of a level, in height and width.
        gap: levels between two pictures.
        columns: pictures side by side; None for `grid_columns`.
        background: the level of the gaps.
    """
    height, width, channels, count = levels.shape
    columns = columns or grid_columns(count)
    rows = math.ceil(count / columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), background, levels.dtype)
    for i in range(count):
        row, column = divmod(i, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = levels[..., i]
    return sheet.repeat(scale, axis=0).repeat(scale, axis=1)
