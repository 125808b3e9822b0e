"""Models that are built from tables: saving, parameters, and the float32 classifier under mixed precision."""

import dataclasses

import keras
import numpy as np
import pytest
from support.nets import random_parameters, small

from tfalexnet.networks.build import build_model, get_parameters, set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Normal


def thin(name):
    """The net with an eighth of the filters."""
    return small(ARCHITECTURES[name])


# Together, these networks have all kinds of rows with all their options.
@pytest.mark.parametrize(
    "name", ["krizhevsky2012", "one_weird_trick", "single_tower_avgpool", "mnist_28", "cifar10_18pct"]
)
def test_a_keras_file_gives_the_same_model(name, tmp_path):
    model = build_model(thin(name))
    picture = np.random.default_rng(0).uniform(-100, 100, (2, *model.input_shape[1:])).astype("float32")
    model.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(loaded(picture), model(picture))
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_channels_are_last_whatever_the_default_of_keras_is(name):
    keras.config.set_image_data_format("channels_first")
    try:
        layers = build_model(thin(name)).layers
    finally:
        keras.config.set_image_data_format("channels_last")
    assert {getattr(layer, "data_format", "channels_last") for layer in layers} == {"channels_last"}


def test_parameters_are_set_and_read_by_layer():
    net = thin("cifar10_18pct")
    parameters, model = random_parameters(net), build_model(net)
    set_parameters(model, parameters)
    stored = get_parameters(model)
    assert stored.keys() == parameters.keys()
    for name, arrays in parameters.items():
        for actual, expected in zip(stored[name], arrays, strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_layers_without_parameters_given_keep_their_weights():
    net = thin("cifar10_18pct")
    model = build_model(net)
    before = model.get_layer("conv1").get_weights()
    set_parameters(model, {"fc4": random_parameters(net)["fc4"]})
    for actual, expected in zip(model.get_layer("conv1").get_weights(), before, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_mixed_precision_computes_the_output_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_model(thin("mnist_28"))
        output = model(np.ones((1, 28, 28, 1), "float32"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert output.dtype == "float32"
    assert model.get_layer("conv1").compute_dtype == "bfloat16"


def test_initial_weights_have_the_distributions_of_the_table():
    rows = {"conv1": {"kernel_init": Normal(0.01)}, "conv2": {"kernel_init": Normal(0.05, truncated=True)}}
    net = ARCHITECTURES["mnist_28"]
    rows = {row.name: dataclasses.replace(row, **rows.get(row.name, {}), bias_init=0.1) for row in net.weighted}
    parameters = get_parameters(build_model(net.replace_layers(**rows)))
    assert parameters["conv1"][0].std() == pytest.approx(0.01, rel=0.1)
    assert np.abs(parameters["conv1"][0]).max() > 0.025
    assert 0.09 < np.abs(parameters["conv2"][0]).max() <= 0.1  # Two standard deviations.
    assert all((bias == np.float32(0.1)).all() for _, bias in parameters.values())
