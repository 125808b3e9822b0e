"""The command `tfalexnet export`."""

from pathlib import Path
from typing import Any

import click

from tfalexnet.cli.options import file_option, model_argument, overwrite_option
from tfalexnet.io.terminal import print_error, print_text


@click.command
@model_argument
@click.option("--format", required=True, type=click.Choice(("savedmodel", "litert", "onnx", "openvino", "caffe")))
@click.option(
    "--precision",
    type=click.Choice(("float32", "bfloat16", "float16", "int8")),
    default="float32",
    help="bfloat16: savedmodel. float16: litert, onnx, openvino, weights only. int8: litert, openvino.",
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
    if arguments["precision"] == "int8":
        _print_held_out(arguments["weights"], output, arguments["pictures"])
    return 0


def _print_held_out(weights: str, output: Path, pictures: Path) -> None:
    """Print what 8 bits change for the pictures that did not calibrate."""
    from tfalexnet.exporters.held_out import compare_held_out

    compared = compare_held_out(weights, output, pictures)
    if compared is None:
        print_error("note: all pictures calibrated the file; more of them would show how its answers differ")
        return
    print_text(f"of {compared.count} other pictures {compared.same:.1f} % have the same best class as in float32")
    if compared.errors:
        print_text("top-1 error: {:.1f} % in float32, {:.1f} % in int8".format(*compared.errors))
