"""The recipes: one step is the equation of its source, schedules are what they are called."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from nets import small

import tfalexnet
from tfalexnet import training
from tfalexnet.architectures import ARCHITECTURES, KRIZHEVSKY2012
from tfalexnet.training import CAFFE, FINE_TUNE, PAPER, SOURCES, Momentum

NET = small(KRIZHEVSKY2012, dropout=0.0)
RATE = 1e-3


def batch(count=4):
    generator = np.random.default_rng(0)
    return generator.normal(0, 1, (count, 227, 227, 3)).astype("f4"), generator.integers(0, 10, count)


def named(model):
    return {
        f"{layer.name}/{kind}": v
        for layer in model.layers
        for kind, v in zip("wb", layer.get_weights(), strict=False)
    }


def gradients(model, x, y):
    """Of the mean cross-entropy alone, by TensorFlow."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, model(x, training=False)))
    layers = [layer for layer in model.layers if layer.weights]
    found = tape.gradient(loss, [[v.value for v in layer.weights] for layer in layers])
    return {
        f"{layer.name}/{kind}": g.numpy()
        for layer, pair in zip(layers, found, strict=True)
        for kind, g in zip("wb", pair, strict=True)
    }


@pytest.mark.parametrize(
    ("recipe", "bias_rate", "decay"), [(PAPER, 1, 5e-4), (CAFFE, 2, 5e-4)], ids=["paper", "caffe"]
)
def test_two_steps_are_the_equation_of_the_source(recipe, bias_rate, decay):
    """v ← .9·v − decay·ε·w − ε·g; w ← w + v, biases without decay, in NumPy."""
    model = tfalexnet.AlexNet(NET, classifier_activation=None)
    x, y = batch()
    recipe = dataclasses.replace(recipe, learning_rate=RATE)
    weights = {name: w.astype("f8") for name, w in named(model).items()}
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
    for name, after in named(model).items():
        np.testing.assert_allclose(after, weights[name], rtol=1e-4, atol=2e-6 * np.abs(weights[name]).max())


def test_another_recipe_takes_the_decay_back():
    model = tfalexnet.AlexNet(NET)
    PAPER.compile(model)
    assert len(model.losses) == 8
    SOURCES["mnist_28"].compile(model)
    assert not model.losses


def test_two_towers_learn_as_one():
    x, y = batch()
    one, two = tfalexnet.AlexNet(NET), tfalexnet.AlexNet(NET, devices=("/CPU:0", "/CPU:1"))
    for layer in one.layers:
        if layer.weights:
            store = {}
            layer.save_own_variables(store)
            two.get_layer(layer.name).load_own_variables(store)
    from tfalexnet.model import parameters_of

    for model in (one, two):
        CAFFE.compile(model)
        for _ in range(2):
            model.train_on_batch(x, y)
    for name, arrays in parameters_of(one).items():
        for a, b in zip(arrays, parameters_of(two)[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_plateau_divides_by_ten_three_times():
    falling = list(np.linspace(90, 40, 20))
    assert PAPER.rate(0, 1, []) == PAPER.rate(0, 1, falling) == 0.01
    still = falling + [40.0] * 4
    assert PAPER.rate(0, 1, still) == 0.01
    assert PAPER.rate(0, 1, [*still, 41.0]) == pytest.approx(0.001)
    assert PAPER.rate(0, 1, [*still, 41.0, 39.0]) == pytest.approx(0.001)
    assert PAPER.rate(0, 1, falling + [50.0] * 100) == pytest.approx(0.01 / 1000)


def test_steps_and_cosine():
    assert [CAFFE.rate(step, 450_000, []) for step in (0, 99_999, 100_000, 449_999)] == pytest.approx(
        [0.01, 0.01, 1e-3, 1e-6]
    )
    rates = [FINE_TUNE.rate(step, 1000, []) for step in range(1000)]
    assert max(rates) == rates[50] == FINE_TUNE.learning_rate and rates[0] < rates[25] < rates[49] + 1e-9
    assert rates[525] == pytest.approx(FINE_TUNE.learning_rate / 2, rel=0.01) and rates[-1] < 1e-8
    assert all(math.isfinite(FINE_TUNE.rate(0, steps, [])) for steps in (1, 2, 19))


def test_the_schedule_in_fit():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    recipe = dataclasses.replace(FINE_TUNE, learning_rate=1.0)
    recipe.compile(model)
    seen = []

    class Spy(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(float(self.model.optimizer.learning_rate))

    x, y = np.ones((40, 2)), np.zeros(40, int)
    model.fit(x, y, batch_size=1, verbose=0, validation_data=(x, y), callbacks=[recipe.callback(40), Spy()])
    assert seen == pytest.approx([recipe.rate(step, 40, []) for step in range(40)])
    plateau = dataclasses.replace(PAPER, learning_rate=1e-9)
    plateau.compile(model)
    model.fit(x, y, epochs=8, verbose=0, validation_data=(x, y), callbacks=[plateau.callback(16), Spy()])
    assert seen[40] == pytest.approx(1e-9) and seen[-1] == pytest.approx(1e-10)


def test_the_optimizer_is_saved_with_its_bias_rate():
    again = Momentum.from_config(Momentum(0.1, 0.9, bias_rate=2.0).get_config())
    assert (again.bias_rate, again.momentum) == (2.0, 0.9)


def test_recipes_by_name():
    assert training.paper() is training.recipe("paper", "mnist_28") is PAPER
    assert training.recipe(None, "mnist_28") is SOURCES["mnist_28"] is training.recipe("source", "mnist_28", True)
    assert training.recipe(None, "bvlc_alexnet", pretrained=True) is FINE_TUNE
    assert set(SOURCES) == set(ARCHITECTURES)
    with pytest.raises(ValueError, match="one of source, paper, caffe, fine-tune. Received: 'x'"):
        training.recipe("x", "mnist_28")
