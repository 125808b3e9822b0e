"""Replicas and workers: one result, dropout of their own, and one step at which all stop."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_main import tfalexnet as command
from test_runs import NET, RECIPE, archive, interrupted_at, log, pictures, same, train

from tfalexnet import data, training
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.networks.catalog import MNIST_28
from tfalexnet.networks.spec import Architecture
from tfalexnet.training import trainer
from tfalexnet.training.distribute import get_strategy
from tfalexnet.training.loop import Stopped
from tfalexnet.training.trainer import Options, Start, _model

TRAINING = ("train", "d.npz", "--architecture", "mnist_28", "--epochs", "3", "--batch-size", "32", "--dropout", "0")
TRAINING += ("--recipe", "paper", "--learning-rate", "0.001", "--log-interval", "1", "--checkpoint-minutes", "0.001")


@pytest.fixture(scope="session")
def two_replicas() -> tf.distribute.Strategy:
    """One for all tests: TensorFlow takes reductions of two such strategies in a process for each other."""
    return tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])


def equal(one, two, net: Architecture) -> None:
    """Two models whose parameters are, up to the order of sums."""
    one, two = (read_checkpoint(folder / "model.weights.h5", net).parameters for folder in (one, two))
    for name, pair in one.items():
        for a, b in zip(pair, two[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_two_replicas_learn_as_one(two_replicas, tmp_path):
    recipe = dataclasses.replace(training.PAPER, batch=16)
    for name, strategy in {"one": None, "two": two_replicas}.items():
        train(tmp_path / name, 1, recipe=recipe, strategy=strategy, dropout=0.0)
    equal(tmp_path / "one", tmp_path / "two", NET)
    for name, strategy, replicas in (("one", None, 1), ("two", "MirroredStrategy", 2)):
        said = json.loads((tmp_path / name / "run.json").read_text())
        assert (said["origin"]["strategy"], said["replicas"]) == (strategy, replicas)


def test_each_replica_drops_units_of_its_own_again_and_again_the_same(two_replicas):
    def masks(count: int) -> np.ndarray:
        """Which units two replicas keep in so many steps of a fresh model: (steps, replicas, units)."""
        model = _model(NET, RECIPE, Options(dropout=0.2), two_replicas, Start(NET))
        layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout))

        @tf.function
        def step():
            return two_replicas.run(lambda: layer(tf.ones((1, 4000)), training=True))

        return np.array([[each.numpy()[0] > 0 for each in step().values] for _ in range(count)])

    kept = masks(2)
    assert np.abs(kept.mean(axis=2) - 0.8).max() < 0.03
    pairs = [(kept[0, 0], kept[0, 1]), (kept[1, 0], kept[1, 1]), (kept[0, 0], kept[1, 0]), (kept[0, 1], kept[1, 1])]
    for one, other in pairs:  # Independent ones agree in .8² + .2² of the units.
        assert abs((one == other).mean() - 0.68) < 0.03
    np.testing.assert_array_equal(masks(2), kept)


@pytest.mark.slow
def test_two_replicas_with_dropout_go_on_as_if_nothing_had_been(two_replicas, tmp_path, monkeypatch):
    train(tmp_path / "whole", strategy=two_replicas)
    with monkeypatch.context() as patch:
        interrupted_at("training", 3, patch)
        with pytest.raises(Stopped):
            train(tmp_path / "cut", strategy=two_replicas)
    train(tmp_path / "cut", strategy=two_replicas)
    same(tmp_path / "whole", tmp_path / "cut")
    assert log(tmp_path / "whole") == log(tmp_path / "cut")


def test_towers_and_replicas_are_not_mixed(two_replicas, tmp_path):
    with pytest.raises(ValueError, match="Expected `devices` for two towers or a `strategy`"):
        train(tmp_path / "run", strategy=two_replicas, devices=("/CPU:0", "/CPU:1"))


def test_a_batch_that_replicas_cannot_share_does_not_take_the_folder(two_replicas, tmp_path):
    with pytest.raises(ValueError, match="Expected a batch that 2 replicas share evenly. Received: 15"):
        train(tmp_path / "run", recipe=dataclasses.replace(RECIPE, batch=15), strategy=two_replicas)
    assert not (tmp_path / "run").exists()


def test_that_replicas_are_strict_is_said(two_replicas, tmp_path):
    pictures(tmp_path / "d", 12)
    parts = data.read(tmp_path / "d")
    recipe = dataclasses.replace(RECIPE, batch=4, epochs=1)
    with pytest.warns(UserWarning, match="a picture that cannot be read ends the training, as with --strict"):
        trainer.train(*parts, NET, recipe, tmp_path / "run", strategy=two_replicas)


CLUSTERS = {
    "none": None,
    "no JSON": "worker=one:1",
    "no task": '{"cluster": {"worker": ["one:1"]}}',
    "no machines": '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
    "a list": "[1]",
}


@pytest.mark.parametrize("name", CLUSTERS)
def test_workers_without_a_cluster_are_told_what_is_expected(name, monkeypatch):
    config = CLUSTERS[name]
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config is not None:
        monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ValueError, match='Expected TF_CONFIG .* such as {"cluster".*Received: ') as caught:
        get_strategy("multi-worker")
    assert str(caught.value).endswith(f"Received: {config or 'none'}")


def test_one_replica_is_said(tmp_path):
    archive(tmp_path / "d.npz", 64)
    given = ("train", "d.npz", "--architecture", "mnist_28", "--output", "run", "--strategy", "mirrored")
    said = command(*given, "--batch-size", "1000", cwd=tmp_path).stderr.splitlines()
    assert said[0].startswith("tfalexnet: note: --strategy mirrored finds one device") and len(said) == 2


def ports(count: int) -> list[int]:
    """Ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


def workers(arguments: list, *folders) -> list[subprocess.Popen]:
    """Processes of one cluster on this machine, one in each folder; what they say is in 0.log, 1.log … there."""
    cluster = {"worker": [f"localhost:{port}" for port in ports(len(folders))]}
    started = []
    for index, folder in enumerate(folders):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        command = [sys.executable, "-m", "tfalexnet", *arguments, "--strategy", "multi-worker"]
        with (folder / f"{index}.log").open("w") as said:
            environment = os.environ | {"TF_CONFIG": config}
            started.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said))
    return started


def until_it_learns(folder, processes) -> None:
    """Wait for a checkpoint that was not there."""
    before = folder.stat().st_mtime_ns if folder.exists() else 0
    while not folder.exists() or folder.stat().st_mtime_ns == before:
        assert processes[0].poll() is None, (folder.parents[1] / "0.log").read_text()
        time.sleep(0.05)


@pytest.mark.slow
def test_two_workers_learn_as_one_survive_a_kill_and_stop_together(tmp_path):
    archive(tmp_path / "d.npz", 320)
    assert command(*TRAINING, "--output", "one", cwd=tmp_path).returncode == 0
    arguments, checkpoint = [*TRAINING, "--output", "two"], tmp_path / "two" / "checkpoint.npz"
    said = [tmp_path / "0.log", tmp_path / "1.log"]

    killed = workers(arguments, tmp_path, tmp_path)
    until_it_learns(checkpoint, killed)
    killed[1].kill()
    assert killed[0].wait(120) == 1 and killed[1].wait() < 0
    assert "Another worker is gone; see what it has said. Start all of them again" in said[0].read_text()

    stopped = workers(arguments, tmp_path, tmp_path)
    until_it_learns(checkpoint, stopped)
    stopped[1].terminate()  # Not the one that saves.
    assert [worker.wait(120) for worker in stopped] == [130, 130], [file.read_text() for file in said]
    first, second = (file.read_text() for file in said)
    assert "Going on " in first and "; all is saved in two. To resume: tfalexnet train" in first
    assert "; as all workers do; the first one has saved all in two." in second
    assert not (tmp_path / "two" / "model.weights.h5").exists()

    for worker in workers(arguments, tmp_path, tmp_path):
        assert worker.wait(120) == 0, [file.read_text() for file in said]
    equal(tmp_path / "one", tmp_path / "two", MNIST_28)


@pytest.mark.slow
def test_workers_with_folders_of_their_own_are_told(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        archive(folder / "d.npz", 64)
    started = workers([*TRAINING, "--output", "run"], *folders)
    for index, (worker, folder) in enumerate(zip(started, folders, strict=True)):
        assert worker.wait(120) == 1
        assert "Expected run to be one folder for all workers" in (folder / f"{index}.log").read_text()
        assert not list(folder.glob("run/*")) and not list(folder.glob("run/.*"))


@pytest.mark.slow
def test_a_mistake_of_one_worker_ends_all(tmp_path):
    archive(tmp_path / "d.npz", 64)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").touch()
    started = workers([*TRAINING, "--output", "run"], tmp_path, tmp_path)
    assert [worker.wait(120) for worker in started] == [1, 1]
    assert "Expected run to be the folder of a training, or empty" in (tmp_path / "0.log").read_text()
    assert "Another worker is gone" in (tmp_path / "1.log").read_text()
