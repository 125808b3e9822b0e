"""Write the ONNX graph in OpenVINO's format: an .xml, and a .bin beside it."""

import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.exported import KEY, Samples
from tfalexnet.exporters import onnx
from tfalexnet.io.packages import require_packages
from tfalexnet.networks.spec import Architecture, Norm
from tfalexnet.runtimes.openvino_library import import_openvino, process_core

NAME, BESIDE, LAYOUT, MARKER = "{}.xml", (".bin",), onnx.LAYOUT, ""
PACKAGES: tuple[str, ...] = ("openvino", "onnx")
PRECISIONS = ("float32", "float16", "int8")


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, samples: Samples | None = None) -> None:
    """Write the network in two files; the description is in the rt_info of the .xml.

    The precision is that of the weights in the .bin. OpenVINO chooses the precision of the products when it compiles
    the network: bfloat16 on processors that support it, unless {"INFERENCE_PRECISION_HINT": "f32"} is set. In int8 the
    products of convolutions and fully connected layers but the last are computed in integers.

    Raises:
        ValueError: a package is not installed.
    """
    if precision == "int8":
        require_packages("int8", "nncf")
    openvino = import_openvino()
    # OpenVINO (2026.4) computes the products of grouped convolutions in floats, also those of quantised ones.
    graph = onnx.graph(checkpoint.spec.architecture, checkpoint.parameters, split_groups=precision == "int8")
    model = process_core().read_model(graph.SerializeToString())
    if precision == "int8":
        model = _quantize(model, checkpoint.spec.architecture, samples)
    model.set_rt_info(description, KEY)
    openvino.save_model(model, path, compress_to_fp16=precision == "float16")


def _quantize(model: Any, net: Architecture, samples: Samples) -> Any:
    """Return the model with 8-bit integers; `samples` calibrate the ranges of activations.

    Squares in the normalisation exceed 8 bits. The classifier is small, and its float products keep the order of the
    classes: of CIFAR-10's pictures 99.3 instead of 98.9 % keep their best class.
    """
    os.environ.setdefault("NNCF_CI", "1")  # Disables the telemetry of NNCF.
    import nncf

    logging.getLogger("nncf").setLevel(logging.WARNING)
    inputs = [np.ascontiguousarray(x.transpose(0, 3, 1, 2)) for x in samples()]
    in_float = [row.name for row in net.layers if isinstance(row, Norm)] + [net.classifier.name]
    scope = nncf.IgnoredScope(patterns=[rf"{re.escape(name)}([:/].*)?" for name in in_float], validate=False)
    return nncf.quantize(model, nncf.Dataset(inputs), subset_size=len(inputs), ignored_scope=scope)
