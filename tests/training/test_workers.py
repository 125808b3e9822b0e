"""Several processes of one cluster on this machine: one result, kills, stops and mistakes."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from support.command import run_process
from support.runs import write_archive, write_weights

from tfalexnet.checkpoints.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow

COMMAND = ("train", "d.npz", "--weights", "w.weights.h5", "--epochs", "6", "--batch-size", "32", "--dropout", "0")
COMMAND += ("--recipe", "paper", "--learning-rate", "0.001", "--log-interval", "1", "--checkpoint-minutes", "0.001")


def write_inputs(folder, count: int) -> None:
    write_archive(folder / "d.npz", count)
    write_weights(folder / "w.weights.h5")


def unused_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


def start_workers(output: str, *folders) -> list[subprocess.Popen]:
    """Start the processes of a cluster, one in each folder; their output is in 0.log, 1.log … there."""
    cluster = {"worker": [f"localhost:{port}" for port in unused_ports(len(folders))]}
    started = []
    for index, folder in enumerate(folders):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})
        command = [sys.executable, "-m", "tfalexnet", *COMMAND, "--output", output, "--strategy", "multi-worker"]
        with (folder / f"{index}.log").open("w") as log:
            environment = os.environ | {"TF_CONFIG": config}
            started.append(subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log))
    return started


def wait_for_checkpoint(file, processes) -> None:
    """Wait for a checkpoint that is newer than the present one."""
    before = file.stat().st_mtime_ns if file.exists() else 0
    while not file.exists() or file.stat().st_mtime_ns == before:
        assert processes[0].poll() is None, (file.parents[1] / "0.log").read_text()
        time.sleep(0.05)


def test_two_workers_reach_the_weights_of_one_after_a_kill_and_a_stop(tmp_path):
    write_inputs(tmp_path, 320)
    assert run_process(*COMMAND, "--output", "one", cwd=tmp_path).returncode == 0
    checkpoint = tmp_path / "two" / "checkpoint.npz"
    logs = [tmp_path / "0.log", tmp_path / "1.log"]

    killed = start_workers("two", tmp_path, tmp_path)
    wait_for_checkpoint(checkpoint, killed)
    killed[1].kill()
    assert killed[0].wait(120) == 1 and killed[1].wait() < 0
    assert "Another worker is gone; see its messages. Start all workers again" in logs[0].read_text()

    stopped = start_workers("two", tmp_path, tmp_path)
    wait_for_checkpoint(checkpoint, stopped)
    stopped[1].terminate()  # The worker that does not save.
    assert [worker.wait(120) for worker in stopped] == [130, 143], [file.read_text() for file in logs]
    first, second = (file.read_text() for file in logs)
    assert "Resuming epoch " in first and "; all is saved in two. To resume: tfalexnet train" in first
    assert "; as all workers do; the first one has saved all in two." in second
    assert not (tmp_path / "two" / "model.weights.h5").exists()

    for worker in start_workers("two", tmp_path, tmp_path):
        assert worker.wait(120) == 0, [file.read_text() for file in logs]
    one, two = (read_checkpoint(tmp_path / name / "model.weights.h5").parameters for name in ("one", "two"))
    for name, arrays in one.items():
        for a, b in zip(arrays, two[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)  # Sums in another order.


def test_workers_with_different_folders_are_refused(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        write_inputs(folder, 64)
    started = start_workers("run", *folders)
    for index, (worker, folder) in enumerate(zip(started, folders, strict=True)):
        assert worker.wait(120) == 1
        assert "Expected run to be one folder for all workers" in (folder / f"{index}.log").read_text()
        assert not list(folder.glob("run/*")) and not list(folder.glob("run/.*"))


def test_an_error_of_one_worker_ends_all(tmp_path):
    write_inputs(tmp_path, 64)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "letter.txt").touch()
    started = start_workers("run", tmp_path, tmp_path)
    assert [worker.wait(120) for worker in started] == [1, 1]
    assert "Expected run to be the folder of a training, or empty" in (tmp_path / "0.log").read_text()
    assert "Another worker is gone" in (tmp_path / "1.log").read_text()
