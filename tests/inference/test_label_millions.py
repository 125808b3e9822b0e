"""Labels from two workers of a local Ray, one of which is killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support import ROOT
from support.examples import load_example
from support.labels import assert_same, expected_row, row_of
from support.pictures import fill

pytest.importorskip("ray")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

EXAMPLE = [sys.executable, ROOT / "examples" / "label_millions.py"]
COUNT = 60


@pytest.fixture
def environment():
    """Ray's files in a folder of the test, whose name is short enough for a socket; no telemetry and no token."""
    folder = tempfile.mkdtemp(prefix="ray")
    yield os.environ | {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    shutil.rmtree(folder, ignore_errors=True)


def worker_process() -> int:
    """The number of a process that labels pictures, as soon as there is one."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for title in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if title.read_bytes().startswith(b"ray::") and b"Labeller" in title.read_bytes():
                    return int(title.parts[2])
            except OSError:  # Another's, or gone.
                pass
        time.sleep(0.1)
    raise AssertionError("No worker has started.")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="asks Linux for the titles of processes")
def test_a_killed_worker_loses_no_file(tmp_path, environment):
    fill(tmp_path / "photos", COUNT)
    os.rename(tmp_path / "photos" / "0000.png", os.fsencode(tmp_path) + b"/photos/caf\xe9.png")
    command = [*EXAMPLE, "photos", "--output", "labels", "--weights", "cifar10", "--workers", "2", "--top", "3"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    ) as run:
        try:
            os.kill(worker_process(), signal.SIGKILL)
            log, _ = run.communicate(timeout=300)
        finally:
            run.terminate()
    assert run.returncode == 0, log
    assert f"{COUNT} files, 2 of them unreadable: {tmp_path}/labels" in log

    records = parquet.read_table(tmp_path / "labels").sort_by("file").to_pylist()
    expected = [expected_row(str(path), 3) for path in (tmp_path / "photos").rglob("*.png")]
    for row in expected:
        row["file"] = row["file"].encode("utf-8", "backslashreplace").decode()
    assert_same([row_of(record, empty=None) for record in records], sorted(expected, key=lambda row: row["file"]))

    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8")
    assert again.returncode == 1 and again.stderr.splitlines()[-1].startswith(f"Expected {tmp_path}/labels to be new")


CASES = [
    (["nowhere", "--output", "o"], "nowhere', which is not there"),
    (["*.jpg", "--output", "o"], "which none does"),
    (["a.png", "--output", "o", "--weights", "nothing"], "there is no such file"),
    (["--output", "o"], "expected photos: a folder or a pattern in quotes"),
    (["a.png"], "--output"),
    (["a.png", "--output", "."], "to be new or empty"),
]

# Each command line in a copy of a process that has imported what takes long.
RUN_ALL = """
import json, os, runpy, sys
import pyarrow, ray, ray.data
from tfalexnet.inference import label, predict

for arguments in json.loads(sys.argv[2]):
    child = os.fork()
    if not child:
        os.dup2(1, 2)
        sys.argv = [sys.argv[1], *arguments]
        runpy.run_path(sys.argv[0], run_name="__main__")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(f"status {status}", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_wrong_arguments_are_reported_before_ray_starts(tmp_path, environment):
    (tmp_path / "a.png").touch()
    command = [sys.executable, "-c", RUN_ALL, EXAMPLE[1], json.dumps([arguments for arguments, _ in CASES])]
    run = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, encoding="utf-8")
    reports = run.stdout.split("status 1\n")
    for report, (arguments, message) in zip(reports, CASES, strict=False):
        assert message in report and "Traceback" not in report, (arguments, report)
    assert len(reports) == len(CASES) + 1 and reports[-1] == "", run.stderr
    assert os.listdir(tmp_path) == ["a.png"] and os.listdir(environment["RAY_TMPDIR"]) == []


def test_a_machine_without_the_photos_ends_the_job(monkeypatch):
    labeller = object.__new__(load_example(monkeypatch, "label_millions.py").Labeller)
    names = pyarrow.table({"file": [b"/nowhere/0.jpg", b"/nowhere/1.jpg"]})
    with pytest.raises(FileNotFoundError, match=r"Expected /nowhere/0.jpg and 1 more on .*, which has none of them"):
        labeller(names)
