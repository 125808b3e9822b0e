"""The command `tfalexnet figure`: a command for each figure of `tfalexnet.figures`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfalexnet.cli.options import file_option, overwrite_option, weights_option
from tfalexnet.io.files import check_output
from tfalexnet.io.terminal import print_text


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
