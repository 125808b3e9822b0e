"""`Plan` and `read_start`: contradictions are found before a run begins."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from support.nets import write_npy
from support.runs import NET, RECIPE, bars, train

from tfalexnet import data
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.hub.cache import find_weights
from tfalexnet.training.options import Options
from tfalexnet.training.plan import Plan, Start, read_start


def plan_of(classes: tuple[str, ...], start: Start, **options) -> Plan:
    """Return the plan of a training on black pictures."""
    size, _, channels = start.architecture.input_shape
    pictures = np.zeros((20, size, size, channels)[: 4 if channels > 1 else 3], "uint8")
    part = data.Labelled(pictures, np.arange(20) % len(classes), classes)
    recipe = dataclasses.replace(RECIPE, batch=10)
    return Plan(part, part, recipe, Options(**options), start, tf.distribute.get_strategy())


def test_weights_of_as_many_classes_require_the_same_classes_in_the_same_order():
    classes = tuple(entry.label for entry in read_spec(find_weights("cifar10")).classes)
    start = read_start(None, "cifar10")
    assert plan_of(classes, start).has_classifier
    assert not plan_of(classes[:9], start).has_classifier
    with pytest.raises(ValueError, match="Expected the classes of cifar10.*'airplane'. Received: 'automobile'"):
        plan_of((*classes[1:], classes[0]), start)


def test_a_plan_has_the_preprocessing_of_the_weights_and_the_classes_of_the_pictures():
    start = read_start(None, "cifar10")
    plan = plan_of(("a", "b"), start)
    assert plan.spec.preprocessing is start.checkpoint.spec.preprocessing
    assert [entry.label for entry in plan.spec.classes] == ["a", "b"]
    assert plan.spec.architecture == start.architecture.with_classes(2)
    assert not plan_of(("a", "b"), Start(NET)).has_classifier


def test_a_plan_describes_what_determines_the_weights():
    described = plan_of(("a", "b"), Start(NET), seed=7, log_interval=3).describe()
    assert set(described) == {
        *("architecture", "classes", "training", "validation", "recipe", "epochs", "options", "weights_sha256"),
        *("preprocessing", "replicas", "versions"),
    }
    assert described["options"]["seed"] == 7 and described["epochs"] == 2
    assert (
        not {"log_interval", "checkpoint_minutes"} & set(described["options"]) and "epochs" not in described["recipe"]
    )
    assert set(described["versions"]) == {"tfalexnet", "tensorflow", "keras", "numpy", "python"}


NETWORKS = {
    "both": ("cifar10_18pct", "cifar10", "cifar10_18pct"),
    "weights": (None, "cifar10", "cifar10_18pct"),
    "neither": (None, None, "bvlc_alexnet"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_default_network_is_that_of_the_weights(name):
    architecture, weights, expected = NETWORKS[name]
    assert read_start(architecture, weights).architecture.name == expected


def test_weights_of_no_network_ask_for_one(tmp_path):
    write_npy(tmp_path / "odd.npy", {"conv1": (np.zeros((3, 3)), np.zeros(3))})
    with pytest.raises(ValueError, match="odd.npy does not fit (.|\n)*, add --architecture and a name of"):
        read_start(None, tmp_path / "odd.npy")
    with pytest.raises(ValueError, match="odd.npy does not fit mnist_28"):
        train(tmp_path / "run", weights=tmp_path / "odd.npy")


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match=r"a batch of 1 to 64, the training pictures \(40 more are for validation\)"):
        recipe = dataclasses.replace(RECIPE, batch=65)
        Plan(bars(64), bars(40, 1), recipe, Options(), Start(NET))
