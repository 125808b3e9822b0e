"""The command `tfalexnet convert`."""

import shlex
from pathlib import Path
from typing import Any

import click

from tfalexnet.cli.options import NAME_OR_PATH, POSITIVE, architecture_option, file_option, overwrite_option
from tfalexnet.io.terminal import print_text


def parse_renamed(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Return {old: new} for values of the form OLD=NEW."""
    renamed = {}
    for value in values:
        old, _, new = value.partition("=")
        if not (old and new):
            raise click.BadParameter(f"expected OLD=NEW, received {value!r}")
        renamed[old] = new
    return renamed


def parse_mean(_: click.Context, __: click.Parameter, value: str | None) -> tuple[float, ...] | Path | None:
    """Return the numbers between commas, or the path of a file that ends as those of means do."""
    if value is None or value.endswith((".binaryproto", ".npy")):
        return value and Path(value)
    try:
        return tuple(map(float, value.split(",")))
    except ValueError:
        expected = "expected numbers between commas or the name of a .binaryproto or .npy"
        raise click.BadParameter(f"{expected}, received {value!r}") from None


@click.command
@click.argument(
    "source",
    metavar="FILE",
    type=NAME_OR_PATH,
    help="A .npy, .caffemodel, .pth, .safetensors, .npz, .onnx, .net, .keras, .h5 or .mat file or a checkpoint of "
    "TensorFlow, detected from its content; or a folder or archive with one of them; or the name of published "
    "weights.",
)
@file_option(
    "--output",
    "A .weights.h5, .npy, .caffemodel, .safetensors, .npz or .net file. [default: weights/<name>.weights.h5]",
)
@architecture_option
@click.option(
    "--map",
    "renamed",
    multiple=True,
    callback=parse_renamed,
    metavar="OLD=NEW",
    help="Read layer OLD of FILE as the architecture's layer NEW. May be repeated.",
)
@file_option("--labels", "Names of the classes, one per line, UTF-8; or WordNet id, tab, name.")
@click.option("--like", metavar="W", type=NAME_OR_PATH, help="Network, preprocessing and classes of other weights.")
@file_option(
    "--prototxt", "Caffe's definition of the network, deploy.prototxt or train_val.prototxt. [default: that in FILE]"
)
@click.option(
    "--mean",
    metavar="MEAN",
    callback=parse_mean,
    help="Mean of the training pictures: a number for each channel, M,M,M, or Caffe's mean.binaryproto or .npy.",
)
@click.option("--scale", type=float, metavar="S", help="Factor of the levels 0–255 of pictures.")
@click.option("--channels", type=click.Choice(("RGB", "BGR", "L")), help="Order of the channels; L is grey.")
@click.option("--size", type=POSITIVE, metavar="N", help="Pixels of a side of resized pictures.")
@click.option("--crop", type=POSITIVE, metavar="N", help="Pixels of a side of their centre, the network's input.")
@overwrite_option
def command(**arguments: Any) -> int:
    """Convert a checkpoint, for Keras or for other programs."""
    from tfalexnet.tools.convert import convert, parameters_table

    output, checkpoint = convert(**arguments)
    print_text(parameters_table(checkpoint))
    for note in checkpoint.notes:
        print_text(f"\nNote: {note}")
    classes = "no classifier" if checkpoint.missing else f"{checkpoint.spec.architecture.classes} classes"
    print_text(f"\n{checkpoint.spec.architecture.name}, {classes}, written to {output}")
    if not checkpoint.spec.preprocessing:
        print_text("Preprocessing unknown: `predict` cannot use this file, `AlexNet(…, weights=…)` can.")
    elif not checkpoint.missing:
        print_text(f"Next: tfalexnet predict PHOTO --weights {shlex.quote(str(output))}")
    return 0
