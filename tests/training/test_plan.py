"""`Plan` and `read_start`: contradictions are found before a run begins."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from support.nets import random_parameters, write_npy
from support.runs import NET, RECIPE, bars, train

from tfalexnet import data
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_spec
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import classes_from_labels, numbered_classes
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
    assert plan_of(classes, start, weights="cifar10").has_classifier
    assert not plan_of(classes[:9], start, weights="cifar10").has_classifier
    assert not plan_of((*classes[1:], classes[0]), start, weights="cifar10", new_classifier=True).has_classifier
    with pytest.raises(ValueError, match="classes of cifar10.*'airplane'. Received: 'automobile'.*--new-classifier"):
        plan_of((*classes[1:], classes[0]), start, weights="cifar10")


KEPT = {  # Number of classes of the weights, whether they are named, option; is the classifier kept, and the note.
    "the same": (3, True, False, True, None),
    "the same, replaced": (3, True, True, False, "fc3 of W gets new weights for 3 classes, which must be trained."),
    "unnamed": (3, False, False, True, "W does not name its classes; fc3 is kept, .* --new-classifier replaces it."),
    "unnamed, replaced": (3, False, True, False, "fc3 of W gets new weights for 3 classes, which must be trained."),
    "another number": (5, False, False, False, "fc3 of W gets new weights for 3 classes, which must be trained."),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_classifier_is_kept_if_it_is_or_may_be_that_of_the_classes(name):
    count, are_named, new_classifier, is_kept, note = KEPT[name]
    net = NET.with_classes(count)
    labels = classes_from_labels(["a", "b", "c"]) if are_named else numbered_classes(count)
    parameters = random_parameters(net)
    checkpoint = Checkpoint(parameters, ModelSpec(net, PREPROCESSING["mnist_28"], labels))
    plan = plan_of(("a", "b", "c"), Start(net, checkpoint), weights="W", new_classifier=new_classifier)
    assert plan.has_classifier == is_kept == ("fc3" in plan.initial.parameters)
    assert plan.initial.missing == (() if is_kept else ("fc3",)) and set(plan.initial.parameters) >= {"conv1", "fc2"}
    assert not plan.notes if note is None else re.fullmatch(note, plan.notes[0])
    assert dataclasses.replace(plan, strategy=tf.distribute.get_strategy()).notes == plan.notes


def test_layers_of_random_weights_are_trained():
    for option in ({"freeze_until": "fc2"}, {"new_classifier": True}):
        with pytest.raises(ValueError, match=f"Expected `weights` with `{next(iter(option))}`"):
            plan_of(("a", "b"), Start(NET), **option)


def test_balanced_classes_have_the_same_weight_and_classes_without_pictures_none():
    part = data.Labelled(np.zeros((12, 28, 28), "u1"), np.array([0] * 9 + [2] * 3), ("a", "b", "c"))
    recipe = dataclasses.replace(RECIPE, batch=4)
    assert Plan(part, part, recipe, Options(), Start(NET)).class_weights is None
    weights = Plan(part, part, recipe, Options(class_weights="balanced"), Start(NET)).class_weights
    np.testing.assert_allclose(weights, [6 / 9, 0, 6 / 3], rtol=1e-6)


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
