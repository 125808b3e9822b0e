"""The table of a network as a graph of OpenVINO: a function for each kind of row."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfalexnet.checkpoints.exported import INPUTS
from tfalexnet.checkpoints.formats.orientation import channels_first
from tfalexnet.networks import caffe_pooling, spec
from tfalexnet.networks.layer_names import PRE_ACTIVATION, PROBABILITIES, required_rows
from tfalexnet.networks.spec import Architecture, Parameters
from tfalexnet.runtimes.openvino_library import import_openvino

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def build_model(net: Architecture, parameters: Parameters, outputs: Sequence[str]) -> Any:
    """Return OpenVINO's model of a table, from (batch, height, width, channels) to the outputs, channels last."""
    openvino = import_openvino()
    ops = openvino.opset13
    inputs = ops.parameter([-1, *net.input_shape], np.float32, name=INPUTS)
    x, values = ops.transpose(inputs, TO_CHANNELS_FIRST), {}
    for row in required_rows(net, outputs):
        x = values[row.name] = NODES[type(row)](ops, row, x, *parameters.get(row.name, ()))
        if activation := getattr(row, "activation", None):
            values[row.name + PRE_ACTIVATION] = x
            x = values[row.name] = ACTIVATIONS[activation](ops, x)
    values[PROBABILITIES] = ops.softmax(x, 1) if PROBABILITIES in outputs else None
    results = [values[name] for name in outputs]
    results = [ops.transpose(y, TO_CHANNELS_LAST) if len(y.get_output_partial_shape(0)) == 4 else y for y in results]
    return openvino.Model([ops.result(result) for result in results], [inputs], net.name)


def _constant(ops: Any, array: np.ndarray) -> Any:
    """Return the array as a constant in the same memory."""
    return ops.constant(np.asarray(_Writeable(np.ascontiguousarray(array))), shared_memory=True)


class _Writeable:
    """A read-only array for `numpy.asarray`, which returns it as a writeable one.

    OpenVINO shares memory of writeable arrays only, and does not write into constants.
    """

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # Keeps the memory.
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}


def _pad(ops: Any, row: spec.Pad, x: Any) -> Any:
    sides = [0, 0, row.size, row.size]
    return ops.pad(x, sides, sides, "constant")


def _conv(ops: Any, row: spec.Conv, x: Any, kernel: np.ndarray, bias: np.ndarray) -> Any:
    kernel, convolve = channels_first(kernel), ops.convolution
    if row.groups > 1:
        kernel, convolve = kernel.reshape(row.groups, -1, *kernel.shape[1:]), ops.group_convolution
    y = convolve(x, _constant(ops, kernel), [row.stride] * 2, [0, 0], [0, 0], [1, 1], PADDING[row.padding])
    return ops.add(y, _constant(ops, bias.reshape(1, -1, 1, 1)))


def _pool(ops: Any, row: spec.Pool, x: Any) -> Any:
    is_caffe, before, after = row.padding == "caffe", [row.pad] * 2, [0, 0]
    if is_caffe:
        sides = [x.get_output_partial_shape(0)[axis].get_length() for axis in (2, 3)]
        arguments = [(side, row.size, row.stride, row.pad) for side in sides]
        after = [caffe_pooling.rows_after(*side) for side in arguments]
    windows, options = (before, after, [row.size] * 2), {"auto_pad": PADDING[row.padding]}
    if row.kind == "max":  # Later versions of this operator return indices too.
        return import_openvino().opset1.max_pool(x, [row.stride] * 2, *windows, **options)
    y = ops.avg_pool(x, [row.stride] * 2, *windows, exclude_pad=not is_caffe, **options)
    if not is_caffe:
        return y
    counted = (caffe_pooling.counted_rows(*side) for side in arguments)
    return ops.multiply(y, (row.size**2 / np.outer(*counted)).astype(np.float32)[None, None])


def _norm(ops: Any, row: spec.Norm, x: Any) -> Any:
    """Add LRN nodes, one for each group; OpenVINO divides alpha by the number of summed terms, as Caffe does.

    OpenVINO (2026.4) rounds k down to an integer. So it computes a·k^−β / (1 + c/k·Σ a²)^β, the same with 1 as k.
    """
    axes, groups = ([1], row.groups) if row.region == "across_channels" else ([2, 3], 1)
    alpha = (row.alpha if row.divide_alpha else row.alpha * row.size ** len(axes)) / row.k
    parts = ops.split(x, 1, groups).outputs() if groups > 1 else [x]
    parts = [ops.lrn(part, axes, alpha, row.beta, 1.0, row.size) for part in parts]
    y = ops.concat(parts, 1) if groups > 1 else parts[0]
    return y if row.k == 1 else ops.multiply(y, np.array([row.k**-row.beta], np.float32))


def _flatten(ops: Any, _: spec.Flatten, x: Any) -> Any:
    """Add the order height, width, channel, in which the rows of the first fully connected kernel are."""
    return ops.reshape(ops.transpose(x, TO_CHANNELS_LAST), [0, -1], special_zero=True)


def _dense(ops: Any, _: spec.Dense, x: Any, kernel: np.ndarray, bias: np.ndarray) -> Any:
    y = ops.matmul(x, _constant(ops, kernel), transpose_a=False, transpose_b=False)
    return ops.add(y, _constant(ops, bias.reshape(1, -1)))


NODES: dict[type, Callable[..., Any]] = {
    spec.Pad: _pad,
    spec.Conv: _conv,
    spec.Activation: lambda ops, row, x: ACTIVATIONS[row.function](ops, x),
    spec.Norm: _norm,
    spec.Pool: _pool,
    spec.Flatten: _flatten,
    spec.Dense: _dense,
    spec.Dropout: lambda _ops, _row, x: x,  # Active in training only.
}

# "same" pads an odd pixel at the end, as TensorFlow does.
PADDING = {"valid": "valid", "same": "same_upper", "caffe": "explicit"}

# Keras' activations, with the default arguments of its functions.
ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "linear": lambda _, x: x,
    "relu": lambda ops, x: ops.relu(x),
    "tanh": lambda ops, x: ops.tanh(x),
    "sigmoid": lambda ops, x: ops.sigmoid(x),
    **dict.fromkeys(("elu", "celu"), lambda ops, x: ops.elu(x, 1.0)),
    "gelu": lambda ops, x: ops.gelu(x, "erf"),
    "leaky_relu": lambda ops, x: ops.prelu(x, np.array([0.2], np.float32)),
    "relu6": lambda ops, x: ops.clamp(x, 0.0, 6.0),
    "selu": lambda ops, x: ops.selu(x, *np.array([[1.6732632423543772], [1.0507009873554805]], np.float32)),
    **dict.fromkeys(("silu", "swish"), lambda ops, x: ops.swish(x)),
    "softplus": lambda ops, x: ops.softplus(x),
    "softsign": lambda ops, x: ops.softsign(x),
    "exponential": lambda ops, x: ops.exp(x),
    "hard_sigmoid": lambda ops, x: ops.hsigmoid(x),
    **dict.fromkeys(("hard_silu", "hard_swish"), lambda ops, x: ops.hswish(x)),
    "hard_tanh": lambda ops, x: ops.clamp(x, -1.0, 1.0),
    "mish": lambda ops, x: ops.mish(x),
    "log_sigmoid": lambda ops, x: ops.negative(ops.softplus(ops.negative(x))),
}
