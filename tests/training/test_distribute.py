"""Replicas in one process: one result, independent dropout, and refused arguments."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.runs import NET, RECIPE, assert_same_checkpoints, bars, interrupt_at, read_log, train, write_folders

from tfalexnet import data, training
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.training.distribute import get_strategy
from tfalexnet.training.loop import Stopped
from tfalexnet.training.options import Options
from tfalexnet.training.plan import Plan, Start
from tfalexnet.training.trainer import build_model


def test_two_replicas_reach_the_weights_of_one(two_replicas, tmp_path):
    recipe = dataclasses.replace(training.PAPER, batch=16)
    for name, strategy in {"one": None, "two": two_replicas}.items():
        train(tmp_path / name, 1, recipe, strategy, dropout=0.0)
    one, two = (read_checkpoint(tmp_path / name / "model.weights.h5").parameters for name in ("one", "two"))
    for name, arrays in one.items():
        for a, b in zip(arrays, two[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    for name, strategy, replicas in (("one", None, 1), ("two", "MirroredStrategy", 2)):
        description = json.loads((tmp_path / name / "run.json").read_text())
        assert (description["origin"]["strategy"], description["replicas"]) == (strategy, replicas)


def test_each_replica_draws_its_own_dropout_masks_reproducibly(two_replicas):
    def masks(count: int) -> np.ndarray:
        """Return the units that replicas keep in `count` steps of a new model: (steps, replicas, units)."""
        plan = Plan(bars(16), bars(16), RECIPE, Options(dropout=0.2), Start(NET), two_replicas)
        model = build_model(plan)
        layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))

        @tf.function
        def step():
            return two_replicas.run(lambda: layer(tf.ones((1, 4000)), training=True))

        return np.array([[each.numpy()[0] > 0 for each in step().values] for _ in range(count)])

    first = masks(2)
    assert np.abs(first.mean(axis=2) - 0.8).max() < 0.03
    pairs = [((0, 0), (0, 1)), ((1, 0), (1, 1)), ((0, 0), (1, 0)), ((0, 1), (1, 1))]  # (step, replica)
    for one, other in pairs:  # Independent masks agree in .8² + .2² of the units.
        assert abs((first[one] == first[other]).mean() - 0.68) < 0.03
    np.testing.assert_array_equal(masks(2), first)


@pytest.mark.slow
def test_two_replicas_with_dropout_resume_to_the_same_weights(two_replicas, tmp_path, monkeypatch):
    train(tmp_path / "whole", strategy=two_replicas)
    with monkeypatch.context() as patch:
        interrupt_at("training", 3, patch)
        with pytest.raises(Stopped):
            train(tmp_path / "cut", strategy=two_replicas)
    train(tmp_path / "cut", strategy=two_replicas)
    assert_same_checkpoints(tmp_path / "whole", tmp_path / "cut")
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "cut")


def test_towers_and_replicas_exclude_each_other(two_replicas, tmp_path):
    with pytest.raises(ValueError, match="Expected `devices` for two towers or a `strategy`"):
        train(tmp_path / "run", strategy=two_replicas, devices=("/CPU:0", "/CPU:1"))


def test_a_batch_that_replicas_cannot_share_does_not_create_the_folder(two_replicas, tmp_path):
    with pytest.raises(ValueError, match="Expected a batch that 2 replicas share evenly. Received: 15"):
        train(tmp_path / "run", recipe=dataclasses.replace(RECIPE, batch=15), strategy=two_replicas)
    assert not (tmp_path / "run").exists()


def test_replicas_are_strict_with_a_warning(two_replicas, tmp_path):
    write_folders(tmp_path / "d", 12)
    with pytest.warns(UserWarning, match="a picture that cannot be read ends the training, as with --strict"):
        plan = Plan(
            *data.read(tmp_path / "d"), dataclasses.replace(RECIPE, batch=4), Options(), Start(NET), two_replicas
        )
    assert plan.skipped.strict


CLUSTERS = {
    "none": None,
    "no JSON": "worker=one:1",
    "no task": '{"cluster": {"worker": ["one:1"]}}',
    "no machines": '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
    "a list": "[1]",
}


@pytest.mark.parametrize("name", CLUSTERS)
def test_workers_without_a_cluster_are_refused(name, monkeypatch):
    config = CLUSTERS[name]
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match='Expected TF_CONFIG .* such as {"cluster".*Received: ') as error:
        get_strategy("multi-worker")
    assert str(error.value).endswith(f"Received: {config or 'none'}")


def test_a_strategy_with_one_device_warns(monkeypatch):
    one_device = tf.distribute.MirroredStrategy(["/cpu:0"])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: one_device)
    with pytest.warns(UserWarning, match="--strategy mirrored has one device to train on"):
        assert get_strategy("mirrored") is one_device
    assert get_strategy(None) is None
