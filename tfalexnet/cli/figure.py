"""The command `tfalexnet figure`: a command for each figure of `tfalexnet.figures`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfalexnet.cli.options import NAME_OR_PATH, PATH, POSITIVE, file_option, overwrite_option, weights_option
from tfalexnet.io.files import check_output
from tfalexnet.io.terminal import print_text

METRICS, SCALES = ("correlation", "cosine", "euclidean"), ("rank", "raw")  # A test compares; theirs import NumPy.


@click.group
def command() -> None:
    """Draw networks, filters, answers and trainings."""


def _output_options(function: Callable) -> Callable:
    return file_option("--output", "A .png, .svg or .pdf file.", required=True)(overwrite_option(function))


def _write(name: str, output: Path, overwrite: bool, **arguments: Any) -> int:
    """Draw the figure `name` of `tfalexnet.figures` and write it to a file."""
    from tfalexnet import figures
    from tfalexnet.figures.canvas import SUFFIXES, save

    check_output(output, SUFFIXES, overwrite)  # Before the work.
    save(getattr(figures, name)(**arguments), output, overwrite)
    print_text(f"{name.replace('_', '-')} written to {output}")
    return 0


@command.command
@click.argument("network", metavar="[NETWORK]", default="krizhevsky2012", type=NAME_OR_PATH)
@click.option("--style", type=click.Choice(("volumes", "graph")), default="volumes", help="Arrays, or rows as boxes.")
@_output_options
def architecture(**arguments: Any) -> int:
    """A network from its table, as in Figure 2 of the paper or as Caffe's draw_net.

    NETWORK is the name of a network, or weights.
    """
    return _write("architecture", **arguments)


@command.command
@weights_option
@click.option("--layer", default="conv1", metavar="L", help="A convolution.")
@click.option(
    "--channel", type=click.IntRange(0), metavar="N", help="An input channel. [default: colours, or the mean]"
)
@_output_options
def filters(**arguments: Any) -> int:
    """Kernels of a convolution; conv1's are Figure 3 of the paper."""
    return _write("filters", **arguments)


@command.command
@click.argument("images", metavar="DIR", type=NAME_OR_PATH, help="Folder of pictures; its sub-folders are classes.")
@click.option(
    "--layer", "layers", multiple=True, required=True, metavar="L", help="May be repeated; fc6,fc7 are two, all is all."
)
@weights_option
@click.option("--metric", type=click.Choice(METRICS), default="correlation", help="Dissimilarity of two pictures.")
@click.option("--scale", type=click.Choice(SCALES), default="rank", help="Colour the ranks, or the dissimilarities.")
@_output_options
def rdm(**arguments: Any) -> int:
    """Dissimilarity of each two pictures, for each layer."""
    return _write("rdm", **arguments)


_photo = click.argument("photo", metavar="PHOTO", type=NAME_OR_PATH)
_class = click.option("--class", "class_", metavar="C", help="Index, WordNet id or name. [default: the best class]")


@command.command
@click.argument("layers", metavar="LAYER...", nargs=-1, required=True)
@_photo
@weights_option
@_output_options
def activations(**arguments: Any) -> int:
    """Feature maps of a photo; a normalisation and the layer before it on one scale."""
    return _write("activations", **arguments)


@command.command
@click.argument("layer", metavar="LAYER")
@_photo
@weights_option
@_output_options
def receptive_field(**arguments: Any) -> int:
    """Part of a photo that a position of a layer depends on."""
    return _write("receptive_field", **arguments)


@command.command
@click.argument("photos", metavar="PHOTO...", nargs=-1, required=True, type=NAME_OR_PATH)
@weights_option
@click.option(
    "--true",
    "true_classes",
    multiple=True,
    metavar="C",
    help="The true class, for all photos or once for each: index, WordNet id or name. [default: the class that the "
    "photo's folder is named after, if it is]",
)
@_output_options
def top5(photos: tuple[str, ...], true_classes: tuple[str, ...], **arguments: Any) -> int:
    """Photos with their five best classes, as in Figure 4 of the paper."""
    return _write("top5", photos=photos, true_classes=true_classes or None, **arguments)


@command.command
@_photo
@click.argument("folder", metavar="DIR", type=PATH)
@weights_option
@click.option("--count", type=POSITIVE, default=6, metavar="N", help="Number of pictures.")
@click.option("--layer", metavar="L", help="A layer of `features`. [default: fc7, or the last before the classifier]")
@file_option("--index", "Keeps the features of the folder. [default: DIR.L.h5, beside the folder]")
@_output_options
def neighbours(**arguments: Any) -> int:
    """Pictures of a folder that are nearest to a photo, as in Figure 4 of the paper."""
    return _write("neighbours", **arguments)


@command.command
@_photo
@weights_option
@_class
@click.option("--method", type=click.Choice(("grad-cam", "occlusion")), default="grad-cam", help="How it is computed.")
@click.option("--layer", metavar="L", help="The feature map of grad-cam. [default: the last convolution]")
@_output_options
def heatmap(**arguments: Any) -> int:
    """Parts of a photo that raise the score of a class."""
    return _write("heatmap", **arguments)


@command.command
@_photo
@weights_option
@_class
@click.option("--size", type=POSITIVE, metavar="N", help="Pixels of the shorter side. [default: twice the input]")
@_output_options
def class_map(**arguments: Any) -> int:
    """Answers to each position of a photo of any size."""
    return _write("class_map", **arguments)


@command.command
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH)
@_output_options
def curves(**arguments: Any) -> int:
    """Errors of trainings by epoch. RUN is the output folder of `tfalexnet train`."""
    return _write("curves", **arguments)


@command.command
@click.argument("report", metavar="REPORT.json", type=PATH)
@_output_options
def confusion(**arguments: Any) -> int:
    """Classes that are confused, from `tfalexnet evaluate --output REPORT.json` or the folder of a training."""
    return _write("confusion", **arguments)


@command.command
@click.argument("relu", metavar="RELU", type=PATH)
@click.argument("tanh", metavar="TANH", type=PATH)
@_output_options
def relu_vs_tanh(**arguments: Any) -> int:
    """Figure 1 of the paper, from two trainings or two logs of examples/figure1.py."""
    return _write("relu_vs_tanh", **arguments)
