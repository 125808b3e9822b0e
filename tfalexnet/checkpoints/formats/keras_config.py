"""Translate the JSON in which Keras 1, 2 and 3 describe a model to the table of a network.

Nothing is built from the description, and no code runs. A model is refused unless it is a chain of layers that a table
can hold; a Lambda layer, which holds code, is not.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.row_json import INITIALIZERS
from tfalexnet.networks.spec import DEFAULT_INIT

ADVICE = "Save only its weights: keras.models.load_model(file).save_weights('model.weights.h5')"
# Models whose layers are in the order of computation; of towers, the table is that of the name.
CHAINS, TOWERS = ("Functional", "Model", "Sequential"), "PlacedModel"
INPUT = "InputLayer"
FIXED = {"dilation_rate": [1, 1], "use_bias": True}  # What no field of a row states.
# Layers and options of Keras 1, by their names of today.
KERAS_1 = {
    "Convolution2D": "Conv2D",
    **{"nb_filter": "filters", "subsample": "strides", "border_mode": "padding", "output_dim": "units", "p": "rate"},
    **{"init": "kernel_initializer", "bias": "use_bias", "dim_ordering": "data_format"},
}
AXES = {"th": "channels_first", "tf": "channels_last"}

_KERNEL = {"activation": "activation", "kernel_init": "kernel_initializer", "bias_init": "bias_initializer"}
_CONV = {"filters": "filters", "size": "kernel_size", "stride": "strides", "padding": "padding", "groups": "groups"}
_NORM = ("size", "alpha", "beta", "k", "divide_alpha", "region", "groups")
_POOL = {"size": "pool_size", "stride": "strides", "padding": "padding"}
# For each class of Keras: the type of the row, and the key of Keras for each of its fields.
ROWS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "ZeroPadding2D": ({"type": "Pad"}, {"size": "padding"}),
    "Conv2D": ({"type": "Conv"}, _CONV | _KERNEL),
    "Activation": ({"type": "Activation"}, {"function": "activation"}),
    "ReLU": ({"type": "Activation", "function": "relu"}, {}),
    "Softmax": ({"type": "Activation", "function": "softmax"}, {}),
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
NORMALS = {"RandomNormal": "normal", "TruncatedNormal": "truncated_normal"}
CONSTANTS = {"zeros": 0.0, "ones": 1.0}


def spec(model: dict[str, Any]) -> tuple[dict[str, Any], Literal["HWC", "CHW"]]:
    """Return the JSON of a spec without preprocessing and classes, which Keras does not store, and the flatten order.

    Args:
        model: the description of the model.

    Raises:
        CheckpointError: a layer has no row in a table, or reads other outputs than those of the layer before it.
    """
    config = model["config"] if isinstance(model["config"], dict) else {"name": "model", "layers": model["config"]}
    known = config["name"] if config["name"] in ARCHITECTURES else None
    result = {"architecture": known, "preprocessing": None, "labels": [], "wnids": None}
    if model["class_name"] == TOWERS:
        return result, "HWC"
    if model["class_name"] not in CHAINS:
        raise _foreign(model["class_name"], config["name"])
    layers = [_modern(layer) for layer in config["layers"]]
    first = layers[0]
    shape = (first["config"].get("batch_shape") or first["config"]["batch_input_shape"])[1:]
    if len(shape) != 3:
        raise _foreign("inputs of the shape", shape)
    height, width, channels = shape
    orders = {layer["config"]["data_format"] for layer in layers if "data_format" in layer["config"]}
    flatten = "CHW" if orders == {"channels_first"} else "HWC"
    if flatten == "CHW":
        height, width, channels = width, channels, height
    elif orders - {"channels_last"}:
        raise _foreign("data_format", ", ".join(map(str, orders)))
    rows = list(_rows(layers, is_sequential=model["class_name"] == "Sequential"))
    if rows and rows[-1].get("function") == "softmax":
        del rows[-1]  # Behind the classifier; a table does not name it.
    if not rows or rows[-1]["type"] not in ("Dense", "Flatten"):  # Without the top, which a table has.
        return result, flatten
    if rows[-1]["type"] == "Dense":
        if rows[-1]["activation"] not in (None, "softmax"):
            raise _foreign("a last activation", rows[-1]["activation"])
        rows[-1]["activation"] = None
    shape = [height, width, channels]
    table = {"name": config["name"], "source": "a model that Keras saved", "input_shape": shape, "layers": rows}
    return result | {"table": table}, flatten


def _modern(layer: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a layer with the names of Keras 3."""
    config = {KERAS_1.get(key, key): value for key, value in layer["config"].items()}
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col")]
    if "data_format" in config:
        config["data_format"] = AXES.get(config["data_format"], config["data_format"])
    kind = layer["class_name"].removeprefix("tfalexnet>")  # In .h5, before the names of this package's own layers.
    kind = KERAS_1.get(kind, kind)
    return layer | {"class_name": kind, "config": config, "name": config.get("name", layer.get("name"))}


def _rows(layers: list[dict[str, Any]], is_sequential: bool) -> Iterator[dict[str, Any]]:
    """Yield the JSON of the row of each layer, which must read the outputs of the previous one only."""
    previous = None
    for layer in layers:
        kind, config, sources = layer["class_name"], layer["config"], list(_sources(layer))
        if kind == INPUT and previous is None:
            previous = layer["name"]
            continue
        plain = all(
            list(config[key]) == value if isinstance(value, list) else config[key] == value
            for key, value in FIXED.items()
            if key in config
        )
        if kind not in ROWS or sources != ([] if is_sequential else [previous]) or not plain:
            raise _foreign(kind, layer["name"])
        row, keys = ROWS[kind]
        fields = {field: _value(field, config[key]) for field, key in keys.items() if key in config}
        if fields.get("activation", "") == "linear":
            fields["activation"] = None
        yield row | {"name": layer["name"]} | fields
        previous = layer["name"]


def _sources(layer: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the layers whose outputs a layer reads; none in a Sequential model."""
    for node in layer.get("inbound_nodes", []):
        if isinstance(node, dict):  # Keras 3.
            yield node["args"][0]["config"]["keras_history"][0]
        else:
            yield from (source[0] for source in node)


def _value(field: str, value: Any) -> Any:
    """Return the value of a row's field: one number for equal sides, the name or the numbers of an initializer."""
    while isinstance(value, list):
        if any(side != value[0] for side in value):
            raise CheckpointError(f"expected equal sides; received {value}")
        value = value[0]
    if isinstance(value, dict):
        kind, config = value["class_name"], value["config"]
        if kind in NORMALS:
            value = {NORMALS[kind]: config["stddev"]}
        elif kind == "Constant":
            value = config["value"]
        else:
            value = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()
    if field == "bias_init":
        return CONSTANTS.get(value, value) if isinstance(value, str) else value
    if field == "kernel_init" and isinstance(value, str) and value not in INITIALIZERS:
        return DEFAULT_INIT  # Only new weights differ.
    return value


def _foreign(kind: Any, name: Any) -> CheckpointError:
    received = f"expected a chain of layers that AlexNet builds; received {str(kind)[:100]} ({str(name)[:100]})"
    return CheckpointError(f"{received}. {ADVICE}")
