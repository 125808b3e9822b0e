"""The command `tfalexnet features`."""

from typing import Any

import click

from tfalexnet.cli import options
from tfalexnet.io.terminal import print_error, print_text


@click.command
@click.argument("folder", metavar="DIR", type=options.PATH, help="Folder of pictures.")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    required=True,
    metavar="L",
    help="fc7 is the activation after the ReLU, fc7:pre before it; norm1, pool5, prob … May be repeated.",
)
@options.file_option("--output", "An HDF5 file, such as f.h5.", required=True)
@options.weights_option
@options.precision_option
@options.engine_option
@options.batch_option("Pictures per step.")
@options.max_pixels_option
@options.overwrite_option
def command(**arguments: Any) -> int:
    """Write the activations of layers for the pictures in a folder."""
    from tfalexnet.inference.features import extract_features

    errors = extract_features(**arguments)
    for error in errors:
        print_error(str(error))
    print_text(f"{', '.join(arguments['layers'])} written to {arguments['output']}")
    return 1 if errors else 0
