"""A journal keeps every complete entry through an interruption, and nothing else."""

import errno
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.labels import act_at
from support.pictures import noise

import tfalexnet
from tfalexnet import PictureError, evaluate
from tfalexnet.inference.features import extract_features
from tfalexnet.inference.label import label
from tfalexnet.inference.resume import VERSION, Journal, appending, exclusive_output, explain_write_errors, json_line
from tfalexnet.inference.timing import Timing
from tfalexnet.io.files import file_state, names_digest
from tfalexnet.io.locks import file_lock

HEADER = {"of": "a test", "lines": 5}
FILES = [f"{number}.png" for number in range(4)] + [os.fsdecode(b"caf\xe9 \xc3\xbc.png")]
ENTRIES = [{"file": file, "of": ["ü", 1.5]} for file in FILES]


def reopened(path):
    return list(Journal(path, HEADER, FILES))


def append(path, *entries):
    with appending(path) as write:
        for entry in entries:
            write(json_line(entry))


def record(journal, results, root=Path()):
    journal.root = root
    taken = (result for result, _ in zip(results, journal.remaining(), strict=True))
    journal.record(taken, lambda result: {"value": result}, {root}, Timing())


@pytest.fixture
def path(tmp_path):
    """A journal with entries for three files of five."""
    path = tmp_path / "new" / "j.part"
    Journal(path, HEADER, FILES)
    append(path, *ENTRIES[:3])
    return path


def test_a_reopened_journal_continues_after_its_last_entry(path):
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines == [{"journal": VERSION} | HEADER, *ENTRIES[:3]]
    journal = Journal(path, HEADER, FILES)
    assert (journal.count, journal.unreadable, list(journal)) == (3, 0, ENTRIES[:3])
    record(journal, [4, 5])
    expected = [*ENTRIES[:3], {"file": FILES[3], "value": 4}, {"file": FILES[4], "value": 5}]
    assert journal.count == 5 and list(journal) == reopened(path) == expected
    path.read_bytes().decode("utf-8", "strict")


def test_an_entry_is_on_disk_before_the_next_result_is_requested(path):
    journal = Journal(path, HEADER, FILES)

    def results():
        for count in (4, 5):
            yield count
            assert path.read_bytes().endswith(json_line({"file": FILES[count - 1], "value": count, "state": None}))
            assert journal.count == count

    record(journal, results())
    assert journal.count == 5


def test_cut_anywhere_it_keeps_every_complete_entry(path):
    complete = path.read_bytes()
    head = complete.index(b"\n") + 1
    for end in range(head, len(complete) + 1):
        path.write_bytes(complete[:end])
        count = complete[head:end].count(b"\n")
        assert reopened(path) == ENTRIES[:count]
        assert path.read_bytes() == b"".join(complete.splitlines(keepends=True)[: 1 + count])


@pytest.mark.parametrize("noise", [b"\x00" * 9, b"\x00\n", b"[]\n", b'{"file": "9.png"}\n', b'"3.png"\n', b"\xff\n"])
def test_what_is_not_the_next_entry_is_removed(path, noise):
    complete = path.read_bytes()
    path.write_bytes(complete + noise + json_line(ENTRIES[3]))
    assert reopened(path) == ENTRIES[:3]
    assert path.read_bytes() == complete


def test_entries_whose_results_are_lost_are_removed(path):
    append(path, {"file": FILES[3], "error": "empty file"})
    for readable, count in {0: 0, 2: 2, 3: 4, 9: 4}.items():
        copy = path.with_name(f"{readable}.part")
        copy.write_bytes(path.read_bytes())
        journal = Journal(copy, HEADER, FILES, max_readable=readable)
        assert (journal.count, journal.unreadable) == (count, int(count == 4))


def test_entries_of_an_incomplete_batch_are_removed_unless_it_is_the_last(path):
    for count in range(6):
        copy = path.with_name(f"{count}.part")
        copy.write_bytes(b"".join([path.read_bytes().splitlines(True)[0], *map(json_line, ENTRIES[:count])]))
        assert Journal(copy, HEADER, FILES, batch=2).count == (count if count in (0, 2, 4, 5) else count - 1)
        assert Journal(copy, HEADER, FILES, max_readable=3, batch=2).count == min(2, count // 2 * 2)


def test_results_and_errors_are_recorded_in_order(tmp_path):
    (tmp_path / "other.png").touch()
    journal = Journal(tmp_path / "j.part", HEADER, FILES)
    record(journal, [1, PictureError("1.png", "empty file"), 3, 4, 5], tmp_path)
    values = [entry.get("value", entry.get("error")) for entry in journal]
    assert values == [1, "empty file", 3, 4, 5] and journal.unreadable == 1


def test_entries_that_another_process_overwrote_are_missed(path):
    journal = Journal(path, HEADER, FILES)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(ValueError, match=r"j\.part: expected 3 entries; received 2\. Another process writes to it"):
        list(journal)


OTHER_VERSION = "expected the journal of an interrupted command of this version; received another file. Delete it, or"


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (b"", OTHER_VERSION),
        (b"dear diary\n", OTHER_VERSION),
        (b"[1]\n", OTHER_VERSION),
        (b'{"of": "a test", "lines": 5}\n', OTHER_VERSION),  # Version 0.1.0 stated no version.
        (b'{"journal": 1, "of": "a test", "lines": 5}\n', OTHER_VERSION),
        (
            b'{"journal": 3, "of": "a test", "lines": 6}\n',
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


def test_a_header_equals_itself_after_json(tmp_path):
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
def test_a_full_disk_is_reported_with_the_way_on(path):
    size = path.stat().st_size
    command = [sys.executable, "-c", FULL, str(path), str(size + 5)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    advice = "File too large. Finished results are saved; the same command continues"
    assert run.stdout == f"{errno.EFBIG} {path} {advice}\n"
    assert path.stat().st_size == size + 5 and reopened(path) == ENTRIES[:3]


def test_errors_of_libraries_are_not_changed():
    with pytest.raises(OSError, match="^a library's own$"), explain_write_errors(Path("x")):
        raise OSError("a library's own")


def test_an_output_that_another_process_writes_is_refused_and_not_changed(tmp_path):
    output = tmp_path / "labels.jsonl"
    with (
        file_lock(output),
        pytest.raises(BlockingIOError, match="one command at a time to write it; another one does.*labels"),
        exclusive_output(output, overwrite=False),
    ):
        pytest.fail("the block ran")
    output.write_text("of another process, which has just ended")
    with pytest.raises(FileExistsError, match=r"labels\.jsonl to be new"), exclusive_output(output, overwrite=False):
        pytest.fail("the block ran")
    with exclusive_output(output, overwrite=True):
        pass
    assert os.listdir(tmp_path) == ["labels.jsonl"]


@pytest.mark.parametrize("command", ["label", "extract_features", "evaluate"])
def test_jobs_hold_the_lock_of_their_output(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pictures", "airplane").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save("pictures/airplane/0.png")
    output = Path("output.h5" if command == "extract_features" else "output.jsonl")
    jobs = {"label": label, "extract_features": extract_features, "evaluate": evaluate}
    arguments = {"layers": "prob"} if command == "extract_features" else {}
    with file_lock(output), pytest.raises(BlockingIOError, match="output"):
        jobs[command]("pictures", output=output, weights="cifar10", **arguments)
    assert os.listdir() == ["pictures"]


@pytest.fixture
def changeable(tmp_path):
    """The journal of three files of three, in a folder, and its reader."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    open_again = functools.partial(Journal, tmp_path / "j.part", HEADER, ["a", "b", "c"], tmp_path)
    journal = open_again()
    results = (path.read_text() for path in journal.remaining())
    journal.record(results, lambda text: {"text": text}, {tmp_path}, Timing())
    return open_again


@pytest.mark.parametrize("change", ["a longer text", "the same size", "an older file"])
def test_the_result_of_a_file_that_has_changed_is_computed_again(changeable, tmp_path, change):
    state = os.stat(tmp_path / "b")
    (tmp_path / "b").write_text("new" if change == "a longer text" else "x")
    times = {"the same size": state.st_mtime_ns + 1, "an older file": state.st_mtime_ns - 10**9}
    os.utime(tmp_path / "b", ns=(0, times.get(change, state.st_mtime_ns)))
    with pytest.warns(UserWarning, match=r"^b has changed: it and the files after it are computed again$"):
        journal = changeable()
    assert list(journal) == [{"file": "a", "text": "a"}]
    assert [path.name for path in journal.remaining()] == ["b", "c"]


def test_a_file_that_changes_after_it_was_read_is_computed_again(tmp_path):
    (tmp_path / "a").write_text("a")
    journal = Journal(tmp_path / "j.part", HEADER, ["a"], tmp_path)

    def results():
        for path in journal.remaining():
            text = path.read_text()
            path.write_text("changed")
            yield text

    journal.record(results(), lambda text: {"text": text}, {tmp_path}, Timing())
    with pytest.warns(UserWarning, match="a has changed"):
        assert Journal(tmp_path / "j.part", HEADER, ["a"], tmp_path).count == 0


def test_the_result_of_a_file_that_is_gone_is_kept(changeable, tmp_path):
    (tmp_path / "b").unlink()
    assert changeable().count == 3


def test_the_digest_of_the_files_changes_with_each_of_them(changeable, tmp_path):
    journal = changeable()
    states = [str(file_state(tmp_path / name)) for name in "abc"]
    assert journal.states_sha256() == names_digest(states) != names_digest(states[:2])
    states[1] = "[1, 2]"
    assert journal.states_sha256() != names_digest(states)


def test_an_interrupted_command_gives_the_answers_of_pictures_that_were_replaced(tmp_path, monkeypatch):
    pictures = noise(40)
    for number, pixels in enumerate(pictures[:39]):
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
    calls = {
        "labels.jsonl": lambda output: label([tmp_path], output, "cifar10"),
        "f.npy": lambda output: extract_features(tmp_path, output, "fc4", "cifar10"),
    }
    outputs = {name: tmp_path.with_name(name) for name in calls}
    for name, call in calls.items():
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("tfalexnet.inference.resume.Progress", act_at(34, interrupted))
            call(outputs[name])
    Image.fromarray(pictures[39]).save(tmp_path / "20.png")
    for name, call in calls.items():
        with pytest.warns(UserWarning, match=r"20\.png has changed"):
            call(outputs[name])
    expected = tfalexnet.features(pictures[39], "fc4", "cifar10")["fc4"]
    np.testing.assert_allclose(np.load(outputs["f.npy"])[20], expected, atol=1e-4)
    row = json.loads(outputs["labels.jsonl"].read_text("utf-8").splitlines()[20])
    assert row.keys() == {"file", "predictions"} and row["predictions"][0]["index"] == np.argmax(expected)


def interrupted():
    raise KeyboardInterrupt
