"""The examples run as their first lines say."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from nets import random_parameters, write_npy
from PIL import Image

import tfalexnet
from tfalexnet.architectures import BVLC_ALEXNET
from tfalexnet.preprocessing import decode


def example(name: str, *arguments: object, cwd) -> str:
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    run = subprocess.run(command, capture_output=True, cwd=cwd, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_label_photo(photo, tmp_path):
    assert example("label_photo.py", photo, cwd=tmp_path).splitlines()[0].split()[-1] == "cat"


def test_two_devices(tmp_path):
    lines = example("two_devices.py", "--logical_cpus", cwd=tmp_path).splitlines()
    assert len(lines) == 15
    for line in lines:
        device = f"CPU:{int('kernel_1' in line)}"
        assert f"on {device}, its momentum on {device}" in line


def test_convert_and_check(tmp_path):
    write_npy(tmp_path / "bvlc_alexnet.npy", random_parameters(BVLC_ALEXNET))
    said = example("convert_and_check.py", "bvlc_alexnet.npy", cwd=tmp_path)
    assert "weights/bvlc_alexnet.weights.h5: differs from bvlc_alexnet.npy by 0.0" in said


def test_fine_tune_folder_brings_its_class_names(photo, tmp_path):
    pixels = np.asarray(decode(photo))
    for name, left in {"ears": 0, "tail": 180}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(pixels[i : i + 240, left + i : left + i + 240]).save(
                tmp_path / "photos" / name / f"{i}.png"
            )
    example("fine_tune_folder.py", "photos", "--epochs", "1", cwd=tmp_path)
    answer = tfalexnet.predict(photo, weights=tmp_path / "fine_tuned.weights.h5")
    assert {prediction.label for prediction in answer} == {"ears", "tail"}


@pytest.mark.parametrize(
    "name", ["label_photo.py", "convert_and_check.py", "fine_tune_folder.py", "train_cifar10.py"]
)
def test_a_missing_argument_is_no_traceback(name, tmp_path):
    run = subprocess.run(
        [sys.executable, ROOT / "examples" / name], capture_output=True, cwd=tmp_path, encoding="utf-8"
    )
    assert run.returncode == 1 and "expected one argument" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr
