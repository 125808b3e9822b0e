"""OpenCV runs the files for Caffe with the answers of the network; what Caffe lacks is refused by its name."""

import dataclasses
import json

import numpy as np
import pytest
from support.caffe_truth import frozen_outputs
from support.nets import random_parameters, small
from support.opencv import opencv_network

from tfalexnet.checkpoints.caffe_network import read_network
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import prototxt
from tfalexnet.checkpoints.formats.caffe_mean import read_mean
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.exporters import caffe
from tfalexnet.exporters.export import export
from tfalexnet.images.classes import numbered_classes
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Activation, Architecture, Conv, Dropout, Flatten, Norm, Pad, Pool

CONVOLUTIONAL = Architecture(
    "convolutional",
    "",
    (21, 21, 3),
    (
        Pad("pad1", 1),
        Conv("conv1", 8, 3, 2, activation="tanh"),
        Norm("norm1", 3, 0.5, 0.75, k=2.0, divide_alpha=False),
        Pool("pool1", padding="caffe", pad=1, kind="average"),
        Dropout("drop1"),
        Conv("conv2", 5, 3, padding="same", activation=None),
        Activation("sigmoid2", "sigmoid"),
        Pool("pool2", 6, 1, "average"),
        Flatten(),
    ),
)
NETS = {name: small(ARCHITECTURES[name]) for name in ("bvlc_alexnet", "one_weird_trick", "tflearn_flowers17")}
NETS |= {name: small(ARCHITECTURES[name]) for name in ("mnist_28", "cifar10_18pct")}
NETS["convolutional"] = CONVOLUTIONAL


def exported(net: Architecture, folder, preprocessing=None):
    """Export a network with random weights; return the output and the weights."""
    parameters = random_parameters(net)
    model = ModelSpec(net, preprocessing, numbered_classes(net.classes))
    write_checkpoint(folder / "net.weights.h5", Checkpoint(parameters, model))
    return export(folder / "net.weights.h5", folder / "out", "caffe"), parameters


@pytest.mark.parametrize("name", NETS)
def test_opencv_gives_the_answers_of_the_network(name, tmp_path):
    net = NETS[name]
    output, parameters = exported(net, tmp_path)
    x = np.random.default_rng(0).normal(0, 60, (2, *net.input_shape)).astype("float32")
    (ours,) = frozen_outputs(net, parameters, ["prob"], x).values()
    text, model = (output / "deploy.prototxt").read_text(), (output / "weights.caffemodel").read_bytes()
    theirs = np.array([opencv_network(text, model, picture.transpose(2, 0, 1)[None]).ravel() for picture in x])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert theirs.std() > 1e-4
    again = read_checkpoint(output / "weights.caffemodel", prototxt=output / "deploy.prototxt")
    (read,) = frozen_outputs(again.spec.architecture, again.parameters, ["prob"], x).values()
    np.testing.assert_allclose(read, ours, atol=1e-6)


def test_the_mean_is_in_the_levels_of_pictures(tmp_path):
    picture = np.random.default_rng(0).uniform(0, 1, (24, 24, 3)).astype("float32")
    settings = {"resize": "squash", "size": 24, "crop": 21, "antialias": False, "channels": "BGR", "scale": 1 / 255}
    output, _ = exported(CONVOLUTIONAL, tmp_path, Preprocessing(**settings, mean=picture))
    np.testing.assert_allclose(read_mean(output / "mean.binaryproto"), picture * 255, rtol=1e-6)
    assert (output / "labels.txt").read_text().splitlines() == [f"class {index}" for index in range(5)]
    assert json.loads((output / "tfalexnet.json").read_text())["architecture"] == "convolutional"
    caffe_text = (output / "deploy.prototxt").read_text()
    assert caffe_text.startswith("# Pictures: squashed to 24×24")


@pytest.mark.parametrize("name", ["bvlc_alexnet", "bvlc_caffenet"])
def test_the_definition_of_a_known_network_is_read_as_that_network(name):
    definition = prototxt.parse(caffe.definition(ARCHITECTURES[name]))
    assert read_network(definition, "x", {}).architecture == ARCHITECTURES[name]


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (ARCHITECTURES["krizhevsky2012"], "a normalisation across all channels"),
        (ARCHITECTURES["d2l_fashion_mnist"], "rounded up"),
        (CONVOLUTIONAL.replace_layers(sigmoid2=Activation("sigmoid2", "elu")), "an activation among ReLU|relu, tanh"),
        (dataclasses.replace(CONVOLUTIONAL, layers=(Pad("pad0", 1), *CONVOLUTIONAL.layers)), "padding only before"),
    ],
)
def test_what_caffe_cannot_compute_is_refused(net, message):
    with pytest.raises(ValueError, match=message):
        caffe.definition(net)
