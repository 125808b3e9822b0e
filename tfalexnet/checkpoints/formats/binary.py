"""Numbers in files: their types, and arrays that are views of a mapped file."""

import mmap
import os
from pathlib import Path

import numpy as np

FLOATS = {"f2", "f4", "f8"}  # Types of weights in files, in either byte order.
BFLOAT16 = np.dtype("V2")  # NumPy has no bfloat16; its two bytes are read as they are.
MAX_RANK = 8  # Weights have at most 4 dimensions. A file could make one long shape serve a thousand arrays.


def map_file(path: str | os.PathLike) -> np.ndarray:
    """Return the bytes of a file, uint8, mapped: the system reads them when they are used."""
    if not Path(path).stat().st_size:
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "r"))


def release(array: np.ndarray) -> None:
    """Return the memory of a mapped file, of which the array is a view, to the system; it is read again when used."""
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # Windows has none.
        base.madvise(mmap.MADV_DONTNEED)


def starts_with(path: Path, magic: bytes) -> bool:
    """Return whether the file begins with these bytes."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def is_float(array: np.ndarray) -> bool:
    """Return whether an array has a type of weights, bfloat16 included."""
    return array.dtype.str[1:] in FLOATS or array.dtype == BFLOAT16


def to_float32(array: np.ndarray) -> np.ndarray:
    """Return weights as float32: a view if they have this type. bfloat16 is the upper half of float32."""
    if array.dtype != BFLOAT16:
        return array.astype(np.float32, copy=False)
    wide = array.view("<u2").astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
