"""The command line as a person types it, in a process of its own."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT
from nets import random_parameters, small, write_npy

from tfalexnet.architectures import BVLC_ALEXNET
from tfalexnet.formats import keras_h5


def tfalexnet(*arguments, cwd=None, **environment):
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"} | environment
    command = [sys.executable, "-m", "tfalexnet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, cwd=cwd, env=environment, encoding="utf-8")


def test_predict_prints_a_table(photo):
    run = tfalexnet("predict", photo, "--weights", "cifar10", "--top", 3)
    assert (run.returncode, run.stderr) == (0, "")
    name, *rows = run.stdout.splitlines()
    assert name == str(photo) and len(rows) == 3
    assert rows[0].split()[-1] == "cat" and "%" in rows[0] and "█" in rows[0]


def test_a_bad_file_is_one_line_and_the_others_are_answered(photo, tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    bad = [tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path, tmp_path / "none.jpg"]
    run = tfalexnet("predict", photo, *bad, photo, "--weights", "cifar10", "--json")
    assert run.returncode == 1
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == [str(photo)] * 2
    assert answers[0]["predictions"][0]["label"] == "cat"
    complaints = run.stderr.splitlines()
    assert len(complaints) == len(bad)
    for path, complaint in zip(bad, complaints, strict=True):
        assert complaint.startswith(f"tfalexnet: {path}: ")


@pytest.mark.data
def test_hard_pictures_are_an_answer_or_one_line(data):
    pictures = sorted(path for path in (data / "hard").rglob("*") if path.is_file() and path.suffix != ".tsv")
    run = tfalexnet("predict", *pictures, "--weights", "cifar10", "--json")
    answered = [json.loads(line)["file"] for line in run.stdout.splitlines()]
    complaints = run.stderr.splitlines()
    assert len(answered) + len(complaints) == len(pictures) == 124
    assert all(line.startswith("tfalexnet: ") for line in complaints)


def test_convert_says_what_it_did_and_what_to_type_next(tmp_path):
    write_npy(tmp_path / "places.npy", random_parameters(BVLC_ALEXNET.with_classes(2)))
    script = ROOT / "converters" / "caffe_npy_to_keras.py"
    for number, command in enumerate(([sys.executable, "-m", "tfalexnet", "convert"], [sys.executable, script])):
        output = f"out{number}.weights.h5"
        run = subprocess.run(
            [*command, "places.npy", "--output", output],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            encoding="utf-8",
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert "conv2  5×5×48×256" in run.stdout
        assert f"bvlc_alexnet, 2 classes, written to {output}" in run.stdout
        assert run.stdout.splitlines()[-1] == f"Next: tfalexnet predict PHOTO --weights {output}"
        assert len(keras_h5.read(tmp_path / output).parameters) == 8


WRONG = {
    "not a checkpoint": (["convert", "text.npy"], "text.npy: expected a checkpoint (.weights.h5, .npy,"),
    "does not fit": (["convert", "small.npy"], r"conv1 kernel: expected (11, 11, 3, 96), received (11, 11, 3, 12)"),
    "no such file": (["convert", "none.npy"], "none.npy"),
    "no such network": (["convert", "small.npy", "--architecture", "vgg"], "Expected `architecture` to be one of"),
    "no such weights": (["predict", "a.jpg", "--weights", "none"], "there is no such file"),
    "not on this machine": (["predict", "a.jpg"], "tfalexnet convert FILE --architecture bvlc_alexnet"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_users_mistake_is_no_traceback(name, tmp_path):
    (tmp_path / "text.npy").write_text("hello")
    write_npy(tmp_path / "small.npy", random_parameters(small(BVLC_ALEXNET)))
    arguments, message = WRONG[name]
    run = tfalexnet(*arguments, cwd=tmp_path, TFALEXNET_HOME=str(tmp_path / "home"), TFALEXNET_OFFLINE="1")
    assert run.returncode == 1
    assert message in run.stderr and "Traceback" not in run.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {"small.npy", "text.npy"}


@pytest.mark.skipif(not os.path.exists("/proc/version"), reason="needs a folder that nobody can write")
def test_an_output_that_cannot_be_written(tmp_path):
    write_npy(tmp_path / "net.npy", random_parameters(BVLC_ALEXNET.with_classes(2)))
    run = tfalexnet("convert", "net.npy", "--output", "/proc/net.weights.h5", cwd=tmp_path)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) == 1 and "/proc" in run.stderr


@pytest.mark.parametrize("arguments", ["", "bla", "predict", "predict a --top 0", "predict a --x"])
def test_wrong_usage(arguments):
    run = tfalexnet(*arguments.split())
    assert run.returncode == 2 and run.stderr.startswith("usage: tfalexnet") and "Traceback" not in run.stderr


@pytest.mark.parametrize("command", [[], ["predict"], ["convert"], ["list"]])
def test_help(command):
    run = tfalexnet(*command, "--help")
    assert run.stdout.startswith("usage: tfalexnet") and len(run.stdout.splitlines()) < 30


def test_list_names_source_and_accuracy():
    run = tfalexnet("list")
    assert run.returncode == 0
    for part in ("krizhevsky2012", "cifar10_18pct", "57.1 %", "released for unrestricted use", "layers-145.cfg"):
        assert part in run.stdout
