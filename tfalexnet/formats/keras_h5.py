"""Keras' own `.weights.h5`, read and written without Keras.

A layer's variables are the datasets `0` (kernel) and `1` (bias) of `layers/<class>[_<n>]/vars`,
whose attribute `name` is the layer's name. What belongs to the weights besides, so that a file
needs nothing beside it to be used, are attributes of the root (text and integers) and datasets of
the group `tfalexnet`; Keras reads neither.
"""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from tfalexnet.formats import CheckpointError, Contents, Parameters, atomic, reading, starts_with

MAGIC = b"\x89HDF\r\n\x1a\n"
FLATTEN = "HWC"
EXTRAS = "tfalexnet"
METADATA = 1 << 16  # Bytes, more than all names and attributes take.


def recognises(path: Path) -> bool:
    """Whether the file begins as one does."""
    return starts_with(path, MAGIC)


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Write kernels and biases where `keras.Model.load_weights` looks for them.

    Raises:
        OSError: the file cannot be written; whatever was there before still is.
    """
    counts = {"conv2d": 0, "dense": 0}
    arrays = [*contents.extras.values(), *(array for pair in contents.parameters.values() for array in pair)]
    size = sum(array.nbytes for array in arrays) + METADATA
    with atomic.replacing(path, size) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(contents.attributes)
        for name, (kernel, bias) in contents.parameters.items():
            kind = "conv2d" if kernel.ndim == 4 else "dense"
            number = f"_{counts[kind]}" if counts[kind] else ""
            counts[kind] += 1
            group = file.create_group(f"layers/{kind}{number}/vars")
            group.attrs["name"] = name
            group["0"] = kernel
            group["1"] = bias
        for name, array in contents.extras.items():
            file[f"{EXTRAS}/{name}"] = array


def read(path: str | os.PathLike) -> Contents:
    """Kernels and biases by layer; read-only float32 arrays, paged in from the file when used.

    Raises:
        CheckpointError: the file is damaged or holds no layers.
        OSError: the file cannot be opened.
    """
    with reading(path, "weights of Keras 3"), h5py.File(path, "r") as file:
        layers = _child(file, "layers") if "layers" in file else {}
        parameters: Parameters = {}
        for name in layers:
            layer = _child(layers, name)
            group = _child(layer, "vars") if "vars" in layer else {}
            if not len(group):
                continue  # Keras lists layers without weights too.
            if set(group) != {"0", "1"} or "name" not in group.attrs:
                raise CheckpointError(f"expected a kernel and a bias in {group.name}; received {sorted(group)}")
            parameters[str(group.attrs["name"])] = (_array(path, group, "0"), _array(path, group, "1"))
        if not parameters:
            raise CheckpointError(
                "expected weights of Keras 3 (a group `layers`); found none. "
                "Save them with model.save_weights('NAME.weights.h5')."
            )
        group = _child(file, EXTRAS) if EXTRAS in file else {}
        extras = {name: _array(path, group, name) for name in group}
        return Contents(parameters, dict(file.attrs), extras)


def attributes(path: str | os.PathLike) -> dict[str, str | int]:
    """The attributes alone, without a look at the weights."""
    with reading(path, "weights of Keras 3"), h5py.File(path, "r") as file:
        return dict(file.attrs)


def _child(group: h5py.Group, name: str) -> h5py.Group | h5py.Dataset:
    """A member that lies in the file itself: a link could name any other file of the machine."""
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise CheckpointError(f"{group.name}/{name} is a link; refused")
    return group[name]


def _array(path: str | os.PathLike, group: h5py.Group, name: str) -> np.ndarray:
    """A dataset: mapped from the file where it lies in one piece, as it does in Keras' files."""
    dataset = _child(group, name)
    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise CheckpointError(f"{group.name}/{name} lies outside the file; refused")
    if dataset.nbytes > Path(path).stat().st_size:
        raise CheckpointError(f"{dataset.name} claims {dataset.nbytes} bytes, more than the file")
    if dataset.dtype not in (np.float32, np.uint8):
        raise CheckpointError(f"{dataset.name} holds {dataset.dtype}, not float32")
    offset = dataset.id.get_offset()
    if offset is None or not dataset.size:
        return dataset[()]
    return np.memmap(path, dataset.dtype, "r", offset, dataset.shape)
