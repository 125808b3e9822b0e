"""The command `tfalexnet figure`: a command for each figure of `tfalexnet.figures`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfalexnet.cli.options import NAME_OR_PATH, file_option, overwrite_option, weights_option
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
    print_text(f"{name} written to {output}")
    return 0


@command.command
@weights_option
@click.option("--layer", default="conv1", metavar="L", help="A convolution.")
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
@click.option(
    "--scale", type=click.Choice(SCALES), default="rank", help="Colour the percentiles, or the dissimilarities."
)
@_output_options
def rdm(**arguments: Any) -> int:
    """Dissimilarity of each two pictures, for each layer."""
    return _write("rdm", **arguments)
