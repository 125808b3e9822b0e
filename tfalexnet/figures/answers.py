"""The best classes of photos as bars: Figure 4 of the paper, left."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, SupportsIndex

from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.evaluation.class_index import ClassIndex, find_class
from tfalexnet.figures.canvas import COLOURS, new_figure, require_matplotlib
from tfalexnet.figures.photo_panel import file_name, open_photo, short_name, show_input
from tfalexnet.hub.cache import Weights, find_weights
from tfalexnet.images.classes import Class
from tfalexnet.images.opening import Picture
from tfalexnet.inference.pipeline import as_sequence
from tfalexnet.inference.predict import Prediction, predict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, WIDTH = 4, 3.6  # Photos side by side, and the inches of one.
BELOW = 0.37  # Of a bar below the middle of its name, in rows.
OTHER, TRUE = COLOURS[4], COLOURS[3]  # Of bars.


def top5(
    photos: Picture | Sequence[Picture],
    weights: Weights | None = None,
    true_classes: int | str | Sequence[int | str] | None = None,
) -> "Figure":
    """Return a figure of photos, each with the five best classes as bars. The bar of the true class is marked.

    Args:
        photos: one or several, as for `tfalexnet.predict`.
        weights: as for `tfalexnet.predict`.
        true_classes: for each photo the index of its class, its WordNet id or its name; one for all of them, or None
            for the classes that the photos' folders are named after, if they are.

    Raises:
        ValueError: there is no such class, or there are not as many as photos; or Matplotlib is not installed.
        PictureError, WeightsNotFoundError, CheckpointError: as for `tfalexnet.predict`.
    """
    require_matplotlib()
    photos = list(as_sequence(photos)[0])
    if not photos:
        raise ValueError("Expected at least one photo. Received: none")
    path = find_weights(weights)
    spec = read_spec(path)
    classes, preprocessing = spec.classes, spec.require_preprocessing(path)
    true = _true_classes(photos, true_classes, classes)
    columns = min(COLUMNS, len(photos))
    rows = math.ceil(len(photos) / columns)
    figure = new_figure(WIDTH * columns, 5.6 * rows + 0.4)
    figure.suptitle(f"{spec.architecture.name}: best of {len(classes):,} classes", fontsize=11)
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    answers = predict(photos, path)
    for number, (photo, predictions, index) in enumerate(zip(photos, answers, true, strict=True)):
        row, column = divmod(number, columns)
        axes, image = grid[2 * row, column], open_photo(photo)
        show_input(axes, image, preprocessing.seen_box(image.height, image.width), file_name(photo))
        _draw_bars(grid[2 * row + 1, column], predictions, None if index is None else (index, classes[index].label))
    for number in range(len(photos), rows * columns):
        for row in (2 * rows - 2, 2 * rows - 1):
            grid[row, number % columns].set_axis_off()
    return figure


def _true_classes(
    photos: Sequence[Picture], given: int | str | Sequence[int | str] | None, classes: tuple[Class, ...]
) -> list[int | None]:
    """Return the index of the true class of each photo, None where it is not known."""
    if given is None:
        index = ClassIndex(classes)
        return [_class_of_folder(photo, index) for photo in photos]
    given = [given] * len(photos) if isinstance(given, str | SupportsIndex) else list(given)
    if len(given) == 1:
        given *= len(photos)
    if len(given) != len(photos):
        raise ValueError(f"Expected one true class, or one for each of {len(photos)} photos. Received: {len(given)}")
    return [find_class(class_, classes) for class_ in given]


def _class_of_folder(photo: Picture, index: ClassIndex) -> int | None:
    if not isinstance(photo, str | Path):
        return None
    indices = index.indices(Path(photo).absolute().parent.name)
    return indices[0] if len(indices) == 1 else None


def _draw_bars(axes: "Axes", predictions: Sequence[Prediction], true: tuple[int, str] | None) -> None:
    """Draw the probabilities of an answer, best above; `true` is the index and the name of the true class."""
    for position, prediction in enumerate(predictions):
        is_true = true is not None and prediction.index == true[0]
        axes.barh(position + BELOW, 100 * prediction.score, 0.35, color=TRUE if is_true else OTHER)
        text, weight = f"{short_name(prediction.label)}  {prediction.score:.1%}", "bold" if is_true else "normal"
        axes.text(0.5, position, text, va="center", weight=weight, fontsize=10)
    axes.set(xlim=(0, 100), ylim=(len(predictions) - 0.3, -0.5), yticks=[], xlabel="probability, %")
    if true is not None:
        is_found = any(prediction.index == true[0] for prediction in predictions)
        where = "orange" if is_found else "not among these"
        axes.set_title(f"true class, {where}:\n{short_name(true[1])}", fontsize=10)
