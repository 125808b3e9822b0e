"""The table of recipes in the help of `tfalexnet train`."""

from tfalexnet.io.terminal import format_table
from tfalexnet.training.recipes import FINE_TUNE_RATES, RECIPES, SOURCES, Recipe


def recipes_table() -> str:
    """Return the recipes as a table, with notes on the learning rates of fine-tuning."""
    rows = [["recipe", "optimizer", "rate", "batch", "epochs", "schedule", "augment"]]
    rows += [_row(name, recipe) for name, recipe in RECIPES.items()]
    rows += [["source, of", *[""] * 6]]
    rows += [_row(architecture, recipe) for architecture, recipe in SOURCES.items()]
    rates = "\n".join(f"fine-tune of {name} has rate {rate:g}." for name, rate in FINE_TUNE_RATES.items())
    return f"{format_table(rows, right=(2, 3, 4))}\n\n{rates}"


def _row(name: str, recipe: Recipe) -> list[str]:
    optimizer = recipe.optimizer
    if optimizer == "momentum":
        optimizer = f"momentum {recipe.momentum:g}" if recipe.momentum else "plain descent"
    numbers = f"{recipe.learning_rate:g}", f"{recipe.batch}", f"{recipe.epochs}"
    return [name, optimizer, *numbers, recipe.schedule, recipe.augment]
