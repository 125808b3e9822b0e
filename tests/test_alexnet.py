"""`AlexNet`: its options, the conventions of keras.applications, and errors for wrong arguments."""

import keras
import numpy as np
import pytest
from support.nets import small

from tfalexnet import AlexNet
from tfalexnet.hub.cache import SHIPPED
from tfalexnet.networks.catalog import ARCHITECTURES, BVLC_ALEXNET

NET = small(BVLC_ALEXNET)


def test_options_change_the_model_as_in_keras_applications():
    assert AlexNet(NET, include_top=False).output_shape == (None, 6, 6, 32)
    assert AlexNet(NET, classes=7).output_shape == (None, 7)
    assert AlexNet(NET, classifier_activation=None).layers[-1].activation is keras.activations.linear
    assert {layer.rate for layer in AlexNet(NET, dropout=0.25).layers if "drop" in layer.name} == {0.25}


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
    [{"architecture": "vgg"}, {"classes": 0}, {"classes": 2.5}, {"classes": True}, {"dropout": 1}, {"dropout": -0.1}],
)
def test_wrong_arguments_are_refused_with_what_is_expected(options):
    with pytest.raises(ValueError, match="Expected .*Received"):
        AlexNet(**options)


def test_channels_first_is_refused():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="'channels_last'"):
            AlexNet(NET)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_another_activation_of_the_classifier_is_refused_with_weights():
    with pytest.raises(ValueError, match=r"'softmax' or None with `weights`\. Received: 'sigmoid'"):
        AlexNet(NET, weights="nothing", classifier_activation="sigmoid")
