"""AlexNet(weights=…): weights from a converted file, for other classes or devices, and weights that do not exist."""

import numpy as np
import pytest
from support.nets import random_parameters, small, write_npy
from support.small_npy import LAST, NET, PARAMETERS

from tfalexnet import AlexNet, CheckpointError, convert
from tfalexnet.networks.catalog import ARCHITECTURES


def test_keras_and_alexnet_read_the_file(small_npy):
    output, checkpoint = convert(small_npy, architecture=NET)
    assert str(output) == "weights/net.weights.h5"
    loaded, converted, direct = AlexNet(NET), AlexNet(NET, weights=output), AlexNet(NET, weights=small_npy)
    loaded.load_weights(output)
    for name, arrays in PARAMETERS.items():
        for model in (loaded, converted, direct):
            for actual, expected in zip(model.get_layer(name).get_weights(), arrays, strict=True):
                np.testing.assert_array_equal(actual, expected)
    assert checkpoint.spec.architecture == NET


def test_one_file_serves_two_devices(small_npy):
    output, _ = convert(small_npy, architecture=NET)
    picture = np.random.default_rng(0).normal(0, 60, (1, 227, 227, 3)).astype("float32")
    one = AlexNet(NET, weights=output)
    two = AlexNet(NET, weights=output, devices=("/CPU:0", "/CPU:1"))
    np.testing.assert_allclose(two(picture), one(picture), atol=1e-5)


@pytest.mark.parametrize("classes", [1, 205, 365])
def test_any_number_of_classes(classes, tmp_path):
    net = NET.with_classes(classes)
    write_npy(tmp_path / "places.npy", random_parameters(net))
    output, checkpoint = convert(tmp_path / "places.npy", tmp_path / "places.weights.h5", NET)
    assert checkpoint.spec.architecture.classes == classes
    assert AlexNet(NET, weights=output).output_shape == (None, classes)


def test_another_number_of_classes_gets_a_fresh_classifier(small_npy):
    with pytest.warns(UserWarning, match="fc8 of 'net.npy' has 10 classes; for 17 it gets new weights"):
        model = AlexNet(NET, weights=small_npy, classes=17)
    for name, arrays in PARAMETERS.items():
        if name != LAST:
            for actual, expected in zip(model.get_layer(name).get_weights(), arrays, strict=True):
                np.testing.assert_array_equal(actual, expected)
    kernel, bias = model.get_layer(LAST).get_weights()
    assert kernel.shape == (64, 17) and 0 < kernel.std() < 1 and not bias.any()


def test_weights_of_another_network_of_the_same_shapes_are_warned_of(small_npy):
    output, _ = convert(small_npy, architecture=NET)
    caffenet = small(ARCHITECTURES["bvlc_caffenet"])
    with pytest.warns(UserWarning, match="is read as bvlc_caffenet. It was written for bvlc_alexnet"):
        AlexNet(caffenet, weights=output)


def test_weights_that_do_not_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFALEXNET_OFFLINE", "1")
    with pytest.raises(FileNotFoundError) as caught:
        AlexNet(weights="bvlc_alexnet")
    message = str(caught.value)
    for part in (
        str(tmp_path / "weights"),
        str(tmp_path / "home"),
        "TFALEXNET_OFFLINE=1 forbids",
        "https://huggingface.co/onnxmodelzoo/",
        "http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
        "https://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",
        "tfalexnet convert FILE --architecture bvlc_alexnet",
    ):
        assert part in message
    with pytest.raises(FileNotFoundError, match="a file or one of bvlc_alexnet, .*, cifar10.*no such file"):
        AlexNet(weights="nothing")
    with pytest.raises(FileNotFoundError, match=r"did you mean bvlc_caffenet\?"):
        AlexNet(weights="bvlc_cafenet")
    with pytest.raises(FileNotFoundError, match="no weights are published for this network"):
        AlexNet("mnist_28", weights="mnist_28")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        AlexNet(weights=tmp_path)
    with pytest.raises(TypeError, match="a name, a path or a keras.Model. Received: 3"):
        AlexNet(weights=3)
    with pytest.raises(CheckpointError, match="not fit bvlc_alexnet. It was written for cifar10_18pct"):
        AlexNet("bvlc_alexnet", weights="cifar10")
