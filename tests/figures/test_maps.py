"""Maps over a photo hold the values of `tfalexnet.analysis`, at their place."""

import numpy as np
import pytest
from support.command import run
from support.faded import faded_and_kept
from support.pictures import noise
from support.weights import write_small

import tfalexnet
from tfalexnet import figures
from tfalexnet.analysis.class_map import class_map
from tfalexnet.analysis.heatmap import POSITIONS, SHARE, covering_squares, grad_cam, occlusion
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
    """The values over a photo, whose place is checked; what is around them is faded."""
    _, artist = axes.get_images()
    top, left, bottom, right = box
    assert artist.get_extent() == pytest.approx([left, right, bottom, top])
    faded, kept = faded_and_kept(axes)
    assert faded == (0, 0, axes.get_xlim()[1], axes.get_ylim()[0]) and kept == pytest.approx((left, top, right, bottom))
    return np.asarray(artist.get_array())


def outlined(axes) -> list[tuple[float, float, float, float]]:
    """Top, left, bottom and right of the outlines, each of which is two lines."""
    edges = [patch.get_bbox() for patch in axes.patches if not patch.get_fill()]
    assert all(one.bounds == other.bounds for one, other in zip(edges[::2], edges[1::2], strict=True))
    return [(edge.y0, edge.x0, edge.y1, edge.x1) for edge in edges[::2]]


def test_grad_cam_covers_what_the_network_sees(weights):
    (picture,) = noise(1, (60, 80))
    figure = figures.heatmap(picture, weights)
    photo, over = figure.axes
    best = tfalexnet.predict(picture, weights)[0]
    assert photo.get_title() == f"{best.label}: {best.score:.1%}"
    expected = grad_cam(picture, weights)
    layer = NETWORKS.get(weights.name.split(".")[0])
    size = "×".join(map(str, expected.shape))
    assert over.get_title() == f"Grad-CAM at {layer}, {size} values, interpolated"
    assert over.child_axes[0].get_ylabel() == "share of the largest value"
    assert figure.get_suptitle().startswith(f"{read_spec(weights).architecture.name}\nwhat the score of “{best.label}”")
    box = read_spec(weights).preprocessing.seen_box(60, 80)
    assert outlined(photo) == [pytest.approx(box)]
    values = placed_map(over, box)
    colours = over.get_images()[1].to_rgba(np.array([0, 0.5, 1]))  # Transparent at 0.
    assert colours[:, 3] == pytest.approx([0, 0.4, 0.8], abs=0.01)
    np.testing.assert_allclose(values, expected / (expected.max() or 1), atol=1e-6)
    assert (*over.get_xlim(), *over.get_ylim()) == (0, 80, 60, 0)


def test_occlusion_of_a_class():
    (picture,) = noise(1, (80, 60))
    photo, over = figures.heatmap(picture, "cifar10", "ship", "occlusion").axes
    score = next(answer.score for answer in tfalexnet.predict(picture, "cifar10", top=10) if answer.label == "ship")
    assert photo.get_title() == f"ship: {score:.1%}"
    assert over.child_axes[0].get_ylabel() == "probability lost, % points"
    _, square = outlined(photo)
    box = read_spec(find_weights("cifar10")).preprocessing.seen_box(80, 60)
    assert square == list(covering_squares(box, POSITIONS, SHARE))[7 * 14 + 7]
    values = placed_map(over, read_spec(find_weights("cifar10")).preprocessing.seen_box(80, 60))
    np.testing.assert_allclose(values, 100 * occlusion(picture, "cifar10", "ship"), atol=1e-4)
    low, high = over.get_images()[1].get_clim()
    assert -low == high == pytest.approx(abs(values).max())
    assert over.get_images()[1].to_rgba(np.array([low, 0, high]))[:, 3] == pytest.approx([0.8, 0, 0.8], abs=0.01)


def test_the_class_map_shows_the_best_classes_and_the_probability_of_one(weights):
    (picture,) = noise(1, (60, 80))
    probabilities, box, window, classes = class_map(picture, weights)
    figure = figures.class_map(picture, weights)
    photo, best, one = figure.axes
    index = probabilities.mean(axis=(0, 1)).argmax()
    assert one.get_title() == f"“{classes[index].label}” in the part" and photo.get_title() == "photo"
    np.testing.assert_allclose(placed_map(one, box), probabilities[..., index], atol=1e-6)
    (part,), (cell,) = outlined(photo), outlined(one)
    assert outlined(best) == [cell] and part[2] - part[0] == pytest.approx(window)
    assert np.add(part[:2], part[2:]) == pytest.approx(np.add(cell[:2], cell[2:]))  # Of one centre.
    cells = np.divide(np.subtract(box[2:], box[:2]), probabilities.shape[:2])
    assert np.subtract(cell[2:], cell[:2]) == pytest.approx(cells)
    (*names, last) = [text.get_text() for text in figure.legends[0].get_texts()]
    colours = [to_hex(patch.get_facecolor()).upper() for patch in figure.legends[0].get_patches()]
    assert colours[: len(MAP_COLOURS)] == list(MAP_COLOURS)[: len(colours)]
    ranks, winners = placed_map(best, box), probabilities.argmax(axis=-1)
    for rank, name in enumerate([*names, last]):
        labels = {classes[winner].label for winner in winners[ranks == rank]}
        assert labels == {name} or name == f"{len(labels)} other class{'es' if len(labels) > 1 else ''}"


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
