"""Figures hold the numbers that they show."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tfalexnet.figures.curves import curve
from tfalexnet.figures.kernels import filters


@pytest.mark.parametrize("channels", [1, 3])
def test_every_filter_is_where_it_belongs(channels):
    kernel = np.random.default_rng(0).normal(size=(5, 4, channels, 7)).astype("f4")
    sheet = filters(kernel, enlarged=2, gap=1)
    assert sheet.dtype == np.uint8 and sheet.shape == (2 * (3 * 6 + 1), 2 * (3 * 5 + 1), channels)
    small = sheet[::2, ::2]
    np.testing.assert_array_equal(small.repeat(2, axis=0).repeat(2, axis=1), sheet)
    for i in range(7):
        top, left = 1 + i // 3 * 6, 1 + i % 3 * 5
        shown = small[top : top + 5, left : left + 4].astype(float) / 127.5 - 1
        np.testing.assert_allclose(shown, kernel[..., i] / np.abs(kernel).max(), atol=1 / 127)
    assert not small[13:, 6:].any()  # No eighth or ninth filter.
    assert (filters(np.zeros((2, 2, 3, 1), "f4"), 1, 0) == 128).all()


def test_the_curve_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    history = [
        {"epoch": i + 1, "error": 50 - i, "validation_error": 60 - i, "learning_rate": 0.01 if i < 5 else 0.001}
        for i in range(10)
    ]
    curve(history, "net", tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size == (700, 400) and len(image.convert("RGB").getcolors(1 << 16)) > 10


def test_without_matplotlib_the_way_out_is_said():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from tfalexnet.figures import curves as figures\n"
        "figures.curve([], 'net', 'curve.png')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ModuleNotFoundError: The curve needs matplotlib: pip install 'tfalexnet[plots]'" in run.stderr
