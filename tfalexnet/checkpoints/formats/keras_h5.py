"""Read and write Keras' `.weights.h5` without Keras.

The variables of a layer are the datasets `0` (kernel) and `1` (bias) of `layers/<class>[_<n>]/vars`, whose attribute
`name` is the name of the layer; a nested model is a layer with a group `layers`. The attributes are HDF5 attributes
of the root (text and integers) and the extras are datasets of the group `tfalexnet`; Keras reads neither.
"""

import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, caffe_h5, hdf5, keras_legacy_h5, reading
from tfalexnet.checkpoints.formats.binary import is_float, map_file, to_float32
from tfalexnet.io.files import atomic_write
from tfalexnet.networks.spec import Parameters

EXPECTED = "weights of Keras 3"
FLATTEN = "HWC"
EXTRAS = "tfalexnet"
ADVICE = "Save them in Keras 3 with model.save_weights('NAME.weights.h5')"
# HDF5 files of others, by a group or an attribute of the root, and what to do.
OTHERS = {
    "learned_net": ("a solver state of Caffe (.solverstate.h5)", "Give the .caffemodel.h5 beside it"),
    "#refs#": ("a .mat file of MATLAB 7.3", "Save it in MATLAB with save('NAME.mat', '-v7')"),
}
METADATA = 1 << 16  # Bytes; more than all names and attributes take.


def recognises(path: Path) -> bool:
    """Return whether the file begins with the signature of HDF5, and holds no weights of Caffe or of Keras 1 or 2."""
    names = hdf5.root_names(path)
    return names is not None and not caffe_h5.has_signature(names) and not keras_legacy_h5.has_signature(names)


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
    with hdf5.opened(data, source) as file:
        parameters: Parameters = {}
        left_out: dict[str, str] = {}
        # The layers of a hostile file may share one array. float16 doubles its bytes as float32, which is accepted.
        remaining = data.size
        for group in _variables(file, set()):
            kind = group.name.removeprefix("/layers/").removesuffix("/vars")
            name = hdf5.attribute(group, "name") if "name" in group.attrs else None
            name = kind if name is None else str(name)  # Early versions of Keras 3 do not write it.
            if name in parameters or name in left_out:
                raise CheckpointError(f"two layers are called {name!r}")
            if set(group) != {"0", "1"}:
                left_out[name] = f"{name} ({kind}): not 2 variables but {len(group)}"
                continue
            kernel, bias = hdf5.array(data, group, "0"), hdf5.array(data, group, "1")
            remaining -= kernel.nbytes + bias.nbytes
            if remaining < 0:
                raise CheckpointError("expected no more numbers than the file holds")
            if is_float(kernel) and is_float(bias):
                parameters[name] = to_float32(kernel), to_float32(bias)
            else:
                left_out[name] = f"{name} ({kind}): {kernel.dtype.name} and {bias.dtype.name}, not floats"
        if not parameters and not left_out:
            received = ", ".join(islice(file, 3)) or "nothing", ADVICE
            received, advice = next((what for name, what in OTHERS.items() if name in file), received)
            raise CheckpointError(f"expected layers of Keras 3; received {received}. {advice}")
        group = hdf5.child(file, EXTRAS) if EXTRAS in file else {}
        hdf5.check_count(group, "arrays")
        extras = {name: hdf5.array(data, group, name) for name in group}
        return Contents(parameters, hdf5.attributes(file), extras, left_out=tuple(left_out.values()))


def attributes(path: str | os.PathLike) -> dict[str, str | int]:
    """Return the attributes; the weights are not read."""
    with reading(path, EXPECTED), hdf5.opened(map_file(path), path) as file:
        return hdf5.attributes(file)


def _variables(model: h5py.Group, seen: set[h5py.Group]) -> Iterator[h5py.Group]:
    """Yield the group `vars` of each layer that has variables, nested models included."""
    layers = hdf5.child(model, "layers") if "layers" in model else {}
    hdf5.check_count(layers, "layers")
    for name in layers:
        layer = hdf5.child(layers, name)
        if layer in seen:
            raise CheckpointError(f"{layer.name} is a second name of another layer; refused")
        seen.add(layer)
        hdf5.check_count(seen, "layers")
        group = hdf5.child(layer, "vars") if "vars" in layer else {}
        if len(group):
            yield group
        yield from _variables(layer, seen)
