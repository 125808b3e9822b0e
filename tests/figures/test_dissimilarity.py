"""The panels of dissimilarity matrices show SciPy's numbers, with the classes where their pictures are."""

import math

import numpy as np
import pytest
from PIL import Image
from support.command import run
from support.nets import random_parameters, small
from support.pictures import noise

import tfalexnet
from tfalexnet import figures
from tfalexnet.analysis.rdm import METRICS
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.cli import figure as cli_figure
from tfalexnet.images.classes import numbered_classes
from tfalexnet.networks.catalog import ARCHITECTURES

pytest.importorskip("matplotlib")
distance = pytest.importorskip("scipy.spatial.distance")
stats = pytest.importorskip("scipy.stats")

CLASSES = {"cat": 3, "dog": 2, "emu": 4}
COUNT = 9
BARS = {"correlation": "1 − correlation", "cosine": "1 − cosine", "euclidean": "Euclidean distance"}


@pytest.fixture
def folder(tmp_path):
    pictures = iter(noise(COUNT))
    for name, count in CLASSES.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(next(pictures)).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture(params=["cifar10", "mnist_28", "bvlc_alexnet"])
def weights(request, tmp_path):
    """The shipped weights, and two other networks with random ones."""
    if request.param == "cifar10":
        return "cifar10"
    net = small(ARCHITECTURES[request.param])
    spec = ModelSpec(net, PREPROCESSING[request.param], numbered_classes(net.classes))
    write_checkpoint(tmp_path / "net.weights.h5", Checkpoint(random_parameters(net), spec))
    return tmp_path / "net.weights.h5"


def shown(axes):
    (image,) = axes.get_images()
    return np.ma.filled(image.get_array().astype(float), np.nan)


def triangles(folder, layers, weights, metric):
    outputs = tfalexnet.features(sorted(folder.rglob("*.png")), layers, weights)
    return {name: distance.pdist(array.reshape(COUNT, -1).astype("f8"), metric) for name, array in outputs.items()}


def test_panels_show_the_ranks_and_the_classes(folder, weights):
    figure = figures.rdm(folder, "all", weights)
    expected = triangles(folder, "all", weights, "correlation")
    *panels, bar = figure.axes
    assert [axes.get_title().split("\n")[0] for axes in panels] == list(expected)
    assert bar.get_ylabel().startswith("rank among the pairs of the same panel, %")
    assert figure.get_suptitle().endswith(", 9 pictures\nrank of 1 − correlation of the features of each pair")
    columns = min(4, math.ceil(math.sqrt(len(expected))))
    is_within = np.equal.outer(*[np.repeat([0, 1, 2], [3, 2, 4])] * 2)[np.triu_indices(COUNT, 1)]
    for number, (axes, triangle) in enumerate(zip(panels, expected.values(), strict=True)):
        matrix = shown(axes)
        assert np.isnan(np.diagonal(matrix)).all() and axes.get_images()[0].get_clim() == (0, 100)
        received = matrix[np.triu_indices(COUNT, 1)]
        # Last digits may change the order of nearly equal values.
        np.testing.assert_allclose(received, (stats.rankdata(triangle) - 1) / 35 * 100, atol=100 / 35)
        np.testing.assert_array_equal(matrix, matrix.T)
        lines = {tuple(np.round(line.get_ydata(), 1)) for line in axes.get_lines()}
        assert {(2.5, 2.5), (4.5, 4.5)} <= lines and len(axes.get_lines()) == 4
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names == (list(CLASSES) if number % columns == 0 else [""] * 3)
        below = [label.get_text() for label in axes.get_xticklabels()]
        assert below == (list(CLASSES) if number + columns >= len(expected) else [""] * 3)
        assert list(axes.get_yticks()) == list(axes.get_xticks()) == [1, 3.5, 6.5]
        within, between = received[is_within].mean(), received[~is_within].mean()
        assert axes.get_title().endswith(f"\nmean rank {within:.1f} % within classes,\n{between:.1f} % between them")


@pytest.mark.parametrize("metric", METRICS)
def test_the_raw_scale_shows_the_dissimilarities(folder, metric):
    figure = figures.rdm(folder, ["conv2", "fc4"], "cifar10", metric, scale="raw")
    panels = [axes for axes in figure.axes if axes.get_title()]
    expected = triangles(folder, ["conv2", "fc4"], "cifar10", metric)
    assert [axes.get_title().split("\n")[0] for axes in panels] == ["conv2", "fc4"]
    assert all(axes.child_axes[0].get_ylabel().startswith(BARS[metric]) for axes in panels)
    for axes, triangle in zip(panels, expected.values(), strict=True):
        np.testing.assert_allclose(shown(axes), distance.squareform(triangle), rtol=1e-4, atol=1e-5)


def test_pictures_without_classes_or_dissimilarity(folder):
    black = [np.zeros((8, 8, 3), np.uint8), *noise(3)]
    figure = figures.rdm(black, "prob", "cifar10")
    axes, _ = figure.axes
    assert len(axes.get_lines()) == 0 and list(axes.get_yticks()) == [] and axes.get_title() == "prob"
    grey = [np.full((8, 8, 3), level, np.uint8) for level in (0, 0)]
    axes, _ = figures.rdm([*grey, *noise(2)], "conv1", "cifar10").axes
    assert np.isnan(shown(axes)).sum() == 4  # The diagonal; equal pictures are the most similar pair.
    (folder / "cat" / "bad.png").write_text("no picture")
    with pytest.warns(UserWarning, match=r"left out 1 pictures that cannot be read: cat/bad\.png"):
        figures.rdm(folder, "fc4", "cifar10")
    with pytest.raises(ValueError, match="at least two pictures. Received: 1"):
        figures.rdm(noise(1), "fc4", "cifar10")
    with pytest.raises(ValueError, match="`scale` to be one of rank, raw. Received: 'log'"):
        figures.rdm(folder, "fc4", "cifar10", scale="log")


def test_the_command_writes_the_figure(folder, tmp_path, capsys):
    assert tuple(METRICS) == cli_figure.METRICS
    output = tmp_path / "rdm.svg"
    result = run(capsys, "figure", "rdm", folder, "--layer", "conv1,fc4", "--weights", "cifar10", "--output", output)
    assert (result.returncode, result.stdout) == (0, f"rdm written to {output}\n"), result.stderr
    assert output.stat().st_size > 1000
