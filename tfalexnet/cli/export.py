"""The command `tfalexnet export`."""

from typing import Any

import click

from tfalexnet.cli.options import file_option, model_argument, overwrite_option
from tfalexnet.io.terminal import print_text


@click.command
@model_argument
@click.option("--format", required=True, type=click.Choice(("savedmodel", "litert", "onnx", "openvino", "caffe")))
@click.option(
    "--precision",
    type=click.Choice(("float32", "bfloat16", "float16", "int8")),
    default="float32",
    help="bfloat16: savedmodel. float16: litert, onnx, openvino, weights only. int8: litert.",
)
@file_option(
    "--output", "A .tflite, .onnx or .xml file; for a SavedModel or Caffe a folder. [default: weights/<name>…]"
)
@file_option("--pictures", "For int8: pictures like those that the network will receive.", metavar="DIR")
@overwrite_option
def command(**arguments: Any) -> int:
    """Export a network to TensorFlow, LiteRT, ONNX, OpenVINO or Caffe."""
    from tfalexnet.exporters.export import export

    output = export(**arguments)
    print_text(f"{arguments['precision']}, for {arguments['format']}, written to {output}")
    return 0
