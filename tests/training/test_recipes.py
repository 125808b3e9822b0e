"""The recipes: values of their sources, schedules, lookup by name, and refused values."""

import dataclasses
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest

from tfalexnet import training
from tfalexnet.data import AUGMENTATIONS
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.training.recipe_table import recipes_table
from tfalexnet.training.recipes import AUGMENTATION_NAMES, CAFFE, FINE_TUNE, FINE_TUNE_RATES, PAPER, SOURCES, STRETCHED

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
def test_recipes_of_sources_have_the_published_values(name):
    fields = dataclasses.asdict(SOURCES[name])
    assert {key: fields[key] for key in PUBLISHED[name]} == PUBLISHED[name]


def test_caffe_is_the_recipe_of_its_solver():
    """solver.prototxt: base_lr .01, momentum .9, weight_decay .0005, "step", max_iter 450000; lr_mult 2 for biases."""
    fields = dataclasses.asdict(CAFFE)
    del fields["source"], fields["decays"], fields["optimizer"], fields["epochs"]
    assert fields == {
        **{"learning_rate": 0.01, "momentum": 0.9, "decay": 5e-4, "schedule": "step", "batch": 256},
        **{"bias_rate": 2, "augment": "crop"},
    }


def test_every_network_has_the_recipe_of_its_source():
    assert set(SOURCES) == set(ARCHITECTURES)


def test_recipes_by_name():
    assert training.paper() == training.recipe("paper", "mnist_28") == PAPER
    assert training.recipe(None, "mnist_28") == SOURCES["mnist_28"] == training.recipe("source", "mnist_28", True)
    assert training.recipe(None, "bvlc_alexnet", pretrained=True) == FINE_TUNE
    assert training.recipe(None, "mine") == PAPER and training.recipe(None, "mine", pretrained=True) == FINE_TUNE
    changes = {"epochs": 7, "batch": None, "learning_rate": 0.5, "augment": None}
    changed = training.recipe("caffe", "mnist_28", **changes)
    assert changed == dataclasses.replace(CAFFE, epochs=7, learning_rate=0.5)
    with pytest.raises(ValueError, match="one of source, paper, caffe, fine-tune. Received: 'x'"):
        training.recipe("x", "mnist_28")
    with pytest.raises(ValueError, match="`recipe` to be one of paper, caffe, fine-tune. Received: 'source'"):
        training.recipe("source", "mine")


def test_fine_tuning_has_a_lower_rate_for_some_networks():
    assert training.recipe("fine-tune", "cifar10_18pct").learning_rate == 1e-5
    assert training.recipe(None, "cifar10_18pct", True, learning_rate=1e-4).learning_rate == 1e-4


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
def test_values_out_of_range_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"Expected `{name}` to be .*Received: ") as error:
        dataclasses.replace(PAPER, **wrong)
    assert repr(value) in str(error.value)
    if isinstance(value, int | float):
        with pytest.raises(ValueError, match=f"Expected `{name}`"):
            training.recipe("paper", "mnist_28", **wrong)


def test_augmentations_are_those_of_the_data(monkeypatch):
    assert tuple(AUGMENTATIONS) == AUGMENTATION_NAMES
    monkeypatch.setitem(AUGMENTATIONS, "of_a_user", ())
    assert dataclasses.replace(PAPER, augment="of_a_user").augment == "of_a_user"


def test_plateau_divides_by_ten_three_times():
    falling = list(np.linspace(90, 40, 20))
    assert PAPER.rate(0, 1, []) == PAPER.rate(0, 1, falling) == 0.01
    constant = falling + [40.0] * 4
    assert PAPER.rate(0, 1, constant) == 0.01
    assert PAPER.rate(0, 1, [*constant, 41.0]) == pytest.approx(0.001)
    assert PAPER.rate(0, 1, [*constant, 41.0, 39.0]) == pytest.approx(0.001)
    assert PAPER.rate(0, 1, falling + [50.0] * 100) == pytest.approx(0.01 / 1000)


def test_steps_and_cosine():
    assert [CAFFE.rate(step, 450_000, []) for step in (0, 99_999, 100_000, 449_999)] == pytest.approx(
        [0.01, 0.01, 1e-3, 1e-6]
    )
    rates = [FINE_TUNE.rate(step, 1000, []) for step in range(1000)]
    assert max(rates) == rates[50] == FINE_TUNE.learning_rate and rates[0] < rates[25] < rates[49] + 1e-9
    assert rates[525] == pytest.approx(FINE_TUNE.learning_rate / 2, rel=0.01) and rates[-1] < 1e-8
    assert all(math.isfinite(FINE_TUNE.rate(0, steps, [])) for steps in (1, 2, 19))


def test_the_rate_of_cifar10_falls_after_120_and_130_epochs():
    recipe = SOURCES["cifar10_18pct"]
    rates = [recipe.rate(0, 1, [50.0] * done) for done in (0, 119, 120, 129, 130, 139)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_the_rate_jumps_if_a_cosine_gets_more_epochs():
    longer = dataclasses.replace(FINE_TUNE, epochs=20)
    assert longer.rate(100, 200, []) > 100 * FINE_TUNE.rate(99, 100, [])
    assert set(STRETCHED) == {
        name for name, schedule in training.SCHEDULES.items() if schedule(99, 100, []) != schedule(99, 200, [])
    }


def test_the_table_of_the_help_has_every_recipe():
    table, notes = recipes_table().split("\n\n")
    shown = [re.split("  +", line) for line in table.splitlines() if line != "source, of"][1:]
    assert len(shown) == len(training.RECIPES) + len(SOURCES)
    for (name, recipe), row in zip((*training.RECIPES.items(), *SOURCES.items()), shown, strict=True):
        optimizer, rate, batch, epochs = " ".join(row[:-2]).removeprefix(name).strip().rsplit(" ", 3)
        momentum = f"momentum {recipe.momentum:g}" if recipe.momentum else "plain descent"
        assert optimizer == (momentum if recipe.optimizer == "momentum" else recipe.optimizer)
        assert (float(rate), int(batch), int(epochs)) == (recipe.learning_rate, recipe.batch, recipe.epochs)
        assert row[-2:] == [recipe.schedule, recipe.augment]
    for name, rate in FINE_TUNE_RATES.items():
        assert f"fine-tune of {name} has rate {rate:g}" in notes


def test_recipes_are_imported_without_keras_or_numpy():
    code = (
        "import sys, tfalexnet.training as t; t.recipe(None, 'mnist_28')\n"
        "sys.exit(str({'keras', 'numpy'} & {*sys.modules}))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert process.stderr.strip() == "set()"


def test_public_names():
    for name in training.__all__:
        assert getattr(training, name) is not None
    expected = {
        "CAFFE",
        "FINE_TUNE",
        "PAPER",
        "RECIPES",
        "SCHEDULES",
        "SOURCES",
        "Momentum",
        "Recipe",
        "paper",
        "recipe",
    }
    assert set(training.__all__) == expected
