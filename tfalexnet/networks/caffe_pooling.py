"""The windows of Caffe's pooling along one side (src/caffe/layers/pooling_layer.cpp).

`length` is the number of rows of the input, `size` that of a window, `stride` the distance of the windows, and `pad`
the number of rows that are added on each side.
"""

import numpy as np


def window_count(length: int, size: int, stride: int, pad: int) -> int:
    """Return the number of windows, rounded up; with padding, none begins beyond the rows and their padding."""
    count = -(-(length + 2 * pad - size) // stride) + 1
    return count - 1 if pad and (count - 1) * stride >= length + pad else count


def rows_after(length: int, size: int, stride: int, pad: int) -> int:
    """Return how many rows the last window reaches beyond the input."""
    return max((window_count(length, size, stride, pad) - 1) * stride - pad + size - length, 0)


def counted_rows(length: int, size: int, stride: int, pad: int) -> np.ndarray:
    """Return the number of rows of each window by which an average is divided: those of the input and its padding."""
    starts = np.arange(window_count(length, size, stride, pad)) * stride - pad
    return np.minimum(starts + size, length + pad) - starts
