"""The command `tfalexnet compress`."""

from pathlib import Path
from typing import Any

import click

from tfalexnet.cli.options import file_option, model_argument, overwrite_option
from tfalexnet.io.terminal import print_text

ENERGY = 0.999  # The default of `compress`; a test compares. Importing it imports h5py.


@click.command
@model_argument
@file_option("--output", "A .net file.", required=True)
@click.option(
    "--energy",
    type=float,
    default=ENERGY,
    metavar="E",
    help="Share of each kernel's squared norm that the remaining weights hold.",
)
@file_option("--pictures", "Pictures on which the change of the outputs is measured.", metavar="DIR")
@overwrite_option
def command(pictures: Path | None, **arguments: Any) -> int:
    """Prune and cluster weights into Deep Compression's layout."""
    from tfalexnet.images.folders import list_pictures
    from tfalexnet.tools.compress import compress, compression_table

    compression = compress(pictures=list_pictures(pictures) if pictures else None, **arguments)
    print_text(compression_table(compression))
    return 0
