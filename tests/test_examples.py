"""The examples run as their first lines state."""

import runpy
import subprocess
import sys

import pytest
from absl import app
from support import ROOT
from support.command import parse
from support.examples import run_example
from support.nets import random_parameters, small, write_npy

import tfalexnet
from tfalexnet.cli import main as cli_main
from tfalexnet.networks.catalog import ARCHITECTURES, CIFAR10_18PCT


def run_process(name: str, *arguments: object, cwd) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    return subprocess.run(command, capture_output=True, cwd=cwd, encoding="utf-8")


@pytest.mark.parametrize("name", ["cats_dogs", "fashion_mnist", "flowers17", "imagenette", "mnist"])
def test_flags_of_the_user_override_those_of_the_example(name, monkeypatch):
    parsed = []

    def main():
        parsed.append(parse(*sys.argv[1:]))

    monkeypatch.setattr(cli_main, "main", main)
    for flags in ([], ["--epochs", "3", "--batch-size", "7", "--precision", "float32", "--architecture", "mine"]):
        monkeypatch.setattr(sys, "argv", ["train.py", "DATA", "--output", "RUN", *flags])
        runpy.run_path(str(ROOT / "examples" / f"train_{name}.py"), run_name="__main__")
    default, changed = parsed
    assert default["data"] == changed["data"] == "DATA" and default["epochs"] != 3
    assert (changed["epochs"], changed["batch_size"]) == (3, 7)
    assert (changed["precision"], changed["architecture"]) == ("float32", "mine")


def test_label_photo(photo, monkeypatch, capsys):
    run_example(monkeypatch, "label_photo.py", photo)
    assert capsys.readouterr().out.splitlines()[0].split()[-1] == "cat"


def test_two_devices(monkeypatch, capsys):
    build = tfalexnet.AlexNet
    monkeypatch.setattr(tfalexnet, "AlexNet", lambda name, **options: build(small(ARCHITECTURES[name]), **options))
    run_example(monkeypatch, "two_devices.py", "--logical_cpus")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 15
    for line in lines:
        device = f"CPU:{int('kernel_1' in line)}"
        assert f"on {device}, its momentum on {device}" in line


@pytest.mark.slow
def test_two_devices_at_full_size_in_a_process(tmp_path):
    process = run_process("two_devices.py", "--logical_cpus", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    second = " ".join(process.stdout.splitlines()[1].split())
    assert second == "conv1/kernel_1 11×11×3×48 on CPU:1, its momentum on CPU:1"


def test_convert_and_check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_npy("cifar10_18pct.npy", random_parameters(CIFAR10_18PCT))
    run_example(monkeypatch, "convert_and_check.py", "cifar10_18pct.npy")
    assert "Nothing differs." in capsys.readouterr().out


@pytest.mark.slow
def test_convert_and_check_with_pictures(photo, npy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "zebra.png").write_bytes(photo.read_bytes())
    run_example(monkeypatch, "convert_and_check.py", npy, "--pictures", "photos")
    assert "0 of 1 answers as published" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["label_photo.py", "convert_and_check.py", "train_cifar10.py"])
def test_a_missing_argument_is_a_usage_error(name, monkeypatch):
    with pytest.raises(app.UsageError, match="expected one argument"):
        run_example(monkeypatch, name)


def test_a_usage_error_in_a_process_is_no_traceback(tmp_path):
    process = run_process("convert_and_check.py", cwd=tmp_path)
    assert process.returncode == 1 and "expected one argument" in process.stderr + process.stdout
    assert "Traceback" not in process.stderr


def test_an_error_of_the_package_is_its_message(tmp_path, monkeypatch):
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(SystemExit, match="expected a checkpoint"):
        run_example(monkeypatch, "convert_and_check.py", tmp_path / "text.npy")


@pytest.mark.slow
def test_the_notebook_runs():
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    notebook = nbformat.read(ROOT / "examples" / "alexnet_in_ten_cells.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": ROOT / "examples"}}).execute()
    cells = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    kinds = [{kind for output in outputs for kind in output.get("data", {"text/plain": 0})} for outputs in cells]
    assert len(cells) == 10 and [number + 1 for number, kind in enumerate(kinds) if "image/png" in kind] == [4, 7, 10]
    assert "60,965,224 parameters" in cells[1][0].text and cells[2][0].text.split()[1] == "cat"
    assert float(cells[4][0].text.split()[-1]) < 1e-4  # Of values up to 100.
