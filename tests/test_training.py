"""The recipes: one step is the equation of its source, schedules are what they are called."""

import dataclasses
import json
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.nets import small

import tfalexnet
from tfalexnet import training
from tfalexnet.cli.train import recipes_table
from tfalexnet.networks.catalog import ARCHITECTURES, KRIZHEVSKY2012
from tfalexnet.training.optimizer import Momentum, variable_role
from tfalexnet.training.recipes import CAFFE, FINE_TUNE, FINE_TUNE_RATES, PAPER, SOURCES

NET = small(KRIZHEVSKY2012, dropout=0.0)
RATE = 1e-3


def batch(count=4):
    generator = np.random.default_rng(0)
    return generator.normal(0, 1, (count, 227, 227, 3)).astype("f4"), generator.integers(0, 10, count)


def named(model):
    return {
        f"{layer.name}/{kind}": v for layer in model.layers for kind, v in zip("wb", layer.get_weights(), strict=False)
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


@pytest.mark.parametrize(("recipe", "bias_rate", "decay"), [(PAPER, 1, 5e-4), (CAFFE, 2, 5e-4)], ids=["paper", "caffe"])
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
    from tfalexnet.networks.build import get_parameters

    for model in (one, two):
        CAFFE.compile(model)
        for _ in range(2):
            model.train_on_batch(x, y)
    for name, arrays in get_parameters(one).items():
        for a, b in zip(arrays, get_parameters(two)[name], strict=True):
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
    assert training.paper() == training.recipe("paper", "mnist_28") == PAPER
    assert training.recipe(None, "mnist_28") == SOURCES["mnist_28"] == training.recipe("source", "mnist_28", True)
    assert training.recipe(None, "bvlc_alexnet", pretrained=True) == FINE_TUNE
    assert training.recipe(None, "mine") == PAPER and training.recipe(None, "mine", pretrained=True) == FINE_TUNE
    asked = {"epochs": 7, "batch": None, "learning_rate": 0.5, "augment": None}
    changed = training.recipe("caffe", "mnist_28", **asked)
    assert changed == dataclasses.replace(CAFFE, epochs=7, learning_rate=0.5)
    assert set(SOURCES) == set(ARCHITECTURES)
    with pytest.raises(ValueError, match="one of source, paper, caffe, fine-tune. Received: 'x'"):
        training.recipe("x", "mnist_28")
    with pytest.raises(ValueError, match="`recipe` to be one of paper, caffe, fine-tune. Received: 'source'"):
        training.recipe("source", "mine")


def test_recipes_are_json():
    for recipe in (*SOURCES.values(), *training.RECIPES.values()):
        fields = dataclasses.asdict(recipe)
        assert training.Recipe(**json.loads(json.dumps(fields))) == recipe and hash(recipe)


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "sgd"},
        {"learning_rate": 0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"learning_rate": "0.1"},
        {"batch": 0},
        {"batch": 32.0},
        {"epochs": 0},
        {"schedule": "linear"},
        {"schedule": ["cosine"]},
        {"momentum": 1},
        {"momentum": -0.1},
        {"decay": -1e-4},
        {"decays": {"fc8": math.nan}},
        {"decays": [1.0]},
        {"bias_rate": math.inf},
        {"augment": "colour"},
    ],
    ids=str,
)
def test_a_recipe_that_cannot_be(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"Expected `{name}` to be .*Received: ") as caught:
        dataclasses.replace(PAPER, **wrong)
    assert repr(value) in str(caught.value)
    if isinstance(value, int | float):
        with pytest.raises(ValueError, match=f"Expected `{name}`"):
            training.recipe("paper", "mnist_28", **wrong)


PUBLISHED = {
    # layer-params-18pct.cfg; tflearn's examples/images/alexnet.py; the networks' own pages.
    "cifar10_18pct": {
        "learning_rate": 1e-3,
        "batch": 128,
        "epochs": 140,
        "momentum": 0.9,
        "bias_rate": 2,
        "decay": 0.004,
    },
    "tflearn_flowers17": {"learning_rate": 1e-3, "batch": 64, "epochs": 1000, "momentum": 0.9, "decay": 0},
    "single_tower": {"optimizer": "adam", "learning_rate": 1e-3, "batch": 32, "epochs": 10},
    "single_tower_avgpool": {"optimizer": "momentum", "momentum": 0},
    "mnist_28": {"optimizer": "adam", "learning_rate": 1e-3, "batch": 64},
    "bvlc_caffenet": {"learning_rate": 0.01, "batch": 256, "epochs": 90, "decay": 5e-4, "bias_rate": 2},
    "krizhevsky2012": {"learning_rate": 0.01, "batch": 128, "epochs": 90, "decay": 5e-4, "augment": "paper"},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sources_say_what_the_sources_say(name):
    said = dataclasses.asdict(SOURCES[name])
    assert {key: said[key] for key in PUBLISHED[name]} == PUBLISHED[name]


def test_fine_tuning_is_gentler_with_some_networks():
    assert training.recipe(None, "bvlc_alexnet", True) == FINE_TUNE
    assert training.recipe("fine-tune", "cifar10_18pct").learning_rate == 1e-5
    assert training.recipe(None, "cifar10_18pct", True, learning_rate=1e-4).learning_rate == 1e-4


def test_the_help_of_the_command_line_has_the_recipes_as_they_are():
    def row(name, recipe):
        optimizer = recipe.optimizer
        if optimizer == "momentum":
            optimizer = f"momentum {recipe.momentum:g}" if recipe.momentum else "plain descent"
        figures = f"{recipe.learning_rate:g}", f"{recipe.batch}", f"{recipe.epochs}"
        return re.split("  +", "  ".join([name, optimizer, *figures, recipe.schedule, recipe.augment]))

    table, notes = recipes_table().split("\n\n")
    lines = table.splitlines()
    shown = [re.split("  +", line) for line in lines if line != "source, of"][1:]
    usual = {"paper": PAPER, "caffe": CAFFE}
    like = {
        name: kind
        for name, recipe in SOURCES.items()
        for kind, other in usual.items()
        if dataclasses.replace(recipe, source=other.source) == other
    }
    own = {name: recipe for name, recipe in SOURCES.items() if name not in like}
    assert shown == [row(name, recipe) for name, recipe in (training.RECIPES | own).items()]
    notes = notes.replace(" and ", ", ")
    for kind in usual:
        assert f"{kind} for {', '.join(name for name in like if like[name] == kind)}" in notes
    for name, rate in FINE_TUNE_RATES.items():
        assert f"fine-tune of {name} has rate {rate:g}" in notes


def test_cifar10_falls_after_120_and_130_epochs():
    recipe = SOURCES["cifar10_18pct"]
    rates = [recipe.rate(0, 1, [50.0] * done) for done in (0, 119, 120, 129, 130, 139)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_the_classifier_of_cifar10_decays_by_itself():
    """A step of no gradient but the decay's: w ← w − decay·ε·w, of the layers each with its own."""
    model = tfalexnet.AlexNet("cifar10_18pct", classifier_activation=None)
    recipe = SOURCES["cifar10_18pct"]
    recipe.compile(model)
    x, y = np.random.default_rng(0).normal(0, 60, (8, 32, 32, 3)).astype("f4"), np.arange(8)
    weights, found = named(model), gradients(model, x, y)
    model.train_on_batch(x, y)
    for name, after in named(model).items():
        shrink = 0 if name.endswith("b") else 1.0 if name == "fc4/w" else 0.004
        rate = 2e-3 if name.endswith("b") else 1e-3
        expected = weights[name] - (1e-3 * shrink) * weights[name] - rate * found[name]
        np.testing.assert_allclose(after, expected, rtol=1e-4, atol=1e-4 * np.abs(weights[name]).max() + 1e-9)
    PAPER.compile(model)
    decays = {v.path: float(v.regularizer.l2) * 2 for v in model.trainable_variables if "kernel" in v.name}
    assert set(decays.values()) == {5e-4}
    with pytest.raises(ValueError, match="layers of `decays`. It has no fc9"):
        dataclasses.replace(PAPER, decays={"fc4": 1.0, "fc9": 1.0}).compile(model)


def test_towers_have_the_decay_of_their_layer():
    model = tfalexnet.AlexNet(NET, devices=("/CPU:0", "/CPU:1"))
    dataclasses.replace(PAPER, decays={"fc6": 0.5, "conv3": 0.0}).compile(model)
    for variable in model.trainable_variables:
        layer = next(layer for layer in model.layers if any(v is variable for v in layer.weights))
        decay = {"fc6": 0.5, "conv3": 0.0}.get(layer.name, 5e-4) if variable_role(variable) == "kernel" else 0.0
        found = variable.regularizer
        assert (float(found.l2) * 2 if found else 0.0) == pytest.approx(decay), variable.path


def test_what_follows_validation_says_that_it_wants_some():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
    PAPER.compile(model)
    x, y = np.ones((4, 2)), np.zeros(4, int)
    with pytest.raises(ValueError, match="Expected validation data, whose error the schedule 'plateau' follows"):
        model.fit(x, y, epochs=2, verbose=0, callbacks=[PAPER.callback(2)])
    falling = dataclasses.replace(PAPER, schedule="after 120 and 130 epochs", learning_rate=1e-9)
    falling.compile(model)
    callback = falling.callback(121)
    callback.set_model(model)
    for epoch in range(121):
        callback.on_train_batch_begin(0)
        callback.on_epoch_end(epoch, {})
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-10)


def test_a_longer_cosine_is_said_to_jump():
    longer = dataclasses.replace(FINE_TUNE, epochs=20)
    assert longer.rate(100, 200, []) > 100 * FINE_TUNE.rate(99, 100, [])
    assert "cosine of the learning rate now ends with epoch 20, not 10: the rate jumps" in longer.stretched(10)
    assert not longer.stretched(20) and not dataclasses.replace(PAPER, epochs=100).stretched(90)
