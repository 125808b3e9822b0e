"""The grid of kernels shows the weights of the layer that was asked for."""

import pytest
from support.command import run

from tfalexnet import figures


def test_the_grid_has_a_tile_for_each_kernel():
    pytest.importorskip("matplotlib")
    (axes,) = figures.filters("cifar10").axes
    (image,) = axes.get_images()
    rows, columns = 6, 6  # 32 kernels of 5×5, 4 pixels a weight, a gap of one weight.
    assert image.get_array().shape == (4 * (rows * 6 + 1), 4 * (columns * 6 + 1), 3)
    with pytest.raises(ValueError, match="Expected one of conv1, conv2, conv3. Received: fc4"):
        figures.filters("cifar10", layer="fc4")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_command_writes_the_figure(suffix, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    output = tmp_path / f"f.{suffix}"
    result = run(capsys, "figure", "filters", "--weights", "cifar10", "--output", output)
    assert result.returncode == 0, result.stderr
    assert output.stat().st_size > 1000
