"""Two networks, or two checkpoints, layer by layer: what is equal, what differs, and how."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfalexnet.checkpoints.formats.orientation import flatten_chw, flatten_hwc
from tfalexnet.networks.spec import Architecture, Conv, Dense, Layer


def _channels_reversed(kernel: np.ndarray, row: Layer, net: Architecture) -> np.ndarray:
    return kernel[:, :, ::-1] if isinstance(row, Conv) and row is net.weighted[0] else kernel


def _rows_reordered(reorder: Callable) -> Callable[[np.ndarray, Layer, Architecture], np.ndarray]:
    def relaid(kernel: np.ndarray, row: Layer, net: Architecture) -> np.ndarray:
        first = next(row for row in net.layers if isinstance(row, Dense))
        return reorder(kernel, net.flattened) if row is first else kernel

    return relaid


def _space_transposed(kernel: np.ndarray, row: Layer, _: Architecture) -> np.ndarray:
    return kernel.swapaxes(0, 1) if isinstance(row, Conv) else kernel


def _turned(kernel: np.ndarray, row: Layer, _: Architecture) -> np.ndarray:
    return kernel[::-1, ::-1] if isinstance(row, Conv) else kernel


def _square_transposed(kernel: np.ndarray, row: Layer, _: Architecture) -> np.ndarray:
    return kernel.T if isinstance(row, Dense) and kernel.shape[0] == kernel.shape[1] else kernel


LAYOUTS: dict[str, Callable[[np.ndarray, Layer, Architecture], np.ndarray]] = {
    "the input channels reversed (RGB for BGR)": _channels_reversed,
    "the rows of the first dense kernel read as channel, height, width": _rows_reordered(flatten_hwc),
    "the rows of the first dense kernel put back to channel, height, width": _rows_reordered(flatten_chw),
    "height and width of the kernels exchanged": _space_transposed,
    "the kernels turned by 180° (convolution for correlation)": _turned,
    "square dense kernels transposed": _square_transposed,
}
