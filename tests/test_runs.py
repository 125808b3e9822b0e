"""Trainings that are cut and go on, freeze what is frozen, and say what is wrong."""

import csv
import dataclasses
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.nets import random_parameters, small, write_npy
from test_main import tfalexnet as command

import tfalexnet
from tfalexnet import data, training
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.cli.main import run as run_command
from tfalexnet.hub.cache import find_weights as weights_file
from tfalexnet.images.decode import PictureError
from tfalexnet.networks.catalog import BVLC_ALEXNET, MNIST_28
from tfalexnet.training import loop as learning
from tfalexnet.training import trainer
from tfalexnet.training.loop import Stopped, make_step_functions, translate_errors
from tfalexnet.training.run_folder import RunFolder, TrainingError
from tfalexnet.training.trainer import Options, read_start

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


def pictures(folder, count: int) -> None:
    """Two classes of so many files."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i, picture in enumerate(digits(count).pictures):
            Image.fromarray(picture).save(folder / name / f"{i}.png")


def weights(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "checkpoint.npz") as archive:
        return {name: archive[name] for name in archive if name != "state"}


def log(folder) -> list[dict[str, str]]:
    """What a run logged, but for the seconds."""
    with (folder / "log.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def same(first, second) -> None:
    """Two runs whose checkpoints are equal to the bit."""
    one, two = weights(first), weights(second)
    assert set(one) == set(two)
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


def train(folder, epochs=2, net=NET, recipe=RECIPE, strategy=None, origin=None, **options):
    recipe = dataclasses.replace(recipe, epochs=epochs)
    return trainer.train(digits(64), digits(40, 1), net, recipe, folder, Options(**options), strategy, origin)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a run of one epoch, which tests copy."""
    folder = tmp_path_factory.mktemp("first") / "run"
    train(folder, 1)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two epochs without a stop."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "VALIDATION_BATCH", 8)
        train(folder, 2)
    return folder


@pytest.fixture
def run(first, tmp_path):
    """A run of one epoch."""
    return shutil.copytree(first, tmp_path / "run")


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
    read = read_checkpoint(model, NET)
    assert [name for _, name in read.spec.classes] == ["down", "across", "none"]
    ours = tfalexnet.AlexNet(NET, weights=model)(read.spec.preprocessing(picture)[None]).numpy()
    assert ours.argmax() == 1
    events = list((tmp_path / "run" / "tensorboard").iterdir())
    assert len(events) == 1
    tags = set()
    for record in tf.compat.v1.io.tf_record_iterator(str(events[0])):
        event = tf.compat.v1.Event.FromString(record)
        tags |= {value.tag for value in event.summary.value}
    assert {"loss", "epoch_loss", "error", "learning_rate", "validation_error", "conv1"} <= tags


def interrupted_at(place: str, count: int, monkeypatch) -> None:
    """Ctrl-C when so many batches have been learnt from, or measured."""
    calls, compiled = [], make_step_functions

    def interrupting(function):
        def called(*batch):
            calls.append(1)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGINT)
            return function(*batch)

        return called

    def spoiled(*given):
        functions = dict(zip(("training", "validation"), compiled(*given), strict=True))
        return tuple((functions | {place: interrupting(functions[place])}).values())

    monkeypatch.setattr(learning, "make_step_functions", spoiled)
    monkeypatch.setattr(learning, "VALIDATION_BATCH", 8)


STOPS = {  # Where, after how many batches of two epochs of four and five, and in which epoch that is.
    "at the end of an epoch": ("training", 4, 1),
    "in the last epoch": ("training", 6, 2),
    "in validation": ("validation", 2, 1),
    "in the last validation": ("validation", 7, 2),
}


@pytest.mark.parametrize("name", STOPS)
def test_a_run_that_was_stopped_ends_as_one_that_was_not(name, whole, tmp_path, monkeypatch):
    place, count, epoch = STOPS[name]
    with monkeypatch.context() as patch:
        interrupted_at(place, count, patch)
        with pytest.raises(Stopped, match=f"stopped in epoch {epoch}; all is saved in"):
            train(tmp_path / "cut")
    assert len(log(tmp_path / "cut")) == epoch - 1 if epoch > 1 else not (tmp_path / "cut" / "log.csv").exists()
    monkeypatch.setattr(learning, "VALIDATION_BATCH", 8)
    train(tmp_path / "cut", log_interval=3)
    same(tmp_path / "cut", whole)
    assert log(tmp_path / "cut") == log(whole)


def test_more_epochs_go_further_and_the_same_are_done_already(first, whole, run, capsys):
    events = sorted((run / "tensorboard").iterdir())
    train(run, 1)
    said = capsys.readouterr().out
    assert f"All epochs are done already, {run}" in said and "; 1 epoch of 4 steps of 16 pictures" in said
    same(run, first)
    assert sorted((run / "tensorboard").iterdir()) == events
    train(run, 2)
    same(run, whole)


def test_fewer_epochs_than_are_done_are_a_mistake(whole):
    said = (whole / "run.json").read_bytes()
    with pytest.raises(ValueError, match="Expected at least the 2 epochs that are done in .*run. Received: 1"):
        train(whole, 1)
    assert (whole / "run.json").read_bytes() == said


def test_a_schedule_that_is_stretched_is_said(tmp_path, capsys):
    recipe = dataclasses.replace(RECIPE, schedule="cosine")
    train(tmp_path / "run", 1, recipe=recipe)
    assert "cosine" not in capsys.readouterr().out
    train(tmp_path / "run", 2, recipe=recipe)
    assert "The cosine of the learning rate now ends with epoch 2, not 1" in capsys.readouterr().out


def test_where_a_run_came_from_is_noted_and_may_change(run):
    before = json.loads((run / "run.json").read_text())
    assert before["origin"] == {"strategy": None}
    train(run, 1, origin={"data": "/a", "command": "tfalexnet train /a"}, strict=True)
    after = json.loads((run / "run.json").read_text())
    assert after["origin"] == {"strategy": None, "data": "/a", "command": "tfalexnet train /a"}
    assert {name for name in after if after[name] != before[name]} == {"origin", "options"}
    with pytest.raises(ValueError, match="of another: --seed was 2012, is 1. Choose"):
        train(run, 1, seed=1)


def described(**changed):
    """What a run could say of itself."""
    recipe = {"source": "paper", "batch": 64, "schedule": "plateau", "learning_rate": 0.1, "decay": 5e-4}
    return {
        "classes": ["ant", "bee"],
        "training": {"pictures": 9, "sha256": "1"},
        "recipe": recipe | changed.pop("recipe", {}),
        "options": {"freeze_until": None, "strict": False} | changed.pop("options", {}),
        "epochs": 1,
    } | changed


DIFFERENCES = {
    "batch": (described(recipe={"batch": 32}), "--batch-size was 64, is 32"),
    "option": (described(options={"freeze_until": "fc8"}), "--freeze-until was not given, is fc8"),
    "recipe": (
        described(recipe={"source": "caffe", "schedule": "step", "learning_rate": 0.2}),
        "--recipe was paper, is caffe; --learning-rate was 0.1, is 0.2",
    ),
    "a recipe of one's own": (described(recipe={"decay": 0}), "recipe.decay was 0.0005, is 0"),
    "pictures": (described(training={"pictures": 10, "sha256": "2"}), "other pictures to learn from"),
    "order": (described(classes=["ant", "cat"]), r"class 1 was 'bee', is 'cat' \(--classes\)"),
    "classes": (described(classes=["ant", "bee", "cat"]), "the number of classes was 2, is 3"),
    "nothing": (described(options={"strict": True}), None),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_another_training_is_told_in_the_words_of_the_command_line(name, tmp_path):
    (tmp_path / "checkpoint.npz").touch()
    (tmp_path / "run.json").write_text(json.dumps(described()))
    now, message = DIFFERENCES[name]
    book = RunFolder(tmp_path, writes=True)
    if message is None:
        assert book.check(now) == 1
    else:
        with pytest.raises(ValueError, match=f"It is that of another: {message}. Choose another --output"):
            book.check(now)


def test_a_first_try_that_learnt_nothing_leaves_the_folder_free(tmp_path):
    book = RunFolder(tmp_path, writes=True)
    (tmp_path / "run.json").write_text(json.dumps(described()))
    (tmp_path / "tensorboard").mkdir()
    assert book.check(described(recipe={"batch": 32})) is None
    for name in ("checkpoint.npz", "notes.txt"):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match="--batch-size was 64, is 32"):
            book.check(described(recipe={"batch": 32}))
        (tmp_path / name).unlink()


DAMAGED = {"cut": '{"epochs": 1', "a list": "[]", "other bytes": "\xff", "a number of classes": '{"classes": 5}'}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_description_is_said(name, tmp_path):
    (tmp_path / "run.json").write_text(DAMAGED[name], "latin-1")
    with pytest.raises(ValueError, match=r"run\.json: expected the description of a training; received a damaged"):
        RunFolder(tmp_path, writes=True).check(described())


def test_weights_are_measured_before_they_learn_where_their_classifier_stays(tmp_path, capsys):
    old = train(tmp_path / "old", 2)
    error = log(tmp_path / "old")[-1]["validation_error"]
    capsys.readouterr()
    train(tmp_path / "new", 1, weights=old)
    said = capsys.readouterr().out
    assert f", validation error {float(error):.1f} %" in said.split("before training: ")[1].splitlines()[0]
    train(tmp_path / "new", 2, weights=old)
    assert "before training" not in capsys.readouterr().out
    train(tmp_path / "fresh", 1)
    assert "before training" not in capsys.readouterr().out


OPTIONS = {"precision": "float16", "seed": -1, "log_interval": 0, "checkpoint_minutes": float("nan")}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be .* Received: "):
        Options(**{name: OPTIONS[name]})


def test_too_little_memory_is_a_line():
    with pytest.raises(TrainingError, match="smaller --batch-size"), translate_errors(data.Skipped()):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def archive(path, count: int) -> None:
    """Digits as a file that `tfalexnet train` takes."""
    training, validation = digits(count), digits(40, 1)
    np.savez(
        path, x_train=training.pictures, y_train=training.labels, x_test=validation.pictures, y_test=validation.labels
    )


KILLED = ("tfalexnet", "train", "d.npz", "--architecture", "mnist_28", "--epochs", "3", "--batch-size", "16")
KILLED += ("--augment", "crop", "--deterministic", "--checkpoint-minutes", "0.0001", "--log-interval", "1")


def killed(moment: str, wait: float, folder) -> str:
    """Start a run, kill it some seconds after a moment, and say what it was doing, from what is left."""
    checkpoint = folder / "cut" / "checkpoint.npz"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    moments = {
        "start": lambda: True,
        "write": lambda: any((folder / "cut").glob(".checkpoint.npz.*.part")),
        "step": lambda: checkpoint.exists() and checkpoint.stat().st_mtime_ns > before,
    }
    for left in (folder / "cut").glob(".*.part"):
        left.unlink()
    arguments = [sys.executable, "-m", *KILLED, "--output", "cut"]
    run = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not moments[moment]():
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.001)
    time.sleep(wait)
    while moment == "step" and moments["write"]():  # Which takes longer than a step.
        time.sleep(0.001)
    run.kill()
    run.communicate()
    assert run.returncode == -signal.SIGKILL, "It was done before it was killed."
    if any((folder / "cut").glob(".checkpoint.npz.*.part")):
        return "write"
    return "step" if moments["step"]() else "start"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ten_kills_cost_nothing(tmp_path):
    archive(tmp_path / "d.npz", 256)
    assert command(*KILLED[1:], "--output", "whole", cwd=tmp_path).returncode == 0
    generator = random.Random(1)
    longest = {"start": 5.0, "write": 0.02, "step": 0.4}
    moments = generator.sample(["start", "start", "start", *["write"] * 4, *["step"] * 3], 10)
    stages = [killed(moment, generator.uniform(0, longest[moment]), tmp_path) for moment in moments]
    assert {"start", "write", "step"} == set(stages), stages
    assert command(*KILLED[1:], "--output", "cut", cwd=tmp_path).returncode == 0
    same(tmp_path / "whole", tmp_path / "cut")
    assert log(tmp_path / "whole") == log(tmp_path / "cut")


def in_a_child(before: str, folder, options: str = "") -> subprocess.CompletedProcess:
    """A second epoch in a process of its own, after some lines that spoil it."""
    code = (
        "import os, resource, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from test_runs import train\n"
        f"{before}\n"
        f"try: train(Path(sys.argv[1]), 2, {options})\n"
        "except OSError as error: print(error); sys.exit(7)\n"
    )
    return subprocess.run([sys.executable, "-c", code, folder, os.path.dirname(__file__)], capture_output=True)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_kill_while_the_checkpoint_is_written_leaves_the_old_one(first, whole, run):
    killed = (
        "savez = np.savez\n"
        "def killed(file, **arrays):\n"
        "    savez(file, **dict(list(arrays.items())[:5])); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "np.savez = killed"
    )
    child = in_a_child(killed, run)
    assert child.returncode == -signal.SIGKILL, child.stderr
    same(run, first)
    train(run, 2)
    same(run, whole)


def test_what_a_kill_leaves_is_swept(run, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".run.json.abc.part").touch()
    train(tmp_path / "new", 1)
    (run / ".checkpoint.npz.abc.part").touch()
    rows = log(run)
    (run / "log.csv").unlink()  # As by a kill between checkpoint and log.
    train(run, 1)
    assert log(run) == rows and not [*run.glob(".*.part"), *(tmp_path / "new").glob(".*.part")]


def test_a_mistake_does_not_take_the_folder(tmp_path):
    with pytest.raises(ValueError, match="Expected a batch of 1 to 64"):
        train(tmp_path / "run", recipe=dataclasses.replace(RECIPE, batch=1000))
    train(tmp_path / "run", 1)


def test_a_damaged_checkpoint_is_said(run):
    checkpoint = run / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint\.npz: expected the checkpoint of this training.*Delete it"):
        train(run, 2)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.parametrize("what", ["checkpoint", "TensorBoard's log"])
def test_a_full_disk_keeps_the_last_checkpoint(what, first, run):
    full = (
        "from tfalexnet.training import trainer\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "train_epochs = trainer.train_epochs\n"
        "def full(*given): resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)); train_epochs(*given)\n"
        "trainer.train_epochs = full"
    )
    interval = {"checkpoint": 1000, "TensorBoard's log": 1}[what]  # Its first figures come before the checkpoint.
    child = in_a_child(full, run, f"log_interval={interval}")
    assert child.returncode == 7, child.stderr
    said = child.stdout.decode().splitlines()[-1]
    assert ("TensorBoard's log cannot be written (File too large). The last" in said) == (what != "checkpoint"), said
    same(run, first)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("left", ["nothing", "empty folders"])
def test_a_disk_that_is_gone_ends_the_training(left, strict, tmp_path, capsys):
    pictures(tmp_path / "d" / "disk", 20)
    lines = [f"disk/{name}/{i}.png {name}" for name in ("a", "b") for i in range(20)]
    (tmp_path / "d" / "train.txt").write_text("\n".join(lines))
    parts = data.read(tmp_path / "d")
    recipe = dataclasses.replace(RECIPE, batch=4, epochs=1)
    trainer.train(*parts, NET, recipe, tmp_path / "run", Options())
    shutil.rmtree(tmp_path / "d" / "disk")
    if left == "empty folders":
        for name in ("a", "b"):
            (tmp_path / "d" / "disk" / name).mkdir(parents=True)
    with pytest.raises(NotADirectoryError, match=r"d/disk.*: expected the pictures that were there; it is gone"):
        recipe = dataclasses.replace(recipe, epochs=2)
        trainer.train(*parts, NET, recipe, tmp_path / "run", Options(strict=strict))
    assert len(log(tmp_path / "run")) == 1 and "left out" not in capsys.readouterr().err


def test_what_is_frozen_stays(tmp_path):
    net = small(BVLC_ALEXNET)
    parameters = random_parameters(net)
    checkpoint = Checkpoint(parameters, ModelSpec(net, PREPROCESSING["bvlc_alexnet"], ()))
    write_checkpoint(tmp_path / "old.weights.h5", checkpoint)
    pictures = data.Labelled(
        np.random.default_rng(0).integers(0, 256, (16, 40, 40, 3), "uint8"), np.arange(16) % 3, ("a", "b", "c")
    )
    recipe = dataclasses.replace(training.FINE_TUNE, batch=8, epochs=1)
    options = Options(weights=tmp_path / "old.weights.h5", freeze_until="fc7")
    with pytest.warns(UserWarning, match="fc8 .* gets new weights"):
        model = trainer.train(pictures, pictures, net, recipe, tmp_path / "run", options)
    learnt = read_checkpoint(model, net).parameters
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
    known = [entry.label for entry in read_spec(weights_file("cifar10")).classes]
    cifar10 = tfalexnet.ARCHITECTURES["cifar10_18pct"]
    recipe = dataclasses.replace(training.FINE_TUNE, batch=10, epochs=1)
    for names, right in ((known, True), ([*known[1:], known[0]], False)):
        part = data.Labelled(pictures, np.arange(20) % 10, tuple(names))
        if right:
            trainer.train(part, part, cifar10, recipe, tmp_path / "right", Options(weights="cifar10"))
            continue
        with pytest.raises(ValueError, match="Expected the classes of cifar10.*'airplane'. Received: 'automobile'"):
            trainer.train(part, part, cifar10, recipe, tmp_path / "wrong", Options(weights="cifar10"))
    assert not (tmp_path / "wrong").exists()


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(run):
    before = weights(run)
    with np.load(run / "checkpoint.npz") as archive:
        arrays = dict(archive)
    name = next(name for name, array in arrays.items() if array.shape == NET.parameter_shapes()["fc5"][0])
    arrays[name] = np.full_like(arrays[name], np.nan)
    np.savez(run / "checkpoint.npz", **arrays)
    with pytest.raises(TrainingError, match="loss and weights to be numbers.*by step .*smaller.*of before"):
        train(run, 2)
    after = weights(run)
    for other, array in before.items():
        np.testing.assert_array_equal(after[other], arrays[other] if other == name else array)


def test_low_precision_learns_too(tmp_path):
    train(tmp_path / "run", 4, precision="mixed_bfloat16")
    assert float(log(tmp_path / "run")[-1]["validation_error"]) < 40
    assert tf.keras.config.dtype_policy().name == "float32"  # Of others' models.


def test_unreadable_pictures_are_named(tmp_path, capsys):
    pictures(tmp_path / "d", 12)
    (tmp_path / "d" / "a" / "3.png").write_text("no picture")
    recipe = dataclasses.replace(RECIPE, batch=4, epochs=2)
    parts = data.read(tmp_path / "d")
    trainer.train(*parts, NET, recipe, tmp_path / "run", Options())
    said = capsys.readouterr().err
    assert said.startswith(f"tfalexnet: left out {tmp_path}/d/a/3.png: not a picture")
    assert "tfalexnet: 1 of 24 files could not be read" in said
    assert said.count("left out") == 2  # At once, and at the end.
    with pytest.raises(ValueError, match=r"a/3\.png: not a picture"):
        trainer.train(*parts, NET, recipe, tmp_path / "strict", Options(strict=True))
    assert capsys.readouterr().err == ""


def test_an_error_in_a_picture_leaves_no_threads_to_wait_for(tmp_path):
    """Those of an iterator that is still there when the interpreter ends hold it up for ever, now and then."""
    pictures(tmp_path / "d", 12)
    (tmp_path / "d" / "a" / "3.png").write_text("no picture")
    parts = data.read(tmp_path / "d")
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match=r"a/3\.png: not a picture"):
            trainer.train(*parts, NET, dataclasses.replace(RECIPE, batch=4), tmp_path / "run", Options(strict=True))
        assert not [thing for thing in gc.get_objects() if type(thing).__name__ == "OwnedIterator"]
    finally:
        gc.enable()


def test_less_than_a_batch_of_readable_pictures_is_said(tmp_path):
    pictures(tmp_path / "d", 6)
    parts = data.read(tmp_path / "d")
    for file in parts[0].pictures[:7]:
        file.write_text("no picture")
    recipe = dataclasses.replace(RECIPE, batch=8)
    with pytest.raises(ValueError, match="at least a batch of 8 readable pictures to learn from. .* 7 files that"):
        trainer.train(*parts, NET, recipe, tmp_path / "run", Options())


def test_ten_unreadable_pictures_stand_for_all():
    skipped = data.Skipped()
    for number in range(12):
        skipped.add(PictureError(f"./{number:02}.png", "empty"))
    assert skipped.news() == "left out ./00.png: empty" and skipped.news() == ""
    first, *listed, last = skipped.report(1234).splitlines()
    assert (first, last) == ("12 of 1,234 files could not be read", "… and 2 more")
    assert listed == [f"left out ./{number:02}.png: empty" for number in range(10)]


def test_the_seed_does_not_choose_who_validates(tmp_path, monkeypatch):
    np.savez(tmp_path / "d.npz", x_train=digits(40).pictures, y_train=digits(40).labels)
    monkeypatch.chdir(tmp_path)
    given = ("train", "d.npz", "--architecture", "mnist_28", "--epochs", "1", "--batch-size", "8", "--output", "run")
    assert run_command([*given, "--seed", "1"]) == 0
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    parts = (said["training"]["sha256"], said["validation"]["sha256"])
    assert said["options"]["seed"] == 1 and parts == tuple(part.digest() for part in data.read("d.npz"))


NETWORKS = {"name": ("cifar10_18pct", "cifar10", "cifar10_18pct"), "weights": (None, "cifar10", "cifar10_18pct")}
NETWORKS |= {"neither": (None, None, "bvlc_alexnet")}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_that_of_the_weights_where_nobody_says(name):
    architecture, weights, expected = NETWORKS[name]
    assert read_start(architecture, weights).architecture.name == expected


def test_weights_of_no_network_ask_for_one(tmp_path):
    odd = {"conv1": (np.zeros((3, 3)), np.zeros(3))}
    write_npy(tmp_path / "odd.npy", odd)
    with pytest.raises(ValueError, match="odd.npy does not fit (.|\n)*, add --architecture and a name of"):
        read_start(None, tmp_path / "odd.npy")
    with pytest.raises(ValueError, match="odd.npy does not fit mnist_28"):
        train(tmp_path / "run", weights=tmp_path / "odd.npy")


WRONG = {
    "a flag that is not": (["--lr", "3"], 2, "Usage: tfalexnet train "),
    "half a flag": (["--epoch", "3"], 2, "No such option '--epoch'. Did you mean '--epochs'?"),
    "learning rate": (["--learning-rate", "nan"], 2, "expected a positive number, received 'nan'"),
    "seed": (["--seed", "-1"], 1, "Expected `seed` to be from 0 to 4294967295. Received: -1"),
    "minutes": (["--checkpoint-minutes", "0"], 2, "expected a positive number, received '0'"),
    "batch": (
        ["--batch-size", "1000"],
        1,
        "Expected a batch of 1 to 37, the pictures to learn from (3 more validate). Received: 1000,",
    ),
    "cluster": (["--batch-size", "8", "--strategy", "multi-worker"], 1, "Expected TF_CONFIG in the environment"),
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
    (tmp_path / "run" / "checkpoint.npz").touch()
    monkeypatch.delenv("TF_CONFIG", raising=False)
    (tmp_path / "names.txt").write_text("one\ntwo")
    monkeypatch.chdir(tmp_path)
    assert run_command(["train", "d.npz", "--architecture", "mnist_28", "--output", "new", *extra]) == status
    assert message in capsys.readouterr().err
