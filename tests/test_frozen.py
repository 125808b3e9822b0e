"""The frozen function against the Keras model of the same table, layer by layer."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from support.nets import random_parameters, small

from tfalexnet.checkpoints.spec import PREPROCESSING
from tfalexnet.networks.build import build_model, set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.layer_names import required_rows
from tfalexnet.runtimes.cpu import resolve_precision
from tfalexnet.runtimes.network import Network, load_network
from tfalexnet.runtimes.tensorflow import freeze


def answers(net, parameters, layers, pictures, precision="float32", **options):
    function = tf.function(freeze(net, dict(parameters), layers, precision, **options))
    return [output.numpy() for output in function(tf.constant(pictures))]


def pictures(net, count=2):
    return np.random.default_rng(0).standard_normal((count, *net.input_shape), np.float32) * 50


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_layer_of_every_network_answers_as_in_keras(name):
    net = small(ARCHITECTURES[name])
    parameters = random_parameters(net)
    reference = build_model(net)
    set_parameters(reference, parameters)
    # Without the softmax, which the model has in its classifier.
    layers = [row.name for row in net.layers if row is not net.classifier] + ["prob"]
    values, x = [], pictures(net)
    y = tf.constant(x)
    for layer in reference.layers[1:]:
        y = layer(y)
        values.append(y.numpy())
    for layer, found, wanted in zip(layers, answers(net, parameters, layers, x), values, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max(), err_msg=layer)


def test_before_and_after_an_activation():
    net = small(ARCHITECTURES["tflearn_flowers17"])
    before, after = answers(net, random_parameters(net), ["fc6:pre", "fc6"], pictures(net))
    np.testing.assert_allclose(np.tanh(before), after, atol=1e-6)
    assert np.abs(before).max() > 1


@pytest.mark.parametrize("name", ["bvlc_alexnet", "krizhevsky2012", "cifar10_18pct", "single_tower_avgpool"])
def test_bfloat16_keeps_three_digits(name):
    net = small(ARCHITECTURES[name])
    parameters, x = random_parameters(net), pictures(net, 16)
    exact, near = (answers(net, parameters, ["prob"], x, kind)[0] for kind in ("float32", "bfloat16"))
    assert 0 < np.abs(exact - near).max() < 0.02
    assert near.dtype == np.float32
    np.testing.assert_allclose(near.sum(axis=1), 1, atol=1e-5)


def test_plain_normalisation_answers_alike():
    net = small(ARCHITECTURES["krizhevsky2012"])
    parameters, x = random_parameters(net), pictures(net)
    (fast,), (plain,) = (answers(net, parameters, ["norm2"], x, sliced=kind) for kind in (True, False))
    np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-5 * plain.max())
    graph = tf.function(freeze(net, dict(parameters), ["prob"], sliced=False)).get_concrete_function(tf.constant(x))
    kinds = [operation.type for operation in graph.graph.get_operations()]
    assert kinds.count("LRN") == 4  # Two layers, two towers.
    assert not any("PartitionedCall" in kind for kind in kinds)


def test_no_second_copy_of_the_matrices_is_in_the_graph():
    net = small(ARCHITECTURES["bvlc_alexnet"])
    parameters = random_parameters(net)
    largest = max(kernel.nbytes for kernel, _ in parameters.values() if kernel.ndim == 2)
    function = tf.function(freeze(net, parameters, ["prob"])).get_concrete_function(tf.constant(pictures(net)))
    assert parameters == {}
    constants = [o for o in function.graph.get_operations() if o.type == "Const"]
    assert max(o.outputs[0].shape.num_elements() * 4 for o in constants) < largest
    assert sum(4 * t.shape.num_elements() for t, _ in function.graph.captures) >= largest


def test_only_the_layers_that_are_needed_are_taken():
    net = small(ARCHITECTURES["bvlc_alexnet"])
    parameters = random_parameters(net)
    freeze(net, parameters, ["conv5", "conv2:pre"])
    assert set(parameters) == {"fc6", "fc7", "fc8"}
    assert required_rows(net, ["conv1:pre"]) == net.layers[:1]


def test_batches_of_every_size_are_compiled_for_few():
    net = small(ARCHITECTURES["bvlc_alexnet"])
    seen = []
    function = tf.function(
        freeze(net, random_parameters(net), ["prob"]), input_signature=[tf.TensorSpec((None, *net.input_shape))]
    )
    network = Network(
        architecture=net,
        preprocessing=PREPROCESSING["bvlc_alexnet"],
        classes=(),
        layers=("prob",),
        precision="float32",
        function=lambda x: seen.append(len(x)) or function(x),
        path=Path("net.weights.h5"),
        packages=("tensorflow",),
    )
    x = pictures(net, 45)
    (whole,) = network(x, 45)
    for count in (1, 2, 3, 5, 20, 32, 45):
        (some,) = network(x[:count])
        np.testing.assert_allclose(some, whole[:count], atol=1e-6)
    (tens,) = network(x, 10)
    np.testing.assert_allclose(tens, whole, atol=1e-6)
    assert len(network(x[:0])[0]) == 0
    assert set(seen) == {1, 2, 4, 8, 10, 16, 32, 45}
    assert function.experimental_get_tracing_count() == 1


def test_precisions(monkeypatch):
    assert resolve_precision("bfloat16") == "bfloat16" and resolve_precision("float32") == "float32"
    for text, wanted in {"flags : fma amx_bf16": "bfloat16", "flags : avx512_bf16_no": "float32"}.items():
        monkeypatch.setattr(Path, "read_text", lambda *_, text=text: text)
        assert resolve_precision("auto") == wanted
    with pytest.raises(ValueError, match=r"Expected `precision` to be one of float32, bfloat16, auto\. .*'half'"):
        load_network("cifar10", precision="half")


@pytest.mark.parametrize(
    ("layer", "changes"),
    [("norm1", {"divide_alpha": False}), ("norm2", {"groups": 1}), ("conv4", {"activation": "tanh"})],
)
def test_a_network_that_differs_a_little_is_found_out(layer, changes):
    net = small(ARCHITECTURES["krizhevsky2012"])
    row = next(row for row in net.layers if row.name == layer)
    other = net.replace_layers(**{layer: dataclasses.replace(row, **changes)})
    parameters, x = random_parameters(net), pictures(net)
    (right,), (wrong,) = (answers(table, parameters, [layer], x) for table in (net, other))
    assert np.abs(right - wrong).max() > 1e-3 * np.abs(right).max()
