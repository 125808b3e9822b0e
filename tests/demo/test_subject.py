"""What the page shows is what `predict`, `features` and Grad-CAM return, at the right place of the picture."""

import numpy as np
import pytest
from PIL import Image

import tfalexnet
from tfalexnet.analysis.heatmap import grad_cam
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.demo import subject as module
from tfalexnet.demo.subject import DIMMED, GAP, OPACITY, PIXELS, Subject


@pytest.fixture(scope="module")
def two(towers) -> Subject:
    return Subject(towers)


def tile_at(picture: np.ndarray, index: int, side: int, count: int, scale: int) -> np.ndarray:
    """A tile of a grid of `count` tiles with gaps of 1, without the gaps and the scale."""
    row, column = divmod(index, int(np.ceil(np.sqrt(count))))
    small = picture[::scale, ::scale]
    top, left = 1 + row * (side + 1), 1 + column * (side + 1)
    return small[top : top + side, left : left + side]


@pytest.mark.parametrize("weights", ["cifar10", None])
def test_the_answer_is_that_of_predict(weights, towers, photo):
    expected = tfalexnet.predict(photo, weights or towers)
    assert [p[:3] for p in Subject(weights or towers).answer(photo)] == [p[:3] for p in expected]


def test_classes_of_one_name_have_their_index(two):
    assert two.labels[:3] == ["crane (0)", "cat", "crane (2)"]


def test_layers_go_from_the_pixels_to_the_classifier(two):
    names = "conv1 norm1 pool1 conv2 norm2 pool2 conv3 conv4 conv5 pool5 fc6 fc7 fc8"
    assert two.layers == [PIXELS, *names.split()]
    assert Subject("cifar10").layers[-1] == "fc4"
    with pytest.raises(ValueError, match=r"Expected one of pixels, conv1, .* Received: 'fc9'"):
        two.maps("photo.png", "fc9")


def test_maps_of_the_two_towers_are_side_by_side_on_one_scale(two, photo):
    values = tfalexnet.features(photo, "conv1", two.path)["conv1"]
    picture, text = two.maps(photo, "conv1")
    side, channels = values.shape[1:]
    assert text == (
        f"{channels} maps of {side}×{side}; black is 0, white is {values.max():.3g}; the towers are side by side"
    )
    width = (picture.shape[1] - GAP) // 2
    scale = module.SIDE // (int(np.ceil(np.sqrt(channels // 2))) * (side + 1) + 1)
    for channel in range(channels):
        tower, index = divmod(channel, channels // 2)
        sheet = picture[:, :width] if tower == 0 else picture[:, width + GAP :]
        shown = tile_at(sheet, index, side, channels // 2, scale)[..., 0] / 255 * values.max()
        np.testing.assert_allclose(shown, values[..., channel], atol=values.max() / 500)


def test_numbers_are_cells_and_the_classifier_belongs_to_no_tower(two, photo):
    values = tfalexnet.features(photo, "fc8", two.path)["fc8"]
    picture, text = two.maps(photo, "fc8")
    cells = picture[:: module.SIDE // 5, :: module.SIDE // 5, 0].ravel()[:10] / 255
    low, high = min(0, values.min()), values.max()
    np.testing.assert_allclose(cells * (high - low) + low, values, atol=(high - low) / 500)
    assert text.startswith("10 numbers; black is") and "towers" not in text
    assert "towers" in two.maps(photo, "fc7")[1]


def test_pixels_are_what_the_network_sees(two, tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), "uint8"))
    image.save(tmp_path / "a.png")
    start = (256 - two.spec.preprocessing.crop) // 2
    seen = np.asarray(image)[start : start + two.spec.preprocessing.crop, start : start + two.spec.preprocessing.crop]
    picture, _ = two.maps(tmp_path / "a.png", PIXELS)
    np.testing.assert_array_equal(picture[::2, ::2], seen)


def test_filters_are_red_green_blue_in_two_towers(two):
    kernel = read_checkpoint(two.path).parameters["conv1"][0]  # Its channels are blue, green, red.
    side, _, count = kernel.shape[1:]
    picture = two.filters()
    width = (picture.shape[1] - GAP) // 2
    scale = module.SIDE // (int(np.ceil(np.sqrt(count // 2))) * (side + 1) + 1)
    shown = tile_at(picture[:, width + GAP :], 1, side, count // 2, scale) / 127.5 - 1
    np.testing.assert_allclose(shown, kernel[:, :, ::-1, count // 2 + 1] / np.abs(kernel).max(), atol=0.005)


def test_the_heatmap_is_orange_where_grad_cam_is(two, tmp_path):
    Image.new("RGB", (300, 200), (100, 100, 100)).save(tmp_path / "a.png")
    shown = two.heatmap(tmp_path / "a.png", "cat").astype(float)
    values = grad_cam(tmp_path / "a.png", two.path, 1)
    assert shown.shape == (200, 300, 3) and values.max() > 0
    assert (shown[:, :50] == 100 * DIMMED).all()  # Left of the centre that the network sees.
    margin = round(100 * (1 - two.spec.preprocessing.crop / 256))
    opacity = (100 - shown[margin : 200 - margin, 50 + margin : 250 - margin, 2]) / 100
    side = len(values)
    centres = ((np.arange(side) + 0.5) * len(opacity) / side).astype(int)
    expected = OPACITY * values / values.max()
    np.testing.assert_allclose(opacity[np.ix_(centres, centres)], expected, atol=0.05)
