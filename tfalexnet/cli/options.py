"""Types of values and flags that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tfalexnet.runtimes.cpu import PRECISIONS
from tfalexnet.runtimes.selection import ENGINE_NAMES

# The functions that the commands call check that files exist and can be read; shells complete file names.
PATH = click.Path(readable=False, path_type=Path)
NAME_OR_PATH = click.Path(readable=False)
POSITIVE = click.IntRange(min=1)
BATCH_SIZE = 32  # The default of the functions; a test compares. Importing theirs imports h5py.
MAX_PIXELS = 120_000_000  # As above.

model_argument = click.argument(
    "weights", metavar="MODEL", type=NAME_OR_PATH, help="Name of published weights, or a file in any format."
)
weights_option = click.option(
    "--weights",
    metavar="W",
    type=NAME_OR_PATH,
    help="Name (see tfalexnet list), file or folder of a training. [default: bvlc_alexnet if its file is on this "
    "machine, else deep_compression]",
)
architecture_option = click.option(
    "--architecture",
    metavar="NAME",
    help="Architecture (see tfalexnet list). [default: the one that the file states or is named after, else the "
    "first one whose shapes match]",
)
precision_option = click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="float32",
    help="bfloat16 is up to three times as fast on processors with bfloat16 instructions; probabilities differ "
    "by up to 0.02. auto selects it on those processors. int8 computes the file that `tfalexnet export --format "
    "openvino --precision int8` wrote beside the weights.",
)
engine_option = click.option(
    "--engine",
    type=click.Choice(ENGINE_NAMES),
    default="auto",
    help="The library that computes. auto is the one that the file was exported for, else OpenVINO where it is "
    "installed and the processor is x86 or Arm, else TensorFlow.",
)
max_pixels_option = click.option(
    "--max-pixels",
    type=POSITIVE,
    default=MAX_PIXELS,
    metavar="N",
    help="Pixels of a picture; larger ones are reported as unreadable.",
)
overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")


def file_option(flag: str, description: str, **settings: Any) -> Callable:
    """Return a flag whose value is the path of a file, or of a folder with another `metavar`."""
    return click.option(flag, type=PATH, help=description, **{"metavar": "FILE"} | settings)


def batch_option(description: str) -> Callable:
    """Return the flag for the size of a batch."""
    return click.option("--batch", type=POSITIVE, default=BATCH_SIZE, metavar="N", help=description)
