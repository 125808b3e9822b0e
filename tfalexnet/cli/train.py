"""The command `tfalexnet train`."""

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any

import click

from tfalexnet.cli.options import NAME_OR_PATH, POSITIVE, file_option
from tfalexnet.io.terminal import print_error, print_text
from tfalexnet.training.recipe_table import recipes_table
from tfalexnet.training.recipes import AUGMENTATION_NAMES, RECIPES, recipe


def check_positive(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    """Fail unless the number is finite and above 0; `click.FloatRange` accepts nan and inf."""
    if value is not None and not 0 < value < math.inf:
        raise click.BadParameter(f"expected a positive number, received {value:g}")
    return value


class TrainCommand(click.Command):
    """A command whose help ends with the recipes, whose lines click must not wrap."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of recipes."""
        formatter.write(f"\n{recipes_table()}\n")


def parse_devices(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Return the names between commas."""
    return None if value is None else tuple(value.split(","))


@click.command(cls=TrainCommand)
@click.argument(
    "data",
    metavar="DATA",
    type=NAME_OR_PATH,
    help="A folder with one folder per class, or with such folders train and val, or with lists train.txt and "
    "val.txt; an .npz file; or mnist, fashion_mnist, cifar10, cifar100. Pictures in val, valid, validation or test "
    "(in an .npz: x_test) are used for validation, else a tenth of each class.",
)
@file_option("--output", "Folder for everything the training writes.", required=True, metavar="RUN")
@click.option(
    "--architecture",
    metavar="A",
    help="Architecture (see tfalexnet list). [default: that of --weights, else bvlc_alexnet]",
)
@click.option(
    "--weights", metavar="W", type=NAME_OR_PATH, help="Initial weights, name or file. [default: random weights]"
)
@file_option("--classes", "Names of the classes in their order, one per line.")
@click.option("--freeze-until", metavar="L", help="First layer that is trained, such as fc6 or fc8.")
@click.option(
    "--recipe",
    type=click.Choice(("source", *RECIPES)),
    help="See below. [default: fine-tune with --weights, else that of the architecture's source]",
)
@click.option("--epochs", type=POSITIVE, metavar="N", help="[default: the recipe's]")
@click.option("--batch-size", type=POSITIVE, metavar="N", help="[default: the recipe's]")
@click.option("--learning-rate", type=float, callback=check_positive, metavar="E", help="[default: the recipe's]")
@click.option("--augment", type=click.Choice(AUGMENTATION_NAMES), help="[default: the recipe's]")
@click.option(
    "--colours",
    type=click.Choice(("imagenet", "own")),
    default="imagenet",
    help="Colour statistics for --augment paper: those of ImageNet, or those of DATA.",
)
@click.option("--dropout", type=float, metavar="P", help="Rate of all dropout layers. [default: as published]")
@click.option("--precision", type=click.Choice(("float32", "mixed_bfloat16")), default="float32")
@click.option("--seed", type=int, default=2012, metavar="N")
@click.option(
    "--devices", callback=parse_devices, metavar="D,D", help="Devices of the two towers, such as /GPU:0,/GPU:1."
)
@click.option(
    "--strategy",
    type=click.Choice(("mirrored", "multi-worker")),
    help="Split batches between devices, or between machines (TF_CONFIG).",
)
@click.option("--deterministic", is_flag=True, help="Bit-identical weights in every run; slower.")
@click.option(
    "--strict", is_flag=True, help="Stop at a picture that cannot be read, as is always done with --strategy."
)
@click.option(
    "--log-interval",
    type=POSITIVE,
    default=10,
    metavar="N",
    help="Steps between two readings of the loss and of stop requests.",
)
@click.option(
    "--checkpoint-minutes",
    type=float,
    callback=check_positive,
    default=5.0,
    metavar="M",
    help="Time between two checkpoints; one more follows each epoch.",
)
@click.pass_obj
def command(command_line: str, **flags: Any) -> int:
    """Train on your own pictures; interrupted runs can be resumed."""
    from tfalexnet.data.datasets import read
    from tfalexnet.training.distribute import get_strategy
    from tfalexnet.training.loop import Stopped
    from tfalexnet.training.plan import Options, read_start
    from tfalexnet.training.trainer import train

    start = read_start(flags["architecture"], flags["weights"])
    architecture = start.architecture
    changes = {name: flags[name] for name in ("epochs", "learning_rate", "augment")} | {"batch": flags["batch_size"]}
    chosen = recipe(flags["recipe"], architecture.name, flags["weights"] is not None, **changes)
    options = Options(**{field.name: flags[field.name] for field in dataclasses.fields(Options)})
    training, validation = read(flags["data"], flags["classes"])
    path = Path(flags["data"])
    origin = {"data": str(path.resolve() if path.exists() else path), "command": command_line}
    strategy = get_strategy(flags["strategy"])
    try:
        model = train(training, validation, architecture, chosen, flags["output"], options, strategy, origin, start)
    except Stopped as stopped:
        print_error(f"{stopped}. To resume: {command_line}")
        return 130
    print_text(f"Next: tfalexnet predict PHOTO --weights {shlex.quote(str(model))}")
    return 0
