"""Errors of trainings by epoch: of runs, and of ReLU and tanh as in Figure 1 of the paper."""

import csv
import itertools
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfalexnet.figures.canvas import COLOURS, new_figure
from tfalexnet.figures.photo_panel import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = list[dict[str, float]]
"""A row for each epoch with `epoch`, `error`, `validation_error` in per cent and `learning_rate`, as in `log.csv`."""

LINE = 0.18  # Inches of a line of the legend below the curves.
MARKED = 20  # Epochs that are marked as points; a single one is no line.
LOG, DESCRIPTION = "log.csv", "run.json"  # In the folder of a training.
# Why the training error may exceed the validation error.
EXPLAINED = "training: mean over the steps of the epoch, with any dropout and augmentation\nvalidation: after the epoch"
TARGET = 25.0  # Training error of Figure 1 of the paper, in per cent.
ABSENT = "NA"  # In a log of `CSVLogger`, for a metric that an epoch does not have.
CHANCE = 90.0  # Error before the first epoch, with the ten classes of CIFAR-10.


def curves(runs: str | os.PathLike | Sequence[str | os.PathLike]) -> "Figure":
    """Return a figure of the errors in training and validation by epoch, of a run or of several.

    Args:
        runs: folders of `tfalexnet train`, or their `log.csv`.

    Raises:
        ValueError: one is neither, or Matplotlib is not installed.
    """
    runs = [runs] if isinstance(runs, str | os.PathLike) else runs
    if not runs:
        raise ValueError("Expected at least one folder of a training. Received: none")
    names = [shortened(_folder(run).resolve().name) for run in runs]
    names = [
        name if names.count(name) == 1 else os.fspath(run).replace("$", r"\$")
        for name, run in zip(names, runs, strict=True)
    ]
    columns = ("validation_error", "learning_rate")
    described = [_described(run) for run in runs]
    common = described[0] if len(set(described)) == 1 else ""
    if not common:
        names = [f"{name}{text}" for name, text in zip(names, described, strict=True)]
    return draw_curves({name: read_history(run, columns) for name, run in zip(names, runs, strict=True)}, common)


def draw_curves(histories: dict[str, History], common: str = "") -> "Figure":
    """Return a figure of errors by epoch.

    Of a single run whose learning rate is constant for several epochs, dotted lines mark the epochs in which it drops
    below a fifth of the one before.
    Points mark the epochs, if there are few.

    Args:
        histories: by the name of the run.
        common: appended to the title.
    """
    single = len(histories) == 1
    figure = new_figure(7, 4.4 if single else 4.6 + LINE * 2 * len(histories))
    axes = figure.add_subplot()
    marker = "o" if max(map(len, histories.values())) <= MARKED else None
    for number, (name, history) in enumerate(histories.items()):
        epochs = [row["epoch"] for row in history]
        both = (("training", "error", "--"), ("validation", "validation_error", "-"))
        for part, (title, column, dashes) in enumerate(both):
            colour = COLOURS[(part if single else number) % len(COLOURS)]
            face = colour if part else "white"
            style = {"linestyle": dashes, "linewidth": 1 + part, "marker": marker, "markersize": 5}
            style |= {"markerfacecolor": face, "zorder": 2 + part}
            label = title if single else f"{title}, {name}"  # A label that begins with _ has no legend.
            axes.plot(epochs, [row[column] for row in history], color=colour, label=label, **style)
    if single:
        _mark_drops(axes, history)
        axes.set_title(f"{name}{common}\n{history[-1]['validation_error']:.2f} % validation error", fontsize=11)
    else:
        axes.set_title(f"{len(histories)} trainings{common}")
    _label_epochs(axes, "top-1 error, %")
    axes.set_xlabel(f"epoch\n{EXPLAINED}")
    axes.set_ylim(0, None)
    if single:
        axes.legend()
    else:
        figure.legend(loc="outside lower center", fontsize=8)
    return figure


def _mark_drops(axes: "Axes", history: History) -> None:
    """Mark where the rate drops, unless it changes after most epochs, as that of a cosine does."""
    pairs = [(before["learning_rate"], row["learning_rate"]) for before, row in itertools.pairwise(history)]
    if 2 * sum(before != after for before, after in pairs) > len(pairs):
        return
    drops = [row["epoch"] for (before, after), row in zip(pairs, history[1:], strict=True) if after < 0.2 * before]
    for number, epoch in enumerate(drops):
        label = None if number else "lower learning rate"
        axes.axvline(epoch, color="grey", linestyle=":", linewidth=1, label=label)


def _label_epochs(axes: "Axes", error: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(xlabel="epoch", ylabel=error)


def read_history(run: str | os.PathLike, columns: Sequence[str] = ()) -> History:
    """Return the rows of a training's log; a log of Keras' `CSVLogger` has `error` from its `accuracy`.

    Args:
        run: the folder of a training, or its log.
        columns: that each row must have, beside `epoch` and `error`.

    Raises:
        ValueError: there is no log, or it has no error by epoch.
    """
    path = Path(run)
    path = path / LOG if path.is_dir() else path
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        rows = [
            {name: float(value) for name, value in line.items() if value not in ("", None, ABSENT)} for line in lines
        ]
        if rows and "accuracy" in rows[0]:
            rows = [row | {"epoch": row["epoch"] + 1, "error": 100 * (1 - row["accuracy"])} for row in rows]
        if not rows or not all({"epoch", "error", *columns} <= row.keys() for row in rows):
            raise ValueError(f"no {', '.join(('epoch', 'error', *columns))} in each row")
    except (OSError, ValueError, TypeError, AttributeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(
            f"Expected the folder of a training with {LOG}, or such a file. Received: {os.fspath(run)} ({reason})"
        ) from None
    return rows


def _folder(run: str | os.PathLike) -> Path:
    """Return the folder of a run that is given by its folder or by its log."""
    path = Path(run)
    return path.parent if path.name == LOG else path


def _described(run: str | os.PathLike) -> str:
    """Return the network and number of pictures of a run in brackets; "" of a log without its description beside it."""
    try:
        fields = json.loads((_folder(run) / DESCRIPTION).read_text("utf-8"))
        return f" ({fields['architecture']}, {fields['training']['pictures']:,} training pictures)"
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def relu_vs_tanh(relu: str | os.PathLike, tanh: str | os.PathLike) -> "Figure":
    """Return Figure 1 of the paper: the training error with ReLU and with tanh by epoch.

    Args:
        relu: the folder of a training with ReLU, its `log.csv`, or a log that `examples/figure1.py` writes.
        tanh: likewise with tanh.

    Raises:
        ValueError: one is none of these, or Matplotlib is not installed.
    """
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    needed = []
    for name, run, dashes, colour in (("ReLU", relu, "-", COLOURS[0]), ("tanh", tanh, "--", COLOURS[1])):
        history = read_history(run)
        epochs, errors = ([row[column] for row in history] for column in ("epoch", "error"))
        needed.append(epochs_to_target(errors))
        axes.plot(epochs, errors, dashes, color=colour, linewidth=2, label=name)
        if math.isfinite(needed[-1]):
            axes.plot(needed[-1], TARGET, "o", color=colour, label=f"{TARGET:g} % after {needed[-1]:.1f} epochs")
    axes.axhline(TARGET, color="grey", linestyle=":", linewidth=1)
    if all(map(math.isfinite, needed)):
        axes.set_title(
            f"In these trainings tanh needs {needed[1] / needed[0]:.1f} times as many epochs as ReLU", fontsize=10
        )
    _label_epochs(axes, "training error, mean over the epoch, %")
    axes.set_ylim(0, None)
    axes.legend()
    return figure


def epochs_to_target(errors: list[float]) -> float:
    """Return the number of epochs until an error in per cent is `TARGET`, interpolated linearly; inf if it never is."""
    for epoch, error in enumerate(errors):
        if error <= TARGET:
            before = max(errors[epoch - 1] if epoch else CHANCE, error)
            return epoch + ((before - TARGET) / (before - error) if before > error else 0)
    return math.inf
