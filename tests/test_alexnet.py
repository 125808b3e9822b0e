"""`AlexNet`: its options, the conventions of keras.applications, and errors for wrong arguments."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.nets import small

import tfalexnet
from tfalexnet import AlexNet
from tfalexnet.hub.cache import SHIPPED
from tfalexnet.networks.catalog import ARCHITECTURES, BVLC_ALEXNET

NET = small(BVLC_ALEXNET)


def test_options_change_the_model_as_in_keras_applications():
    assert AlexNet(NET, include_top=False).output_shape == (None, 6, 6, 32)
    assert AlexNet(NET, classes=7).output_shape == (None, 7)
    assert AlexNet(NET, classifier_activation=None).layers[-1].activation is keras.activations.linear
    assert {layer.rate for layer in AlexNet(NET, dropout=0.25).layers if "drop" in layer.name} == {0.25}


@pytest.mark.parametrize("name", ["cifar10_18pct", "krizhevsky2012", "one_weird_trick", "bvlc_alexnet"])
def test_a_convolutional_top_answers_each_window_as_the_network_does(name, tmp_path):
    net = small(ARCHITECTURES[name], dropout=0.5) if name != "cifar10_18pct" else ARCHITECTURES[name]
    weights = tmp_path / "net.weights.h5"
    side, _, channels = net.input_shape
    one = AlexNet(net)
    one.save_weights(weights)
    model = AlexNet(net, weights, include_top="convolutional")
    x = np.random.default_rng(0).normal(size=(2, side, side, channels)).astype("f4")
    np.testing.assert_allclose(model(x)[:, 0, 0], one(x), atol=1e-6)
    larger = model(np.zeros((1, 2 * side, 3 * side, channels), np.float32))
    assert larger.shape[1] > 1 and larger.shape[2] > larger.shape[1] and larger.shape[3] == net.classes
    np.testing.assert_allclose(np.sum(larger, axis=-1), 1, rtol=1e-5)


def test_a_convolutional_top_takes_the_options_of_the_others(photo):
    assert AlexNet(NET, include_top="convolutional", classes=7).output_shape == (None, None, None, 7)
    model = AlexNet(weights="cifar10", include_top="convolutional")
    assert tfalexnet.predict(photo, model)[0].label == tfalexnet.predict(photo, "cifar10")[0].label
    with pytest.raises(ValueError, match="Expected `devices` None with include_top='convolutional'"):
        AlexNet(NET, include_top="convolutional", devices=("/CPU:0", "/CPU:1"))


def test_without_a_name_the_network_is_that_of_the_weights():
    model = AlexNet(weights=SHIPPED / "cifar10.weights.h5", classes=np.int64(10))
    assert model.name == "cifar10_18pct" and model.output_shape == (None, 10)


def test_a_name_gives_the_table_of_the_catalog():
    model = AlexNet("cifar10_18pct")
    net = ARCHITECTURES["cifar10_18pct"]
    assert model.name == net.name
    assert model.input_shape == (None, *net.input_shape) and model.output_shape == (None, net.classes)
    assert [layer.name for layer in model.layers] == ["input", *(row.name for row in net.layers)]


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "vgg"},
        {"classes": 0},
        {"classes": 2.5},
        {"classes": True},
        {"dropout": 1},
        {"dropout": -0.1},
        {"include_top": "conv"},
    ],
)
def test_wrong_arguments_are_refused_with_what_is_expected(options):
    with pytest.raises(ValueError, match="Expected .*Received"):
        AlexNet(**options)


def answers_of_every_entry(weights, photo):
    """The results of every function that computes a network of small weights."""
    model = AlexNet("cifar10_18pct", weights)
    model.compile("sgd", "sparse_categorical_crossentropy")
    loss = model.fit(np.ones((2, 32, 32, 3)), np.zeros(2), verbose=0).history["loss"]
    features = tfalexnet.features(photo, ["pool1", "prob"], weights)
    exported = tf.saved_model.load(tfalexnet.export(weights, "served", overwrite=True))
    served = exported.signatures["serving_default"](tf.constant([photo.read_bytes()]))["scores"].numpy()
    inputs = tfalexnet.preprocess_input(np.full((1, 32, 32, 3), 9), weights=weights)
    labels = tfalexnet.predict(photo, weights)
    return [loss, features["pool1"], features["prob"], served, inputs, [label.score for label in labels]]


def test_every_entry_answers_alike_whatever_order_of_axes_is_the_default_of_keras(weights_file, photo):
    """Old users have "channels_first" in ~/.keras/keras.json."""
    expected = answers_of_every_entry(weights_file, photo)
    copy = shutil.copy(weights_file, "copy.weights.h5")  # Which no function has in memory.
    keras.config.set_image_data_format("channels_first")
    try:
        received = answers_of_every_entry(copy, photo)
    finally:
        keras.config.set_image_data_format("channels_last")
    for actual, right in zip(received, expected, strict=True):
        np.testing.assert_allclose(actual, right, rtol=1e-5, atol=1e-6)


def test_another_activation_of_the_classifier_is_refused_with_weights():
    with pytest.raises(ValueError, match=r"'softmax' or None with `weights`\. Received: 'sigmoid'"):
        AlexNet(NET, weights="nothing", classifier_activation="sigmoid")


@pytest.mark.parametrize(
    "argument, hint",
    [("input_shape", r"dataclasses\.replace"), ("pooling", "GlobalAveragePooling2D"), ("clases", r"help\(tfalexnet")],
)
def test_arguments_of_keras_applications_are_answered(argument, hint):
    with pytest.raises(TypeError, match=rf"unexpected keyword argument '{argument}'\. .*{hint}"):
        AlexNet("cifar10_18pct", **{argument: None})
