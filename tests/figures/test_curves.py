"""The curve of a training is a PNG; without matplotlib the message names the package to install."""

import sys

import pytest
from PIL import Image

from tfalexnet.figures.curves import curve


def test_the_curve_is_drawn(tmp_path):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    history = [
        {"epoch": i + 1, "error": 50 - i, "validation_error": 60 - i, "learning_rate": 0.01 if i < 5 else 0.001}
        for i in range(10)
    ]
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyplot, "close", drawn.append)
        curve(history, "net", tmp_path / "curve.png")
    (figure,) = drawn
    (axes,) = figure.axes
    pyplot.close(figure)
    training, validation, change = axes.get_lines()
    assert list(training.get_xdata()) == list(range(1, 11)) and list(training.get_ydata()) == list(range(50, 40, -1))
    assert list(validation.get_ydata()) == list(range(60, 50, -1)) and list(change.get_xdata()) == [6, 6]
    assert axes.get_title() == "net: 51.00 % validation error"
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size == (700, 400) and len(image.convert("RGB").getcolors(1 << 16)) > 10


def test_without_matplotlib_the_message_names_the_package_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModuleNotFoundError, match=r"The curve needs matplotlib: pip install 'tfalexnet\[plots\]'"):
        curve([], "net", tmp_path / "curve.png")
