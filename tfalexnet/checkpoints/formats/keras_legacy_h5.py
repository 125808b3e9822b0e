"""Read the `.h5` files of Keras 1 and 2, and those that Keras 3 writes in their layout, without Keras.

The attribute `layer_names` lists the layers, and `weight_names` of the group of a layer its arrays, kernel and bias. Of
`model.save` they are in the group `model_weights`, beside the attribute `model_config` (`keras_config`).

Keras 1 stored kernels of Theano as (out, in, height, width). A file that states Theano as its backend has kernels that
are mirrored in height and width, because Theano's convolution mirrors them too.
"""

import json
import os
import re
from collections.abc import Set
from pathlib import Path

import h5py
import numpy as np

from tfalexnet.checkpoints.formats import SPEC, CheckpointError, Contents, hdf5, keras_config, reading
from tfalexnet.checkpoints.formats.binary import is_float, map_file, to_float32
from tfalexnet.checkpoints.formats.orientation import channels_last
from tfalexnet.networks.spec import Parameters

FLATTEN = "HWC"
NAMES, WEIGHTS, CONFIG = "layer_names", "model_weights", "model_config"
MAX_CONFIG = 1 << 20  # Bytes; Keras writes about 1 kB a layer.


def has_signature(names: Set[str]) -> bool:
    """Return whether these are the names in the root of such a file."""
    return not names.isdisjoint((NAMES, WEIGHTS))


def recognises(path: Path) -> bool:
    """Return whether the file is HDF5 with the list of layers of Keras 1 and 2."""
    return has_signature(hdf5.root_names(path) or frozenset())


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer, and the table of the network as the spec if the file describes its model.

    Raises:
        CheckpointError: the file is damaged, holds no layers, or no table can describe the model.
        OSError: the file cannot be opened.
    """
    with reading(path, "weights of Keras 1 or 2"):
        data = map_file(path)
        with hdf5.opened(data, path) as file:
            extras, flatten = {}, None
            if CONFIG in file.attrs:
                (text,) = hdf5.texts(data, file, CONFIG)
                if len(text) > MAX_CONFIG:
                    raise CheckpointError(f"expected a model_config of at most {MAX_CONFIG:,} characters")
                spec, flatten = keras_config.spec(json.loads(text))
                extras = {SPEC: np.frombuffer(json.dumps(spec).encode(), np.uint8)}
            group = hdf5.child(file, WEIGHTS) if WEIGHTS in file else file
            parameters, left_out = _layers(data, group)
            backend = hdf5.texts(data, group, "backend") if "backend" in group.attrs else []
        first = [kernel.shape for kernel, _ in parameters.values() if kernel.ndim == 4]
        if any(_is_channels_first(shape) for shape in first[:1]):
            flatten = flatten or "CHW"
            parameters = {
                name: (channels_last(kernel) if kernel.ndim == 4 else kernel, bias)
                for name, (kernel, bias) in parameters.items()
            }
        if backend == ["theano"]:
            parameters = {
                name: (kernel[::-1, ::-1] if kernel.ndim == 4 else kernel, bias)
                for name, (kernel, bias) in parameters.items()
            }
        return Contents(_joined(parameters), {}, extras, flatten or FLATTEN, left_out=tuple(left_out))


def _layers(data: np.ndarray, group: h5py.Group) -> tuple[Parameters, list[str]]:
    """Return kernels and biases as they are stored, and descriptions of layers with other arrays."""
    parameters: Parameters = {}
    left_out = []
    remaining = data.size  # The layers of a hostile file may share one array.
    for name in hdf5.texts(data, group, NAMES):
        layer = hdf5.child(group, name)
        arrays = []
        for path in hdf5.texts(data, layer, "weight_names"):
            dataset = layer
            *folders, last = path.split("/")
            for folder in folders:
                dataset = hdf5.child(dataset, folder)
            arrays.append(hdf5.array(data, dataset, last))
            remaining -= arrays[-1].nbytes
            if remaining < 0:
                raise CheckpointError("expected no more numbers than the file holds")
        if name in parameters:
            raise CheckpointError(f"two layers are called {name!r}")
        if [array.ndim for array in arrays] in ([4, 1], [2, 1]) and all(map(is_float, arrays)):
            parameters[name] = to_float32(arrays[0]), to_float32(arrays[1])
        elif arrays:
            left_out.append(f"{name} ({', '.join(str(array.shape) for array in arrays[:4])}): no kernel with a bias")
    return parameters, left_out


def _is_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether the shape of the first kernel of a network is (out, in, height, width)."""
    return shape[2] == shape[3] and (shape[0] != shape[1] or shape[1] > shape[2])


def _joined(parameters: Parameters) -> Parameters:
    """Return the layers with the two towers of a convolution, NAME_1 and NAME_2 of equal shape, as one with groups."""
    joined = dict(parameters)
    for name in parameters:
        other = re.sub("_1$", "_2", name)
        whole = name.removesuffix("_1")
        if other == name or other not in joined or whole in joined or f"{whole}_3" in joined:
            continue
        (kernel, bias), (kernel2, bias2) = parameters[name], parameters[other]
        if kernel.ndim == 4 and kernel.shape == kernel2.shape:
            pair = np.concatenate([kernel, kernel2], -1), np.concatenate([bias, bias2])
            joined = {
                whole if key == name else key: pair if key == name else arrays
                for key, arrays in joined.items()
                if key != other
            }
    return joined
