"""The command `evaluate`: errors, report and exit status for one and ten crops."""

import json

import pytest
from support.command import run


@pytest.mark.parametrize("crops", [1, 10])
def test_errors_of_a_folder_with_an_unreadable_picture(crops, folder, tmp_path, capsys):
    flags = ("--weights", "cifar10", "--crops", crops, "--batch", 3, "--output", "report.json")
    result = run(capsys, "evaluate", folder, *flags, cwd=tmp_path)
    assert result.returncode == 1 and "dog/bad.jpg: not a picture" in result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["top1_error"] == 50.0 and report["protocol"]["crops"] == crops
    assert "50.00 %" in result.stdout and result.stdout.endswith("Full report: report.json\n")


def test_crops_are_one_or_ten(capsys):
    result = run(capsys, "evaluate", "photos", "--crops", 5)
    assert result.returncode == 2 and "'--crops'" in result.stderr


def test_the_flags_of_the_ground_truth_reach_the_function(folder, tmp_path, capsys):
    (tmp_path / "truth.txt").write_text("cat/chelsea.png 3\ndog/chelsea.png 5\ndog/bad.jpg 5\n")
    flags = ("--weights", "cifar10", "--truth", "truth.txt")
    result = run(capsys, "evaluate", folder, *flags, cwd=tmp_path)
    assert result.returncode == 1 and "50.00 %" in result.stdout and "truth.txt; 0 without a picture" in result.stdout
    result = run(capsys, "evaluate", folder, *flags, "--truth-ids", "sorted", "--overwrite", cwd=tmp_path)
    assert result.returncode == 1 and "Received: ids='sorted'" in result.stderr
