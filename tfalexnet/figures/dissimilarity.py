"""Dissimilarity matrices of layers, side by side."""

import itertools
import math
import os
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tfalexnet.analysis.rdm import METRICS, Metric, percentiles
from tfalexnet.analysis.rdm import rdm as dissimilarities
from tfalexnet.figures.canvas import colour_bar, new_figure, require_matplotlib
from tfalexnet.figures.photo_panel import shortened
from tfalexnet.images.opening import Picture
from tfalexnet.inference.features import extract_features

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 3.4  # Inches of a panel.
COLUMNS = 4  # Panels of a row, at most.
COLOURS = "viridis"  # Its lightness rises steadily: readable in grey and with any colour vision.
NAMED_CLASSES = 24  # The names of more classes would overlap.
LABELS = {"correlation": "1 − correlation", "cosine": "1 − cosine", "euclidean": "Euclidean distance"}

Group = tuple[str, int, int]
"""A class: its name, its first picture, and the number of its pictures."""


def rdm(
    images: str | os.PathLike | Iterable[Picture],
    layers: str | Iterable[str] = "fc7",
    weights: str | os.PathLike | None = None,
    metric: Metric = "correlation",
    scale: Literal["rank", "raw"] = "rank",
) -> "Figure":
    """Return a figure of the dissimilarity of each two pictures, a panel for each layer.

    Args:
        images: a folder, whose sub-folders are marked as classes, or pictures as `tfalexnet.extract_features` takes
            them. Those that cannot be read are left out, with a warning.
        layers: as for `tfalexnet.features`.
        weights: as for `tfalexnet.predict`.
        metric: "correlation", "cosine" or "euclidean"; see `tfalexnet.rdm`.
        scale: "rank" colours the rank of each dissimilarity among those of its matrix, 0 for the least and 100 for the
            largest, so that layers can be compared; "raw" the dissimilarity itself. NaN, and the diagonal
            of ranks, are grey.

    Raises:
        ValueError: an argument is out of its range, fewer than two pictures can be read, or Matplotlib is not
            installed.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`.
    """
    import h5py

    for name, value, choices in (("metric", metric, METRICS), ("scale", scale, ("rank", "raw"))):
        if value not in choices:
            raise ValueError(f"Expected `{name}` to be one of {', '.join(choices)}. Received: {value!r}")
    require_matplotlib()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "features.h5")
        if errors := extract_features(images, path, layers, weights):
            warnings.warn(f"left out {len(errors)} pictures that cannot be read: {errors[0]}, …", stacklevel=2)
        with h5py.File(path) as file:
            files, net = list(file["files"].asstr()[:]), file.attrs["architecture"]
            matrices = {
                layer: dissimilarities(file[layer], metric, square=True) for layer in file.attrs["layers"].split(", ")
            }
    if len(files) < 2:
        raise ValueError(f"Expected at least two pictures. Received: {len(files)}")
    is_folder = isinstance(images, str | os.PathLike) and Path(images).is_dir()
    groups = _groups(files) if is_folder else []
    return _draw(matrices, f"{net}, {len(files)} pictures", LABELS[metric], scale, groups)


def _groups(files: list[str]) -> list[Group]:
    """Return the sub-folders of sorted relative names; pictures in the folder itself have no name."""
    names = [file.partition("/")[0] if "/" in file else "" for file in files]
    runs = [(name, len(list(run))) for name, run in itertools.groupby(names)]
    starts = itertools.accumulate((count for _, count in runs), initial=0)
    return [(name, start, count) for (name, count), start in zip(runs, starts, strict=False)]


def _draw(matrices: dict[str, np.ndarray], title: str, label: str, scale: str, groups: list[Group]) -> "Figure":
    columns = min(COLUMNS, math.ceil(math.sqrt(len(matrices))))
    rows = math.ceil(len(matrices) / columns)
    bar = 0.9 if scale == "raw" else 0  # Inches beside each panel.
    figure = new_figure((SIDE + bar) * columns + 2.2, (SIDE + 0.7) * rows + 1.5)
    panels = []
    for number, (layer, matrix) in enumerate(matrices.items()):
        above = np.triu_indices(len(matrix), 1)
        values, limits = matrix, {}
        if scale == "rank":
            values, limits = np.full_like(matrix, np.nan), {"vmin": 0, "vmax": 100}
            values[above] = values.T[above] = percentiles(matrix[above])
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.set_title(layer + _means(scale, values[above], groups), fontsize=10)
        image = axes.imshow(values, cmap=COLOURS, interpolation="nearest", **limits)
        axes.set_facecolor("0.7")  # Shows where there is no value.
        is_lowest = number + columns >= len(matrices)
        _mark(axes, groups, beside=number % columns == 0, below=is_lowest)
        panels.append(axes)
        if scale == "raw":
            colour_bar(axes, image, label)
    of = "rank of " if scale == "rank" else ""
    figure.suptitle(f"{title}\n{of}{label} of the features of each pair", fontsize=11)
    if scale == "rank":
        meaning = "rank among the pairs of the same panel, %\n0: the most similar pair; grey: no value"
        figure.colorbar(image, ax=panels, label=meaning, shrink=0.8, aspect=20 * rows)
    return figure


def _means(scale: str, pairs: np.ndarray, groups: list[Group]) -> str:
    """Return the mean of the pairs within the classes and of those between them as two lines; "" without both.

    Args:
        scale: "rank" of values in per cent, or "raw".
        pairs: the values above the diagonal, row by row.
        groups: the classes.
    """
    if not groups:
        return ""
    classes = np.repeat(np.arange(len(groups)), [count for *_, count in groups])
    is_within = np.equal.outer(classes, classes)[np.triu_indices(len(classes), 1)]
    known = ~np.isnan(pairs)
    within, between = (pairs[known & part] for part in (is_within, ~is_within))
    if not within.size or not between.size:
        return ""
    within, between = within.mean(), between.mean()
    if scale == "rank":
        return f"\nmean rank {within:.1f} % within classes,\n{between:.1f} % between them"
    return f"\nmean {within:.3g} within classes,\n{between:.3g} between them"


def _mark(axes: "Axes", groups: list[Group], beside: bool, below: bool) -> None:
    """Draw lines between classes, and their names beside and below the panel."""
    for _, start, _ in groups[1:]:
        axes.axhline(start - 0.5, color="white", linewidth=0.6)
        axes.axvline(start - 0.5, color="white", linewidth=0.6)
    shown = groups if len(groups) <= NAMED_CLASSES else []
    middles, names = [start + (count - 1) / 2 for _, start, count in shown], [shortened(name) for name, *_ in shown]
    axes.set_yticks(middles, names if beside else [""] * len(names), fontsize=8)
    axes.set_xticks(middles, names if below else [""] * len(names), fontsize=8, rotation=90)
    axes.tick_params(length=0)
