"""Transpose kernels between channels first (Caffe, PyTorch) and channels last (Keras)."""

import numpy as np


def channels_last(kernel: np.ndarray) -> np.ndarray:
    """Transpose (out, in, height, width) to (height, width, in, out), or (out, in) to (in, out); a view."""
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T


def channels_first(kernel: np.ndarray) -> np.ndarray:
    """Transpose (height, width, in, out) to (out, in, height, width), or (in, out) to (out, in); a view."""
    return kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T


def flatten_hwc(kernel: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Reorder the rows of a fully connected kernel from channel, height, width to height, width, channel.

    Args:
        kernel: (height · width · channels, units).
        shape: (height, width, channels) of the feature map that is flattened.
    """
    height, width, channels = shape
    return kernel.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(kernel.shape)


def flatten_chw(kernel: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Reorder the rows of a fully connected kernel from height, width, channel to channel, height, width."""
    return kernel.reshape(*shape, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
