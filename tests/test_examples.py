"""The examples run as their first lines say."""

import re
import runpy
import subprocess
import sys

import pytest
from support import ROOT
from support.nets import random_parameters, write_npy

from tfalexnet.cli import main as __main__
from tfalexnet.cli.train import command
from tfalexnet.networks.catalog import BVLC_ALEXNET


def example(name: str, *arguments: object, cwd) -> str:
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    run = subprocess.run(command, capture_output=True, cwd=cwd, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize("name", ["cats_dogs", "fashion_mnist", "flowers17", "imagenette", "mnist"])
def test_what_a_user_types_comes_before_what_an_example_says(name, monkeypatch):
    parsed = []

    def parse():
        assert sys.argv[1] == "train"
        parsed.append(command.make_context("train", sys.argv[2:]).params)

    monkeypatch.setattr(__main__, "main", parse)
    for flags in ([], ["--epochs", "3", "--batch-size", "7", "--precision", "float32", "--architecture", "mine"]):
        monkeypatch.setattr(sys, "argv", ["train.py", "DATA", "--output", "RUN", *flags])
        runpy.run_path(str(ROOT / "examples" / f"train_{name}.py"), run_name="__main__")
    plain, asked = parsed
    assert plain["data"] == asked["data"] == "DATA" and plain["epochs"] != 3
    assert (asked["epochs"], asked["batch_size"]) == (3, 7)
    assert (asked["precision"], asked["architecture"]) == ("float32", "mine")


@pytest.mark.parametrize(
    "page", [path.relative_to(ROOT).as_posix() for pattern in ("*.md", "[a-z]*/*.md") for path in ROOT.glob(pattern)]
)
def test_what_a_page_links_to_is_there(page):
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text("utf-8"))
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_label_photo(photo, tmp_path):
    assert example("label_photo.py", photo, cwd=tmp_path).splitlines()[0].split()[-1] == "cat"


def test_two_devices(tmp_path):
    lines = example("two_devices.py", "--logical_cpus", cwd=tmp_path).splitlines()
    assert len(lines) == 15
    for line in lines:
        device = f"CPU:{int('kernel_1' in line)}"
        assert f"on {device}, its momentum on {device}" in line


def test_convert_and_check(photo, tmp_path):
    write_npy(tmp_path / "bvlc_alexnet.npy", random_parameters(BVLC_ALEXNET))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "zebra.png").write_bytes(photo.read_bytes())
    said = example("convert_and_check.py", "bvlc_alexnet.npy", "--pictures", "photos", cwd=tmp_path)
    assert "Nothing differs." in said and "0 of 1 pictures as published" in said


@pytest.mark.parametrize("name", ["label_photo.py", "convert_and_check.py", "train_cifar10.py"])
def test_a_missing_argument_is_no_traceback(name, tmp_path):
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / name], capture_output=True, cwd=tmp_path, encoding="utf-8"
    )
    assert run.returncode == 1 and "expected one argument" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr
