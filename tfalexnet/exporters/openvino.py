"""Write the ONNX graph in OpenVINO's format: an .xml, and a .bin beside it."""

from pathlib import Path

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.exported import KEY, Samples
from tfalexnet.exporters import onnx
from tfalexnet.runtimes.openvino import import_openvino, process_core

NAME, BESIDE, LAYOUT, MARKER = "{}.xml", (".bin",), onnx.LAYOUT, ""
PACKAGES: tuple[str, ...] = ("openvino", "onnx")
PRECISIONS = ("float32", "float16")


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, _: Samples | None = None) -> None:
    """Write the network in two files; the description is in the rt_info of the .xml.

    The precision is that of the weights in the .bin. OpenVINO chooses the precision of the products when it compiles
    the network: bfloat16 on processors that support it, unless {"INFERENCE_PRECISION_HINT": "f32"} is set.
    """
    openvino = import_openvino()
    graph = onnx.graph(checkpoint.spec.architecture, checkpoint.parameters)
    model = process_core().read_model(graph.SerializeToString())
    model.set_rt_info(description, KEY)
    openvino.save_model(model, path, compress_to_fp16=precision == "float16")
