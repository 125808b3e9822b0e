"""The command `tfalexnet export`."""

from pathlib import Path

import click

from tfalexnet.cli.options import NAME_OR_PATH, PATH, overwrite_option


@click.command
@click.argument("weights", metavar="MODEL", type=NAME_OR_PATH, help="Name of published weights, or a file.")
@click.option("--format", "format_", required=True, type=click.Choice(("savedmodel", "litert", "onnx", "openvino")))
@click.option(
    "--precision",
    type=click.Choice(("float32", "bfloat16", "float16", "int8")),
    default="float32",
    help="bfloat16: savedmodel. float16: the other formats, weights only. int8: litert.",
)
@click.option(
    "--output",
    type=PATH,
    metavar="FILE",
    help="A .tflite, .onnx or .xml file; for a SavedModel a folder. [default: weights/<name>…]",
)
@click.option(
    "--pictures", type=PATH, metavar="DIR", help="For int8: pictures like those that the network will receive."
)
@overwrite_option
def command(
    weights: str, format_: str, precision: str, output: Path | None, pictures: Path | None, overwrite: bool
) -> int:
    """Export a network to TensorFlow, LiteRT, ONNX or OpenVINO."""
    from tfalexnet.exporters.export import export

    output = export(weights, output, format_, precision, pictures, overwrite)
    print(f"{precision}, for {format_}, written to {output}")
    return 0
