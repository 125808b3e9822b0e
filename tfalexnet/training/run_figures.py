"""The figures in the folder of a run, drawn after the last epoch."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfalexnet.figures.canvas import save
from tfalexnet.figures.confusion_matrix import REPORT, confusion
from tfalexnet.figures.kernel_grid import draw_epochs
from tfalexnet.figures.training_curves import History, draw_curves
from tfalexnet.images.classes import Class
from tfalexnet.io.files import atomic_write
from tfalexnet.networks.spec import Architecture
from tfalexnet.training.events import read_filters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVE, CONFUSION, FILTERS = "curve.png", "confusion.png", "filters.png"


def write_report(folder: Path, weights: str, classes: tuple[Class, ...], counts: Counter[tuple[int, int]]) -> None:
    """Write the answers to the validation pictures as the part of a report of `evaluate` that figures read.

    Args:
        folder: of the run.
        weights: their name.
        classes: of the network.
        counts: pictures by true class and best class.
    """
    read: Counter[int] = Counter()
    for (label, _), count in counts.items():
        read[label] += count
    report = {
        "weights": weights,
        "per_class": {
            str(label): {"wnid": classes[label].wnid, "name": classes[label].label, "read": read[label]}
            for label in sorted(read)
        },
        "confusion": [[label, best, count] for (label, best), count in sorted(counts.items())],
    }
    with atomic_write(folder / REPORT) as temporary:
        temporary.write_text(f"{json.dumps(report, indent=1)}\n", "ascii")


def write_figures(folder: Path, net: Architecture, history: History) -> None:
    """Write the curves, the confusion of the validation pictures, and the filters of the first layer by epoch.

    A figure that cannot be drawn, for example because Matplotlib is not installed, is reported.
    """
    try:
        for name, figure in _figures(folder, net, history):
            save(figure, folder / name, overwrite=True)
    except ValueError as error:
        print(f"No figures: {error}")


def _figures(folder: Path, net: Architecture, history: History) -> Iterator[tuple[str, "Figure"]]:
    yield CURVE, draw_curves({net.name: history})
    layer = net.weighted[0].name
    epochs = {int(row["step"]): int(row["epoch"]) for row in history}
    sheets = {epochs[step]: sheet for step, sheet in read_filters(folder, layer).items() if step in epochs}
    if sheets:
        yield FILTERS, draw_epochs(f"{net.name}: filters of {layer}", sheets)
    if (folder / REPORT).exists():  # Not in a run that an older version completed.
        yield CONFUSION, confusion(folder)
