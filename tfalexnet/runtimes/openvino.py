"""OpenVINO: the ONNX graph in OpenVINO's own form, an .xml and a .bin beside it, out and in."""

from __future__ import annotations

import functools
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.description import INPUTS, KEY, OUTPUTS, parse_description
from tfalexnet.checkpoints.formats import CheckpointError, reading
from tfalexnet.io.packages import require_packages

START = re.compile(rb"<\?xml[^<]*<net\s")
HINTS = {"float32": "f32", "bfloat16": "bf16"}  # INFERENCE_PRECISION_HINT
TELEMETRY = "openvino_telemetry"


def recognises(path: Path) -> bool:
    """Whether a file is a network for OpenVINO, whoever wrote it."""
    with path.open("rb") as file:
        return START.match(file.read(256)) is not None


def read(
    path: Path, precision: Literal["float32", "bfloat16"] = "float32"
) -> tuple[Checkpoint, str, Callable[[np.ndarray], list[np.ndarray]]]:
    """What a file of `write` says of itself, the precision, and its function; TensorFlow is not needed.

    Args:
        path: the .xml; its .bin is beside it.
        precision: of the products, whatever that of the weights.

    Returns:
        A checkpoint without parameters; the precision, float32 where OpenVINO knows no bfloat16 on this
        processor; and a function from preprocessed pictures, float32 (batch, height, width, channels),
        to a list of their probabilities, which threads may share.

    Raises:
        CheckpointError: a file is damaged or missing, or not one of `write`.
        ValueError: the package openvino is not installed.
    """
    openvino = import_openvino()
    with reading(path, "a network that tfalexnet exported for OpenVINO"), _in_a_line():
        weights = path.with_suffix(".bin")
        if not weights.is_file():
            raise CheckpointError(f"expected its weights beside it, in {weights.name}; there is no such file")
        model = process_core().read_model(path, weights)
        if not model.has_rt_info(KEY):
            raise CheckpointError("expected a network that `tfalexnet export` wrote; received another for OpenVINO")
        checkpoint, _ = parse_description(model.get_rt_info(KEY).astype(str))
        height, width, channels = checkpoint.architecture.input_shape
        wanted = f"[?,{channels},{height},{width}] and [?,{checkpoint.architecture.classes}]"
        shapes = f"{model.input(INPUTS).partial_shape} and {model.output(OUTPUTS).partial_shape}"
        if shapes != wanted:
            raise CheckpointError(f"expected inputs and outputs of {wanted}, as it says; received {shapes}")
        steps = openvino.preprocess.PrePostProcessor(model)
        steps.input().tensor().set_layout(openvino.Layout("NHWC"))
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        # One batch at a time has all cores: two side by side are no faster, and a single photo waits longer.
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": HINTS[precision]}
        compiled = process_core().compile_model(steps.build(), "CPU", options)
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        request, alone = compiled.create_infer_request(), threading.Lock()

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        inputs = np.ascontiguousarray(inputs, np.float32)
        with alone:
            return [request.infer({INPUTS: inputs}, share_inputs=True)[OUTPUTS]]

    return checkpoint, next(name for name, hint in HINTS.items() if hint == taken), function


def import_openvino() -> Any:
    """OpenVINO, which reports to its makers that it is imported if it finds the package to do so with."""
    require_packages("openvino")
    absent = sys.modules.setdefault(TELEMETRY, None) is None
    try:
        import openvino
    finally:
        if absent:
            del sys.modules[TELEMETRY]
    return openvino


@functools.cache
def process_core() -> Any:
    """The Core of the process, which never ends.

    On processors with AMX a Core gives the thread that begins it a stack for signals and unmaps it when it
    ends; where it ends in another thread, the next signal of the first (a Ctrl-C) is a segmentation fault.
    """
    return import_openvino().Core()


@contextmanager
def _in_a_line() -> Iterator[None]:
    """Of OpenVINO's errors the last line, which says what is wrong; those before say where in its source."""
    try:
        yield
    except RuntimeError as error:
        raise ValueError(str(error).strip().rpartition("\n")[2]) from error
