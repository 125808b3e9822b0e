"""The engine TensorFlow computes every layer as the Keras model of the same table."""

import numpy as np
import pytest
import tensorflow as tf
from support.answers import keras_case
from support.nets import nearly_equal_tables, random_parameters, small

from tfalexnet.networks.build import build_model, set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.layer_names import required_rows
from tfalexnet.runtimes.engine import ALIGNMENT, aligned_memory
from tfalexnet.runtimes.tensorflow import _as_tensor, freeze


def outputs_of(net, parameters, layers, x, precision="float32", **options):
    function = tf.function(freeze(net, dict(parameters), layers, precision, **options))
    return [output.numpy() for output in function(tf.constant(x))]


def inputs_for(net, count=2):
    return np.random.default_rng(0).standard_normal((count, *net.input_shape), np.float32) * 50


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_layer_of_every_network_equals_the_layer_in_keras(name):
    net = small(ARCHITECTURES[name])
    parameters = random_parameters(net)
    reference = build_model(net)
    set_parameters(reference, parameters)
    # "prob" in place of the classifier, whose layer in Keras includes the softmax.
    layers = [row.name for row in net.layers if row is not net.classifier] + ["prob"]
    expected, x = [], inputs_for(net)
    y = tf.constant(x)
    for layer in reference.layers[1:]:
        y = layer(y)
        expected.append(y.numpy())
    for layer, received, values in zip(layers, outputs_of(net, parameters, layers, x), expected, strict=True):
        np.testing.assert_allclose(received, values, rtol=1e-5, atol=1e-5 * np.abs(values).max(), err_msg=layer)


def test_before_and_after_an_activation():
    net = small(ARCHITECTURES["tflearn_flowers17"])
    before, after = outputs_of(net, random_parameters(net), ["fc6:pre", "fc6"], inputs_for(net))
    np.testing.assert_allclose(np.tanh(before), after, atol=1e-6)
    assert np.abs(before).max() > 1


def bfloat16_steps(values):
    """The distance to the nearest bfloat16 number, relative to the largest value."""
    rounded = tf.cast(tf.cast(values, tf.bfloat16), tf.float32).numpy()
    return np.abs(values - rounded).max() / np.abs(values).max()


@pytest.mark.parametrize("name", ["bvlc_alexnet", "krizhevsky2012", "cifar10_18pct", "single_tower_avgpool"])
def test_bfloat16_has_an_error_of_its_own_size_in_every_layer_and_a_float32_classifier(name):
    net, parameters, x, answers = keras_case(name, 16)
    layers = [row.name for row in net.layers]
    exact, near = (outputs_of(net, parameters, [*layers, "prob"], x, kind) for kind in ("float32", "bfloat16"))
    for layer, right, approximate in zip(layers, exact, near, strict=False):
        error = np.abs(approximate - right).max() / np.abs(right).max()
        assert error < 0.02, layer  # bfloat16 rounds by up to 2^-9, 0.2 %, in each of some ten layers.
        assert approximate.dtype == np.float32
        assert (bfloat16_steps(approximate) > 0) == (layer == net.classifier.name), layer
    assert answers.max() > 0.5  # The logits differ; of ten equal classes every answer would be right.
    np.testing.assert_allclose(exact[-1], answers, atol=1e-5)
    assert 1e-5 < np.abs(near[-1] - answers).max() < 0.05
    np.testing.assert_allclose(near[-1].sum(axis=1), 1, atol=1e-6)


def test_normalisation_without_xla_answers_alike():
    net = small(ARCHITECTURES["krizhevsky2012"])
    parameters, x = random_parameters(net), inputs_for(net)
    (compiled,), (plain,) = (outputs_of(net, parameters, ["norm2"], x, sliced=sliced) for sliced in (True, False))
    np.testing.assert_allclose(compiled, plain, rtol=1e-5, atol=1e-5 * plain.max())
    graph = tf.function(freeze(net, dict(parameters), ["prob"], sliced=False)).get_concrete_function(tf.constant(x))
    kinds = [operation.type for operation in graph.graph.get_operations()]
    assert kinds.count("LRN") == 4  # Two layers, two towers.
    assert not any("PartitionedCall" in kind for kind in kinds)


def test_the_graph_holds_no_second_copy_of_the_matrices():
    net = small(ARCHITECTURES["bvlc_alexnet"])
    parameters = random_parameters(net)
    largest = max(kernel.nbytes for kernel, _ in parameters.values() if kernel.ndim == 2)
    function = tf.function(freeze(net, parameters, ["prob"])).get_concrete_function(tf.constant(inputs_for(net)))
    assert parameters == {}
    constants = [operation for operation in function.graph.get_operations() if operation.type == "Const"]
    assert max(constant.outputs[0].shape.num_elements() * 4 for constant in constants) < largest
    assert sum(4 * tensor.shape.num_elements() for tensor, _ in function.graph.captures) >= largest


def test_only_the_parameters_of_required_layers_are_used():
    net = small(ARCHITECTURES["bvlc_alexnet"])
    parameters = random_parameters(net)
    freeze(net, parameters, ["conv5", "conv2:pre"])
    assert set(parameters) == {"fc6", "fc7", "fc8"}
    assert required_rows(net, ["conv1:pre"]) == net.layers[:1]


@pytest.mark.parametrize(("net", "other", "layer"), nearly_equal_tables())
def test_a_table_that_differs_a_little_changes_the_outputs(net, other, layer):
    parameters, x = random_parameters(net), inputs_for(net)
    (right,), (wrong,) = (outputs_of(table, parameters, [layer], x) for table in (net, other))
    assert np.abs(right - wrong).max() > 1e-3 * np.abs(right).max()


def test_aligned_memory_is_shared_with_tensorflow_and_other_memory_copied():
    inputs = aligned_memory((2, 5, 4, 3))
    assert inputs.ctypes.data % ALIGNMENT == 0 and inputs.shape == (2, 5, 4, 3) and not inputs.any()
    tensor = _as_tensor(inputs)
    inputs[0, 0, 0, 0] = 7
    assert float(tensor[0, 0, 0, 0]) == 7
    for other in (inputs[1:], inputs[:, :, ::-1], np.asfortranarray(inputs)):
        np.testing.assert_array_equal(_as_tensor(other), other)
