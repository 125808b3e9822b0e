"""Two towers on two devices: the same function, and every operation where it belongs.

Two logical devices of one processor stand in for two graphics cards.
"""

import re
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.nets import each_norm, small
from tensorflow.python.eager import context

from tfalexnet import AlexNet
from tfalexnet.networks.catalog import ARCHITECTURES

DEVICES = ("/CPU:0", "/CPU:1")
NETWORKS = ["krizhevsky2012", "bvlc_alexnet", "bvlc_caffenet"]


def pair(name, tmp_path, **options):
    """The same network with the same weights on one device and on two, and pictures for it."""
    net = each_norm(small(ARCHITECTURES[name], dropout=0.0), alpha=1e-2)  # So that the seam is felt.
    one, two = AlexNet(net, **options), AlexNet(net, devices=DEVICES, **options)
    one.save_weights(tmp_path / "one.weights.h5")
    two.load_weights(tmp_path / "one.weights.h5")
    pictures = np.random.default_rng(0).normal(0, 60, (3, 227, 227, 3)).astype("float32")
    return one, two, pictures


def joined(gradients):
    """The gradients of two towers in the order and shape of one device."""
    gradients = [np.array(gradient) for gradient in gradients]
    layers, last = gradients[:-2], gradients[-2:]
    whole = []
    for i in range(0, len(layers), 4):
        whole += [np.concatenate(layers[i : i + 4 : 2], -1), np.concatenate(layers[i + 1 : i + 4 : 2], -1)]
    return whole + last


@pytest.mark.parametrize("name", NETWORKS)
def test_same_outputs_and_gradients_as_on_one_device(name, tmp_path):
    one, two, pictures = pair(name, tmp_path, classifier_activation=None)
    np.testing.assert_allclose(two(pictures), one(pictures), rtol=1e-5, atol=1e-5)
    assert np.abs(one(pictures)).max() > 0.1
    direction = tf.random.normal((3, 10))
    gradients = []
    for model in (one, two):
        x = tf.constant(pictures)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(model(x) * direction)
        gradients.append(tape.gradient(total, [*model.trainable_variables, x]))
    expected = [np.array(gradient) for gradient in gradients[0]]
    received = [*joined(gradients[1][:-1]), np.array(gradients[1][-1])]
    for want, have in zip(expected, received, strict=True):
        assert np.abs(want).max() > 0
        np.testing.assert_allclose(have, want, atol=1e-4 * np.abs(want).max())


def test_a_tower_that_does_not_see_the_seam_is_told_apart(tmp_path):
    one, _, pictures = pair("bvlc_alexnet", tmp_path, classifier_activation=None)
    blind = each_norm(small(ARCHITECTURES["bvlc_alexnet"], dropout=0.0), alpha=1e-2, groups=2)
    mutant = AlexNet(blind, devices=DEVICES, classifier_activation=None)
    mutant.load_weights(tmp_path / "one.weights.h5")
    assert np.abs(mutant(pictures) - one(pictures)).max() > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_fit_gives_the_same_weights_and_one_file_serves_both(name, tmp_path):
    one, two, pictures = pair(name, tmp_path)
    before = one.get_weights()
    for model in (one, two):
        model.compile(keras.optimizers.SGD(1e-6, momentum=0.9), "sparse_categorical_crossentropy")
        model.fit(pictures, np.arange(3), epochs=2, batch_size=3, verbose=0)
    two.save_weights(tmp_path / "two.weights.h5")
    again = AlexNet(each_norm(small(ARCHITECTURES[name], dropout=0.0), alpha=1e-2))
    again.load_weights(tmp_path / "two.weights.h5")
    for have, want, start in zip(again.get_weights(), one.get_weights(), before, strict=True):
        moved = np.abs(want - start).max()
        assert moved > 0
        np.testing.assert_allclose(have, want, rtol=1e-6, atol=1e-3 * moved)


@pytest.mark.parametrize("name", NETWORKS)
def test_keras_file_of_a_trained_model(name, tmp_path):
    _, two, pictures = pair(name, tmp_path)
    two.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy")
    two.fit(pictures, np.arange(3), verbose=0)
    two.save(tmp_path / "two.keras")
    again = keras.saving.load_model(tmp_path / "two.keras")
    np.testing.assert_array_equal(again(pictures), two(pictures))
    for have, want in zip(again.optimizer.variables, two.optimizer.variables, strict=True):
        np.testing.assert_array_equal(have.numpy(), want.numpy())


def test_variables_and_momentum_live_with_their_tower(tmp_path):
    _, two, _ = pair("krizhevsky2012", tmp_path)
    two.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy")
    towers = ["CPU:0", "CPU:0", "CPU:1", "CPU:1"]
    expected = towers * 7 + ["CPU:0"] * 2
    assert [v.value.device[-5:] for v in two.trainable_variables] == expected
    momentum = [v for v in two.optimizer.variables if "momentum" in v.path]
    assert [v.value.device[-5:] for v in momentum] == expected


def ran(function) -> Counter:
    """How many operations of each kind ran on each device, by the partitioned graphs that were run."""
    context.enable_run_metadata()
    try:
        function()
        metadata = context.export_run_metadata()
    finally:
        context.disable_run_metadata()
    return Counter(
        (re.sub("^_?(Mkl)?(Native)?(Fused)?", "", node.op), node.device[-5:])
        for graphs in metadata.function_graphs
        if len(graphs.partition_graphs) == 2  # The step itself, not the pipeline that feeds it.
        for graph in graphs.partition_graphs
        for node in graph.node
    )


def counted(operations: Counter, kind: str) -> tuple[int, int]:
    """How many operations of a kind ran on the first and on the second device."""
    return operations[kind, "CPU:0"], operations[kind, "CPU:1"]


@pytest.mark.parametrize("name", ["krizhevsky2012", "bvlc_alexnet"])
@pytest.mark.parametrize("jit", ["auto", True])
def test_every_operation_runs_on_its_tower(name, jit, tmp_path):
    _, two, pictures = pair(name, tmp_path)
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    if jit is True:
        with pytest.warns(UserWarning, match="doesn't support"):
            two.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=True)
    else:
        two.compile(optimizer, "sparse_categorical_crossentropy")
    operations = ran(lambda: two.fit(pictures, np.arange(3), batch_size=3, verbose=0))
    assert {kind: counted(operations, kind) for kind in TRAINING} == TRAINING
    # From the second device to the first, there and back: conv3, fc6, fc7, fc8, and the two seams.
    assert operations["Send", "CPU:1"] == 2 * {"krizhevsky2012": 4, "bvlc_alexnet": 6}[name]


# A step of training: five convolutions, two normalisations and three poolings on each device and
# the gradients of all (conv1's picture needs none); fc6 and fc7 on each and fc8 on the first, a
# forward and two backward products; a subtraction in the momentum of each kernel and each bias.
TRAINING = {
    "Conv2D": (5, 5),
    "Conv2DBackpropFilter": (5, 5),
    "Conv2DBackpropInput": (4, 4),
    "LRN": (2, 2),
    "LRNGrad": (2, 2),
    "MaxPool": (3, 3),
    "MaxPoolGrad": (3, 3),
    "MatMul": (9, 6),
    "ReluGrad": (7, 7),
    "Sub": (16, 14),
    "AssignAddVariableOp": (16, 14),
}


@pytest.mark.parametrize("name", ["krizhevsky2012", "bvlc_alexnet"])
def test_predict_runs_on_both_towers(name, tmp_path):
    _, two, pictures = pair(name, tmp_path)
    operations = ran(lambda: two.predict(pictures, verbose=0))
    predicting = {"Conv2D": (5, 5), "LRN": (2, 2), "MaxPool": (3, 3), "MatMul": (3, 2)}
    assert {kind: counted(operations, kind) for kind in predicting} == predicting


def test_a_missing_device_is_an_error_that_lists_those_there():
    with pytest.raises(ValueError, match=r"exist: /CPU:0, /CPU:1\. Received: '/GPU:1'"):
        AlexNet(devices=("/CPU:0", "/GPU:1"))


@pytest.mark.parametrize("devices", ["/CPU:0", ("/CPU:0",), ("/CPU:0",) * 3, (0, 1)])
def test_wrong_devices(devices):
    with pytest.raises(ValueError, match="Expected `devices`"):
        AlexNet(small(ARCHITECTURES["bvlc_alexnet"]), devices=devices)


def test_a_network_of_one_tower_says_which_have_two():
    with pytest.raises(ValueError, match=r"one_weird_trick has 1 tower.*krizhevsky2012, bvlc_alexnet"):
        AlexNet("one_weird_trick", devices=DEVICES)


def test_without_the_top_the_towers_are_joined(tmp_path):
    one, two, pictures = pair("bvlc_alexnet", tmp_path, include_top=False)
    assert two(pictures).shape == (3, 6, 6, 32)
    np.testing.assert_allclose(two(pictures), one(pictures), rtol=1e-5, atol=1e-5)


def test_mixed_precision_trains(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        _, two, pictures = pair("bvlc_alexnet", tmp_path)
        two.compile(keras.optimizers.SGD(1e-4, momentum=0.9), "sparse_categorical_crossentropy")
        history = two.fit(pictures, np.arange(3), epochs=2, batch_size=3, verbose=0).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all()
