"""Read the weights and the table of a `.keras` file, a complete model that Keras 3 saved, without Keras.

The file is a zip archive: `model.weights.h5` is that of `keras_h5`, and `config.json` describes the layers. Nothing is
built from the description, and no code runs; it is translated to the table of a network, and refused where a layer is
not one of those that `AlexNet` builds.
"""

import dataclasses
import io
import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.checkpoints.formats import SPEC, CheckpointError, Contents, keras_h5, npz, reading
from tfalexnet.checkpoints.formats.binary import map_file
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.layer_names import PROBABILITIES

FLATTEN = keras_h5.FLATTEN
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
MAX_CONFIG = 1 << 20  # Bytes; Keras writes about 1 kB a layer.
ADVICE = "Save only its weights: keras.models.load_model(file).save_weights('model.weights.h5')"
# Models whose layers are in the order of computation; of towers, the table is that of the name.
MODEL, TOWERS = "Functional", "PlacedModel"
INPUT = "InputLayer"
FIXED = {"data_format": "channels_last", "dilation_rate": [1, 1], "use_bias": True}  # What no field of a row states.

_KERNEL = {"activation": "activation", "kernel_init": "kernel_initializer", "bias_init": "bias_initializer"}
_CONV = {"filters": "filters", "size": "kernel_size", "stride": "strides", "padding": "padding", "groups": "groups"}
_NORM = ("size", "alpha", "beta", "k", "divide_alpha", "region", "groups")
_POOL = {"size": "pool_size", "stride": "strides", "padding": "padding"}
# For each class of Keras: the type of the row, and the key of Keras for each of its fields.
ROWS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "ZeroPadding2D": ({"type": "Pad"}, {"size": "padding"}),
    "Conv2D": ({"type": "Conv"}, _CONV | _KERNEL),
    "Activation": ({"type": "Activation"}, {"function": "activation"}),
    "LocalResponseNormalization": ({"type": "Norm"}, {name: name for name in _NORM}),
    "MaxPooling2D": ({"type": "Pool", "kind": "max"}, _POOL),
    "AveragePooling2D": ({"type": "Pool", "kind": "average"}, _POOL),
    "CaffePooling2D": (
        {"type": "Pool", "padding": "caffe"},
        {name: name for name in ("size", "stride", "pad", "kind")},
    ),
    "Flatten": ({"type": "Flatten"}, {}),
    "Dense": ({"type": "Dense"}, {"units": "units"} | _KERNEL),
    "Dropout": ({"type": "Dropout"}, {"rate": "rate"}),
}
SOFTMAX = {"type": "Activation", "name": PROBABILITIES, "function": "softmax"}
INITIALIZERS = {"RandomNormal": "normal", "TruncatedNormal": "truncated_normal"}


def recognises(path: Path) -> bool:
    """Return whether the file is a zip archive with the weights of a model."""
    try:
        with zipfile.ZipFile(path) as archive:
            return WEIGHTS in archive.namelist()
    except Exception:  # Another format, or a damaged archive, which can raise anything.
        return False


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer, as views of the mapped file, and the table of the network as the spec.

    Raises:
        CheckpointError: the file is damaged, or `AlexNet` did not build the model.
        OSError: the file cannot be opened.
    """
    with reading(path, "a model that Keras 3 saved"), zipfile.ZipFile(path) as archive:
        data = map_file(path)
        npz.check_members(archive, data)
        config = archive.getinfo(CONFIG)
        if config.file_size > MAX_CONFIG:
            raise CheckpointError(f"expected {CONFIG} of at most {MAX_CONFIG:,} bytes; received {config.file_size:,}")
        spec = spec_of_config(json.loads(npz.unpacked(config, archive, data).tobytes()))
        weights = npz.unpacked(archive.getinfo(WEIGHTS), archive, data)
        contents = keras_h5.contents(weights, _Bytes(weights))
        extras = {SPEC: np.frombuffer(json.dumps(spec).encode(), np.uint8)}
        return dataclasses.replace(contents, attributes={}, extras=extras)


class _Bytes(io.RawIOBase):
    """Bytes in memory as a file, without a copy."""

    def __init__(self, data: np.ndarray) -> None:
        self._data, self._position = memoryview(data), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._data)}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


def spec_of_config(model: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a spec for that of a model, without preprocessing and classes, which Keras does not store.

    Raises:
        CheckpointError: `AlexNet` does not build such a model.
    """
    config = model["config"]
    name = config["name"] if config["name"] in ARCHITECTURES else None
    spec = {"architecture": name, "preprocessing": None, "labels": [], "wnids": None}
    if model["class_name"] == TOWERS:
        return spec
    if model["class_name"] != MODEL:
        raise _foreign(model["class_name"], config["name"])
    first, *layers = config["layers"]
    if first["class_name"] != INPUT:
        raise _foreign(first["class_name"], first["name"])
    rows, previous = [], first["name"]
    for layer in layers:
        rows.append(_row(layer, previous))
        previous = layer["name"]
    if len(rows) > 1 and rows[-2]["type"] == "Flatten" and rows[-1] == SOFTMAX:
        del rows[-1]  # Of a table whose classifier is a convolution.
    if not rows or rows[-1]["type"] not in ("Dense", "Flatten"):  # Without the top, which a table has.
        return spec
    if rows[-1]["type"] == "Dense":
        if rows[-1]["activation"] not in (None, "softmax"):
            raise _foreign("a last activation", rows[-1]["activation"])
        rows[-1]["activation"] = None
    shape = first["config"]["batch_shape"][1:]
    table = {"name": config["name"], "source": "a model that Keras saved", "input_shape": shape, "layers": rows}
    return spec | {"table": table}


def _row(layer: dict[str, Any], previous: str) -> dict[str, Any]:
    """Return the JSON of the row of a layer, which must read the outputs of the previous one only."""
    kind, config = layer["class_name"], layer["config"]
    sources = [node["args"][0]["config"]["keras_history"][0] for node in layer["inbound_nodes"]]
    if (
        kind not in ROWS
        or sources != [previous]
        or any(config.get(key, value) != value for key, value in FIXED.items())
    ):
        raise _foreign(kind, layer["name"])
    row, keys = ROWS[kind]
    fields = {field: _value(config[key]) for field, key in keys.items()}
    if "activation" in fields and fields["activation"] == "linear":
        fields["activation"] = None
    return row | {"name": layer["name"]} | fields


def _value(value: Any) -> Any:
    """Return the value of a row's field: one number for equal sides, the name or the numbers of an initializer."""
    while isinstance(value, list):
        if any(side != value[0] for side in value):
            raise CheckpointError(f"expected equal sides; received {value}")
        value = value[0]
    if not isinstance(value, dict):
        return value
    kind, config = value["class_name"], value["config"]
    if kind == "Constant":
        return config["value"]
    if kind in INITIALIZERS:
        return {INITIALIZERS[kind]: config["stddev"]}
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()


def _foreign(kind: Any, name: Any) -> CheckpointError:
    received = f"expected a model that AlexNet built; received one with {str(kind)[:100]} ({str(name)[:100]})"
    return CheckpointError(f"{received}. {ADVICE}")
