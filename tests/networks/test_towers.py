"""Two towers on two devices compute the function of one device, and each operation runs on its device.

Two logical devices of one processor stand for two graphics cards.
"""

import re
from collections import Counter
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.nets import each_norm, small
from tensorflow.python.eager import context

from tfalexnet import AlexNet
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Architecture, Norm, Normal, Pad, Pool

DEVICES = ("/CPU:0", "/CPU:1")
SIDE = 99  # Pixels a side: pool5 then has 2×2 positions, so that the order of fc6's kernel matters.
PICTURES = np.random.default_rng(0).normal(0, 60, (3, SIDE, SIDE, 3)).astype("float32")
LABELS = np.arange(3)


def narrow(name: str, **norms) -> Architecture:
    """A network of two towers with few filters; the normalisation changes its output clearly."""
    net = each_norm(small(ARCHITECTURES[name], dropout=0.0), **{"alpha": 1e-2} | norms)
    return replace(net, input_shape=(SIDE, SIDE, 3))


def models(net: Architecture, tmp_path, **options) -> tuple[keras.Model, keras.Model]:
    """One network with the same weights, on one device and on two."""
    one, two = AlexNet(net, **options), AlexNet(net, devices=DEVICES, **options)
    one.save_weights(tmp_path / "one.weights.h5")
    two.load_weights(tmp_path / "one.weights.h5")
    return one, two


def concatenated(gradients):
    """Gradients of two towers in the order and the shapes of one device."""
    gradients = [np.array(gradient) for gradient in gradients]
    layers, classifier = gradients[:-2], gradients[-2:]
    result = []
    for i in range(0, len(layers), 4):
        result += [np.concatenate(layers[i : i + 4 : 2], -1), np.concatenate(layers[i + 1 : i + 4 : 2], -1)]
    return result + classifier


@pytest.mark.parametrize("name", ["krizhevsky2012", "bvlc_caffenet"])
def test_outputs_and_gradients_equal_those_of_one_device(name, tmp_path):
    both = models(narrow(name), tmp_path, classifier_activation=None)
    differences = [gradient_difference(both, np.roll(PICTURES, shift, axis=1)) for shift in (0, 5, 11)]
    # Where the two largest values of a window are equal but for rounding, the gradient of its maximum may go to either.
    assert sorted(differences)[1] < 1e-4, differences


def gradient_difference(both: tuple[keras.Model, keras.Model], pictures: np.ndarray) -> float:
    """The largest difference of a gradient, as a share of the largest gradient of its array; outputs are compared."""
    direction = tf.random.normal((3, 10))
    outputs, gradients = [], []
    for model in both:
        x = tf.constant(pictures)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs.append(model(x))
            total = tf.reduce_sum(outputs[-1] * direction)
        gradients.append(tape.gradient(total, [*model.trainable_variables, x]))
    assert np.abs(outputs[0]).max() > 0.1
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-5)
    pairs = zip([*concatenated(gradients[1][:-1]), gradients[1][-1]], gradients[0], strict=True)
    return max(float(np.abs(actual - expected).max() / np.abs(expected).max()) for actual, expected in pairs)


def test_normalisation_inside_each_tower_would_change_the_output(tmp_path):
    one, _ = models(narrow("bvlc_alexnet"), tmp_path, classifier_activation=None)
    mutant = AlexNet(narrow("bvlc_alexnet", groups=2), devices=DEVICES, classifier_activation=None)
    mutant.load_weights(tmp_path / "one.weights.h5")
    assert np.abs(mutant(PICTURES) - one(PICTURES)).max() > 1e-4


def test_training_gives_the_weights_of_one_device_and_one_file_serves_both(tmp_path):
    one, two = models(narrow("bvlc_alexnet"), tmp_path)
    initial = one.get_weights()
    for model in (one, two):
        # XLA would compile the model on one device, which takes longer than the test.
        model.compile(keras.optimizers.SGD(1e-6, momentum=0.9), "sparse_categorical_crossentropy", jit_compile=False)
        model.fit(PICTURES, LABELS, epochs=2, batch_size=3, verbose=0)
    two.save_weights(tmp_path / "two.weights.h5")
    loaded = AlexNet(narrow("bvlc_alexnet"))
    loaded.load_weights(tmp_path / "two.weights.h5")
    for actual, expected, before in zip(loaded.get_weights(), one.get_weights(), initial, strict=True):
        change = np.abs(expected - before).max()
        assert change > 0
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-3 * change)


def test_keras_file_of_a_trained_model_holds_weights_and_optimizer(tmp_path):
    two = AlexNet(narrow("bvlc_alexnet"), devices=DEVICES)
    two.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy")
    two.fit(PICTURES, LABELS, verbose=0)
    two.save(tmp_path / "two.keras")
    loaded = keras.saving.load_model(tmp_path / "two.keras")
    np.testing.assert_array_equal(loaded(PICTURES), two(PICTURES))
    for actual, expected in zip(loaded.optimizer.variables, two.optimizer.variables, strict=True):
        np.testing.assert_array_equal(actual.numpy(), expected.numpy())


def test_variables_and_momentum_are_on_the_device_of_their_tower():
    two = AlexNet(narrow("krizhevsky2012"), devices=DEVICES)
    two.compile(keras.optimizers.SGD(1e-3, momentum=0.9), "sparse_categorical_crossentropy")
    expected = ["CPU:0", "CPU:0", "CPU:1", "CPU:1"] * 7 + ["CPU:0"] * 2
    assert [v.value.device[-5:] for v in two.trainable_variables] == expected
    momentum = [v for v in two.optimizer.variables if "momentum" in v.path]
    assert [v.value.device[-5:] for v in momentum] == expected


def count_operations(function) -> Counter:
    """Count the operations of each kind that a function runs on each device, in the partitioned graphs."""
    context.enable_run_metadata()
    try:
        function()
        metadata = context.export_run_metadata()
    finally:
        context.disable_run_metadata()
    return Counter(
        (re.sub("^_?(Mkl)?(Native)?(Fused)?", "", node.op), node.device[-5:])
        for graphs in metadata.function_graphs
        if len(graphs.partition_graphs) == 2  # The step itself, not the input pipeline.
        for graph in graphs.partition_graphs
        for node in graph.node
    )


def counts_by_device(operations: Counter, kind: str) -> tuple[int, int]:
    """Return how many operations of a kind ran on the first and on the second device."""
    return operations[kind, "CPU:0"], operations[kind, "CPU:1"]


# A step of training: five convolutions, two normalisations and three poolings on each device and
# the gradients of all (the gradient of conv1 with respect to the picture is not needed); fc6 and fc7 on each
# and fc8 on the first, a forward and two backward products; a subtraction in the momentum of each kernel and bias.
TRAINING_STEP = {
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
PREDICTION = {"Conv2D": (5, 5), "LRN": (2, 2), "MaxPool": (3, 3), "MatMul": (3, 2)}
# Transfers from the second device to the first: conv3, fc6, fc7, fc8, and the two normalisations of bvlc_alexnet.
TRANSFERS = {"krizhevsky2012": 4, "bvlc_alexnet": 6}


@pytest.mark.parametrize(("name", "jit"), [("krizhevsky2012", True), ("bvlc_alexnet", "auto")])
def test_each_operation_of_training_runs_on_its_device(name, jit):
    two = AlexNet(narrow(name), devices=DEVICES)
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    if jit is True:
        with pytest.warns(UserWarning, match="doesn't support"):
            two.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=True)
    else:
        two.compile(optimizer, "sparse_categorical_crossentropy")
    operations = count_operations(lambda: two.fit(PICTURES, LABELS, batch_size=3, verbose=0))
    assert {kind: counts_by_device(operations, kind) for kind in TRAINING_STEP} == TRAINING_STEP
    assert operations["Send", "CPU:1"] == 2 * TRANSFERS[name]  # Forward and backward.


def test_each_operation_of_predict_runs_on_its_device():
    two = AlexNet(narrow("bvlc_alexnet"), devices=DEVICES)
    operations = count_operations(lambda: two.predict(PICTURES, verbose=0))
    assert {kind: counts_by_device(operations, kind) for kind in PREDICTION} == PREDICTION


def test_without_the_top_the_output_is_the_concatenation_of_the_towers(tmp_path):
    one, two = models(narrow("bvlc_alexnet"), tmp_path, include_top=False)
    assert two.output_shape == (None, 2, 2, 32)
    np.testing.assert_allclose(two(PICTURES), one(PICTURES), rtol=1e-5, atol=1e-5)


def test_training_in_mixed_precision_has_a_finite_loss():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        two = AlexNet(narrow("bvlc_alexnet"), devices=DEVICES)
        two.compile(keras.optimizers.SGD(1e-4, momentum=0.9), "sparse_categorical_crossentropy")
        history = two.fit(PICTURES, LABELS, epochs=2, batch_size=3, verbose=0).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all()


def test_fresh_kernels_differ_between_towers_and_repeat_with_the_seed():
    net = narrow("krizhevsky2012")
    net = net.replace_layers(**{row.name: replace(row, kernel_init=Normal(0.01)) for row in net.weighted})
    keras.utils.set_random_seed(1)
    first = AlexNet(net, devices=DEVICES)
    keras.utils.set_random_seed(1)
    repeated, other = AlexNet(net, devices=DEVICES), AlexNet(net, devices=DEVICES)
    for weights, same, different in zip(first.get_weights(), repeated.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weights, same)
        assert weights.ndim == 1 or (weights != different).all()
    for layer in first.layers:
        if getattr(layer, "towers", 1) == 2:
            kernels = [kernel.numpy() for kernel in layer.kernels]
            assert abs(np.corrcoef(*map(np.ravel, kernels))[0, 1]) < 0.2
            assert kernels[0].std() == pytest.approx(kernels[1].std(), rel=0.2)


def test_fresh_kernels_have_the_range_of_one_device():
    """Glorot's limit is sqrt(6 / (inputs + outputs)) of the layer, not of a tower."""
    net = narrow("krizhevsky2012")
    fc7 = replace(next(row for row in net.layers if row.name == "fc7"), kernel_init="glorot_uniform")
    two = AlexNet(net.replace_layers(fc7=fc7), devices=DEVICES)
    limit = np.sqrt(6 / (64 + 64))
    largest = max(np.abs(kernel.numpy()).max() for kernel in two.get_layer("fc7").kernels)
    assert largest == pytest.approx(limit, rel=0.01)


def test_layers_before_the_first_convolution_read_the_picture(tmp_path):
    net = replace(narrow("krizhevsky2012"), input_shape=(67, 67, 4))
    rows = (Pad("pad1", 2), Norm("norm0", 3, alpha=1e-3, beta=0.75, groups=2), Pool("pool0", size=2, stride=1))
    net = replace(net, layers=(*rows, *net.layers))
    one, two = models(net, tmp_path)
    pictures = np.random.default_rng(0).normal(0, 60, (2, 67, 67, 4)).astype("float32")
    np.testing.assert_allclose(two(pictures), one(pictures), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("conv1", {"groups": 2}),
        ("conv3", {"filters": 33}),
        ("fc6", {"units": 65}),
        ("norm1", {"groups": 4}),
        ("norm2", {"size": 35, "groups": 1}),
    ],
)
def test_a_layer_that_two_towers_cannot_divide_is_refused(name, change):
    net = replace(narrow("krizhevsky2012"), input_shape=(67, 67, 4))
    row = next(row for row in net.layers if row.name == name)
    with pytest.raises(ValueError, match=f"{name} on 2 devices: expected .* Received: "):
        AlexNet(net.replace_layers(**{name: replace(row, **change)}), devices=DEVICES)


def test_a_norm_within_each_channel_and_an_odd_classifier_are_divided(tmp_path):
    net = narrow("bvlc_alexnet", region="within_channel", size=3).with_classes(5)
    one, two = models(net, tmp_path)
    np.testing.assert_allclose(two(PICTURES), one(PICTURES), rtol=1e-5, atol=1e-6)
