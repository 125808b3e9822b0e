"""The command `tfalexnet train`."""

import dataclasses
import math
import shlex
from pathlib import Path
from typing import Any

import click

from tfalexnet.cli.options import NAME_OR_PATH, POSITIVE, file_option
from tfalexnet.io.terminal import print_error, print_text
from tfalexnet.training.options import CLASS_WEIGHTS, COLOUR_NAMES, POLICIES, STRATEGIES, Options
from tfalexnet.training.recipe_table import recipes_table
from tfalexnet.training.recipes import AUGMENTATION_NAMES, RECIPE_NAMES, recipe

DEFAULTS = Options()


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
    "(in an .npz: x_val and so on) are used for validation, else a tenth of each class.",
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
@click.option(
    "--new-classifier",
    is_flag=True,
    help="Replace the last layer of --weights, which else is kept if its classes are those of DATA.",
)
@click.option("--freeze-until", metavar="L", help="First layer that is trained, such as fc6 or fc8.")
@click.option(
    "--recipe",
    type=click.Choice(RECIPE_NAMES),
    help="See below. [default: fine-tune with --weights, else that of the architecture's source]",
)
@click.option("--epochs", type=POSITIVE, metavar="N", help="[default: the recipe's]")
@click.option("--batch-size", type=POSITIVE, metavar="N", help="[default: the recipe's]")
@click.option("--learning-rate", type=float, callback=check_positive, metavar="E", help="[default: the recipe's]")
@click.option("--augment", type=click.Choice(AUGMENTATION_NAMES), help="[default: the recipe's]")
@click.option(
    "--colours",
    type=click.Choice(COLOUR_NAMES),
    default=DEFAULTS.colours,
    help="Colour statistics for --augment paper: those of ImageNet, or those of DATA.",
)
@click.option("--dropout", type=float, metavar="P", help="Rate of all dropout layers. [default: as published]")
@click.option(
    "--class-weights",
    type=click.Choice(CLASS_WEIGHTS),
    help="Give each class the same weight in the loss, however many pictures it has.",
)
@click.option(
    "--early-stopping",
    type=POSITIVE,
    metavar="N",
    help="Stop after N epochs without a lower validation error. [default: no early stop]",
)
@click.option("--precision", type=click.Choice(POLICIES), default=DEFAULTS.precision)
@click.option("--seed", type=int, default=DEFAULTS.seed, metavar="N")
@click.option(
    "--devices", callback=parse_devices, metavar="D,D", help="Devices of the two towers, such as /GPU:0,/GPU:1."
)
@click.option(
    "--strategy", type=click.Choice(STRATEGIES), help="Split batches between devices, or between machines (TF_CONFIG)."
)
@click.option("--deterministic", is_flag=True, help="Bit-identical weights in every run; slower.")
@click.option(
    "--strict", is_flag=True, help="Stop at a picture that cannot be read, as is always done with --strategy."
)
@click.option(
    "--log-interval",
    type=POSITIVE,
    default=DEFAULTS.log_interval,
    metavar="N",
    help="Steps between two readings of the loss and of stop requests.",
)
@click.option(
    "--checkpoint-minutes",
    type=float,
    callback=check_positive,
    default=DEFAULTS.checkpoint_minutes,
    metavar="M",
    help="Time between two checkpoints; one more follows each epoch.",
)
@click.pass_obj
def command(command_line: str, **flags: Any) -> int:
    """Train on your own pictures; interrupted runs can be resumed."""
    from tfalexnet.data.datasets import read
    from tfalexnet.networks.catalog import get_architecture

    # What can be checked without TensorFlow, whose import takes seconds, is checked first; weights may be downloaded.
    options = Options(**{field.name: flags[field.name] for field in dataclasses.fields(Options)})
    if flags["architecture"] is not None:
        get_architecture(flags["architecture"])
    training, validation = read(flags["data"], flags["classes"])
    from tfalexnet.training.plan import Plan, read_start

    start = read_start(flags["architecture"], flags["weights"])
    changes = {name: flags[name] for name in ("epochs", "learning_rate", "augment")} | {"batch": flags["batch_size"]}
    chosen = recipe(flags["recipe"], start.architecture.name, flags["weights"] is not None, **changes)
    plan = Plan(training, validation, chosen, options, start)

    from tfalexnet.training.distribute import get_strategy
    from tfalexnet.training.loop import Stopped
    from tfalexnet.training.trainer import carry_out

    path = Path(flags["data"])
    origin = {"data": str(path.resolve() if path.exists() else path), "command": command_line}
    strategy = get_strategy(flags["strategy"])
    try:
        model = carry_out(plan, flags["output"], strategy, origin)
    except Stopped as stopped:
        print_error(f"{stopped}. To resume: {command_line}")
        return 128 + stopped.signal
    print_text(f"Next: tfalexnet predict PHOTO --weights {shlex.quote(str(model))}")
    return 0
