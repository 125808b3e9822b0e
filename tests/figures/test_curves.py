"""The curve of a training is a PNG; without matplotlib the message names the package to install."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from tfalexnet.figures.curves import curve


def draw(history: list[dict[str, float]], folder: Path):
    """Return the axes of the curve that is written to a folder."""
    pyplot, drawn = pytest.importorskip("matplotlib.pyplot"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyplot, "close", drawn.append)
        curve(history, "net", folder / "curve.png")
    (figure,) = drawn
    (axes,) = figure.axes
    pyplot.close(figure)
    return axes


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_few_epochs_are_points_and_the_axis_shows_whole_epochs(epochs, tmp_path):
    row = {"error": 20.0, "validation_error": 30.0, "learning_rate": 0.01}
    axes = draw([row | {"epoch": i + 1} for i in range(epochs)], tmp_path)
    assert {line.get_marker() for line in axes.get_lines()} == {"o" if epochs < 40 else "None"}
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert len(axes.get_legend().get_texts()) == 2


def test_the_curve_is_drawn(tmp_path):
    history = [
        {"epoch": i + 1, "error": 50 - i, "validation_error": 60 - i, "learning_rate": 10.0 ** -(2 + i // 5)}
        for i in range(11)
    ]
    axes = draw(history, tmp_path)
    training, validation, change, second_change = axes.get_lines()
    assert list(training.get_xdata()) == list(range(1, 12)) and list(training.get_ydata()) == list(range(50, 39, -1))
    assert list(validation.get_ydata()) == list(range(60, 49, -1))
    assert list(change.get_xdata()) == [6, 6] and list(second_change.get_xdata()) == [11, 11]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["training", "validation", "lower learning rate"]
    assert axes.get_title() == "net: 50.00 % validation error"
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size == (700, 400) and len(image.convert("RGB").getcolors(1 << 16)) > 10


def test_without_matplotlib_the_message_names_the_package_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"The curve needs matplotlib: pip install 'tfalexnet\[plots\]'"):
        curve([], "net", tmp_path / "curve.png")
