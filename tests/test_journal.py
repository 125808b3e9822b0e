"""The journal of a job: every complete entry survives an interruption, and nothing else does."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfalexnet import PictureError
from tfalexnet.inference.resume import VERSION, Journal, explain_write_errors, json_line
from tfalexnet.io.files import names_digest

HEADER = {"of": "a test", "lines": 5}
FILES = [f"{number}.png" for number in range(4)] + [os.fsdecode(b"caf\xe9 \xc3\xbc.png")]


def entries(count=None):
    return [{"file": file, "of": ["ü", 1.5]} for file in FILES[:count]]


def reopened(path, **given):
    return list(Journal(path, HEADER, FILES, **given).entries())


@pytest.fixture
def path(tmp_path):
    """A journal of three files of five."""
    path = tmp_path / "new" / "j.part"
    with Journal(path, HEADER, FILES) as journal:
        for count, entry in enumerate(entries(3), 1):
            journal.append(entry)
            assert path.read_bytes().endswith(json_line(entry)) and journal.count == count
    return path


def test_a_reopened_journal_continues_after_its_last_entry(path):
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines == [{"journal": VERSION} | HEADER, *entries(3)]
    journal = Journal(path, HEADER, FILES)
    assert (journal.count, journal.unreadable, list(journal.entries())) == (3, 0, entries(3))
    with pytest.raises(ValueError, match=r"j\.part: expected a row for each of 5 files"):
        list(journal)
    with journal:
        for entry in entries()[3:]:
            journal.append(entry)
    assert list(journal) == reopened(path) == entries()
    path.read_bytes().decode("utf-8", "strict")


def test_cut_anywhere_it_keeps_every_complete_entry(path):
    complete = path.read_bytes()
    head = complete.index(b"\n") + 1
    for end in range(head, len(complete) + 1):
        path.write_bytes(complete[:end])
        count = complete[head:end].count(b"\n")
        assert reopened(path) == entries(count)
        assert path.read_bytes() == b"".join(complete.splitlines(keepends=True)[: 1 + count])


@pytest.mark.parametrize("noise", [b"\x00" * 9, b"\x00\n", b"[]\n", b'{"file": "9.png"}\n', b'"3.png"\n', b"\xff\n"])
def test_what_is_not_the_next_entry_is_removed(path, noise):
    complete = path.read_bytes()
    path.write_bytes(complete + noise + json_line(entries()[3]))
    assert reopened(path) == entries(3)
    assert path.read_bytes() == complete


def test_entries_whose_results_are_lost_are_removed(path):
    with Journal(path, HEADER, FILES) as journal:
        journal.append({"file": FILES[3], "error": "empty file"})
    for readable, count in {0: 0, 2: 2, 3: 4, 9: 4}.items():
        copy = path.with_name(f"{readable}.part")
        copy.write_bytes(path.read_bytes())
        journal = Journal(copy, HEADER, FILES, max_readable=readable)
        assert (journal.count, journal.unreadable) == (count, int(count == 4))


def test_results_and_errors_are_recorded_in_order(tmp_path):
    (tmp_path / "other.png").touch()
    results = iter([1, PictureError("1.png", "empty file"), 3, 4, 5])
    with Journal(tmp_path / "j.part", HEADER, FILES) as journal:
        journal.record(results, lambda result: {"value": result}, tmp_path, {tmp_path})
    values = [entry.get("value", entry.get("error")) for entry in journal]
    assert values == [1, "empty file", 3, 4, 5] and journal.unreadable == 1


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (b"", "expected the journal of an interrupted command of this version; received another file. Delete it, or"),
        (b"dear diary\n", "expected the journal of an interrupted command of this version"),
        (b"[1]\n", "expected the journal of an interrupted command of this version"),
        (b'{"of": "a test", "lines": 5}\n', "expected the journal of an interrupted command of this version"),
        (b'{"journal": 1, "of": "a test", "lines": 5}\n', "expected the journal of an interrupted command of this"),
        (
            b'{"journal": 2, "of": "a test", "lines": 6}\n',
            "same command. It differs: lines: 6 there, 5 here. Delete it, or choose",
        ),
    ],
)
def test_another_file_is_refused_and_stays(path, first, message):
    path.write_bytes(first)
    with pytest.raises(ValueError, match=message):
        Journal(path, HEADER, FILES)
    assert path.read_bytes() == first


def test_different_digests_are_not_printed(tmp_path):
    path = tmp_path / "j.part"
    Journal(path, {"files_sha256": names_digest("a")}, FILES)
    with pytest.raises(ValueError, match=r"It differs: files: different\. Delete"):
        Journal(path, {"files_sha256": names_digest("b")}, FILES)


def test_a_header_holds_what_json_holds(tmp_path):
    header = {"std": (1.0, 0.1), "size": 3, "mean": np.float32(0.1).item()}
    Journal(tmp_path / "j.part", header, FILES)
    Journal(tmp_path / "j.part", header, FILES)


FULL = """
import resource, signal, sys
from pathlib import Path
from tfalexnet.inference.resume import appending

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with appending(Path(sys.argv[1])) as append:
        append(b"a line that does not fit")
except OSError as error:
    print(error.errno, error.filename, error.strerror)
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_states_what_to_do(path):
    size = path.stat().st_size
    command = [sys.executable, "-c", FULL, str(path), str(size + 5)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert run.stdout == f"{errno.EFBIG} {path} File too large. What is done is kept: the same command goes on\n"
    assert reopened(path) == entries(3)


def test_errors_of_libraries_are_not_changed():
    with pytest.raises(OSError, match="^a library's own$"), explain_write_errors(Path("x")):
        raise OSError("a library's own")
