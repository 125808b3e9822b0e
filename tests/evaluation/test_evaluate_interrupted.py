"""An interrupted evaluation continues where it was and ends with the report of an uninterrupted one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.evaluation import COUNT, NET, results, save, stable
from support.labels import act_at
from support.nets import random_parameters

from tfalexnet import evaluate
from tfalexnet.evaluation import evaluate as module
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.inference import pipeline, resume
from tfalexnet.runtimes.network import Network

JOURNAL = Path("report.json.journal")


def interrupt(count, folder, weights) -> bytes:
    """Evaluate until `count` pictures are done, and return the journal."""

    def fail():
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resume, "Progress", act_at(count, fail))
        evaluate(folder, weights, batch=8, output="report.json")
    assert not os.path.exists("report.json") and JOURNAL.read_bytes().count(b"\n") == 1 + count
    return JOURNAL.read_bytes()


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """Collects the names of the pictures that the network is run on."""
    names, run = [], module.run_network

    def collect(network, paths, *rest):
        paths = list(paths)
        names.extend(path.name for path in paths)
        return run(network, paths, *rest)

    monkeypatch.setattr(module, "run_network", collect)
    return names


def test_an_interrupted_evaluation_continues_after_its_last_picture(folder, thin, computed):
    (folder / "n01440764").mkdir(exist_ok=True)
    (folder / "n01440764" / "0.png").touch()  # The first of all pictures; it cannot be read.
    uninterrupted = evaluate(folder, thin)
    lines = interrupt(16, folder, thin).splitlines()
    state = os.stat(folder / "n01440764" / "0.png")
    entry = {"file": "n01440764/0.png", "error": "empty file", "state": [0, state.st_mtime_ns]}
    assert json.loads(lines[1]) == entry
    computed.clear()
    report = evaluate(folder, thin, batch=5, output="report.json")
    assert report["resumed_after"] == 16 and len(computed) == COUNT + 1 - 16
    assert stable(report) == stable(uninterrupted)
    assert not JOURNAL.exists()


def test_an_error_of_the_network_loses_no_earlier_answer(folder, thin, monkeypatch, complete):
    call, batches = Network.__call__, []

    def limited(self, inputs, batch):
        if len(batches) == 2:
            raise MemoryError
        batches.append(len(inputs))
        return call(self, inputs, batch)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "COMPUTED_AT_ONCE", 1)  # With more, the third batch may fail before the second is done.
        patch.setattr(Network, "__call__", limited)
        with pytest.raises(MemoryError):
            evaluate(folder, thin, batch=8, output="report.json")
    report = evaluate(folder, thin, output="report.json")
    assert report["resumed_after"] == 16 and stable(report) == stable(complete)


KILLED = """
import os, signal, sys
from tfalexnet import evaluate
from tfalexnet.inference import resume

class Killing(resume.Progress):
    def advance(self, *given):
        super().advance(*given)
        self.count == 10 and os.kill(os.getpid(), signal.SIGKILL)

resume.Progress = Killing
evaluate("set", sys.argv[1], batch=8, output="report.json")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_evaluation_continues_after_its_last_picture(folder, quick, complete):
    killed = subprocess.run([sys.executable, "-c", KILLED, quick], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    report = evaluate(folder, quick, output="report.json")
    assert report["resumed_after"] == 10 and results(report) == results(complete)
    assert not JOURNAL.exists()


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_folder_that_disappears_makes_no_picture_unreadable(folder, thin, monkeypatch, left, complete):
    def disappear():
        folder.rename("away")
        if left == "an empty folder":
            folder.mkdir()

    threads = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(resume, "Progress", act_at(10, disappear))
        patch.setattr(pipeline, "BATCHES_AHEAD", 2)
        with pytest.raises(NotADirectoryError, match="set: expected the pictures that were there; it is gone, or em"):
            evaluate(folder, thin, batch=8, output="report.json")
    assert threading.active_count() == threads
    assert not os.path.exists("report.json") and "no such file" not in JOURNAL.read_text()
    if left == "an empty folder":
        folder.rmdir()
    os.rename("away", folder)
    report = evaluate(folder, thin, output="report.json")
    assert report["resumed_after"] >= 10 and stable(report) == stable(complete)


# The damage to a journal of 16 entries, and the number of entries that remain.
DAMAGES = {
    "the last entry cut": (lambda journal: journal[:-3], 15),
    "the last end of line missing": (lambda journal: journal[:-1], 15),
    "the last two entries cut": (lambda journal: b"\n".join(journal.split(b"\n")[:-3]) + b'\n{"file', 14),
    "a partial entry": (lambda journal: journal + b'{"file": "n014407', 16),
    "zeros": (lambda journal: journal + b"\x00" * 100, 16),
    "a line of another kind": (lambda journal: journal + b"[]\n", 16),
    "an entry of another file": (lambda journal: journal + b'{"file": "x.png", "top5": [1, 2, 3, 4, 5]}\n', 16),
    "an entry missing": (lambda journal: b"\n".join(journal.split(b"\n")[:9] + journal.split(b"\n")[10:]), 8),
    "only the header": (lambda journal: journal.split(b"\n")[0] + b"\n", 0),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_exactly_the_damaged_entries_are_computed_again(folder, thin, computed, damage, complete):
    damaged, remaining = DAMAGES[damage]
    lines = interrupt(17, folder, thin).splitlines(keepends=True)
    JOURNAL.write_bytes(damaged(b"".join(lines[:17])))
    computed.clear()
    assert interrupt(remaining + 1, folder, thin) == b"".join(lines[: remaining + 2])
    assert computed == [file.name for file in sorted(folder.glob("*/*"))[remaining:]]
    report = evaluate(folder, thin, output="report.json")
    assert report["resumed_after"] == remaining + 1 and stable(report) == stable(complete)


def test_a_journal_of_another_evaluation_is_refused_and_not_changed(folder, thin, tmp_path):
    before = interrupt(16, folder, thin)
    net = NET.with_classes(1000)
    other = save(tmp_path / "other.weights.h5", net, imagenet_classes(), random_parameters(net, 1))

    def assert_refused(difference, *arguments, **given):
        message = (
            rf"report\.json\.journal to be left by the same command. It differs: {difference}\. "
            "Delete it, or choose another"
        )
        with pytest.raises(ValueError, match=message):
            evaluate(*arguments, output="report.json", **given)
        assert JOURNAL.read_bytes() == before

    assert_refused("crops: 1 there, 10 here", folder, thin, crops=10)
    assert_refused("weights: different", folder, other)
    first, second = sorted(folder.glob("*/*"))[:2]
    moved = folder / "n01440764" / first.name
    moved.parent.mkdir(exist_ok=True)
    first.rename(moved)
    assert_refused("files: different; labels: different", folder, thin)
    moved.rename(first)
    second.rename(tmp_path / "second.png")
    assert_refused("files: 60 there, 59 here; labels: different", folder, thin)
    (tmp_path / "second.png").rename(second)
    renamed = shutil.copy(thin, tmp_path / "renamed.weights.h5")
    assert evaluate(folder, renamed, output="report.json")["resumed_after"] == 16


@pytest.mark.parametrize("content", [b"dear diary\n", b"", b"[1, 2]\n", b'{"crops": 1}\n'])
def test_another_file_with_the_name_of_the_journal_is_not_changed(folder, thin, content):
    JOURNAL.write_bytes(content)
    message = r"report\.json\.journal: expected the journal of an interrupted command of this version"
    with pytest.raises(ValueError, match=message):
        evaluate(folder, thin, output="report.json")
    assert JOURNAL.read_bytes() == content
