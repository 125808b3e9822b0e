"""OpenVINO: the ONNX graph in OpenVINO's own form, an .xml and a .bin beside it, out and in."""

from __future__ import annotations

from pathlib import Path

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.description import KEY, Samples
from tfalexnet.exporters import onnx
from tfalexnet.runtimes.openvino import import_openvino, process_core

NAME, BESIDE, LAYOUT = "{}.xml", (".bin",), onnx.LAYOUT
PRECISIONS = ("float32", "float16")


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, _: Samples | None = None) -> None:
    """The network in two files; the description is in the rt_info of the .xml.

    The precision is that of the weights in the .bin. What OpenVINO computes in is chosen when the network
    is compiled: bfloat16 on processors that have it, unless {"INFERENCE_PRECISION_HINT": "f32"} is given.
    """
    openvino = import_openvino()
    graph = onnx.graph(checkpoint.architecture, checkpoint.parameters)
    model = process_core().read_model(graph.SerializeToString())
    model.set_rt_info(description, KEY)
    openvino.save_model(model, path, compress_to_fp16=precision == "float16")
