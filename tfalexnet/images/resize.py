"""Bilinear resizing in NumPy, where TensorFlow is not worth its import."""

from __future__ import annotations

import numpy as np


def resize_bilinear(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture in another size, not antialiased: OpenCV's INTER_LINEAR in floats.

    Like `tf.raw_ops.ResizeBilinear(half_pixel_centers=True)`, whose order of operations it keeps: along
    the rows, then between them, each as a + (b − a)·t.

    Args:
        pixels: (rows, columns, channels), of any numbers that float32 holds.
        height: rows of the result.
        width: its columns.

    Returns:
        float32 (height, width, channels).
    """
    (above, below, down), (left, right, along) = map(_places, (height, width), pixels.shape[:2])

    def row(index: np.ndarray) -> np.ndarray:
        lines = pixels[index]
        start, end = (lines[:, columns].astype(np.float32, copy=False) for columns in (left, right))
        return start + (end - start) * along[:, None]

    upper = row(above)
    return upper + (row(below) - upper) * down[:, None, None]


def _places(new: int, old: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new place the old ones before and behind it, and how far between them it lies."""
    scale = np.float32(old) / np.float32(new)
    place = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    before = np.floor(place)
    start, end = np.maximum(before, 0).astype(int), np.minimum(np.ceil(place), old - 1).astype(int)
    return start, end, place - before
