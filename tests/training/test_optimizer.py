"""One step equals the equation of the recipe's source; decay per layer; schedules in `model.fit`."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.nets import small

import tfalexnet
from tfalexnet.networks.build import get_parameters, set_parameters
from tfalexnet.networks.catalog import KRIZHEVSKY2012
from tfalexnet.training.optimizer import Momentum, variable_role
from tfalexnet.training.recipes import CAFFE, FINE_TUNE, PAPER, SOURCES

NET = small(KRIZHEVSKY2012, dropout=0.0)
RATE = 1e-3


def random_batch(count=4):
    generator = np.random.default_rng(0)
    return generator.normal(0, 1, (count, 227, 227, 3)).astype("f4"), generator.integers(0, 10, count)


def arrays_by_name(model):
    """Return copies of all weights as {"layer/w" or "layer/b": array}."""
    return {
        f"{layer.name}/{kind}": v for layer in model.layers for kind, v in zip("wb", layer.get_weights(), strict=False)
    }


def gradients(model, x, y):
    """Return the gradients of the mean cross-entropy without decay, by TensorFlow."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=False)))
    layers = [layer for layer in model.layers if layer.weights]
    pairs = tape.gradient(loss, [[v.value for v in layer.weights] for layer in layers])
    return {
        f"{layer.name}/{kind}": g.numpy()
        for layer, pair in zip(layers, pairs, strict=True)
        for kind, g in zip("wb", pair, strict=True)
    }


@pytest.mark.parametrize(("recipe", "bias_rate", "decay"), [(PAPER, 1, 5e-4), (CAFFE, 2, 5e-4)], ids=["paper", "caffe"])
def test_two_steps_are_the_equation_of_the_source(recipe, bias_rate, decay):
    """v ← .9·v − decay·ε·w − ε·g; w ← w + v, biases without decay, in NumPy."""
    model = tfalexnet.AlexNet(NET, classifier_activation=None)
    x, y = random_batch()
    recipe = dataclasses.replace(recipe, learning_rate=RATE)
    weights = {name: w.astype("f8") for name, w in arrays_by_name(model).items()}
    velocity = dict.fromkeys(weights, 0.0)
    recipe.compile(model)
    for _ in range(2):
        g = gradients(model, x, y)
        model.train_on_batch(x, y)
        for name, w in weights.items():
            rate = RATE * (bias_rate if name.endswith("b") else 1)
            shrink = decay if name.endswith("w") else 0
            velocity[name] = 0.9 * velocity[name] - shrink * rate * w - rate * g[name]
            weights[name] = w + velocity[name]
    for name, after in arrays_by_name(model).items():
        np.testing.assert_allclose(after, weights[name], rtol=1e-4, atol=2e-6 * np.abs(weights[name]).max())


def test_compiling_with_a_recipe_without_decay_removes_it():
    model = tfalexnet.AlexNet(NET)
    PAPER.compile(model)
    assert len(model.losses) == 8
    SOURCES["mnist_28"].compile(model)
    assert not model.losses


@pytest.mark.slow
def test_two_towers_train_like_one_device():
    x, y = random_batch()
    one, two = tfalexnet.AlexNet(NET), tfalexnet.AlexNet(NET, devices=("/CPU:0", "/CPU:1"))
    set_parameters(two, get_parameters(one))
    for model in (one, two):
        CAFFE.compile(model)
        for _ in range(2):
            model.train_on_batch(x, y)
    for name, arrays in get_parameters(one).items():
        for a, b in zip(arrays, get_parameters(two)[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_towers_have_the_decay_of_their_layer():
    decays = {"fc6": 0.5, "conv3": 0.0}
    model = tfalexnet.AlexNet(NET, devices=("/CPU:0", "/CPU:1"))
    dataclasses.replace(PAPER, decays=decays).compile(model)
    for variable in model.trainable_variables:
        layer = next(layer for layer in model.layers if any(v is variable for v in layer.weights))
        expected = decays.get(layer.name, 5e-4) if variable_role(variable) == "kernel" else 0.0
        regularizer = variable.regularizer
        assert (float(regularizer.l2) * 2 if regularizer else 0.0) == pytest.approx(expected), variable.path


def test_the_classifier_of_cifar10_has_its_own_decay():
    """w ← w − decay·ε·w − ε·g, with the decay of each layer."""
    model = tfalexnet.AlexNet("cifar10_18pct", classifier_activation=None)
    recipe = SOURCES["cifar10_18pct"]
    recipe.compile(model)
    x, y = np.random.default_rng(0).normal(0, 60, (8, 32, 32, 3)).astype("f4"), np.arange(8)
    weights, g = arrays_by_name(model), gradients(model, x, y)
    model.train_on_batch(x, y)
    for name, after in arrays_by_name(model).items():
        shrink = 0 if name.endswith("b") else 1.0 if name == "fc4/w" else 0.004
        rate = 2e-3 if name.endswith("b") else 1e-3
        expected = weights[name] - (1e-3 * shrink) * weights[name] - rate * g[name]
        np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-4 * np.abs(weights[name]).max() + 1e-9)
    PAPER.compile(model)
    decays = {v.path: float(v.regularizer.l2) * 2 for v in model.trainable_variables if "kernel" in v.name}
    assert set(decays.values()) == {5e-4}
    with pytest.raises(ValueError, match="layers of `decays`. It has no fc9"):
        dataclasses.replace(PAPER, decays={"fc4": 1.0, "fc9": 1.0}).compile(model)


def test_the_optimizer_is_saved_with_its_bias_rate():
    again = Momentum.from_config(Momentum(0.1, 0.9, bias_rate=2.0).get_config())
    assert (again.bias_rate, again.momentum) == (2.0, 0.9)
    assert keras.saving.get_registered_name(Momentum) == "tfalexnet>Momentum"


@pytest.fixture
def linear():
    """A model of one layer on two inputs."""
    return keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])


class RecordRates(keras.callbacks.Callback):
    """Records the learning rate of each step."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def on_train_batch_end(self, batch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))


def test_fit_follows_the_schedule(linear):
    recipe = dataclasses.replace(FINE_TUNE, learning_rate=1.0)
    recipe.compile(linear)
    record = RecordRates()
    x, y = np.ones((40, 2)), np.zeros(40, int)
    linear.fit(x, y, batch_size=1, verbose=0, callbacks=[recipe.callback(40), record])
    assert record.rates == pytest.approx([recipe.rate(step, 40, []) for step in range(40)])


def test_fit_lowers_the_rate_when_the_validation_error_stops_improving(linear):
    recipe = dataclasses.replace(PAPER, learning_rate=1e-9)
    recipe.compile(linear)
    record = RecordRates()
    x, y = np.ones((40, 2)), np.zeros(40, int)
    linear.fit(x, y, epochs=8, verbose=0, validation_data=(x, y), callbacks=[recipe.callback(16), record])
    assert record.rates[0] == pytest.approx(1e-9) and record.rates[-1] == pytest.approx(1e-10)


def test_plateau_requires_validation_data(linear):
    PAPER.compile(linear)
    x, y = np.ones((4, 2)), np.zeros(4, int)
    with pytest.raises(ValueError, match="Expected validation data, whose error the schedule 'plateau' follows"):
        linear.fit(x, y, epochs=2, verbose=0, callbacks=[PAPER.callback(2)])


def test_a_schedule_by_epochs_requires_no_validation_data(linear):
    recipe = dataclasses.replace(PAPER, schedule="after 120 and 130 epochs", learning_rate=1e-9)
    recipe.compile(linear)
    callback = recipe.callback(121)
    callback.set_model(linear)
    for epoch in range(121):
        callback.on_train_batch_begin(0)
        callback.on_epoch_end(epoch, {})
    assert float(linear.optimizer.learning_rate) == pytest.approx(1e-10)
