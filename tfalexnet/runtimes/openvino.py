"""Engine OpenVINO: computes an `.xml` file that `tfalexnet export` wrote, without TensorFlow."""

import functools
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.exported import INPUTS, KEY, OUTPUTS, parse_description
from tfalexnet.checkpoints.formats import CheckpointError, reading
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.io.packages import require_packages
from tfalexnet.runtimes.engine import Loaded, require_probabilities

PACKAGES = ("openvino",)
HINTS = {"float32": "f32", "bfloat16": "bf16"}  # Values of INFERENCE_PRECISION_HINT.
TELEMETRY = "openvino_telemetry"


def load(
    path: Path, layers: tuple[str, ...], precision: Literal["float32", "bfloat16"] = "float32", _compiled: bool = True
) -> Loaded:
    """Read the .xml and the .bin beside it; the function may be called from several threads.

    The precision of the products is independent of that of the weights, and float32 where OpenVINO does not support
    bfloat16 on this processor.

    Raises:
        CheckpointError: a file is damaged or missing, or another program wrote it.
        ValueError: a package is not installed, or `layers` are not the probabilities.
    """
    require_packages("export", *PACKAGES)
    with reading(path, "a network that tfalexnet exported for OpenVINO"):
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise CheckpointError(f"expected its weights beside it, in {weights.name}; there is no such file")
        try:
            spec, compiled = _compile(path, weights, HINTS[precision])
        except RuntimeError as error:  # The last line states the reason; the others are places in OpenVINO's source.
            raise ValueError(str(error).strip().rpartition("\n")[2]) from error
        hint = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        request, lock = compiled.create_infer_request(), threading.Lock()
    require_probabilities(layers)

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        inputs = np.ascontiguousarray(inputs, np.float32)
        with lock:
            return [request.infer({INPUTS: inputs}, share_inputs=True)[OUTPUTS]]

    return spec, next(name for name, value in HINTS.items() if value == hint), function


def _compile(path: Path, weights: Path, hint: str) -> tuple[ModelSpec, Any]:
    """Return the spec and OpenVINO's compiled model, whose inputs have the channels last."""
    openvino = import_openvino()
    model = process_core().read_model(path, weights)
    if not model.has_rt_info(KEY):
        raise CheckpointError("expected a network that `tfalexnet export` wrote; received another for OpenVINO")
    spec, _ = parse_description(model.get_rt_info(KEY).astype(str))
    height, width, channels = spec.architecture.input_shape
    expected = f"[?,{channels},{height},{width}] and [?,{spec.architecture.classes}]"
    shapes = f"{model.input(INPUTS).partial_shape} and {model.output(OUTPUTS).partial_shape}"
    if shapes != expected:
        raise CheckpointError(f"expected inputs and outputs of {expected}, as described; received {shapes}")
    steps = openvino.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    # Each batch uses all cores: two batches at a time are not faster, and a single photo would wait longer.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
    return spec, process_core().compile_model(steps.build(), "CPU", options)


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which reports the import to the vendor if it is installed."""
    absent = sys.modules.setdefault(TELEMETRY, None) is None
    try:
        import openvino
    finally:
        if absent:
            del sys.modules[TELEMETRY]
    return openvino


@functools.cache
def process_core() -> Any:
    """Return the one Core of the process, which is never deleted.

    On processors with AMX a Core installs an alternative signal stack in the thread that creates it, and unmaps that
    stack when it is deleted. After a deletion in another thread, the next signal in the first thread (Ctrl-C) is a
    segmentation fault.
    """
    return import_openvino().Core()
