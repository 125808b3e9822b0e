"""What 8 bits change is measured on the pictures that did not calibrate, with and without labels."""

import pytest
from PIL import Image
from support.command import run
from support.patterns import gradient

from tfalexnet.exporters import export as export_module
from tfalexnet.exporters import held_out
from tfalexnet.exporters.held_out import compare_held_out


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(gradient(30 + i, 32 + 2 * i)).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "photos" / "dog" / "9.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_the_pictures_that_calibrated_are_left_out(folder, monkeypatch):
    monkeypatch.setattr(export_module, "CALIBRATION_PICTURES", 4)
    compared = compare_held_out("cifar10", held_out.find_weights("cifar10"), folder)
    assert compared[:2] == (8, 100)  # Of 13 files 4 calibrated, and one cannot be read.
    assert compared.errors[0] == compared.errors[1]


def test_other_weights_give_other_classes_and_errors(folder, monkeypatch):
    monkeypatch.setattr(export_module, "CALIBRATION_PICTURES", 4)
    answers = iter([[3] * 9, [3, *[5] * 8]])
    monkeypatch.setattr(held_out, "_best_classes", lambda *_: next(answers))
    compared = compare_held_out("cifar10", held_out.find_weights("cifar10"), folder)
    assert compared[:2] == (9, pytest.approx(100 / 9))
    # Classes 3 and 5 are cat and dog: 4 of the 9 files are cats, the first among them.
    assert compared.errors == pytest.approx((100 * 5 / 9, 100 * 3 / 9))


def test_nothing_is_compared_if_all_pictures_calibrated(folder):
    assert compare_held_out("cifar10", held_out.find_weights("cifar10"), folder) is None


def test_the_command_prints_the_agreement(folder, capsys, monkeypatch, tmp_path):
    pytest.importorskip("nncf")
    monkeypatch.setattr(export_module, "CALIBRATION_PICTURES", 4)
    arguments = ("--format", "openvino", "--precision", "int8", "--pictures", folder, "--output", tmp_path / "net.xml")
    result = run(capsys, "export", "cifar10", *arguments)
    assert result.returncode == 0, result.stderr
    assert "other pictures" in result.stdout and "top-1 error: " in result.stdout
