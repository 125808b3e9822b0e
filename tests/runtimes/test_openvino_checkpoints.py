"""The engine OpenVINO computes every layer of a checkpoint as Keras, from mapped weights."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.answers import keras_case
from support.nets import each_norm, nearly_equal_tables, random_parameters, small

import tfalexnet
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import numbered_classes
from tfalexnet.networks import row_json
from tfalexnet.networks.build import build_model, set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Activation, Architecture, Conv, Dense, Flatten, Pad, Pool
from tfalexnet.runtimes import openvino as engine
from tfalexnet.runtimes import openvino_graph, openvino_library
from tfalexnet.runtimes.network import load_network
from tfalexnet.runtimes.openvino import compile_network

pytest.importorskip("openvino")

OWN = Architecture(
    "own",
    "",
    (9, 12, 4),
    (
        *(Pad("pad", 2), Conv("conv1", 6, 3, stride=2, padding="same", groups=2, activation="tanh")),
        *(Activation("act", "softsign"), Conv("conv2", 5, 2), Flatten("flat"), Dense("fc", 3, activation=None)),
    ),
)
"""Rows that no published network has: padding, an even kernel, sides of their own."""


def layers_of(net, parameters, x):
    """The output of each layer in Keras; "prob" in place of the classifier, whose layer includes the softmax."""
    model = build_model(net)
    set_parameters(model, parameters)
    outputs, y = {}, tf.constant(x)
    for row, layer in zip(net.layers, model.layers[1:], strict=True):
        y = layer(y)
        outputs["prob" if row is net.classifier else row.name] = y.numpy()
    return outputs


def inputs_for(net, count=2):
    return np.random.default_rng(0).standard_normal((count, *net.input_shape), np.float32) * 50


def assert_layers_equal_keras(net):
    parameters, x = random_parameters(net), inputs_for(net)
    expected = layers_of(net, parameters, x)
    precision, function = compile_network(net, parameters, list(expected))
    assert precision == "float32"
    for count in (2, 1):
        for (layer, values), received in zip(expected.items(), function(x[:count]), strict=True):
            assert received.dtype == np.float32 and received.shape == (count, *values.shape[1:]), layer
            atol = 1e-5 * np.abs(values).max()
            np.testing.assert_allclose(received, values[:count], rtol=0, atol=atol, err_msg=layer)


@pytest.mark.parametrize("net", [*map(small, ARCHITECTURES.values()), OWN], ids=lambda net: net.name)
def test_every_layer_of_every_network_equals_the_layer_in_keras(net):
    assert_layers_equal_keras(net)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("pad", [0, 1, 2])
@pytest.mark.parametrize("side", [9, 10, 11, 13])
def test_pooling_of_caffe_equals_that_in_keras(kind, pad, side):
    pool = Pool("pool", 3, 2, kind, "caffe", pad)
    rows = Conv("conv", 4, 1, activation=None), pool, Flatten(), Dense("fc", 3, activation=None)
    assert_layers_equal_keras(Architecture("own", "", (side, side + 2, 3), rows))


@pytest.mark.parametrize("name", ["krizhevsky2012", "cifar10_18pct"])
@pytest.mark.parametrize("changes", [{"divide_alpha": False}, {"size": 7, "beta": 0.6, "k": 2.5, "alpha": 0.01}])
def test_normalisations_of_all_constants_equal_those_in_keras(name, changes):
    """Across the channels of a group, and within a channel."""
    assert_layers_equal_keras(each_norm(small(ARCHITECTURES[name]), **changes))


@pytest.mark.parametrize("function", row_json.ACTIVATIONS)
def test_every_activation_of_the_table_is_that_of_keras(function):
    rows = Conv("conv", 1, 1, activation=function), Activation("act", function), Flatten(), Dense("fc", 2)
    net = Architecture("own", "", (1, 401, 1), rows)
    parameters = random_parameters(net) | {"conv": (np.ones((1, 1, 1, 1), "f4"), np.zeros(1, "f4"))}
    x = np.linspace(-8, 8, 401, dtype="f4").reshape(1, 1, 401, 1)
    _, compute = compile_network(net, parameters, ["conv:pre", "conv", "act"])
    before, once, twice = compute(x)
    apply = keras.activations.get(function)
    expected = apply(tf.constant(x)).numpy()
    np.testing.assert_array_equal(before, x)
    np.testing.assert_allclose(once, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(twice, apply(tf.constant(once)).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bvlc_alexnet", "krizhevsky2012", "cifar10_18pct", "single_tower_avgpool"])
def test_bfloat16_is_near_or_the_precision_says_float32(name):
    net, parameters, x, answers = keras_case(name, 16)
    precision, function = compile_network(net, parameters, ["prob"], "bfloat16")
    (scores,) = function(x)
    error = np.abs(scores - answers).max()
    assert error < 0.05 and (error > 1e-5) == (precision == "bfloat16")
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("net", "other", "layer"), nearly_equal_tables())
def test_a_table_that_differs_a_little_changes_the_outputs(net, other, layer):
    parameters, x = random_parameters(net), inputs_for(net)
    right, wrong = (compile_network(table, parameters, [layer])[1](x)[0] for table in (net, other))
    assert np.abs(right - wrong).max() > 1e-3 * np.abs(right).max()


def test_matrices_are_used_in_the_memory_of_the_mapped_file(tmp_path):
    matrix = np.random.default_rng(0).standard_normal((30, 20)).astype("f4")
    matrix.tofile(tmp_path / "matrix")
    mapped = np.memmap(tmp_path / "matrix", "f4", "r", shape=(30, 20))
    constant = openvino_graph._constant(openvino_library.import_openvino().opset13, np.asarray(mapped))
    assert np.shares_memory(constant.data, mapped) and not mapped.flags.writeable
    address = mapped.ctypes.data
    del mapped  # The constant keeps the mapping.
    assert constant.data.ctypes.data == address
    np.testing.assert_array_equal(constant.data, matrix)


def test_only_the_weights_of_required_layers_are_needed():
    net = small(ARCHITECTURES["bvlc_alexnet"])
    parameters, x = random_parameters(net), inputs_for(net)
    some = {name: parameters[name] for name in ("conv1", "conv2")}
    (expected,) = compile_network(net, parameters, ["pool2"])[1](x)
    np.testing.assert_array_equal(compile_network(net, some, ["pool2"])[1](x)[0], expected)


def test_features_of_every_name_are_those_of_tensorflow(weights_file, photo):
    layers = ["conv1", "conv2:pre", "pool1", "norm1", "fc4", "prob"]
    fast, slow = (tfalexnet.features(photo, layers, weights_file, engine=name) for name in ("openvino", "tensorflow"))
    for layer in layers:
        assert fast[layer].shape == slow[layer].shape
        np.testing.assert_allclose(fast[layer], slow[layer], rtol=0, atol=1e-5 * np.abs(slow[layer]).max())


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not say which pages are in memory")
def test_the_memory_of_mapped_weights_is_returned(tmp_path):
    rows = Conv("conv", 4, 1), Flatten(), Dense("fc1", 128), Dense("fc2", 3, activation=None)
    net = Architecture("own", "", (64, 64, 3), rows)
    path = tmp_path / "mapped.weights.h5"
    write_checkpoint(path, Checkpoint(random_parameters(net), ModelSpec(net, None, numbered_classes(3))))
    expected = load_network(path, engine="tensorflow", preprocessed=True)(inputs_for(net, 5))
    network = load_network(path, engine="openvino", preprocessed=True)
    assert path.stat().st_size > 8e6
    for count in (5, 1, 2):
        np.testing.assert_allclose(network(inputs_for(net, 5)[:count])[0], expected[0][:count], atol=1e-5)
        mappings = re.findall(rf"{path}\n(?:.*\n)*?Rss: +(\d+) kB", Path("/proc/self/smaps").read_text())
        assert mappings and sum(map(int, mappings)) < 1000


def test_a_network_is_compiled_for_two_sizes_of_batches_then_for_any(monkeypatch):
    net, compiled, core = small(ARCHITECTURES["bvlc_alexnet"]), [], engine.process_core()

    class Core:
        def compile_model(self, model, *given):
            compiled.append(model.input().partial_shape[0].to_string())
            return core.compile_model(model, *given)

    parameters, x = random_parameters(net), inputs_for(net, 5)
    (expected,) = compile_network(net, parameters, ["prob"])[1](x)
    monkeypatch.setattr(engine, "process_core", Core)
    _, function = compile_network(net, parameters, ["prob"])
    for count in (5, 5, 3, 3, 5, 1, 2):
        np.testing.assert_allclose(function(x[:count])[0], expected[:count], atol=1e-6)
    assert compiled == ["5", "3", "?"]
