"""Pixels of generated pictures."""

import numpy as np


def gradient(width: int, height: int) -> np.ndarray:
    """Return an RGB picture, uint8, whose pixels differ from place to place."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 7 + y / 5)], -1).astype("uint8")
