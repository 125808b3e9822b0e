"""Trainings that are cut and go on, freeze what is frozen, and say what is wrong."""

import contextlib
import csv
import dataclasses
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from nets import random_parameters, small
from test_main import tfalexnet as command

import tfalexnet
from tfalexnet import __main__, checkpoints, data, runs, training
from tfalexnet.architectures import BVLC_ALEXNET, MNIST_28
from tfalexnet.logbook import TrainingError
from tfalexnet.runs import Options
from tfalexnet.weights import find as weights_file

NET = small(MNIST_28)
RECIPE = dataclasses.replace(training.SOURCES["mnist_28"], batch=16, epochs=2)


def digits(count: int, seed: int = 0) -> data.Labelled:
    """Bars at an angle, one for each of three classes, in noise."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    pictures = generator.integers(0, 80, (count, 28, 28), "uint8")
    for picture, label in zip(pictures, labels, strict=True):
        if label < 2:
            (picture if label else picture.T)[10:18] += 120
    return data.Labelled(pictures, labels, ("down", "across", "none"))


def weights(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "checkpoint.npz") as archive:
        return {name: archive[name] for name in archive if name != "state"}


def log(folder) -> list[dict[str, str]]:
    """What a run logged, but for the seconds."""
    with (folder / "log.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(autouse=True)
def policy():
    yield
    tf.keras.config.set_dtype_policy("float32")


def train(folder, epochs=2, net=NET, recipe=RECIPE, **options):
    recipe = dataclasses.replace(recipe, epochs=epochs)
    return runs.train(digits(64), digits(40, 1), net, recipe, folder, Options(**options))


def test_a_run_leaves_all_that_is_needed(tmp_path, capsys):
    model = train(tmp_path / "run", 4)
    rows = log(tmp_path / "run")
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[-1]["validation_error"]) <= 30 < float(rows[0]["error"])
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert said["classes"] == ["down", "across", "none"] and said["options"]["seed"] == 2012
    assert said["training"]["sha256"] == digits(64).digest() and "tensorflow" in said["versions"]
    assert "epoch 4/4: loss" in capsys.readouterr().out
    picture = np.zeros((28, 28), "uint8")
    picture[10:18] = 200
    read = checkpoints.read(model, NET)
    assert [name for _, name in read.classes] == ["down", "across", "none"]
    ours = tfalexnet.AlexNet(NET, weights=model)(read.preprocessing(picture)[None]).numpy()
    assert ours.argmax() == 1
    events = [file for file in (tmp_path / "run").iterdir() if "tfevents" in file.name]
    tags = set()
    for record in tf.compat.v1.io.tf_record_iterator(str(events[0])):
        event = tf.compat.v1.Event.FromString(record)
        tags |= {value.tag for value in event.summary.value}
    assert {"loss", "error", "learning_rate", "validation_error", "conv1"} <= tags


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    train(tmp_path / "whole", log_interval=1)
    calls = []
    after = runs._after

    def interrupting(*given):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return after(*given)

    monkeypatch.setattr(runs, "_after", interrupting)
    with pytest.raises(runs.Stopped, match="stopped in epoch 2; all is saved in"):
        train(tmp_path / "cut", log_interval=1)
    train(tmp_path / "cut", log_interval=3)
    assert len(calls) == 8
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert set(whole) == set(cut)
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name])
    assert log(tmp_path / "whole") == log(tmp_path / "cut")


def test_more_epochs_go_further_and_the_same_are_done_already(tmp_path):
    train(tmp_path / "whole", 3)
    train(tmp_path / "run", 1)
    first = weights(tmp_path / "run")
    train(tmp_path / "run", 1)
    for name, array in weights(tmp_path / "run").items():
        np.testing.assert_array_equal(array, first[name])
    train(tmp_path / "run", 3)
    for name, array in weights(tmp_path / "whole").items():
        np.testing.assert_array_equal(array, weights(tmp_path / "run")[name])


@pytest.mark.slow
def test_ten_kills_cost_nothing(tmp_path):
    np.savez(
        tmp_path / "d.npz",
        x_train=digits(600).pictures,
        y_train=digits(600).labels,
        x_test=digits(50, 1).pictures,
        y_test=digits(50, 1).labels,
    )
    arguments = [
        "train",
        "d.npz",
        "--architecture",
        "cifar10_18pct",
        "--epochs",
        "6",
        "--batch-size",
        "20",
        "--deterministic",
        "--checkpoint-minutes",
        "0.001",
        "--log-interval",
        "1",
        "--augment",
        "crop",
    ]
    assert command(*arguments, "--output", "whole", cwd=tmp_path).returncode == 0
    generator = random.Random(1)
    kills = 0
    while kills < 10:
        run = subprocess.Popen(
            [sys.executable, "-m", "tfalexnet", *arguments, "--output", "cut"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        while "steps of" not in run.stdout.readline():
            assert run.poll() is None
        time.sleep(generator.uniform(0.3, 2.5))
        if run.poll() is not None:  # Done before it was killed: begin anew.
            run.communicate()
            for file in (tmp_path / "cut").iterdir():
                file.unlink()
            continue
        run.kill()
        run.communicate()
        kills += 1
    assert command(*arguments, "--output", "cut", cwd=tmp_path).returncode == 0
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    for name, array in whole.items():
        np.testing.assert_array_equal(array, cut[name])
    assert log(tmp_path / "whole") == log(tmp_path / "cut")


def in_a_child(before: str, folder) -> subprocess.CompletedProcess:
    """A second epoch in a process of its own, after some lines that spoil it."""
    code = (
        "import os, resource, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_runs import train\n"
        f"{before}\n"
        "try: train(Path(sys.argv[1]), 2)\n"
        "except OSError: sys.exit(7)\n"
    )
    return subprocess.run([sys.executable, "-c", code, folder, os.path.dirname(__file__)], capture_output=True)


def same(first, second) -> None:
    """Two runs whose checkpoints are equal to the bit."""
    one, two = weights(first), weights(second)
    assert set(one) == set(two)
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_kill_while_the_checkpoint_is_written_leaves_the_old_one(tmp_path):
    for name in ("run", "old", "whole"):
        train(tmp_path / name, 2 if name == "whole" else 1)
    killed = (
        "savez = np.savez\n"
        "def killed(file, **arrays):\n"
        "    savez(file, **dict(list(arrays.items())[:5])); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "np.savez = killed"
    )
    run = in_a_child(killed, tmp_path / "run")
    assert run.returncode == -signal.SIGKILL, run.stderr
    same(tmp_path / "run", tmp_path / "old")
    train(tmp_path / "run", 2)
    same(tmp_path / "run", tmp_path / "whole")


def test_what_a_kill_leaves_is_swept(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.abc.part").touch()
    train(tmp_path / "run", 1)
    (tmp_path / "run" / ".checkpoint.npz.abc.part").touch()
    rows = log(tmp_path / "run")
    (tmp_path / "run" / "log.csv").unlink()  # As by a kill between checkpoint and log.
    train(tmp_path / "run", 1)
    assert log(tmp_path / "run") == rows and not list((tmp_path / "run").glob(".*.part"))


def test_a_mistake_does_not_take_the_folder(tmp_path):
    with pytest.raises(ValueError, match="Expected a batch of 1 to 64"):
        train(tmp_path / "run", recipe=dataclasses.replace(RECIPE, batch=1000))
    train(tmp_path / "run", 1)


def test_towers_and_replicas_are_not_mixed(tmp_path):
    options = Options(devices=("/CPU:0", "/CPU:1"))
    with pytest.raises(ValueError, match="Expected `devices` for two towers or a `strategy`"):
        runs.train(
            digits(64),
            digits(40),
            NET,
            RECIPE,
            tmp_path / "run",
            options,
            tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]),
        )


def test_a_damaged_checkpoint_is_said(tmp_path):
    train(tmp_path / "run", 1)
    checkpoint = tmp_path / "run" / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint\.npz: expected the checkpoint of this training.*Delete it"):
        train(tmp_path / "run", 2)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path):
    for name in ("run", "old"):
        train(tmp_path / name, 1)
    full = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nresource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))"
    )
    run = in_a_child(full, tmp_path / "run")
    assert run.returncode == 7, run.stderr
    same(tmp_path / "run", tmp_path / "old")


def test_a_folder_that_vanishes_ends_the_training(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(digits(20).pictures[i]).save(tmp_path / "d" / name / f"{i}.png")
    parts = data.read(tmp_path / "d")
    recipe = dataclasses.replace(RECIPE, batch=4, epochs=1)
    runs.train(*parts, NET, recipe, tmp_path / "run", Options())
    shutil.rmtree(tmp_path / "d")
    with pytest.raises(ValueError, match=r"\.png: no such file or directory"):
        runs.train(*parts, NET, dataclasses.replace(recipe, epochs=2), tmp_path / "run", Options())
    assert len(log(tmp_path / "run")) == 1


def test_what_is_frozen_stays(tmp_path):
    net = small(BVLC_ALEXNET)
    parameters = random_parameters(net)
    checkpoint = checkpoints.Checkpoint(parameters, net, checkpoints.PREPROCESSING["bvlc_alexnet"], ())
    checkpoints.write(tmp_path / "old.weights.h5", checkpoint)
    pictures = data.Labelled(
        np.random.default_rng(0).integers(0, 256, (16, 40, 40, 3), "uint8"), np.arange(16) % 3, ("a", "b", "c")
    )
    recipe = dataclasses.replace(training.FINE_TUNE, batch=8, epochs=1)
    options = Options(weights=tmp_path / "old.weights.h5", freeze_until="fc7")
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="fc8 .* drawn afresh"):
        read = checkpoints.read
        patch.setattr(checkpoints, "read", lambda path, *_: read(path, net))
        model = runs.train(pictures, pictures, net, recipe, tmp_path / "run", options)
    learnt = checkpoints.read(model, net).parameters
    for name, (kernel, bias) in parameters.items():
        frozen = name not in ("fc7", "fc8")
        if name != "fc8":
            assert np.array_equal(kernel, learnt[name][0]) == np.array_equal(bias, learnt[name][1]) == frozen
    assert learnt["fc8"][0].shape == (64, 3)
    with pytest.raises(ValueError, match="Expected `weights` with `freeze_until`"):
        train(tmp_path / "other", freeze_until="fc6")
    assert not (tmp_path / "other").exists()


def test_weights_that_know_as_many_classes_know_these(tmp_path):
    pictures = np.zeros((20, 32, 32, 3), "uint8")
    known = [entry.label for entry in checkpoints.describe(weights_file("cifar10"))[1]]
    cifar10 = tfalexnet.ARCHITECTURES["cifar10_18pct"]
    recipe = dataclasses.replace(training.FINE_TUNE, batch=10, epochs=1)
    for names, right in ((known, True), ([*known[1:], known[0]], False)):
        part = data.Labelled(pictures, np.arange(20) % 10, tuple(names))
        if right:
            runs.train(part, part, cifar10, recipe, tmp_path / "right", Options(weights="cifar10"))
            continue
        with pytest.raises(ValueError, match="Expected the classes of cifar10.*'airplane'. Received: 'automobile'"):
            runs.train(part, part, cifar10, recipe, tmp_path / "wrong", Options(weights="cifar10"))
    assert not (tmp_path / "wrong").exists()


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(tmp_path):
    train(tmp_path / "run", 1)
    before = weights(tmp_path / "run")
    with np.load(tmp_path / "run" / "checkpoint.npz") as archive:
        arrays = dict(archive)
    name = next(name for name, array in arrays.items() if array.shape == NET.parameter_shapes()["fc5"][0])
    arrays[name] = np.full_like(arrays[name], np.nan)
    np.savez(tmp_path / "run" / "checkpoint.npz", **arrays)
    with pytest.raises(TrainingError, match="loss and weights to be numbers.*by step .*smaller.*of before"):
        train(tmp_path / "run", 2)
    after = weights(tmp_path / "run")
    for other, array in before.items():
        np.testing.assert_array_equal(after[other], arrays[other] if other == name else array)


def test_low_precision_learns_too(tmp_path):
    train(tmp_path / "run", 4, precision="mixed_bfloat16")
    assert float(log(tmp_path / "run")[-1]["validation_error"]) < 40


def test_two_replicas_learn_as_one(tmp_path):
    recipe = dataclasses.replace(training.PAPER, batch=16, epochs=1, learning_rate=0.01)
    for name, strategy in {"one": None, "two": tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])}.items():
        runs.train(digits(64), digits(40, 1), NET, recipe, tmp_path / name, Options(dropout=0.0), strategy)
    one, two = (checkpoints.read(tmp_path / name / "model.weights.h5", NET).parameters for name in ("one", "two"))
    for name, arrays in one.items():
        for a, b in zip(arrays, two[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def ports(count: int) -> list[int]:
    """Ports that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


def workers(arguments: list, folder) -> list[subprocess.Popen]:
    """Two processes of one cluster on this machine."""
    cluster = {"worker": [f"localhost:{port}" for port in ports(2)]}
    started = []
    for index in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        command = [sys.executable, "-m", "tfalexnet", *arguments, "--strategy", "multi-worker"]
        log = (folder / f"{index}.log").open("a")
        started.append(
            subprocess.Popen(command, cwd=folder, env=os.environ | {"TF_CONFIG": config}, stdout=log, stderr=log)
        )
        log.close()
    return started


@pytest.mark.slow
def test_two_workers_learn_as_one_and_survive_a_kill(tmp_path):
    both = {"x_train": digits(320), "x_test": digits(40, 1)}
    arrays = {name: part.pictures for name, part in both.items()}
    np.savez(tmp_path / "d.npz", **arrays, y_train=both["x_train"].labels, y_test=both["x_test"].labels)
    arguments = [
        "train",
        "d.npz",
        "--architecture",
        "mnist_28",
        "--epochs",
        "3",
        "--batch-size",
        "32",
        "--dropout",
        "0",
        "--recipe",
        "paper",
        "--learning-rate",
        "0.001",
        "--log-interval",
        "1",
        "--checkpoint-minutes",
        "0.001",
    ]
    assert command(*arguments, "--output", "one", cwd=tmp_path).returncode == 0
    killed = workers([*arguments, "--output", "two"], tmp_path)
    while not (tmp_path / "two" / "checkpoint.npz").exists():
        assert killed[0].poll() is None, (tmp_path / "0.log").read_text()
        time.sleep(0.05)
    killed[1].kill()
    assert killed[0].wait(120) == 1 and killed[1].wait() < 0
    assert "Another worker is gone. Start all of them again" in (tmp_path / "0.log").read_text()
    assert not (tmp_path / "two" / "model.weights.h5").exists()
    for worker in workers([*arguments, "--output", "two"], tmp_path):
        assert worker.wait(120) == 0, (tmp_path / "1.log").read_text()
    assert "Going on in epoch" in (tmp_path / "0.log").read_text()
    one, two = (checkpoints.read(tmp_path / name / "model.weights.h5").parameters for name in ("one", "two"))
    for name, pair in one.items():
        for a, b in zip(pair, two[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_unreadable_pictures_are_named(tmp_path, capsys):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(digits(12).pictures[i]).save(tmp_path / "d" / name / f"{i}.png")
    (tmp_path / "d" / "a" / "3.png").write_text("no picture")
    recipe = dataclasses.replace(RECIPE, batch=4, epochs=2)
    parts = data.read(tmp_path / "d")
    runs.train(*parts, NET, recipe, tmp_path / "run", Options())
    assert capsys.readouterr().err.count("left out") == 1
    with pytest.raises(ValueError, match=r"a/3\.png: not a picture"):
        runs.train(*parts, NET, recipe, tmp_path / "strict", Options(strict=True))


WRONG = {
    "learning rate": (["--learning-rate", "nan"], 2, "expected a positive number, received 'nan'"),
    "batch": (["--batch-size", "1000"], 1, "Expected a batch of 1 to 36 pictures"),
    "architecture": (["--architecture", "vgg"], 1, "Expected `architecture` to be one of"),
    "freeze": (["--freeze-until", "pool1"], 1, "Expected `weights` with `freeze_until`"),
    "weights": (["--weights", "cifar10"], 1, "does not fit mnist_28"),
    "run": (["--batch-size", "8", "--output", "other"], 1, "Expected other to be the folder of a training, or empty"),
    "another run": (["--batch-size", "8", "--output", "run"], 1, "It is that of another: "),
    "devices": (["--devices", "/GPU:0,/GPU:1"], 1, "devices"),
    "classes": (["--classes", "names.txt"], 1, "Expected the classes"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_one_line(name, tmp_path, monkeypatch, capsys):
    extra, status, message = WRONG[name]
    np.savez(tmp_path / "d.npz", x_train=digits(40).pictures, y_train=digits(40).labels)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"architecture": "bvlc_alexnet"}')
    (tmp_path / "names.txt").write_text("one\ntwo")
    monkeypatch.chdir(tmp_path)
    arguments = ["tfalexnet", "train", "d.npz", "--architecture", "mnist_28", "--output", "new", *extra]
    monkeypatch.setattr(sys, "argv", arguments)
    if status == 2:
        with pytest.raises(SystemExit):
            __main__._parse()
    else:
        assert __main__._run(__main__._parse()) == status
    assert message in capsys.readouterr().err
