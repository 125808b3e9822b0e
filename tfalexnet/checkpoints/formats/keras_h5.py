"""Read and write Keras' `.weights.h5` without Keras.

The variables of a layer are the datasets `0` (kernel) and `1` (bias) of `layers/<class>[_<n>]/vars`, whose attribute
`name` is the name of the layer; a nested model is a layer with a group `layers`. The attributes are HDF5 attributes
of the root (text and integers) and the extras are datasets of the group `tfalexnet`; Keras reads neither.
"""

import os
import re
import struct
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, reading
from tfalexnet.checkpoints.formats.binary import BFLOAT16, is_float, map_file, starts_with, to_float32
from tfalexnet.io.files import atomic_write
from tfalexnet.networks.spec import Parameters

EXPECTED = "weights of Keras 3"
MAGIC = b"\x89HDF\r\n\x1a\n"
FLATTEN = "HWC"
EXTRAS = "tfalexnet"
# HDF5 files of others, by a group or an attribute of the root.
OTHERS = {
    "layer_names": "weights of Keras 1 or 2",
    "model_weights": "a model of Keras 1 or 2",
    "keras_version": "weights of Keras 1 or 2",
    "data": "weights of Caffe in HDF5, of which the .caffemodel is read",
    "#refs#": "a .mat file of MATLAB",
}
METADATA = 1 << 16  # Bytes; more than all names and attributes take.
# HDF5 file format specification: by version of the superblock, the offset of the byte "size of offsets"; and the
# global heaps, which hold the text (III.E).
OFFSET_SIZES = {0: 13, 1: 13, 2: 9, 3: 9}
HEAP = b"GCOL\x01"
MIN_HEAP = 4096
MAX_ENTRIES = 1 << 10  # Attributes of the root, or layers; Keras writes a group per layer. h5py takes .2 ms for each.
MAX_OBJECTS = 1 << 20  # In all heaps; Keras writes one per layer.


def recognises(path: Path) -> bool:
    """Return whether the file begins with the signature of HDF5."""
    return starts_with(path, MAGIC)


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Write kernels and biases where `keras.Model.load_weights` looks for them.

    Raises:
        OSError: the file cannot be written; an older file stays as it was.
    """
    counts = {"conv2d": 0, "dense": 0}
    arrays = chain(contents.extras.values(), *contents.parameters.values())
    size = sum(array.nbytes for array in arrays) + METADATA
    with atomic_write(path, size) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(contents.attributes)
        for name, (kernel, bias) in contents.parameters.items():
            kind = "conv2d" if kernel.ndim == 4 else "dense"
            number = f"_{counts[kind]}" if counts[kind] else ""
            counts[kind] += 1
            group = file.create_group(f"layers/{kind}{number}/vars")
            group.attrs["name"] = name
            group["0"], group["1"] = kernel, bias
        for name, array in contents.extras.items():
            file[f"{EXTRAS}/{name}"] = array


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer; read-only float32 arrays, mapped where the file has float32.

    Raises:
        CheckpointError: the file is damaged or holds no layers.
        OSError: the file cannot be opened.
    """
    with reading(path, EXPECTED):
        return contents(map_file(path), path)


def contents(data: np.ndarray, source: str | os.PathLike | BinaryIO) -> Contents:
    """Return kernels and biases as views of the bytes of a file, uint8.

    Args:
        data: the bytes, mapped.
        source: the same bytes, as h5py opens them.

    Raises:
        Exception: of any kind; the file is damaged. See `formats.reading`.
    """
    with _opened(data, source) as file:
        parameters: Parameters = {}
        left_out: dict[str, str] = {}
        # The layers of a hostile file may share one array. float16 doubles its bytes as float32, which is accepted.
        remaining = data.size
        for group in _variables(file, set()):
            kind = group.name.removeprefix("/layers/").removesuffix("/vars")
            name = _attribute(group, "name") if "name" in group.attrs else None
            name = kind if name is None else str(name)  # Early versions of Keras 3 do not write it.
            if name in parameters or name in left_out:
                raise CheckpointError(f"two layers are called {name!r}")
            if set(group) != {"0", "1"}:
                left_out[name] = f"{name} ({kind}): not 2 variables but {len(group)}"
                continue
            kernel, bias = _array(data, group, "0"), _array(data, group, "1")
            remaining -= kernel.nbytes + bias.nbytes
            if remaining < 0:
                raise CheckpointError("expected no more numbers than the file holds")
            if is_float(kernel) and is_float(bias):
                parameters[name] = to_float32(kernel), to_float32(bias)
            else:
                left_out[name] = f"{name} ({kind}): {kernel.dtype.name} and {bias.dtype.name}, not floats"
        if not parameters and not left_out:
            received = next((what for name, what in OTHERS.items() if name in file or name in file.attrs), None)
            received = received or ", ".join(islice(file, 3)) or "nothing"
            advice = "Save them in Keras 3 with model.save_weights('NAME.weights.h5')"
            raise CheckpointError(f"expected layers of Keras 3; received {received}. {advice}")
        group = _child(file, EXTRAS) if EXTRAS in file else {}
        _check_count(group, "arrays")
        extras = {name: _array(data, group, name) for name in group}
        return Contents(parameters, _attributes(file), extras, left_out=tuple(left_out.values()))


def attributes(path: str | os.PathLike) -> dict[str, str | int]:
    """Return the attributes; the weights are not read."""
    with reading(path, EXPECTED), _opened(map_file(path), path) as file:
        return _attributes(file)


@contextmanager
def _opened(data: np.ndarray, source: str | os.PathLike | BinaryIO) -> Iterator[h5py.File]:
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


def _attributes(group: h5py.Group) -> dict[str, str | int]:
    """Return the attributes that are text or integers; others are ignored."""
    _check_count(group.attrs, "attributes")
    attributes = {name: _attribute(group, name) for name in group.attrs}
    return {name: value for name, value in attributes.items() if value is not None}


def _attribute(group: h5py.Group, name: str) -> str | int | None:
    """Return an attribute that is text or an integer, None if it is something else."""
    attribute = group.attrs.get_id(name)
    if attribute.shape == () and h5py.check_string_dtype(attribute.dtype):
        return str(group.attrs[name])
    return int(group.attrs[name]) if attribute.shape == () and attribute.dtype.kind in "iu" else None


def _check_count(entries: Sized, kind: str) -> None:
    if len(entries) > MAX_ENTRIES:
        raise CheckpointError(f"expected at most {MAX_ENTRIES} {kind}; received {len(entries)}")


def _child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """Return a member of a group; a link, which could lead to any other file, is refused."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise CheckpointError(f"{group.name}/{name} is a link; refused")
    return group[name]


def _variables(model: h5py.Group, seen: set[h5py.Group]) -> Iterator[h5py.Group]:
    """Yield the group `vars` of each layer that has variables, nested models included."""
    layers = _child(model, "layers") if "layers" in model else {}
    _check_count(layers, "layers")
    for name in layers:
        layer = _child(layers, name)
        if layer in seen:
            raise CheckpointError(f"{layer.name} is a second name of another layer; refused")
        seen.add(layer)
        _check_count(seen, "layers")
        group = _child(layer, "vars") if "vars" in layer else {}
        if len(group):
            yield group
        yield from _variables(layer, seen)


def _array(data: np.ndarray, group: h5py.Group, name: str) -> np.ndarray:
    """Return a contiguous dataset, as Keras writes it, as a view of the bytes of the file."""
    dataset = _child(group, name)
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
