"""Networks that are read from Caffe's definitions answer as OpenCV's importer of Caffe, and as Caffe itself.

The prototxts in tests/fixtures/prototxt follow the publications that they name. Wide layers are narrowed and pictures
are made smaller, in the text that both sides read; weights are random.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from support.caffe import caffemodel
from support.caffe_truth import (
    NETWORKS,
    channels_last,
    frozen_outputs,
    keras_outputs,
    read_arrays,
    relative_difference,
    slim,
)
from support.nets import random_parameters
from support.opencv import opencv_network

from tfalexnet import ARCHITECTURES, AlexNet, CheckpointError
from tfalexnet.checkpoints import caffe_network
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import prototxt
from tfalexnet.networks import caffe_pooling, spec
from tfalexnet.networks.build import get_parameters
from tfalexnet.networks.spec import Dropout
from tfalexnet.tools.convert import convert

FOLDER = Path(__file__).parents[1] / "fixtures" / "prototxt"
# For each file: the sides of pictures, and the division of filters and units.
FILES = {
    "lenet": (28, 1),
    "lenet5": (32, 1),
    "cifar10_quick": (32, 1),
    "cifar10_full": (32, 1),
    "places205_alexnet": (227, 8),
    "flickr_style": (227, 8),
    "imagenet_2013": (227, 8),
    "age_net": (227, 8),
    "zfnet": (150, 8),
    "vgg_cnn_f": (196, 8),
    "vgg_cnn_m": (150, 8),
    "vgg_cnn_s": (150, 8),
    "vgg16": (70, 8),
    "nin_imagenet": (224, 8),
    "nin_cifar10": (32, 4),
    "all_cnn_c": (32, 4),
    "padded_average": (30, 1),
}
CLASSES = 25  # At most; ImageNet's 1000 logits of random weights are too equal to tell networks apart.


def narrowed(name: str) -> str:
    """Return the text of a file with fewer filters and units, and smaller pictures."""
    side, division = FILES[name]
    text = (FOLDER / f"{name}.prototxt").read_text()
    *_, last = numbers = re.findall(r"num_output: (\d+)", text)
    for number in set(numbers):
        count = min(int(number), CLASSES) if number == last else max(int(number) // division, 4)
        text = re.sub(rf"num_output: {number}\b", f"num_output:  {count}", text)
    _, channels, *_ = re.findall(r"dim: (\d+)", text)
    dims = iter((1, channels, side, side))
    return re.sub(r"\b(dim|input_dim): \d+", lambda match: f"{match[1]}: {next(dims)}", text)


def written(name: str, folder: Path, text: str) -> tuple[Path, Path, dict]:
    """Write a prototxt and a caffemodel with random weights for it; return both paths and the weights."""
    network = caffe_network.read_network(prototxt.parse(text), name, {})
    net, parameters = network.architecture, random_parameters(network.architecture)
    last = net.layers[-1].name
    (logits,) = frozen_outputs(net, parameters, [last], pictures(net.input_shape)).values()
    scale = np.float32(2 / logits.std())  # So that the softmax is neither uniform nor saturated.
    parameters[net.classifier.name] = tuple(scale * array for array in parameters[net.classifier.name])
    caffe_names = {row: layer for layer, row in network.renamed.items()}
    named = {caffe_names.get(layer, layer): arrays for layer, arrays in parameters.items()}
    paths = folder / f"{name}.prototxt", folder / f"{name}.caffemodel"
    paths[0].write_text(text)
    paths[1].write_bytes(caffemodel(named, net))
    return *paths, parameters


def pictures(shape: tuple[int, int, int]) -> np.ndarray:
    """Return two pictures of the levels that a subtracted mean leaves."""
    return np.random.default_rng(0).normal(0, 60, (2, *shape)).astype("float32")


def opencv_softmax(definition: Path, weights: Path, x: np.ndarray) -> np.ndarray:
    """Return the softmax of each picture from OpenCV."""
    text, model = definition.read_text(), weights.read_bytes()
    return np.array([opencv_network(text, model, picture.transpose(2, 0, 1)[None]).ravel() for picture in x])


def difference(definition: Path, weights: Path) -> float:
    """Return the largest difference of a softmax between OpenCV and the checkpoint that is read from both files."""
    checkpoint = read_checkpoint(weights, prototxt=definition)
    net = checkpoint.spec.architecture
    x = pictures(net.input_shape)
    (ours,) = frozen_outputs(net, checkpoint.parameters, ["prob"], x).values()
    theirs = opencv_softmax(*for_opencv(definition, weights), x)
    assert 2 / net.classes < theirs.max() < 0.999
    return float(np.abs(ours - theirs).max())


def for_opencv(definition: Path, weights: Path) -> tuple[Path, Path]:
    """Return files without k = 2, which OpenCV ignores, that compute the same.

    a / (2 + c·Σ a²)^.75 is a / (1 + c/2·Σ a²)^.75 times 2^−.75, which the kernel of the next convolution can hold.
    """
    text = definition.read_text()
    if "k: 2" not in text:
        return definition, weights
    normalizations = text.count("type: LRN")
    assert text.count("k: 2") == text.count("alpha: 0.0005") == normalizations
    checkpoint = read_checkpoint(weights, prototxt=definition)
    parameters, factor = dict(checkpoint.parameters), np.float32(2**-0.75)
    for layer in ("conv2", "conv3")[:normalizations]:  # They follow the normalizations.
        kernel, bias = parameters[layer]
        parameters[layer] = kernel * factor, bias
    paths = definition.with_suffix(".opencv.prototxt"), weights.with_suffix(".opencv.caffemodel")
    paths[0].write_text(text.replace("k: 2", "").replace("alpha: 0.0005", "alpha: 0.00025"))
    paths[1].write_bytes(caffemodel(parameters, checkpoint.spec.architecture))
    return paths


@pytest.mark.parametrize("name", FILES)
def test_a_published_network_equals_opencv(name, tmp_path):
    definition, weights, _ = written(name, tmp_path, narrowed(name))
    assert difference(definition, weights) <= 1e-5


def divided_by_the_size(_length: int, size: int, _stride: int, _pad: int) -> int:
    return size


def divided_by_what_is_inside(length: int, size: int, stride: int, pad: int) -> np.ndarray:
    starts = np.arange(caffe_pooling.window_count(length, size, stride, pad)) * stride - pad
    return np.minimum(starts + size, length) - np.maximum(starts, 0)


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("padded_average", divided_by_the_size),
        ("padded_average", divided_by_what_is_inside),
        ("nin_cifar10", divided_by_the_size),
        ("cifar10_quick", divided_by_the_size),
    ],
)
def test_another_divisor_of_averages_is_far_off(name, mutant, tmp_path, monkeypatch):
    definition, weights, _ = written(name, tmp_path, narrowed(name))
    counted = caffe_pooling.counted_rows
    monkeypatch.setattr(caffe_pooling, "counted_rows", lambda *side: 0 * counted(*side) + mutant(*side))
    assert difference(definition, weights) > 1e-4


@pytest.mark.parametrize("name", ["zfnet", "vgg_cnn_m"])
def test_rounding_down_is_far_off(name, tmp_path, monkeypatch):
    definition, weights, _ = written(name, tmp_path, narrowed(name))

    def rounded_down(length: int, size: int, stride: int, pad: int) -> int:
        return (length + 2 * pad - size) // stride + 1

    for module in (caffe_pooling, spec):
        monkeypatch.setattr(module, "window_count", rounded_down)
    try:
        assert difference(definition, weights) > 1e-4
    except CheckpointError as error:  # Fewer numbers reach the first fully connected layer.
        assert re.search(r"fc6 kernel: expected", str(error))


def test_the_three_spellings_of_caffenet_are_the_network_of_the_catalog():
    known = ARCHITECTURES["bvlc_caffenet"]
    for name, classes in {"imagenet_2013": 1000, "places205_alexnet": 205, "flickr_style": 20}.items():
        definition = prototxt.read(FOLDER / f"{name}.prototxt")
        assert caffe_network.read_network(definition, name, {}).architecture == known.with_classes(classes)


@pytest.mark.data
@pytest.mark.parametrize("source", ["deploy", "train", "inside"])
@pytest.mark.parametrize("name", NETWORKS)
def test_files_of_caffe_are_read_by_themselves_and_equal_its_blobs(name, source, data, tmp_path):
    folder = data / "caffe" / "truth"
    definition = {
        "deploy": folder / f"{name}.prototxt",
        "train": folder / "bvlc_alexnet_train.prototxt",
        "inside": None,
    }
    if source == "train" and name != "bvlc_alexnet":
        pytest.skip("Caffe's definition for training is there for bvlc_alexnet only")
    output = tmp_path / "net.weights.h5"
    convert(folder / f"{name}.caffemodel", output, prototxt=definition[source])
    blobs = {layer: channels_last(blob) for layer, blob in read_arrays(folder / f"{name}_blobs.npz").items()}
    layers = [layer for layer in blobs if layer != "data"]
    model = AlexNet(weights=output, classifier_activation=None)
    net = read_checkpoint(output).spec.architecture
    assert [type(row) for row in net.layers] == [type(row) for row in slim(name).layers if not isinstance(row, Dropout)]
    for outputs in (
        keras_outputs(model, layers, blobs["data"]),
        frozen_outputs(net, get_parameters(model), layers, blobs["data"]),
    ):
        differences = {layer: relative_difference(outputs[layer], blobs[layer]) for layer in layers}
        assert max(differences.values()) <= 1e-5, differences
