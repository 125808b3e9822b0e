"""The grid of kernels shows the weights of the layer that was asked for, in the colours that it reads."""

import numpy as np
import pytest
from support.command import run
from support.weights import write_small

from tfalexnet import figures
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.hub.cache import find_weights

pytest.importorskip("matplotlib")


def shown_kernels(axes, size: int, columns: int, count: int) -> np.ndarray:
    """The kernels read back from a panel, -1 to 1, (count, size, size) or with colours."""
    levels = np.asarray(axes.get_images()[0].get_array(), float) / 127.5 - 1
    corners = [divmod(number, columns) for number in range(count)]
    starts = [(1 + row * (size + 1), 1 + column * (size + 1)) for row, column in corners]
    return np.stack([levels[top : top + size, left : left + size] for top, left in starts])


def test_the_towers_of_conv1_are_apart_and_in_rgb(tmp_path):
    path = write_small(tmp_path / "net.weights.h5", "bvlc_alexnet")  # 12 kernels that read BGR.
    kernel, _ = read_checkpoint(path).parameters["conv1"]
    figure = figures.filters(path)
    assert figure.get_suptitle() == "bvlc_alexnet, conv1: 12 kernels of 11×11×3"
    assert [axes.get_title() for axes in figure.axes] == ["tower 1, kernels 0–5", "tower 2, kernels 6–11"]
    expected = np.moveaxis(kernel[:, :, ::-1] / abs(kernel).max(), 3, 0)
    received = np.concatenate([shown_kernels(axes, 11, 3, 6) for axes in figure.axes])
    np.testing.assert_allclose(received, expected, atol=1 / 127)
    assert [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes] == [["0", "3"], ["6", "9"]]
    assert [list(axes.get_yticks()) for axes in figure.axes] == [[6, 18]] * 2  # The middles of 11 after a gap of 1.
    assert figure.axes[1].get_xlabel().startswith("red, green and blue are the weights")


@pytest.mark.parametrize("channel", [None, 2])
def test_other_layers_show_the_mean_of_their_channels_or_one(channel, tmp_path):
    path = write_small(tmp_path / "net.weights.h5", "one_weird_trick")  # A single tower.
    kernel, _ = read_checkpoint(path).parameters["conv2"]
    (axes,) = figures.filters(path, "conv2", channel).axes
    expected = kernel.mean(axis=2) if channel is None else kernel[:, :, channel]
    received = shown_kernels(axes, 5, 6, 24)
    np.testing.assert_allclose(received, np.moveaxis(expected / abs(expected).max(), 2, 0), atol=1 / 127)
    assert axes.get_xlabel().startswith("means of" if channel is None else "weights of input channel 2:")


def test_shipped_weights_that_read_rgb():
    kernel, _ = read_checkpoint(find_weights("cifar10")).parameters["conv1"]
    (axes,) = figures.filters("cifar10").axes
    np.testing.assert_allclose(
        shown_kernels(axes, 5, 8, 32), np.moveaxis(kernel / abs(kernel).max(), 3, 0), atol=1 / 127
    )


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="Expected one of conv1, conv2, conv3. Received: fc4"):
        figures.filters("cifar10", layer="fc4")
    with pytest.raises(ValueError, match="Expected `channel` from 0 to 31. Received: 32"):
        figures.filters("cifar10", layer="conv2", channel=32)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_command_writes_the_figure(suffix, tmp_path, capsys):
    output = tmp_path / f"f.{suffix}"
    result = run(capsys, "figure", "filters", "--weights", "cifar10", "--channel", 0, "--output", output)
    assert result.returncode == 0, result.stderr
    assert output.stat().st_size > 1000
