"""Pictures from arrays and histories; never touches training."""

from __future__ import annotations

import math

import numpy as np


def filters(kernel: np.ndarray, enlarged: int = 4, gap: int = 1) -> np.ndarray:
    """The filters of a first convolution side by side, (height, width, 1 or 3), uint8.

    Args:
        kernel: (height, width, channels, filters). All are scaled alike, 0 becoming mid-grey; three
            channels are shown as red, green and blue in their order.
        enlarged: pixels a side that a weight becomes.
        gap: black weights between two filters.
    """
    height, width, channels, count = kernel.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    if channels not in (1, 3):
        kernel = kernel.mean(axis=2, keepdims=True)
    largest = float(np.abs(kernel).max()) or 1.0
    levels = ((kernel / largest + 1) * 127.5).round().astype(np.uint8)
    sheet = np.zeros((rows * (height + gap) + gap, columns * (width + gap) + gap, levels.shape[2]), np.uint8)
    for i in range(count):
        top, left = (
            gap + place * (side + gap) for place, side in zip(divmod(i, columns), (height, width), strict=True)
        )
        sheet[top : top + height, left : left + width] = levels[..., i]
    return sheet.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
