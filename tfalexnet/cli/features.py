"""The command `tfalexnet features`."""

from typing import Any

import click

from tfalexnet.cli import options
from tfalexnet.io.terminal import print_error, print_text

# Of tfalexnet.inference.features and tfalexnet.images.preprocessing, which import NumPy and h5py; a test compares.
POOLS = ("max", "mean", "flatten")
RESIZES = ("caffe", "shorter-side", "torchvision", "none")
CROPS = ("centre", "none")


@click.command
@click.argument(
    "images",
    metavar="PHOTO...",
    nargs=-1,
    required=True,
    type=options.NAME_OR_PATH,
    help="A folder of pictures, whose names are relative to it; or files, folders, quoted patterns.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    required=True,
    metavar="L",
    help="fc7 is the activation after the ReLU, fc7:pre before it; norm1, pool5, prob … May be repeated, or be several "
    "with commas; all is every layer.",
)
@options.file_option("--output", "A .h5, .npy (one layer), .npz, .csv, .mat or .parquet file.", required=True)
@click.option("--pool", type=click.Choice(POOLS), help="Reduce layers with a map to one vector.")
@click.option("--resize", type=click.Choice(RESIZES), help="Resize in another way than the weights require.")
@click.option("--crop", type=click.Choice(CROPS), help="none resizes to the input itself, without a margin.")
@options.weights_option
@options.precision_option
@options.engine_option
@options.batch_option("Pictures per step.")
@options.max_pixels_option
@options.overwrite_option
def command(images: tuple[str, ...], **arguments: Any) -> int:
    """Write the activations of layers for pictures."""
    from tfalexnet.inference.features import extract_features
    from tfalexnet.inference.label import expand_sources

    errors = extract_features(images[0] if len(images) == 1 else expand_sources(images), **arguments)
    for error in errors:
        print_error(str(error))
    print_text(f"{', '.join(arguments['layers'])} written to {arguments['output']}")
    return 1 if errors else 0
