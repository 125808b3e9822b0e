"""The command `tfalexnet features`."""

from pathlib import Path

import click

from tfalexnet.cli.options import BATCH_SIZE, PATH, POSITIVE, overwrite_option, precision_option, weights_option
from tfalexnet.io.terminal import print_error


@click.command
@click.argument("folder", metavar="DIR", type=PATH, help="Folder of pictures.")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    required=True,
    metavar="L",
    help="fc7 is the activation after the ReLU, fc7:pre before it; norm1, pool5, prob … May be repeated.",
)
@click.option("--output", type=PATH, required=True, metavar="FILE", help="An HDF5 file, such as f.h5.")
@weights_option
@precision_option
@click.option("--batch", type=POSITIVE, default=BATCH_SIZE, metavar="N", help="Pictures per step.")
@overwrite_option
def command(
    folder: Path,
    layers: tuple[str, ...],
    output: Path,
    weights: str | None,
    precision: str,
    batch: int,
    overwrite: bool,
) -> int:
    """Write the activations of layers for the pictures in a folder."""
    from tfalexnet.inference.features import extract_features

    errors = extract_features(folder, output, layers, weights, batch, overwrite, precision)
    for error in errors:
        print_error(str(error))
    print(f"{', '.join(layers)} written to {output}")
    return 1 if errors else 0
