"""Open HDF5 files of others safely: heaps and sizes are checked, links and external data are refused."""

import math
import os
import re
import struct
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.formats.binary import BFLOAT16, starts_with

MAGIC = b"\x89HDF\r\n\x1a\n"
# HDF5 file format specification: by version of the superblock, the offset of the byte "size of offsets"; and the
# global heaps, which hold the text (III.E).
OFFSET_SIZES = {0: 13, 1: 13, 2: 9, 3: 9}
HEAP = b"GCOL\x01"
MIN_HEAP = 4096
MAX_ENTRIES = 1 << 10  # Attributes of the root, or layers; Keras writes a group per layer. h5py takes .2 ms for each.
MAX_OBJECTS = 1 << 20  # In all heaps; Keras writes one per layer.


def root_names(path: Path) -> frozenset[str] | None:
    """Return the names of groups and attributes of the root, none of a damaged file; None if it is not HDF5."""
    if not starts_with(path, MAGIC):
        return None
    try:
        with h5py.File(path, "r") as file:  # Without a check of the heaps: names are not in them.
            check_count(file, "groups")
            check_count(file.attrs, "attributes")
            return frozenset((*file, *file.attrs))
    except MemoryError:
        raise
    except Exception:  # A damaged file can raise anything; its reader explains it.
        return frozenset()


@contextmanager
def opened(data: np.ndarray, source: str | os.PathLike | BinaryIO) -> Iterator[h5py.File]:
    """Open the file after a check of its heaps."""
    _check_heaps(data)
    with h5py.File(source, "r") as file:
        yield file


def _check_heaps(data: np.ndarray) -> None:
    """Raise `CheckpointError` for a damaged heap.

    The HDF5 library (1.14.6, H5HGcache.c) does not validate the sizes in a heap; it may loop or read out of bounds.
    """
    start = data[:16].tobytes()
    offset = OFFSET_SIZES.get(start[8]) if start.startswith(MAGIC) and len(start) == 16 else None
    if offset is None or start[offset : offset + 2] != b"\x08\x08":
        raise CheckpointError("expected an HDF5 file with offsets and lengths of 8 bytes")
    objects = 0
    for match in re.finditer(HEAP, data):
        heap = data[match.start() :]
        size = int.from_bytes(heap[8:16].tobytes(), "little")
        if not MIN_HEAP <= size <= len(heap):
            continue  # Not a heap, or one that the HDF5 library refuses.
        position = 16
        while position + 16 <= size:
            index, length = struct.unpack("<H6xQ", heap[position : position + 16].tobytes())
            step = 16 + length + -length % 8 if index else length
            objects += 1
            if not 16 <= step <= size - position or objects > MAX_OBJECTS:
                raise CheckpointError(f"damaged: an object of {length} bytes in a heap of {size}")
            position += step


def attributes(group: h5py.Group) -> dict[str, str | int]:
    """Return the attributes that are text or integers; others are ignored."""
    check_count(group.attrs, "attributes")
    attributes = {name: attribute(group, name) for name in group.attrs}
    return {name: value for name, value in attributes.items() if value is not None}


def attribute(group: h5py.Group, name: str) -> str | int | None:
    """Return an attribute that is text or an integer, None if it is something else."""
    attribute = group.attrs.get_id(name)
    if attribute.shape == () and h5py.check_string_dtype(attribute.dtype):
        return str(group.attrs[name])
    return int(group.attrs[name]) if attribute.shape == () and attribute.dtype.kind in "iu" else None


def texts(data: np.ndarray, group: h5py.Group, name: str) -> list[str]:
    """Return an attribute that is a text, or an array of texts; `data` are the bytes of the file."""
    attribute = group.attrs.get_id(name)
    count = math.prod(attribute.shape)
    if count > MAX_ENTRIES or count * attribute.dtype.itemsize > data.size:
        raise CheckpointError(f"expected at most {MAX_ENTRIES} texts in {name}; received {count}")
    values = np.asarray(group.attrs[name]).ravel().tolist()
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def check_count(entries: Sized, kind: str) -> None:
    """Raise `CheckpointError` for more than `MAX_ENTRIES`."""
    if len(entries) > MAX_ENTRIES:
        raise CheckpointError(f"expected at most {MAX_ENTRIES} {kind}; received {len(entries)}")


def child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return a member of a group; a link, which could lead to any other file, is refused."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise CheckpointError(f"{group.name}/{name} is a link; refused")
    return group[name]


def array(data: np.ndarray, group: h5py.Group, name: str) -> np.ndarray:
    """Return a contiguous dataset, as Keras writes it, as a view of the bytes of the file."""
    dataset = child(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise CheckpointError(f"{group.name}/{name} is outside the file; refused")
    if dataset.chunks is not None:  # Chunks may be compressed bombs, or require plugins.
        raise CheckpointError(f"{dataset.name}: expected its numbers in one piece, as Keras writes them")
    if dataset.nbytes > data.size:
        raise CheckpointError(f"{dataset.name} claims {dataset.nbytes} bytes, more than the file")
    if dataset.dtype.kind not in "fiub" and dataset.dtype != BFLOAT16:
        raise CheckpointError(f"{dataset.name}: expected numbers; received {dataset.dtype}")
    offset = dataset.id.get_offset()
    if offset is None or not dataset.size:
        return dataset[()]
    return data[offset : offset + dataset.nbytes].view(dataset.dtype).reshape(dataset.shape)
