"""The command `tfalexnet compress`."""

from pathlib import Path

import click

from tfalexnet.cli.options import NAME_OR_PATH, PATH, overwrite_option

ENERGY = 0.999  # The default of `compress`; a test compares. Importing it imports h5py.


@click.command
@click.argument("weights", metavar="W", type=NAME_OR_PATH, help="Name of published weights, or a file.")
@click.option("--output", type=PATH, required=True, metavar="FILE", help="A .net file.")
@click.option(
    "--energy",
    type=float,
    default=ENERGY,
    metavar="E",
    help="Share of each kernel's squared norm that the remaining weights hold.",
)
@click.option("--pictures", type=PATH, metavar="DIR", help="Pictures on which the change of the outputs is measured.")
@overwrite_option
def command(weights: str, output: Path, energy: float, pictures: Path | None, overwrite: bool) -> int:
    """Prune and cluster weights into Deep Compression's layout."""
    from tfalexnet.images.folders import list_pictures
    from tfalexnet.tools.compress import compress, compression_table

    compression = compress(weights, output, energy, list_pictures(pictures) if pictures else None, overwrite)
    print(compression_table(compression))
    return 0
