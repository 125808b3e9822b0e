"""Write an ONNX file node by node from the table, for ONNX Runtime and most other runtimes.

Channels come first, as ONNX defines. Opset 17 (2022) has all required operators, so that old runtimes read the file.
The output of each layer has Caffe's name.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.exported import INPUTS, KEY, OUTPUTS, Samples
from tfalexnet.checkpoints.formats import orientation
from tfalexnet.checkpoints.match import reorder_first_dense
from tfalexnet.io.packages import require_packages
from tfalexnet.networks import caffe_pooling, spec
from tfalexnet.networks.layer_names import PRE_ACTIVATION
from tfalexnet.networks.spec import Architecture, Parameters

NAME, BESIDE, LAYOUT, MARKER = "{}.onnx", (), "NCHW", ""
PACKAGES: tuple[str, ...] = ("onnx",)
PRECISIONS = ("float32", "float16")
OPSET, IR_VERSION = 17, 8  # Of onnx 1.12.

Arrays = tuple[np.ndarray, ...]


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, _: Samples | None = None) -> None:
    """Write the network in one file. In float16 the weights take half the bytes, and are cast to float32 on reading."""
    model = graph(checkpoint.spec.architecture, checkpoint.parameters, precision)
    model.metadata_props.add(key=KEY, value=description)
    path.write_bytes(model.SerializeToString())


def graph(
    net: Architecture,
    parameters: Parameters,
    precision: Literal["float32", "float16"] = "float32",
    split_groups: bool = False,
) -> Any:
    """Return the `onnx.ModelProto` from pictures (batch, channels, height, width) to probabilities.

    Args:
        net: the table.
        parameters: its kernels and biases.
        precision: of the weights.
        split_groups: whether a grouped convolution is a node for each group, between a split and a concatenation.

    Raises:
        ValueError: the package onnx is not installed, or an activation is not among `ACTIVATIONS`.
    """
    require_packages("export", "onnx")
    from onnx import TensorProto, helper

    ordered = reorder_first_dense(parameters, net, orientation.flatten_chw, "CHW")
    builder, input_shapes, x = _GraphBuilder(precision, split_groups), net.input_shapes(), INPUTS
    for row in net.layers:
        if isinstance(row, spec.Dropout):
            continue  # Active in training only.
        activation = getattr(row, "activation", None)
        name = row.name + (PRE_ACTIVATION if activation else "")
        x = NODES[type(row)](builder, name, row, x, input_shapes[row.name], ordered.get(row.name, ()))
        if activation:
            x = builder.activation(row.name, activation, x)
    builder.node("Softmax", [x], OUTPUTS, axis=1)
    height, width, channels = net.input_shape
    sides = {INPUTS: ["batch", channels, height, width], OUTPUTS: ["batch", net.classes]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sides.items()]
    return helper.make_model(
        helper.make_graph(builder.nodes, net.name, ends[:1], ends[1:], builder.weights),
        producer_name="tfalexnet",
        doc_string=net.source,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


class _GraphBuilder:
    """Collects the nodes of a graph and their weights."""

    def __init__(self, precision: str, split_groups: bool) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.precision, self.split_groups = precision, split_groups

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node; return the name of its output, which is its own."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def split(self, x: str, count: int, name: str) -> list[str]:
        """Add a node that splits the channels into equal parts; return their names."""
        from onnx import helper

        parts = [f"{name}.{number}" for number in range(count)]
        self.nodes.append(helper.make_node("Split", [x], parts, name, axis=1))
        return parts

    def activation(self, name: str, function: str, x: str) -> str:
        """Add an activation, given by its name in Keras."""
        if function not in ACTIVATIONS:
            raise ValueError(
                f"Expected the activation of {name} to be one of {', '.join(ACTIVATIONS)}, the operators for ONNX. "
                f"Received: {function!r}"
            )
        return self.node(ACTIVATIONS[function], [x], name)

    def constant(self, name: str, values: Any, kind: str = "float32") -> str:
        """Add constants in their own type."""
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def weight(self, name: str, array: np.ndarray) -> str:
        """Add weights in the precision of the file."""
        if self.precision == "float32":
            return self.constant(name, array)
        return self.node("Cast", [self.constant(f"{name}.{self.precision}", array, self.precision)], name, to=1)


def _pad(builder: _GraphBuilder, name: str, row: spec.Pad, x: str, _: tuple, __: Arrays) -> str:
    sides = builder.constant(f"{name}.pads", [0, 0, row.size, row.size] * 2, "int64")
    return builder.node("Pad", [x, sides], name)


def _conv(builder: _GraphBuilder, name: str, row: spec.Conv, x: str, input_shape: tuple, arrays: Arrays) -> str:
    kernel, bias = orientation.channels_first(arrays[0]), arrays[1]
    windows = _windows(row, input_shape)
    if row.groups == 1 or not builder.split_groups:
        inputs = [x, builder.weight(f"{row.name}.weight", kernel), builder.weight(f"{row.name}.bias", bias)]
        return builder.node("Conv", inputs, name, group=row.groups, **windows)
    parts = builder.split(x, row.groups, f"{row.name}.inputs")
    kernels, biases = np.split(kernel, row.groups), np.split(bias, row.groups)
    outputs = []
    for number, part in enumerate(parts):
        weights = builder.weight(f"{row.name}.weight.{number}", kernels[number])
        inputs = [part, weights, builder.weight(f"{row.name}.bias.{number}", biases[number])]
        outputs.append(builder.node("Conv", inputs, f"{name}.{number}", **windows))
    return builder.node("Concat", outputs, name, axis=1)


def _pool(builder: _GraphBuilder, name: str, row: spec.Pool, x: str, input_shape: tuple, _: Arrays) -> str:
    # Padding counts in neither: MaxPool pads with −∞, AveragePool excludes it by default.
    windows = _windows(row, input_shape)
    if row.kind == "max" or row.padding != "caffe":
        return builder.node({"max": "MaxPool", "average": "AveragePool"}[row.kind], [x], name, **windows)
    mean = builder.node("AveragePool", [x], f"{name}:mean", count_include_pad=1, **windows)
    counted = (caffe_pooling.counted_rows(side, row.size, row.stride, row.pad) for side in input_shape[:2])
    return builder.node("Mul", [mean, builder.constant(f"{name}.factor", row.size**2 / np.outer(*counted))], name)


def _windows(row: spec.Conv | spec.Pool, input_shape: tuple[int, int, int]) -> dict[str, list[int]]:
    """Return size, stride and padding of windows; "same" pads as TensorFlow, an odd pixel at the end, and
    "caffe" as Caffe.
    """
    missing = [0, 0]
    if row.padding == "same":
        missing = [max((-(-n // row.stride) - 1) * row.stride + row.size - n, 0) for n in input_shape[:2]]
    pads = [n // 2 for n in missing] + [-(-n // 2) for n in missing]
    if row.padding == "caffe":
        after = [caffe_pooling.rows_after(n, row.size, row.stride, row.pad) for n in input_shape[:2]]
        pads = [row.pad] * 2 + after
    return {"kernel_shape": [row.size] * 2, "strides": [row.stride] * 2, "pads": pads}


def _norm(builder: _GraphBuilder, name: str, row: spec.Norm, x: str, input_shape: tuple, _: Arrays = ()) -> str:
    """Add an LRN node; ONNX divides alpha by the number of summed terms, as Caffe does.

    OpenVINO (2026.4) rounds k down to an integer. For others it is 1 in a·k^−β / (1 + c/k·Σ a²)^β, which is the same.
    """
    height, width, channels = input_shape
    across = row.region == "across_channels"
    terms = row.size if across else row.size**2
    alpha = row.alpha if row.divide_alpha else row.alpha * terms
    if not across:
        return _within(builder, name, row, x, alpha)
    if row.k % 1:
        factor = builder.constant(f"{name}.factor", row.k**-row.beta)
        one = dataclasses.replace(row, alpha=row.alpha / row.k, k=1.0)
        return builder.node("Mul", [_norm(builder, f"{name}:k1", one, x, input_shape), factor], name)
    constants = {"size": row.size, "alpha": alpha, "beta": row.beta, "bias": float(row.k)}
    if row.groups == 1:
        return builder.node("LRN", [x], name, **constants)
    # The groups become pictures of the batch, which are normalised independently.
    split = builder.constant(f"{name}.split", [-1, channels // row.groups, height, width], "int64")
    merged = builder.constant(f"{name}.merged", [-1, channels, height, width], "int64")
    towers = builder.node("Reshape", [x, split], f"{name}:towers")
    return builder.node("Reshape", [builder.node("LRN", [towers], f"{name}:lrn", **constants), merged], name)


def _within(builder: _GraphBuilder, name: str, row: spec.Norm, x: str, alpha: float) -> str:
    """Add X · (k + alpha · mean of x² in the window)^−beta, with zeros beyond the border."""
    squares = builder.node("Mul", [x, x], f"{name}:squares")
    window = {"kernel_shape": [row.size] * 2, "pads": [row.size // 2] * 4, "count_include_pad": 1}
    sums = builder.node("AveragePool", [squares], f"{name}:mean", **window)
    for kind, value in {"Mul": alpha, "Add": row.k, "Pow": -row.beta}.items():
        sums = builder.node(kind, [sums, builder.constant(f"{name}.{kind.lower()}", value)], f"{name}:{kind.lower()}")
    return builder.node("Mul", [x, sums], name)


def _dense(builder: _GraphBuilder, name: str, row: spec.Dense, x: str, _: tuple, arrays: Arrays) -> str:
    kernel, bias = arrays
    inputs = [x, builder.weight(f"{row.name}.weight", kernel), builder.weight(f"{row.name}.bias", bias)]
    return builder.node("Gemm", inputs, name)


NODES: dict[type, Callable[..., str]] = {
    spec.Pad: _pad,
    spec.Conv: _conv,
    spec.Activation: lambda builder, name, row, x, *_: builder.activation(name, row.function, x),
    spec.Norm: _norm,
    spec.Pool: _pool,
    spec.Flatten: lambda builder, name, _row, x, *_: builder.node("Flatten", [x], name),
    spec.Dense: _dense,
}

ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}
