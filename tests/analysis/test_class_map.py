"""Each position of a class map is what the network answers to its window."""

import dataclasses

import numpy as np
import pytest
from support.nets import random_parameters
from support.pictures import noise
from support.weights import write_infinite

import tfalexnet
from tfalexnet.analysis import class_map as module
from tfalexnet.analysis.class_map import class_map
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import numbered_classes
from tfalexnet.images.preprocessing import BVLC, TORCHVISION
from tfalexnet.networks.spec import Architecture, Conv, Dense, Flatten, Norm, Pool

# Without padding, a position depends on its window only.
ROWS = (
    *(Conv("conv1", 8, 5, 2), Pool("pool1"), Norm("norm1", 5, 1e-4, 0.75), Conv("conv2", 8, 3, groups=2)),
    *(Flatten(), Dense("fc3", 16), Dense("fc4", 5)),
)
STRIDE = 4


@pytest.fixture(params=[BVLC, TORCHVISION, "mean picture"])
def weights(request, tmp_path):
    net = Architecture("own", "", (27, 27, 3), ROWS)
    if request.param == "mean picture":
        mean = np.ones((27, 27, 3)) * (10, 120, 200)
        preprocessing = dataclasses.replace(BVLC, size=27, crop=27, mean=mean)
    else:
        preprocessing = dataclasses.replace(request.param, size=27, crop=27)
    spec = ModelSpec(net, preprocessing, numbered_classes(5))
    write_checkpoint(tmp_path / "own.weights.h5", Checkpoint(random_parameters(net), spec))
    return tmp_path / "own.weights.h5"


def test_each_position_is_the_answer_to_its_window(weights):
    (picture,) = noise(1, (35, 60))
    probabilities, box, window, classes = class_map(picture, weights, size=35)
    assert probabilities.dtype == np.float32 and probabilities.shape == (3, 9, 5) and len(classes) == 5
    assert window == 27
    for row, column in np.ndindex(3, 9):
        top, left = STRIDE * row, STRIDE * column
        answers = tfalexnet.predict(picture[top : top + 27, left : left + 27], weights)
        expected = [answer.score for answer in sorted(answers)]
        np.testing.assert_allclose(probabilities[row, column], expected, atol=1e-5)
        middle = box[0] + (row + 0.5) * (box[2] - box[0]) / 3, box[1] + (column + 0.5) * (box[3] - box[1]) / 9
        assert middle == pytest.approx((top + 13.5, left + 13.5))


def test_the_photo_is_resized_with_its_proportions(weights):
    (picture,) = noise(1, (100, 150))
    answer = class_map(picture, weights)
    assert answer.probabilities.shape == (8, 15, 5)  # 54 × 81 pixels.
    assert answer.box == pytest.approx(tuple(edge * 100 / 54 for edge in (11.5, 11.5, 43.5, 71.5)))
    assert answer.window == pytest.approx(27 * 100 / 54)


def test_a_mean_picture_is_replaced_by_its_mean_colour(tmp_path):
    net, (picture,) = Architecture("own", "", (27, 27, 3), ROWS), noise(1, (35, 60))
    mean = np.random.default_rng(0).uniform(0, 200, (31, 29, 3)).astype("f4")
    answers = []
    for number, replacement in enumerate([mean, tuple(mean.mean(axis=0).mean(axis=0).tolist())]):
        preprocessing = dataclasses.replace(BVLC, size=27, crop=27, mean=replacement)
        spec = ModelSpec(net, preprocessing, numbered_classes(5))
        path = tmp_path / f"{number}.weights.h5"
        write_checkpoint(path, Checkpoint(random_parameters(net), spec))
        answers.append(class_map(picture, path).probabilities)
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_a_network_of_grey_pictures(tmp_path):
    net = Architecture("grey", "", (27, 27, 1), ROWS)
    preprocessing = dataclasses.replace(BVLC, size=27, crop=27, channels="L", mean=(100.0,))
    spec = ModelSpec(net, preprocessing, numbered_classes(5))
    write_checkpoint(tmp_path / "grey.weights.h5", Checkpoint(random_parameters(net), spec))
    (picture,) = noise(1, (27, 27))
    ((probabilities,),), *_ = class_map(picture, tmp_path / "grey.weights.h5", 27)
    best = tfalexnet.predict(picture, tmp_path / "grey.weights.h5")[0]
    assert probabilities.argmax() == best.index and probabilities.max() == pytest.approx(best.score, abs=1e-6)


def test_answers_that_are_not_finite_are_refused(tmp_path):
    write_infinite(tmp_path / "net.weights.h5")
    with pytest.raises(CheckpointError, match="Expected finite numbers. The network answers with NaN or infinity"):
        class_map(noise(1)[0], tmp_path / "net.weights.h5")


def test_sizes_out_of_range_are_refused(weights_file, monkeypatch):
    (picture,) = noise(1)
    with pytest.raises(ValueError, match="Expected `size` of at least 32, the network's input. Received: 31"):
        class_map(picture, weights_file, 31)
    monkeypatch.setattr(module, "MOST_PIXELS", 64 * 79)
    with pytest.raises(ValueError, match="Expected at most 5056 pixels after resizing. Received: 64×80"):
        class_map(picture, weights_file)
