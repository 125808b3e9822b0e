"""Types of values and flags that several commands share."""

from pathlib import Path

import click

from tfalexnet.runtimes.cpu import PRECISIONS

# The functions that the commands call check that files exist and can be read; shells complete file names.
PATH = click.Path(readable=False, path_type=Path)
NAME_OR_PATH = click.Path(readable=False)
POSITIVE = click.IntRange(min=1)
BATCH_SIZE = 32  # The default of the functions; a test compares. Importing theirs imports h5py.

weights_option = click.option(
    "--weights",
    metavar="W",
    type=NAME_OR_PATH,
    help="Name (see tfalexnet list) or file. [default: bvlc_alexnet if its file is on this machine, "
    "else deep_compression]",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    help="bfloat16 is up to three times as fast on processors with bfloat16 instructions; probabilities differ "
    "by up to 0.02. auto selects it on those processors.",
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
