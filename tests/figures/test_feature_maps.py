"""Feature maps are those of `features`, and the receptive field is drawn where it is in the photo."""

import numpy as np
import pytest
from support.command import run
from support.faded import faded_and_kept
from support.pictures import noise
from support.weights import write_small

import tfalexnet
from tfalexnet import figures

pytest.importorskip("matplotlib")

# Layers, of which the last two are a normalisation and what it reads.
LAYERS = {"cifar10": [], "krizhevsky2012": ["conv5", "conv1", "norm1"], "bvlc_caffenet": ["pool1", "norm1"]}
OPERATIONS = {
    ("krizhevsky2012", "conv5"): "conv5, with relu",
    ("krizhevsky2012", "conv1"): "conv1, with relu",
    ("krizhevsky2012", "norm1"): "norm1, after conv1",
    ("bvlc_caffenet", "norm1"): "norm1, after pool1",
}


def maps_of(axes, shape) -> np.ndarray:
    """The maps read back from a panel, (height, width, channels)."""
    sheet = np.ma.filled(axes.get_images()[0].get_array().astype(float), np.nan)
    height, width, channels = shape
    columns, gap = int(np.ceil(np.sqrt(channels))), max(1, height // 12)
    corners = [divmod(number, columns) for number in range(channels)]
    starts = [(gap + row * (height + gap), gap + column * (width + gap)) for row, column in corners]
    return np.stack([sheet[top : top + height, left : left + width] for top, left in starts], axis=2)


@pytest.mark.parametrize("name", LAYERS)
def test_the_panels_are_the_feature_maps_and_norms_share_the_scale(name, tmp_path):
    weights = name if name == "cifar10" else write_small(tmp_path / "net.weights.h5", name)
    layers = LAYERS[name] or ["conv1", "conv2:pre"]
    (photo,) = noise(1, (60, 80))
    figure = figures.activations(photo, layers, weights)
    expected = tfalexnet.features(photo, layers, weights)
    seen, *panels = [axes for axes in figure.axes if axes.get_images() and axes.get_title()]
    assert seen.get_title() == "input of the network"
    for axes, (layer, array) in zip(panels, expected.items(), strict=True):
        title, shape = axes.get_title().split("\n")
        assert title == OPERATIONS.get((name, layer), layer)
        assert shape == f"{array.shape[2]} maps of {array.shape[0]}×{array.shape[1]}"
        np.testing.assert_allclose(maps_of(axes, array.shape), array, rtol=1e-5)
    limits = [axes.get_images()[0].get_clim() for axes in panels]
    arrays = list(expected.values())
    for (low, high), array in zip(limits, arrays, strict=True):
        assert low == (-high if array.min() < 0 else 0)
    if name != "cifar10":
        assert limits[-1] == limits[-2] == (0, pytest.approx(max(arrays[-1].max(), arrays[-2].max())))
        assert len(set(limits)) == len(limits) - 1


def test_layers_without_maps_are_named():
    with pytest.raises(ValueError, match="Expected layers with rows and columns. Received: fc4, prob"):
        figures.activations(noise(1)[0], "conv1,fc4,prob", "cifar10")


# The part of a photo of 256×512 pixels: squashed to 256×256, of which the centre 227×227 is the input.
CENTRE = {
    "bvlc_alexnet": ("conv5", 163, 16, 64),
    "krizhevsky2012": ("conv1", 11, 4, 0),
    "bvlc_caffenet": ("pool5", 195, 32, 64),
}


@pytest.mark.parametrize("name", CENTRE)
def test_the_field_is_drawn_where_the_input_comes_from(name, tmp_path):
    layer, size, stride, padding = CENTRE[name]
    weights = write_small(tmp_path / "net.weights.h5", name)
    figure = figures.receptive_field(noise(1, (256, 512))[0], layer, weights)
    (axes,) = figure.axes
    entire, right, middle = [patch.get_bbox() for patch in axes.patches if not patch.get_fill()]
    faded, kept = faded_and_kept(axes)
    assert faded == pytest.approx((axes.get_xlim()[0], axes.get_ylim()[1], axes.get_xlim()[1], axes.get_ylim()[0]))
    assert kept == pytest.approx(entire.extents)
    whole = 512 if name != "krizhevsky2012" else 256  # The paper's shorter side.
    across = whole / 256
    assert (entire.width, entire.height) == pytest.approx((227 * across, 227))
    assert (middle.width, middle.height) == pytest.approx((size * across, size))
    assert right.x0 - middle.x0 == pytest.approx(stride * across) and right.y0 == middle.y0
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert f"{size}×{size} pixels" in labels[2] and f"stride {stride} pixels" in labels[1]
    assert (f"reaches {padding} pixels beyond the input" in axes.get_title()) == bool(padding)
    if layer == "conv5":  # Position (6, 6) of 13×13 is the middle of the input, up to a pixel.
        assert (middle.x0 + middle.width / 2, middle.y0 + middle.height / 2) == pytest.approx((256, 128), abs=2)


@pytest.mark.parametrize("arguments", [("activations", "conv1", "conv2"), ("receptive-field", "conv3")])
def test_the_commands_write_the_figures(arguments, photo, tmp_path, capsys):
    output = tmp_path / "f.svg"
    result = run(capsys, "figure", *arguments, photo, "--weights", "cifar10", "--output", output)
    assert result.returncode == 0, result.stderr
    assert output.stat().st_size > 10000


def test_a_layer_without_position_is_named():
    with pytest.raises(ValueError, match="with rows and columns: conv1, .* Received: 'fc4'"):
        figures.receptive_field(noise(1)[0], "fc4", "cifar10")
