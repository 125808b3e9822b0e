"""The real cifar10_full of Caffe gives its published answer for the first test image of CIFAR-10.

The truth (real/cifar10_full/ of the test data, from everpeace/caffe, commit 91cb3b5e): a .caffemodel of 2014 after
70,000 steps and the mean image that was subtracted, both R, G, B. Its author published the mean of the answers for
the image and its mirror image with three digits. The network is cifar10_18pct; Caffe calls its last layer ip1.
"""

import dataclasses

import numpy as np
import pytest
from support.caffe_truth import frozen_outputs, keras_outputs, read_arrays, with_norms

from tfalexnet import ARCHITECTURES, AlexNet
from tfalexnet.networks.build import get_parameters, set_parameters
from tfalexnet.tools.convert import convert

pytestmark = pytest.mark.data

# Airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck.
PUBLISHED = np.array([0.001, 0.002, 0.005, 0.852, 0.000, 0.128, 0.008, 0.001, 0.003, 0.001])
BOUND = 0.0005  # Half of the last digit. Measured: .00049.
NETWORK = ARCHITECTURES["cifar10_18pct"]


@pytest.fixture(scope="module")
def folder(data):
    return data / "real" / "cifar10_full"


@pytest.fixture(scope="module")
def parameters(folder) -> dict:
    with pytest.warns(UserWarning, match="ip1"):  # The layer that is read as fc4.
        model = AlexNet(NETWORK, weights=folder / "cifar10_full_iter_70000.caffemodel")
    return get_parameters(model)


@pytest.fixture(scope="module")
def image(folder) -> np.ndarray:
    """The levels of the first test image, (H, W, C), R, G, B."""
    return read_arrays(folder / "test_image_0.npz")["arr_0"][0].transpose(1, 2, 0).astype(np.float32)


@pytest.fixture(scope="module")
def mean(folder) -> np.ndarray:
    """The mean image of the .binaryproto, a BlobProto: num 1, channels 3, height 32, width 32, then the data."""
    message = (folder / "mean.binaryproto").read_bytes()
    shape = bytes([1 << 3, 1, 2 << 3, 3, 3 << 3, 32, 4 << 3, 32])  # Fields 1 to 4, integers.
    data = bytes([5 << 3 | 2, 0x80, 0x60])  # Field 5, packed floats of 0x60 · 128 = 12288 bytes.
    assert message.startswith(shape + data)
    numbers = np.frombuffer(message, "<f4", offset=len(shape + data))
    return numbers.reshape(3, 32, 32).transpose(1, 2, 0)


def both_sides(x: np.ndarray) -> np.ndarray:
    """Return an input and its mirror image."""
    return np.stack([x, x[:, ::-1]])


def answer(network, parameters: dict, x: np.ndarray) -> np.ndarray:
    """Return the mean probabilities of the inputs."""
    model = AlexNet(network, classifier_activation=None)
    set_parameters(model, parameters)
    return keras_outputs(model, ["prob"], x)["prob"].mean(axis=0)


def difference(probabilities: np.ndarray) -> float:
    return float(np.abs(probabilities - PUBLISHED).max())


def test_the_answer_is_the_published_one(parameters, image, mean):
    x = both_sides(image - mean)
    assert difference(answer(NETWORK, parameters, x)) <= BOUND
    assert difference(frozen_outputs(NETWORK, parameters, ["prob"], x)["prob"].mean(axis=0)) <= BOUND


def swapped(network, first: str, second: str):
    """Return the table with two rows exchanged."""
    rows = {row.name: row for row in network.layers}
    other = {first: rows[second], second: rows[first]}
    return dataclasses.replace(network, layers=tuple(other.get(row.name, row) for row in network.layers))


MUTANTS = {
    "alpha not divided by the window": with_norms(NETWORK, divide_alpha=False),
    "k 2": with_norms(NETWORK, k=2.0),
    "normalization across channels": with_norms(NETWORK, region="across_channels"),
    "first normalization before pooling": swapped(NETWORK, "pool1", "norm1"),
    "second normalization before pooling": swapped(NETWORK, "pool2", "norm2"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_network_with_a_known_mistake_is_far_off(mutant, parameters, image, mean):
    assert difference(answer(MUTANTS[mutant], parameters, both_sides(image - mean))) > 20 * BOUND


def test_wrong_inputs_are_far_off(parameters, image, mean):
    x = image - mean
    wrong = {
        "B, G, R": both_sides(x[..., ::-1]),
        "no mean": both_sides(image),
        "mean of B, G, R": both_sides(image - mean[..., ::-1]),
        "a mean for each channel": both_sides(image - mean.mean(axis=(0, 1))),
        "no mirror image": x[None],
    }
    differences = {name: difference(answer(NETWORK, parameters, inputs)) for name, inputs in wrong.items()}
    assert min(differences.values()) > 20 * BOUND, differences


def test_the_definition_inside_the_file_gives_the_published_answer(folder, image, tmp_path):
    """The author stored pictures and mean as R, G, B, which no definition states."""
    weights, output = folder / "cifar10_full_iter_70000.caffemodel", tmp_path / "net.weights.h5"
    _, checkpoint = convert(weights, output, mean=folder / "mean.binaryproto", channels="RGB")
    assert checkpoint.spec.architecture.name == "CIFAR10_full"
    inputs = both_sides(checkpoint.spec.preprocessing.normalize(image))
    assert difference(AlexNet(weights=output)(inputs).numpy().mean(axis=0)) <= BOUND
