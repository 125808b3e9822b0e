"""What the engines have in common: the results of their `load` and `compile_network`, and helpers to compute it."""

import functools
import math
import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.networks.layer_names import PROBABILITIES

ALIGNMENT = 64  # Bytes; what TensorFlow requires of memory that it does not own (EIGEN_MAX_ALIGN_BYTES).

Function = Callable[[np.ndarray], list[Any]]
"""From float32 (batch, height, width, channels) to a list of arrays, one for each requested layer."""

Products = Literal["float32", "bfloat16", "float16", "int8"]
"""Precision of the products that an engine computes."""

Compiled = tuple[Products, Function]
"""What an engine returns for a table and its parameters."""

Loaded = tuple[ModelSpec, Products, Function]
"""What an engine returns for a file that was exported for it; the preprocessing may be unknown."""


def require_probabilities(layers: tuple[str, ...]) -> None:
    """Raise `ValueError` if layers are requested that exported files do not return."""
    if layers != (PROBABILITIES,):
        raise ValueError(f"Expected the layer {PROBABILITIES} of an exported file. Received: {', '.join(layers)}")


@functools.cache
def _first_process(_library: str) -> int:
    """Return the process that has called this first, also in those forked from it."""
    return os.getpid()


def require_first_process(library: str) -> None:
    """Raise `RuntimeError` in a process forked from one in which a library has started its threads.

    The forked process lacks these threads, and the locks that they held stay locked: it would wait for them for ever.
    """
    if _first_process(library) != os.getpid():
        raise RuntimeError(
            f"Expected {library} in the process that computed with it first, {_first_process(library)}. Received: the "
            f'process {os.getpid()}, forked from it. Start workers with multiprocessing.get_context("spawn"), or call '
            "tfalexnet in the workers only."
        )


def aligned_memory(shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 zeros in memory that TensorFlow uses without a copy."""
    size = 4 * math.prod(shape)
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(np.float32).reshape(shape)
