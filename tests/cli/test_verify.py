"""The command `verify`: its table and exit status."""

import pytest
from support.command import run

from tfalexnet.tools import verification
from tfalexnet.tools import verify as verify_module


@pytest.mark.parametrize("passed", [True, False])
def test_exit_status_is_that_of_the_report(passed, monkeypatch, capsys):
    class Report:
        pass

    report = Report()
    report.passed = passed
    calls = []
    monkeypatch.setattr(verify_module, "verify", lambda *arguments: calls.append(arguments) or report)
    monkeypatch.setattr(verification, "report_table", lambda printed: f"table of {printed is report}")
    result = run(capsys, "verify", "zebra.png", "cat.jpg", "--weights", "w.npy", "--architecture", "bvlc_alexnet")
    assert result == (0 if passed else 1, "table of True\n", "")
    [(pictures, weights, architecture)] = calls
    assert [path.name for path in pictures] == ["zebra.png", "cat.jpg"]
    assert (weights, architecture) == ("w.npy", "bvlc_alexnet")


@pytest.mark.slow
def test_random_weights_fail(photo, npy, tmp_path, capsys):
    (tmp_path / "zebra.png").write_bytes(photo.read_bytes())
    result = run(capsys, "verify", "zebra.png", "--weights", npy, cwd=tmp_path)
    assert result.returncode == 1 and "0 of 1 answers as published" in result.stdout
    assert all("known mistakes" in line for line in result.stderr.splitlines())  # Progress, on a slow machine.


def test_an_architecture_that_the_weights_do_not_have_is_one_line(photo, tmp_path, capsys):
    (tmp_path / "zebra.png").write_bytes(photo.read_bytes())
    arguments = ("verify", "zebra.png", "--weights", "cifar10", "--architecture", "mnist_28")
    result = run(capsys, *arguments, cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == "" and len(result.stderr.splitlines()) == 1
