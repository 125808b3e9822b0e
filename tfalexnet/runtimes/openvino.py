"""Engine OpenVINO: computes checkpoints, and `.xml` files that `tfalexnet export` wrote, without TensorFlow."""

import functools
import itertools
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.exported import INPUTS, KEY, OUTPUTS, parse_description
from tfalexnet.checkpoints.formats import CheckpointError, reading
from tfalexnet.checkpoints.formats.binary import release
from tfalexnet.checkpoints.formats.orientation import channels_first
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.io.packages import require_packages
from tfalexnet.networks import caffe_pooling, spec
from tfalexnet.networks.layer_names import PRE_ACTIVATION, PROBABILITIES, required_rows
from tfalexnet.networks.spec import Architecture, Parameters
from tfalexnet.runtimes.engine import Compiled, Loaded, require_first_process, require_probabilities

PACKAGES = ("openvino",)
LIBRARY = "OpenVINO"
EXTRA = "fast"
HINTS = {"float32": "f32", "bfloat16": "bf16"}  # Values of INFERENCE_PRECISION_HINT.
ANY_SIZE = -1
KNOWN_SIZES = 2  # Batch sizes for which a network is compiled before it is compiled for any size.
CONVERTER = "openvino.tools.ovc"

TO_CHANNELS_FIRST, TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def load(path: Path, layers: tuple[str, ...], precision: Literal["float32", "bfloat16"] = "float32") -> Loaded:
    """Read the .xml and the .bin beside it; the function may be called from several threads.

    The precision of the products is int8 for weights in int8. Else it is independent of that of the weights, and
    float32 where OpenVINO does not support bfloat16 on this processor.

    Raises:
        CheckpointError: a file is damaged or missing, or another program wrote it.
        ValueError: a package is not installed, or `layers` are not the probabilities.
        RuntimeError: this process was forked from one that has computed with OpenVINO; also raised by the result.
    """
    require_packages(EXTRA, *PACKAGES)
    require_first_process(LIBRARY)
    with reading(path, "a network that tfalexnet exported for OpenVINO"):
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise CheckpointError(f"expected its weights beside it, in {weights.name}; there is no such file")
        try:
            model_spec, weights_precision, model = _read_exported(path, weights)
            products, function = _compile(model, precision)
            function(np.zeros((1, *model_spec.architecture.input_shape), np.float32))  # Refuses a damaged graph now.
        except RuntimeError as error:  # The last line states the reason; the others are places in OpenVINO's source.
            raise ValueError(str(error).strip().rpartition("\n")[2]) from error
    require_probabilities(layers)
    return model_spec, "int8" if weights_precision == "int8" else products, function


def compile_network(
    net: Architecture,
    parameters: Parameters,
    outputs: Sequence[str],
    precision: Literal["float32", "bfloat16"] = "float32",
    _compiled: bool = True,
) -> Compiled:
    """Compile the network of a table up to the last of `outputs`; the function may be called from several threads.

    Float32 arrays of `parameters` are used where they are, such as in a mapped file; OpenVINO makes the only copy.

    Raises:
        ValueError: a package is not installed.
        RuntimeError: this process was forked from one that has computed with OpenVINO; also raised by the result.
    """
    require_packages(EXTRA, *PACKAGES)
    require_first_process(LIBRARY)
    model = _build_model(net, parameters, outputs)
    return _compile(model, precision, tuple(itertools.chain.from_iterable(parameters.values())))


def _compile(model: Any, precision: Literal["float32", "bfloat16"], weights: tuple[np.ndarray, ...] = ()) -> Compiled:
    """Return the precision that this processor computes, and the function of a model with channels last.

    OpenVINO is a twentieth faster if it knows the size of the batches. So the model is compiled when the first batch
    comes, again for another size, and the third time for any size. Mapped `weights` leave the memory each time.
    """
    picture, lock = list(model.input().partial_shape)[1:], threading.Lock()
    sizes: list[int] = []
    request = None

    def request_for(size: int) -> Any:
        nonlocal request
        if not sizes or sizes[-1] not in (size, ANY_SIZE):
            sizes.append(size if len(sizes) < KNOWN_SIZES else ANY_SIZE)
            request = None  # Before the next takes as much memory.
            model.reshape([sizes[-1], *picture])
            request = process_core().compile_model(model, "CPU", _options(precision)).create_infer_request()
            if sizes[-1] == ANY_SIZE:  # Now OpenVINO copies the weights, for a known size it has done so.
                request.infer([np.zeros((1, *(side.get_length() for side in picture)), np.float32)])
            for array in weights:
                release(array)
        return request

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        require_first_process(LIBRARY)
        inputs = np.ascontiguousarray(inputs, np.float32)
        with lock:
            return list(request_for(len(inputs)).infer([inputs], share_inputs=True).values())

    return _products(precision), function


def _options(precision: str) -> dict[str, str]:
    """Return the settings of a compilation."""
    # Each batch uses all cores: two batches at a time are not faster, and a single photo would wait longer.
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}


@functools.cache
def _products(precision: Literal["float32", "bfloat16"]) -> Literal["float32", "bfloat16"]:
    """Return the precision in which OpenVINO multiplies on this processor; it tells this of a compiled model only."""
    if precision == "float32":
        return precision
    openvino = import_openvino()
    x = openvino.opset13.parameter([1], np.float32)
    model = openvino.Model([openvino.opset13.relu(x)], [x], "")
    compiled = process_core().compile_model(model, "CPU", _options(precision))
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    return next(name for name, value in HINTS.items() if value == hint)


def _read_exported(path: Path, weights: Path) -> tuple[ModelSpec, str, Any]:
    """Return the spec and the precision of the file, and OpenVINO's model, whose inputs have the channels last."""
    openvino = import_openvino()
    model = process_core().read_model(path, weights)
    if not model.has_rt_info(KEY):
        raise CheckpointError("expected a network that `tfalexnet export` wrote; received another for OpenVINO")
    model_spec, precision = parse_description(model.get_rt_info(KEY).astype(str))
    height, width, channels = model_spec.architecture.input_shape
    expected = f"[?,{channels},{height},{width}] and [?,{model_spec.architecture.classes}]"
    shapes = f"{model.input(INPUTS).partial_shape} and {model.output(OUTPUTS).partial_shape}"
    if shapes != expected:
        raise CheckpointError(f"expected inputs and outputs of {expected}, as described; received {shapes}")
    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    return model_spec, precision, steps.build()


def _build_model(net: Architecture, parameters: Parameters, outputs: Sequence[str]) -> Any:
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


def import_openvino() -> Any:
    """Import OpenVINO without its converter of models: it takes longer than the rest, and reports to the vendor."""
    absent = sys.modules.setdefault(CONVERTER, None) is None
    try:
        import openvino
    finally:
        if absent:
            sys.modules.pop(CONVERTER, None)  # Another thread may have done so.
    if not hasattr(openvino, "convert_model"):
        openvino.convert_model = _convert_model  # For code of others in this process.
    return openvino


def _convert_model(*arguments: Any, **options: Any) -> Any:
    """`openvino.convert_model`, imported when it is called."""
    return import_module(CONVERTER).convert_model(*arguments, **options)


@functools.cache
def process_core() -> Any:
    """Return the one Core of the process, which is never deleted.

    On processors with AMX a Core installs an alternative signal stack in the thread that creates it, and unmaps that
    stack when it is deleted. After a deletion in another thread, the next signal in the first thread (Ctrl-C) is a
    segmentation fault.
    """
    return import_openvino().Core()
