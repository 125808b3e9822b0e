"""The command line as a person types it, in a process of its own."""

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from support import ROOT
from support.nets import random_parameters, small, write_npy

import tfalexnet as package
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import keras_h5, orientation
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.networks.catalog import ARCHITECTURES, BVLC_ALEXNET


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
    (tmp_path / "folder").mkdir()
    bad = [tmp_path / name for name in ("text.jpg", "empty.png", "none.jpg", "folder", "no*.jpg")]
    run = tfalexnet("predict", photo, *bad, photo, "--weights", "cifar10", "--json")
    assert run.returncode == 1
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == [str(photo)] * 2
    assert answers[0]["predictions"][0]["label"] == "cat"
    complaints = run.stderr.splitlines()
    assert len(complaints) == len(bad)
    for path in bad:  # Names that stand for no file come first.
        assert sum(complaint.startswith("tfalexnet: ") and str(path) in complaint for complaint in complaints) == 1


def test_predict_a_folder_into_a_file(photo, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "b.png").write_bytes(photo.read_bytes())
    (tmp_path / "photos" / "a.jpg").write_text("not a picture")
    given = ("predict", "photos", "--weights", "cifar10", "--output", "labels.jsonl")
    run = tfalexnet(*given, cwd=tmp_path)
    assert (run.returncode, run.stderr) == (1, "")
    assert run.stdout == "2 files, 1 of them unreadable: labels.jsonl\n"
    bad, good = map(json.loads, (tmp_path / "labels.jsonl").read_text("utf-8").splitlines())
    assert bad == {"file": "photos/a.jpg", "error": "not a picture in a format that Pillow reads"}
    assert good["file"] == "photos/b.png" and good["predictions"][0]["label"] == "cat"
    again = tfalexnet(*given, cwd=tmp_path)
    assert again.returncode == 1 and "labels.jsonl" in again.stderr and "Traceback" not in again.stderr
    shown = tfalexnet("predict", "photos/*.png", "--weights", "cifar10", cwd=tmp_path)
    assert shown.stdout.startswith("photos/b.png\n")


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
            [*command, "places.npy", "--output", output], capture_output=True, text=True, cwd=tmp_path, encoding="utf-8"
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert "conv2  5×5×48×256" in run.stdout
        assert f"bvlc_alexnet, 2 classes, written to {output}" in run.stdout
        assert run.stdout.splitlines()[-1] == f"Next: tfalexnet predict PHOTO --weights {output}"
        assert len(keras_h5.read(tmp_path / output).parameters) == 8


def test_compress_and_info(tmp_path):
    run = tfalexnet("compress", "cifar10", "--output", "c.net", "--energy", "0.99", cwd=tmp_path)
    assert run.returncode == 0 and "pictures of noise" in run.stdout
    run = tfalexnet("compress", "cifar10", "--output", "c.net", cwd=tmp_path)
    assert (run.returncode, run.stderr.count("\n")) == (1, 1) and "c.net to be new" in run.stderr
    run = tfalexnet("info", "c.net", cwd=tmp_path)
    assert "cifar10_18pct" in run.stdout and "airplane" in run.stdout and "1024×10" in run.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo):
    """A folder for each of two classes; one picture cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        (folder / name / "chelsea.png").write_bytes(photo.read_bytes())
    (folder / "dog" / "bad.jpg").write_text("no picture")
    return folder


def test_features_of_a_folder(folder, tmp_path):
    run = tfalexnet(
        "features",
        folder,
        "--layer",
        "fc4",
        "--layer",
        "conv2:pre",
        "--output",
        "f.h5",
        "--weights",
        "cifar10",
        "--batch",
        1,
        cwd=tmp_path,
    )
    assert run.returncode == 1 and run.stderr == "tfalexnet: dog/bad.jpg: not a picture in a format that Pillow reads\n"
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["fc4"].shape == (2, 10) and file["conv2:pre"].shape == (2, 16, 16, 32)
        assert file["fc4"][0].argmax() == 3


def test_evaluate_a_folder(folder, tmp_path):
    for crops in (1, 10):
        run = tfalexnet(
            "evaluate",
            folder,
            "--weights",
            "cifar10",
            "--crops",
            crops,
            "--batch",
            3,
            "--output",
            f"{crops}.json",
            cwd=tmp_path,
        )
        assert run.returncode == 1 and "dog/bad.jpg: not a picture" in run.stderr
        report = json.loads((tmp_path / f"{crops}.json").read_text())
        assert report["top1_error"] == 50.0 and report["protocol"]["crops"] == crops
        assert "50.00 %" in run.stdout


def test_diff_says_by_its_status():
    assert tfalexnet("diff", "bvlc_alexnet", "bvlc_alexnet").returncode == 0
    run = tfalexnet("diff", "bvlc_alexnet", "bvlc_caffenet")
    assert run.returncode == 1 and "They differ." in run.stdout
    assert tfalexnet("diff", "bvlc_alexnet", "none").returncode == 2
    run = tfalexnet("diff", "cifar10", "cifar10", "--weights")
    assert run.returncode == 0 and "Nothing differs." in run.stdout


@pytest.mark.slow
def test_verify_says_by_its_status(photo, tmp_path):
    write_npy(tmp_path / "bvlc_alexnet.npy", random_parameters(BVLC_ALEXNET))
    (tmp_path / "zebra.png").write_bytes(photo.read_bytes())
    run = tfalexnet("verify", "zebra.png", "--weights", "bvlc_alexnet.npy", cwd=tmp_path)
    assert run.returncode == 1 and "0 of 1 pictures as published" in run.stdout and not run.stderr
    run = tfalexnet("verify", "zebra.png", "--weights", "bvlc_alexnet.npy", "--architecture", "mnist_28", cwd=tmp_path)
    assert run.returncode == 1 and "Traceback" not in run.stderr


def test_the_version():
    assert tfalexnet("--version").stdout == f"tfalexnet {package.__version__}\n"


@pytest.mark.parametrize("script", sorted((ROOT / "converters").iterdir()), ids=lambda path: path.name)
def test_every_converter(script, tmp_path):
    net = ARCHITECTURES["cifar10_18pct"]
    parameters = random_parameters(net)
    kind = {
        "caffe_npy": ".npy",
        "caffemodel": ".caffemodel",
        "torch": ".pth",
        "deep_compression": ".net",
        "npz": ".npz",
        "safetensors": ".safetensors",
        "keras": ".weights.h5",
    }[script.stem.split("_to_")[0]]
    if kind == ".pth":
        torch = pytest.importorskip("torch")
        state = {
            f"{name}.{part}": torch.tensor(np.ascontiguousarray(array))
            for name, pair in parameters.items()
            for part, array in zip(("weight", "bias"), (orientation.channels_first(pair[0]), pair[1]), strict=True)
        }
        torch.save(state, tmp_path / "net.pth")
    elif kind == ".net":
        tfalexnet("compress", "cifar10", "--output", "net.net", cwd=tmp_path)
    else:
        write_checkpoint(tmp_path / f"net{kind}", Checkpoint(parameters, ModelSpec(net, None, ())))
    command = [sys.executable, script, f"net{kind}", "--output", "out.npz", "--architecture", net.name]
    run = subprocess.run(command, capture_output=True, cwd=tmp_path, encoding="utf-8")
    assert (run.returncode, run.stderr) == (0, "")
    assert "cifar10_18pct, 10 classes, written to out.npz" in run.stdout


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
    assert run.returncode == 2 and run.stderr.startswith("Usage: tfalexnet") and "Traceback" not in run.stderr


@pytest.mark.parametrize("command", [[], ["predict"], ["convert"], ["list"]])
def test_help(command):
    run = tfalexnet(*command, "--help")
    assert run.stdout.startswith("Usage: tfalexnet") and len(run.stdout.splitlines()) < 30


def test_list_names_source_and_accuracy():
    run = tfalexnet("list")
    assert run.returncode == 0
    for part in ("krizhevsky2012", "cifar10_18pct", "57.1 %", "released for unrestricted use", "layers-145.cfg"):
        assert part in run.stdout
