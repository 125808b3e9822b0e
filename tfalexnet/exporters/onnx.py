"""ONNX, written node by node from the table: what ONNX Runtime and most other runtimes read.

Channels come first, as everywhere in ONNX. Opset 17 of 2022 has all that is needed, so that old
runtimes read the file too. Every layer's output bears its name in Caffe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.description import INPUTS, KEY, OUTPUTS, Samples
from tfalexnet.checkpoints.formats import orientation
from tfalexnet.checkpoints.match import reorder_first_dense
from tfalexnet.io.packages import require_packages
from tfalexnet.networks import spec
from tfalexnet.networks.layer_names import PRE_ACTIVATION
from tfalexnet.networks.spec import Architecture, Parameters

NAME, BESIDE, LAYOUT = "{}.onnx", (), "NCHW"
PRECISIONS = ("float32", "float16")
OPSET, IR_VERSION = 17, 8  # Of onnx 1.12.

Arrays = tuple[np.ndarray, ...]


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, _: Samples | None = None) -> None:
    """The network in one file.

    In float16 the weights are kept in half the bytes and become float32 when they are read.
    """
    model = graph(checkpoint.architecture, checkpoint.parameters, precision)
    model.metadata_props.add(key=KEY, value=description)
    path.write_bytes(model.SerializeToString())


def graph(net: Architecture, parameters: Parameters, precision: Literal["float32", "float16"] = "float32") -> Any:
    """The `onnx.ModelProto` from pictures (batch, channels, height, width) to probabilities.

    Raises:
        ValueError: the package onnx is not installed.
    """
    require_packages("onnx")
    from onnx import TensorProto, helper

    ordered = reorder_first_dense(parameters, net, orientation.flatten_chw, "CHW")
    made, entering, x = _Graph(precision), net.input_shapes(), INPUTS
    for row in net.layers:
        if isinstance(row, spec.Dropout):
            continue  # It does nothing but in training.
        activation = getattr(row, "activation", None)
        name = row.name + (PRE_ACTIVATION if activation else "")
        x = NODES[type(row)](made, name, row, x, entering[row.name], ordered.get(row.name, ()))
        if activation:
            x = made.node(ACTIVATIONS[activation], [x], row.name)
    made.node("Softmax", [x], OUTPUTS, axis=1)
    height, width, channels = net.input_shape
    sides = {INPUTS: ["batch", channels, height, width], OUTPUTS: ["batch", net.classes]}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sides.items()]
    return helper.make_model(
        helper.make_graph(made.nodes, net.name, ends[:1], ends[1:], made.weights),
        producer_name="tfalexnet",
        doc_string=net.source,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


class _Graph:
    """The nodes so far, and their weights."""

    def __init__(self, precision: str) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.precision = precision

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """One more node, whose output has its name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def constant(self, name: str, values: Any, kind: str = "float32") -> str:
        """Numbers that stay what they are."""
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def weight(self, name: str, array: np.ndarray) -> str:
        """Numbers that are kept in the precision of the file."""
        if self.precision == "float32":
            return self.constant(name, array)
        return self.node("Cast", [self.constant(f"{name}.{self.precision}", array, self.precision)], name, to=1)


def _pad(made: _Graph, name: str, row: spec.Pad, x: str, _: tuple, __: Arrays) -> str:
    sides = made.constant(f"{name}.pads", [0, 0, row.size, row.size] * 2, "int64")
    return made.node("Pad", [x, sides], name)


def _conv(made: _Graph, name: str, row: spec.Conv, x: str, entering: tuple, arrays: Arrays) -> str:
    kernel, bias = arrays
    weights = made.weight(f"{row.name}.weight", orientation.channels_first(kernel))
    inputs = [x, weights, made.weight(f"{row.name}.bias", bias)]
    return made.node("Conv", inputs, name, group=row.groups, **_windows(row, entering))


def _pool(made: _Graph, name: str, row: spec.Pool, x: str, entering: tuple, _: Arrays) -> str:
    # What lies outside counts in neither: MaxPool's padding is −∞, AveragePool leaves it out unless told.
    return made.node({"max": "MaxPool", "average": "AveragePool"}[row.kind], [x], name, **_windows(row, entering))


def _windows(row: spec.Conv | spec.Pool, entering: tuple[int, int, int]) -> dict[str, list[int]]:
    """Size, stride and padding of windows; "same" pads as TensorFlow, the odd pixel at the end."""
    lacking = [0, 0]
    if row.padding == "same":
        lacking = [max((-(-n // row.stride) - 1) * row.stride + row.size - n, 0) for n in entering[:2]]
    pads = [n // 2 for n in lacking] + [-(-n // 2) for n in lacking]
    return {"kernel_shape": [row.size] * 2, "strides": [row.stride] * 2, "pads": pads}


def _norm(made: _Graph, name: str, row: spec.Norm, x: str, entering: tuple, _: Arrays) -> str:
    """ONNX divides alpha by the number of summed terms, as Caffe does."""
    height, width, channels = entering
    across = row.region == "across_channels"
    terms = row.size if across else row.size**2
    alpha = row.alpha if row.divide_alpha else row.alpha * terms
    if not across:
        return _within(made, name, row, x, alpha)
    constants = {"size": row.size, "alpha": alpha, "beta": row.beta, "bias": float(row.k)}
    if row.groups == 1:
        return made.node("LRN", [x], name, **constants)
    # Groups do not see each other, as pictures of a batch do not.
    apart = made.constant(f"{name}.apart", [-1, channels // row.groups, height, width], "int64")
    together = made.constant(f"{name}.together", [-1, channels, height, width], "int64")
    towers = made.node("Reshape", [x, apart], f"{name}:towers")
    return made.node("Reshape", [made.node("LRN", [towers], f"{name}:lrn", **constants), together], name)


def _within(made: _Graph, name: str, row: spec.Norm, x: str, alpha: float) -> str:
    """X · (k + alpha · mean of x² in the window)^−beta, with zeros beyond the border."""
    squares = made.node("Mul", [x, x], f"{name}:squares")
    window = {"kernel_shape": [row.size] * 2, "pads": [row.size // 2] * 4, "count_include_pad": 1}
    sums = made.node("AveragePool", [squares], f"{name}:mean", **window)
    for kind, value in {"Mul": alpha, "Add": row.k, "Pow": -row.beta}.items():
        sums = made.node(kind, [sums, made.constant(f"{name}.{kind.lower()}", value)], f"{name}:{kind.lower()}")
    return made.node("Mul", [x, sums], name)


def _dense(made: _Graph, name: str, row: spec.Dense, x: str, _: tuple, arrays: Arrays) -> str:
    kernel, bias = arrays
    inputs = [x, made.weight(f"{row.name}.weight", kernel), made.weight(f"{row.name}.bias", bias)]
    return made.node("Gemm", inputs, name)


NODES: dict[type, Callable[..., str]] = {
    spec.Pad: _pad,
    spec.Conv: _conv,
    spec.Activation: lambda made, name, row, x, *_: made.node(ACTIVATIONS[row.function], [x], name),
    spec.Norm: _norm,
    spec.Pool: _pool,
    spec.Flatten: lambda made, name, _row, x, *_: made.node("Flatten", [x], name),
    spec.Dense: _dense,
}

ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh"}
