"""The curve of a training: error by epoch."""

import itertools
from pathlib import Path

MARKED = 20  # Epochs that are marked as points; a single one is no line.


def curve(history: list[dict[str, float]], title: str, path: Path) -> None:
    """Write the errors in training and validation by epoch as a PNG.

    Dotted lines mark the epochs in which the learning rate drops below a fifth of the one before. Points mark the
    epochs, if there are few.

    Args:
        history: a row for each epoch with `epoch`, `error` and `validation_error` in per cent, `learning_rate`.
        title: begins the title of the figure.
        path: of the PNG.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise ModuleNotFoundError("The curve needs matplotlib: pip install 'tfalexnet[plots]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    epochs = [row["epoch"] for row in history]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    marker = "o" if len(history) <= MARKED else None
    axes.plot(epochs, [row["error"] for row in history], marker=marker, label="training")
    axes.plot(epochs, [row["validation_error"] for row in history], marker=marker, label="validation")
    rates = itertools.pairwise(history)
    drops = [row["epoch"] for before, row in rates if row["learning_rate"] < 0.2 * before["learning_rate"]]
    for number, epoch in enumerate(drops):
        label = None if number else "lower learning rate"
        axes.axvline(epoch, color="grey", linestyle=":", linewidth=1, label=label)
    axes.xaxis.set_major_locator(pyplot.MaxNLocator(integer=True, min_n_ticks=1))
    last = history[-1]["validation_error"]
    axes.set(xlabel="epoch", ylabel="top-1 error, %", ylim=(0, None), title=f"{title}: {last:.2f} % validation error")
    axes.legend()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
