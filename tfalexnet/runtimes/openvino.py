"""Engine OpenVINO: computes checkpoints, and `.xml` files that `tfalexnet export` wrote, without TensorFlow."""

import functools
import itertools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.exported import INPUTS, KEY, OUTPUTS, parse_description
from tfalexnet.checkpoints.formats import CheckpointError, reading
from tfalexnet.checkpoints.formats.binary import release
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.io.packages import require_packages
from tfalexnet.networks.spec import Architecture, Parameters
from tfalexnet.runtimes.engine import Compiled, Loaded, require_first_process, require_probabilities
from tfalexnet.runtimes.openvino_graph import build_model
from tfalexnet.runtimes.openvino_library import import_openvino, process_core

PACKAGES = ("openvino",)
LIBRARY = "OpenVINO"
EXTRA = "fast"
HINTS = {"float32": "f32", "bfloat16": "bf16"}  # Values of INFERENCE_PRECISION_HINT.
ANY_SIZE = -1
KNOWN_SIZES = 2  # Batch sizes for which a network is compiled before it is compiled for any size.


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
    model = build_model(net, parameters, outputs)
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
