"""Which classes a network confuses, from the report of an evaluation."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfalexnet.figures.canvas import new_figure, require_matplotlib
from tfalexnet.figures.photo_panel import short_name, shortened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED, COUNTED = 40, 20  # Classes whose names, and whose numbers of pictures fit into a figure.
MOST = 3000  # Classes: a matrix of more has no room in memory or on a page.
TICKS = (0, 1, 5, 10, 25, 50, 100)  # Of the colours, whose scale is the root: small shares of errors differ visibly.
DARK = 30  # Shares in per cent on which black is not readable.
LISTED = 12  # Confusions that are listed where no names fit.
REPORT = "validation.json"  # In the folder of a training.


def confusion(report: str | os.PathLike) -> "Figure":
    """Return a figure of the answers to the pictures of each class.

    Colours are shares of the pictures of the true class, and numbers are pictures. Answers with classes of which there
    are no pictures are in one column. With more classes than names fit, the most frequent confusions are listed.

    Args:
        report: the JSON file of `tfalexnet evaluate --output`, or the folder of a training.

    Raises:
        ValueError: it is neither, or Matplotlib is not installed.
    """
    path = Path(report)
    path = path / REPORT if path.is_dir() else path
    try:
        fields = json.loads(path.read_text("utf-8"))
        names = {int(label): str(entry["name"]) for label, entry in fields["per_class"].items()}
        counts = [(int(label), int(best), int(count)) for label, best, count in fields["confusion"]]
        title = shortened(Path(fields["weights"]).name)
        if fields.get("architecture", title) != title:  # Absent in the report of a training.
            title = f"weights {title} of the network {fields['architecture']}"
        if not counts or not {label for label, _, _ in counts} <= set(names):
            raise ValueError("no answers")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"Expected a report of `tfalexnet evaluate --output`, or the folder of a training. Received: "
            f"{os.fspath(report)} ({error})"
        ) from None
    return draw_confusion(title, names, counts)


def draw_confusion(title: str, names: dict[int, str], counts: list[tuple[int, int, int]]) -> "Figure":
    """Return the figure of `confusion`.

    Args:
        title: its first line.
        names: of the true classes.
        counts: true class, best class, pictures.

    Raises:
        ValueError: there are more than `MOST` classes, or Matplotlib is not installed.
    """
    if len(names) > MOST:
        raise ValueError(f"Expected at most {MOST:,} classes for a confusion matrix. Received: {len(names):,}")
    require_matplotlib()
    from matplotlib.colors import PowerNorm

    places = {label: place for place, label in enumerate(names)}
    matrix = np.zeros((len(names), len(names) + 1), int)
    for label, best, count in counts:
        matrix[places[label], places.get(best, -1)] += count
    total, right = matrix.sum(), int(np.trace(matrix))
    columns = [*names.values(), "other classes"]
    if not matrix[:, -1].any():
        matrix, columns = matrix[:, :-1], columns[:-1]
    pictures = matrix.sum(axis=1)
    shares = 100 * matrix / np.maximum(pictures, 1)[:, None]
    errors = [
        f"{100 - share:.1f} %" if count else "–" for share, count in zip(np.diagonal(shares), pictures, strict=True)
    ]
    side = min(max(3.5, 0.42 * len(names)), 9) if len(names) <= NAMED else 6
    figure = new_figure(side + 3.2, side + 1.9)
    axes = figure.add_subplot(xlabel="answer", ylabel="true class, and its top-1 error")
    artist = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    bar = figure.colorbar(artist, ax=axes, label="colour: % of the row's pictures, root scale", shrink=0.7)
    bar.set_ticks(TICKS)
    axes.set_title(f"{title}\n{total:,} pictures, {100 * (1 - right / total):.2f} % top-1 error", fontsize=10)
    if len(names) <= NAMED:
        size = 9 if len(names) <= COUNTED else 6
        axes.set_xticks(range(len(columns)), map(short_name, columns), rotation=90, fontsize=size)
        labels = [f"{short_name(name)}  {error}" for name, error in zip(names.values(), errors, strict=True)]
        axes.set_yticks(range(len(names)), labels, fontsize=size)
    else:
        axes.set(xticks=[], yticks=[])
        axes.set_xlabel(_frequent(names, counts), fontsize=8, loc="left")
    if len(names) <= COUNTED:
        axes.set_xlabel("answer (numbers: pictures)")
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > DARK else "black" if count else "0.6"
            axes.text(column, row, f"{count}", ha="center", va="center", fontsize=7, color=colour)
    return figure


def _frequent(names: dict[int, str], counts: list[tuple[int, int, int]]) -> str:
    """Return the most frequent confusions as lines."""
    wrong = sorted((entry for entry in counts if entry[0] != entry[1]), key=lambda entry: -entry[2])
    lines = [
        f"{count} × {short_name(names[label])} → {short_name(names.get(best, f'class {best}'))}"
        for label, best, count in wrong[:LISTED]
    ]
    return "\n".join(["answer (columns in the order of the rows). Most frequent:", *lines])
