"""Maps over a photo hold the values of `tfalexnet.analysis`, at their place."""

import numpy as np
import pytest
from support.command import run
from support.pictures import noise
from support.weights import write_small

import tfalexnet
from tfalexnet import figures
from tfalexnet.analysis.class_map import class_map
from tfalexnet.analysis.heatmap import grad_cam, occlusion, seen_box
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.figures.maps import MAP_COLOURS
from tfalexnet.hub.cache import find_weights

pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex

NETWORKS = {"cifar10": "conv3", "bvlc_alexnet": "conv5", "one_weird_trick": "conv5"}


@pytest.fixture(params=NETWORKS)
def weights(request, tmp_path):
    if request.param == "cifar10":
        return find_weights("cifar10")
    return write_small(tmp_path / f"{request.param}.weights.h5", request.param)


def placed_map(axes, box) -> np.ndarray:
    """The values over a photo, whose place is checked."""
    _, artist = axes.get_images()
    top, left, bottom, right = box
    assert artist.get_extent() == pytest.approx([left, right, bottom, top])
    return np.asarray(artist.get_array())


def test_grad_cam_covers_what_the_network_sees(weights):
    (picture,) = noise(1, (60, 80))
    photo, over, bar = figures.heatmap(picture, weights).axes
    best = tfalexnet.predict(picture, weights)[0]
    assert photo.get_title() == f"{best.label}  {best.score:.1%}"
    layer = NETWORKS.get(weights.name.split(".")[0])
    assert over.get_title() == f"Grad-CAM of {layer}" and bar.get_ylabel() == "share of the largest value"
    values = placed_map(over, seen_box(read_spec(weights).preprocessing, 60, 80))
    expected = grad_cam(picture, weights)
    np.testing.assert_allclose(values, expected / (expected.max() or 1), atol=1e-6)
    assert (*over.get_xlim(), *over.get_ylim()) == (0, 80, 60, 0)


def test_occlusion_of_a_class():
    (picture,) = noise(1, (80, 60))
    photo, over, bar = figures.heatmap(picture, "cifar10", "ship", "occlusion").axes
    score = next(answer.score for answer in tfalexnet.predict(picture, "cifar10", top=10) if answer.label == "ship")
    assert photo.get_title() == f"ship  {score:.1%}" and bar.get_ylabel() == "probability lost, percentage points"
    values = placed_map(over, seen_box(read_spec(find_weights("cifar10")).preprocessing, 80, 60))
    np.testing.assert_allclose(values, 100 * occlusion(picture, "cifar10", "ship"), atol=1e-4)
    low, high = over.get_images()[1].get_clim()
    assert -low == high == pytest.approx(abs(values).max())


def test_the_class_map_shows_the_best_classes_and_the_probability_of_one(weights):
    (picture,) = noise(1, (60, 80))
    probabilities, box, classes = class_map(picture, weights)
    photo, best, one, _ = figures.class_map(picture, weights).axes
    index = probabilities.mean(axis=(0, 1)).argmax()
    assert one.get_title() == f"probability of {classes[index].label}" and photo.get_title() == "photo"
    np.testing.assert_allclose(placed_map(one, box), probabilities[..., index], atol=1e-6)
    (*names, last) = [text.get_text() for text in best.get_legend().get_texts()]
    colours = [to_hex(patch.get_facecolor()).upper() for patch in best.get_legend().get_patches()]
    assert colours[: len(MAP_COLOURS)] == list(MAP_COLOURS)[: len(colours)]
    ranks, winners = placed_map(best, box), probabilities.argmax(axis=-1)
    for rank, name in enumerate([*names, last]):
        labels = {classes[winner].label for winner in winners[ranks == rank]}
        assert labels == {name} or name == f"others ({len(labels)})"


def test_mistakes_are_named():
    (picture,) = noise(1)
    with pytest.raises(ValueError, match="Expected `method` to be one of grad-cam, occlusion. Received: 'saliency'"):
        figures.heatmap(picture, "cifar10", method="saliency")
    with pytest.raises(ValueError, match="Expected `layer` with method='grad-cam' only. Received: 'conv1'"):
        figures.heatmap(picture, "cifar10", method="occlusion", layer="conv1")
    for function in (figures.heatmap, figures.class_map):
        with pytest.raises(ValueError, match="Expected the WordNet id, name or index of a class"):
            function(picture, "cifar10", "zebra")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("heatmap", ["--class", "cat"]), ("heatmap", ["--method", "occlusion"]), ("class-map", ["--size", 40])],
)
def test_the_commands_write_the_figures(name, arguments, photo, tmp_path, capsys):
    output = tmp_path / "f.svg"
    result = run(capsys, "figure", name, photo, "--weights", "cifar10", *arguments, "--output", output)
    assert result.returncode == 0, result.stderr
    assert output.stat().st_size > 10000
