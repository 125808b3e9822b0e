"""Every line that was whole is there after an interruption, and nothing else."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfalexnet.inference.resume import append_journal, explain_write_errors, json_line, read_journal, resume_journal

SAID = {"of": "a test", "lines": 5}
FILES = [f"{number}.png" for number in range(4)] + [os.fsdecode(b"caf\xe9 \xc3\xbc.png")]


def named(entry):
    return entry["file"] if isinstance(entry, dict) and "file" in entry else None


def entries(count=None):
    return [{"file": file, "of": ["ü", 1.5]} for file in FILES[:count]]


@pytest.fixture
def path(tmp_path):
    """A journal of three files of five."""
    path = tmp_path / "new" / "j.part"
    assert list(resume_journal(path, SAID, FILES, named)) == []
    with append_journal(path) as append:
        for entry in entries(3):
            append(entry)
            assert path.read_bytes().endswith(json_line(entry))  # Before the next one.
    return path


def test_it_goes_on_where_it_was(path):
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [SAID, *entries(3)]
    assert list(resume_journal(path, SAID, FILES, named)) == entries(3)
    with pytest.raises(ValueError, match=r"j\.part: expected a row for each of 5 files"):
        list(read_journal(path, FILES, named))
    with append_journal(path) as append:
        for entry in entries()[3:]:
            append(entry)
    assert list(read_journal(path, FILES, named)) == list(resume_journal(path, SAID, FILES, named)) == entries()
    path.read_bytes().decode("utf-8", "strict")


def test_cut_anywhere_it_loses_no_line_that_was_whole(path):
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    for end in range(head, len(whole) + 1):
        path.write_bytes(whole[:end])
        count = whole[head:end].count(b"\n")
        assert list(resume_journal(path, SAID, FILES, named)) == entries(count)
        assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[: 1 + count])


@pytest.mark.parametrize("noise", [b"\x00" * 9, b"\x00\n", b"[]\n", b'{"file": "9.png"}\n', b'"3.png"\n', b"\xff\n"])
def test_what_is_no_line_of_its_own_is_cut_off(path, noise):
    whole = path.read_bytes()
    path.write_bytes(whole + noise + json_line(entries()[3]))
    assert list(resume_journal(path, SAID, FILES, named)) == entries(3)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (b"", "expected what an interrupted command left; it is not. Choose another output"),
        (b"dear diary\n", "expected what an interrupted command left; it is not"),
        (b"[1]\n", "expected what an interrupted command left; it is not"),
        (b'{"of": "a test"}\n', "expected what an interrupted command left; it is not"),
        (b'{"of": "a test", "lines": 6}\n', "same command. It differs: lines: 6 there, 5 here. Delete it, or choose"),
    ],
)
def test_what_is_not_its_own_is_kept_and_refused(path, first, message):
    path.write_bytes(first)
    with pytest.raises(ValueError, match=message):
        list(resume_journal(path, SAID, FILES, named))
    assert path.read_bytes() == first


FULL = """
import resource, signal, sys
from pathlib import Path
from tfalexnet.inference import resume as journal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with journal.appending(Path(sys.argv[1])) as append:
        append({"file": "3.png"})
except OSError as error:
    print(error.errno, error.filename, error.strerror)
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_in_words_that_say_what_to_do(path):
    size = path.stat().st_size
    command = [sys.executable, "-c", FULL, str(path), str(size + 5)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    said = "File too large. What is done is kept: the same command goes on"
    assert run.stdout == f"{errno.EFBIG} {path} {said}\n"
    assert list(resume_journal(path, SAID, FILES, named)) == entries(3)


def test_errors_that_are_not_the_systems_stay_what_they_are():
    with pytest.raises(OSError, match="^a library's own$"), explain_write_errors(Path("x")):
        raise OSError("a library's own")
