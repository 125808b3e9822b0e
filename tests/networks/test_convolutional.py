"""Fully connected layers as convolutions: against Caffe's own convolutional nets, and window by window."""

import dataclasses

import numpy as np
import pytest
from support.caffe_truth import channels_last, load_slim, read_arrays, relative_difference, slim
from support.nets import random_parameters

from tfalexnet import ARCHITECTURES
from tfalexnet.networks.build import build_model, get_parameters, set_parameters
from tfalexnet.networks.convolutional import as_convolutions, convolution_parameters
from tfalexnet.networks.spec import Architecture, Conv, Dense, Dropout, Flatten, Pool

# Without padding, so that each place of a larger picture has exactly the answer for its window.
UNPADDED = Architecture(
    "unpadded",
    "",
    (11, 11, 3),
    (
        Conv("conv1", 4, 3),
        Pool("pool1", 3, 2),
        Flatten(),
        Dropout("drop2"),
        Dense("fc2", 6),
        Dense("fc3", 5, activation="tanh"),
        Dense("fc4", 7, activation=None),
    ),
)


def outputs(net: Architecture, parameters: dict, pictures: np.ndarray) -> np.ndarray:
    """Return the logits of a network."""
    model = build_model(net, classifier_activation=None)
    set_parameters(model, parameters)
    return model(pictures).numpy()


@pytest.mark.data
@pytest.mark.parametrize("name", ["bvlc_alexnet", "bvlc_caffenet"])
def test_the_answers_are_those_of_caffe(name, data):
    """Caffe's net_surgery: 451×451 pixels, 8×8 answers. Kernels of fc6 whose rows and columns are exchanged differ."""
    truth = read_arrays(data / "caffe" / "truth" / f"{name}_convolutional_451.npz")
    net, parameters = slim(name), get_parameters(load_slim(data, name))
    pictures, expected = channels_last(truth["data"].astype(np.float32)), channels_last(truth["prob"])

    def probabilities(parameters: dict) -> np.ndarray:
        logits = outputs(as_convolutions(net, 451), parameters, pictures).astype(np.float64)
        scores = np.exp(logits - logits.max(-1, keepdims=True))
        return scores / scores.sum(-1, keepdims=True)

    parameters = convolution_parameters(net, parameters)
    assert relative_difference(probabilities(parameters), expected) < 1e-5
    kernel, bias = parameters["fc6"]
    mutant = parameters | {"fc6": (kernel.swapaxes(0, 1), bias)}
    assert relative_difference(probabilities(mutant), expected) > 1e-3


def test_each_place_has_the_answer_of_its_window():
    parameters = random_parameters(UNPADDED)
    picture = np.random.default_rng(0).normal(size=(1, 17, 17, 3)).astype(np.float32)
    net = as_convolutions(UNPADDED, 17)
    answers = outputs(net, convolution_parameters(UNPADDED, parameters), picture)[0]
    assert answers.shape == net.output_shapes()["fc4"] == (4, 4, 7)
    windows = [picture[0, 2 * y : 2 * y + 11, 2 * x : 2 * x + 11] for y in range(4) for x in range(4)]
    np.testing.assert_allclose(answers.reshape(16, 7), outputs(UNPADDED, parameters, np.stack(windows)), atol=1e-5)


def test_kernels_are_not_copied_and_others_stay():
    parameters = random_parameters(UNPADDED)
    changed = convolution_parameters(UNPADDED, parameters)
    assert changed["conv1"] is parameters["conv1"]
    assert all(np.shares_memory(changed[name][0], parameters[name][0]) for name in ("fc2", "fc3", "fc4"))
    assert {name: (kernel.shape, bias.shape) for name, (kernel, bias) in changed.items()} == as_convolutions(
        UNPADDED, 17
    ).parameter_shapes()


def test_what_cannot_be_changed_is_refused():
    with pytest.raises(ValueError, match="at least 227 pixels a side. Received: 226"):
        as_convolutions(ARCHITECTURES["bvlc_alexnet"], 226)
    with pytest.raises(ValueError, match="square feature map before Flatten. Received: 4×5"):
        as_convolutions(dataclasses.replace(UNPADDED, input_shape=(11, 13, 3)), 17)
