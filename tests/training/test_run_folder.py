"""The folder of a run: what may differ when it is resumed, damaged files, and processes that are killed."""

import dataclasses
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
from support import ROOT, runs
from support.command import run_process
from support.runs import assert_same_checkpoints, read_log, train, write_archive

from tfalexnet.training.loop import Trainer
from tfalexnet.training.run_folder import RunFolder, TrainingState


def describe(**changed):
    """Return a short description of a run."""
    recipe = {"source": "paper", "batch": 64, "schedule": "plateau", "learning_rate": 0.1, "decay": 5e-4}
    return {
        "classes": ["ant", "bee"],
        "training": {"pictures": 9, "sha256": "1"},
        "recipe": recipe | changed.pop("recipe", {}),
        "options": {"freeze_until": None, "strict": False} | changed.pop("options", {}),
        "epochs": 1,
    } | changed


DIFFERENCES = {
    "batch": (describe(recipe={"batch": 32}), "--batch-size was 64, is 32"),
    "option": (describe(options={"freeze_until": "fc8"}), "--freeze-until was not given, is fc8"),
    "recipe": (
        describe(recipe={"source": "caffe", "schedule": "step", "learning_rate": 0.2}),
        "--recipe was paper, is caffe; --learning-rate was 0.1, is 0.2",
    ),
    "a recipe of one's own": (describe(recipe={"decay": 0}), "recipe.decay was 0.0005, is 0"),
    "pictures": (describe(training={"pictures": 10, "sha256": "2"}), "other training pictures"),
    "order": (describe(classes=["ant", "cat"]), r"class 1 was 'bee', is 'cat' \(--classes\)"),
    "classes": (describe(classes=["ant", "bee", "cat"]), "the number of classes was 2, is 3"),
    "nothing": (describe(options={"strict": True}), None),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_another_run_is_refused_with_the_flags_that_differ(name, tmp_path):
    (tmp_path / "checkpoint.npz").touch()
    (tmp_path / "run.json").write_text(json.dumps(describe()))
    description, message = DIFFERENCES[name]
    folder = RunFolder(tmp_path, writes=True)
    if message is None:
        assert folder.check(description) == 1
    else:
        with pytest.raises(ValueError, match=f"It is that of another: {message}. Choose another --output"):
            folder.check(description)


def test_a_run_without_a_checkpoint_leaves_the_folder_to_another(tmp_path):
    folder = RunFolder(tmp_path, writes=True)
    (tmp_path / "run.json").write_text(json.dumps(describe()))
    (tmp_path / "tensorboard").mkdir()
    assert folder.check(describe(recipe={"batch": 32})) is None
    for name in ("checkpoint.npz", "notes.txt"):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match="--batch-size was 64, is 32"):
            folder.check(describe(recipe={"batch": 32}))
        (tmp_path / name).unlink()


def test_options_that_an_older_version_did_not_have_are_the_defaults(run):
    description = json.loads((run / "run.json").read_text())
    for name in ("new_classifier", "class_weights", "early_stopping"):
        del description["options"][name]
    (run / "run.json").write_text(json.dumps(description))
    train(run, 1, early_stopping=3)
    (run / "run.json").write_text(json.dumps(description))
    with pytest.raises(ValueError, match="--class-weights was not given, is balanced"):
        train(run, 1, class_weights="balanced")


ERRORS = {"none": ((), 0), "the last": ((5, 4, 3), 0), "the first of two": ((5, 3, 3, 4), 2), "the first": ((1, 2), 1)}


@pytest.mark.parametrize("name", ERRORS)
def test_epochs_without_a_lower_error_are_counted(name):
    errors, waited = ERRORS[name]
    state = TrainingState(len(errors), history=[{"validation_error": error} for error in errors])
    assert state.best_epoch == len(errors) - waited
    for patience, expected in ((None, False), (waited, True), (waited + 1, False)):
        if patience != 0:
            assert state.is_stopped_early(patience) == expected


DAMAGED = {"cut": '{"epochs": 1', "a list": "[]", "other bytes": "\xff", "a number of classes": '{"classes": 5}'}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_description_is_an_error(name, tmp_path):
    (tmp_path / "run.json").write_text(DAMAGED[name], "latin-1")
    with pytest.raises(ValueError, match=r"run\.json: expected the description of a training; received a damaged"):
        RunFolder(tmp_path, writes=True).check(describe())


def test_a_damaged_checkpoint_is_an_error(run):
    checkpoint = run / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"checkpoint\.npz: expected the checkpoint of this training.*Delete it"):
        train(run, 2)


def test_the_checkpoint_of_another_network_is_an_error(run, monkeypatch):
    wider = {"fc2": dataclasses.replace(runs.NET.layers[4], units=48)}
    monkeypatch.setattr(runs, "NET", runs.NET.replace_layers(**wider))
    with pytest.raises(ValueError, match=r"of another network \(.*fc2/kernel: expected \(392, 48\), received"):
        train(run, 2)


def test_incomplete_files_of_a_killed_process_are_deleted(run, tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".run.json.abc.part").touch()
    train(tmp_path / "new", 1)
    (run / ".checkpoint.npz.abc.part").touch()
    rows = read_log(run)
    (run / "log.csv").unlink()  # As after a kill between checkpoint and log.
    train(run, 1)
    assert read_log(run) == rows and not [*run.glob(".*.part"), *(tmp_path / "new").glob(".*.part")]


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
@pytest.mark.usefixtures("capsys")  # Stdout in memory: the limit is that of any file.
@pytest.mark.parametrize("file", ["checkpoint", "TensorBoard's log"])
def test_a_full_disk_leaves_the_last_checkpoint(file, one_epoch, run, monkeypatch):
    """The log's first numbers are written before the checkpoint if the log interval is 1."""
    train_to_the_end = Trainer.train
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def train_on_a_full_disk(trainer):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            train_to_the_end(trainer)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(Trainer, "train", train_on_a_full_disk)
    message = "TensorBoard's log cannot be written .File too large" if file != "checkpoint" else "File too large"
    with pytest.raises(OSError, match=message) as error:
        train(run, 2, log_interval=1000 if file == "checkpoint" else 1)
    assert ("TensorBoard" in str(error.value)) == (file != "checkpoint")
    assert_same_checkpoints(run, one_epoch)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_kill_while_the_checkpoint_is_written_leaves_the_old_one(one_epoch, two_epochs, run):
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from support.runs import train\n"
        "savez = np.savez\n"
        "def killed(file, **arrays):\n"
        "    savez(file, **dict(list(arrays.items())[:5])); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
        "np.savez = killed\n"
        "train(Path(sys.argv[1]), 2)\n"
    )
    path = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    child = subprocess.run(
        [sys.executable, "-c", code, run], capture_output=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert_same_checkpoints(run, one_epoch)
    train(run, 2)
    assert_same_checkpoints(run, two_epochs)


COMMAND = ("train", "d.npz", "--architecture", "mnist_28", "--epochs", "3", "--batch-size", "16", "--augment", "crop")
COMMAND += ("--deterministic", "--checkpoint-minutes", "0.0001", "--log-interval", "1", "--output")


def kill_run(moment: str, wait: float, folder) -> str:
    """Start a run, kill it `wait` seconds after a moment, and return what it was doing, from the files it left."""
    checkpoint = folder / "cut" / "checkpoint.npz"
    before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
    moments = {
        "start": lambda: True,
        "write": lambda: any((folder / "cut").glob(".checkpoint.npz.*.part")),
        "step": lambda: checkpoint.exists() and checkpoint.stat().st_mtime_ns > before,
    }
    for partial in (folder / "cut").glob(".*.part"):
        partial.unlink()
    arguments = [sys.executable, "-m", "tfalexnet", *COMMAND, "cut"]
    run = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while not moments[moment]():
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.001)
    time.sleep(wait)
    while moment == "step" and moments["write"]():  # Writing takes longer than a step.
        time.sleep(0.001)
    run.kill()
    run.communicate()
    assert run.returncode == -signal.SIGKILL, "The run ended before it was killed."
    if any((folder / "cut").glob(".checkpoint.npz.*.part")):
        return "write"
    return "step" if moments["step"]() else "start"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ten_kills_do_not_change_the_weights(tmp_path):
    write_archive(tmp_path / "d.npz", 256)
    assert run_process(*COMMAND, "whole", cwd=tmp_path).returncode == 0
    generator = random.Random(1)
    longest = {"start": 5.0, "write": 0.02, "step": 0.4}
    moments = generator.sample(["start", "start", "start", *["write"] * 4, *["step"] * 3], 10)
    stages = [kill_run(moment, generator.uniform(0, longest[moment]), tmp_path) for moment in moments]
    assert {"start", "write", "step"} == set(stages), stages
    assert run_process(*COMMAND, "cut", cwd=tmp_path).returncode == 0
    assert_same_checkpoints(tmp_path / "whole", tmp_path / "cut")
    assert read_log(tmp_path / "whole") == read_log(tmp_path / "cut")
