"""The command `tfalexnet features`."""

from typing import Any

import click

from tfalexnet.cli.options import (
    PATH,
    batch_option,
    file_option,
    max_pixels_option,
    overwrite_option,
    precision_option,
    weights_option,
)
from tfalexnet.io.terminal import print_error, print_text


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
@file_option("--output", "An HDF5 file, such as f.h5.", required=True)
@weights_option
@precision_option
@batch_option("Pictures per step.")
@max_pixels_option
@overwrite_option
def command(**arguments: Any) -> int:
    """Write the activations of layers for the pictures in a folder."""
    from tfalexnet.inference.features import extract_features

    errors = extract_features(**arguments)
    for error in errors:
        print_error(str(error))
    print_text(f"{', '.join(arguments['layers'])} written to {arguments['output']}")
    return 1 if errors else 0
