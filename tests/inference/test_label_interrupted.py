"""An interrupted `label` continues: no row is lost, repeated or taken from another command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.labels import COUNT, SUFFIXES, UNREADABLE, act_at, assert_same, interrupt, read_rows
from support.weights import cifar_checkpoint

import tfalexnet.inference.label as module
from tfalexnet.checkpoints.checkpoint import write_checkpoint
from tfalexnet.inference import pipeline, resume
from tfalexnet.inference.label import Report, expand_sources, label
from tfalexnet.inference.pipeline import run_network
from tfalexnet.io.progress import Progress


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_call_continues_where_it_was_interrupted(photos, rows, monkeypatch, suffix):
    output, read = f"labels{suffix}", []
    monkeypatch.setattr(
        module,
        "run_network",
        lambda net, files, **given: run_network(net, (read.append(file) or file for file in files), **given),
    )
    interrupt(1, photos, output)
    assert read
    interrupt(60, photos, output, MemoryError)
    interrupt(COUNT, photos, output)
    read.clear()
    assert label(photos, output, "cifar10") == Report(COUNT, UNREADABLE) and read == []
    assert_same(read_rows(output), rows)
    assert sorted(os.listdir()) == [output, "photos"]


DAMAGES = {
    "cut": lambda journal: journal[:-3],
    "no end of line": lambda journal: journal[:-1],
    "half a line more": lambda journal: journal + b'{"file": "photos',
    "half a letter more": lambda journal: journal + '{"file": "photos/ü'.encode()[:-1],
    "zeros": lambda journal: journal + b"\x00" * 100,
    "a line of another kind": lambda journal: journal + b"[]\n",
    "another file": lambda journal: journal + b'{"file": "x.png", "error": "x"}\n',
    "one row missing": lambda journal: b"\n".join(journal.split(b"\n")[:9] + journal.split(b"\n")[10:]),
    "one row twice": lambda journal: b"\n".join(journal.split(b"\n")[:9] + journal.split(b"\n")[8:]),
    "only the header": lambda journal: journal.split(b"\n")[0] + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_entries_are_computed_again(photos, rows, damage):
    part = interrupt(40, photos, "labels.jsonl")
    part.write_bytes(DAMAGES[damage](part.read_bytes()))
    interrupt(70, photos, "labels.jsonl")
    assert label(photos, "labels.jsonl", "cifar10") == Report(COUNT, UNREADABLE)
    assert_same(read_rows("labels.jsonl"), rows)


KILLS = """
import contextlib, itertools, os, signal, sys
from pathlib import Path
from tfalexnet.inference import label as module
from tfalexnet.inference import resume

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def at_entry(number, share):
    appending = resume.appending

    @contextlib.contextmanager
    def dying(path):
        with appending(path) as append:
            numbers = itertools.count(1)

            def append_or_die(content):
                last = next(numbers) == number
                append(content[:int(share * len(content))] if last else content)
                last and die()

            yield append_or_die

    resume.appending = dying

def while_writing():
    write = module.WRITERS[Path(output).suffix]
    module.WRITERS[Path(output).suffix] = lambda *given: (write(*given), die())

def once_written():
    unlink = Path.unlink
    Path.unlink = lambda self, **given: die() if self == part else unlink(self, **given)

for output, kills in {
    "labels.jsonl": (lambda: at_entry(1, 1), lambda: at_entry(40, 0.5), lambda: at_entry(60, 0)),
    "labels.parquet": (),
}.items():
    part = Path(f"{output}.part")
    for prepare in (*kills, while_writing, once_written):
        child = os.fork()
        if not child:
            prepare()
            module.label("photos", output, sys.argv[1])
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        print(output, part.read_bytes().count(b"\\n") - 1, Path(output).exists(), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.usefixtures("photos")
def test_a_kill_loses_and_repeats_nothing(rows, quick_weights):
    pytest.importorskip("pyarrow")
    run = subprocess.run(
        [sys.executable, "-c", KILLS, quick_weights], capture_output=True, encoding="utf-8", timeout=100
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "labels.jsonl 1 False",
        "labels.jsonl 40 False",
        "labels.jsonl 99 False",
        f"labels.jsonl {COUNT} False",
        f"labels.jsonl {COUNT} True",
        f"labels.parquet {COUNT} False",
        f"labels.parquet {COUNT} True",
    ]
    for output in ("labels.jsonl", "labels.parquet"):
        assert_same(read_rows(output), rows)
        with pytest.raises(FileExistsError):
            label("photos", output, "cifar10")
        assert label("photos", output, quick_weights, overwrite=True) == Report(COUNT, UNREADABLE)
        assert label("photos", output, "cifar10", top=2, overwrite=True) == Report(COUNT, UNREADABLE)
        assert_same(read_rows(output), [row | {k: row[k][:2] for k in row if k == "predictions"} for row in rows])
    assert sorted(os.listdir()) == ["labels.jsonl", "labels.parquet", "photos"]


def test_the_journal_of_another_command_is_refused_and_stays(photos):
    pytest.importorskip("openvino")
    part = interrupt(40, photos, "labels.jsonl", engine="tensorflow")
    before = part.read_bytes()

    def refused(difference, sources=photos, **given):
        message = rf"labels\.jsonl\.part to be left by the same.*: {difference}\. Delete it, or"
        with pytest.raises(ValueError, match=message):
            label(sources, "labels.jsonl", **{"weights": "cifar10", "engine": "tensorflow"} | given)
        assert part.read_bytes() == before

    write_checkpoint("cifar10.weights.h5", cifar_checkpoint("abcdefghij"))
    refused("weights: different; preprocessing: .*", weights="cifar10.weights.h5")
    refused("top: 5 there, 4 here", top=4)
    refused("precision: float32 there, bfloat16 here", precision="bfloat16")
    refused("engine: tensorflow there, openvino here", engine="openvino")
    refused("files: 150 there, 1 here", sources="photos/0000.png")
    os.rename("photos/0000.png", "photos/0000.PNG")
    refused("files: different")
    os.rename("photos/0000.PNG", "photos/0000.png")
    assert label(photos, "labels.jsonl", "cifar10", engine="tensorflow").files == COUNT


VERSION_0_1 = (
    b'{"weights": "cifar10.weights.h5", "weights_sha256": "0", "precision": "float32", "top": 5, "files": 150, '
    b'"files_sha256": "0"}\n{"file": "photos/0000.png", "error": "x"}\n'
)


@pytest.mark.parametrize("content", [b"dear diary\n", b"", b"\x89PNG\r\n\x1a\n", VERSION_0_1])
def test_a_file_that_is_no_journal_of_this_version_is_refused_and_stays(photos, content):
    Path("labels.jsonl.part").write_bytes(content)
    message = r"labels\.jsonl\.part: expected the journal of an interrupted command of this version; received another"
    with pytest.raises(ValueError, match=message):
        label(photos, "labels.jsonl", "cifar10")
    assert Path("labels.jsonl.part").read_bytes() == content


def test_an_existing_output_stays_until_the_new_one_is_complete(photos):
    label(photos, "labels.jsonl", "cifar10")
    before = Path("labels.jsonl").read_bytes()
    with pytest.raises(FileExistsError, match=r"labels\.jsonl to be new"):
        label("photos/0000.png", "labels.jsonl", "cifar10")
    part = interrupt(40, photos, "labels.jsonl", overwrite=True, top=3)
    assert Path("labels.jsonl").read_bytes() == before
    os.utime(part, (0, 0))  # A journal that is older than the output is used all the same.
    entries = part.read_bytes()
    with pytest.raises(ValueError, match=r"labels\.jsonl\.part to be left by the same"):
        label(photos, "labels.jsonl", "cifar10", overwrite=True)
    assert part.read_bytes() == entries
    label(photos, "labels.jsonl", "cifar10", top=3, overwrite=True)
    assert len(read_rows("labels.jsonl")[0]["predictions"]) == 3


def remove(folder, remains):
    os.rename(folder, "away")
    if remains == "an empty folder":
        os.mkdir(folder)


def restore(folder, remains):
    if remains == "an empty folder":
        os.rmdir(folder)
    os.rename("away", folder)


@pytest.mark.parametrize("remains", ["nothing", "an empty folder"])
@pytest.mark.parametrize("sources", ["photos", "photos/**/*.png", "every file"])
def test_pictures_of_a_folder_that_vanishes_are_not_recorded_as_unreadable(photos, rows, monkeypatch, remains, sources):
    sources = expand_sources(photos) if sources == "every file" else sources
    with monkeypatch.context() as patch:
        patch.setattr(resume, "Progress", act_at(10, lambda: remove("photos", remains)))
        with pytest.raises(OSError, match=r"photos(/deep)?: expected the pictures that were there; it is gone, or em"):
            label(sources, "labels.jsonl", "cifar10")
    with pytest.raises((OSError, ValueError), match="photos"):
        label(sources, "labels.jsonl", "cifar10")
    assert Path("labels.jsonl.part").read_bytes().count(b"\n") > 10
    restore("photos", remains)
    assert label(sources, "labels.jsonl", "cifar10") == Report(COUNT, UNREADABLE)
    assert_same(read_rows("labels.jsonl"), rows)


@pytest.mark.parametrize("remains", ["nothing", "an empty folder"])
def test_nor_are_those_of_a_disk_below_the_folder(photos, monkeypatch, remains):
    """A part of the pictures is on the disk, `photos/deep`."""
    shutil.move("photos/deep", "disk")
    os.makedirs("photos/deep/er")
    shutil.move("disk", "photos/deep/er")
    files = expand_sources(photos)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "Progress", act_at(1, lambda: remove("photos/deep", remains)))
        patch.setattr(pipeline, "BATCHES_AHEAD", 1)
        with pytest.raises(OSError, match=r"photos/deep: expected the pictures that were there; it is gone, or empty"):
            label([photos, "photos/0000.png"], "labels.jsonl", "cifar10")
    assert b"no such file" not in Path("labels.jsonl.part").read_bytes()
    restore("photos/deep", remains)
    assert label([photos, "photos/0000.png"], "labels.jsonl", "cifar10") == Report(COUNT, UNREADABLE)
    assert [row["file"] for row in read_rows("labels.jsonl")] == files


def test_a_picture_that_is_deleted_midway_is_a_row_with_an_error(photos, rows, monkeypatch):
    last = expand_sources(photos)[-2]
    monkeypatch.setattr(resume, "Progress", act_at(1, lambda: os.unlink(last)))
    assert label(photos, "labels.jsonl", "cifar10") == Report(COUNT, UNREADABLE + 1)
    error = {"file": last, "error": "no such file or directory"}
    assert_same(read_rows("labels.jsonl"), [*rows[:-2], error, rows[-1]])


FULL = """
import os, resource, signal, sys
from tfalexnet.inference import label as module

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def limited(path, *given):
    if path.name == output:
        limit(1000)
    return atomic_write(path, *given)

atomic_write = module.atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for output in ("rows.jsonl", "labels.csv", "labels.parquet"):
    child = os.fork()
    if not child:
        if output == "rows.jsonl":
            limit(20_000)
        else:
            module.atomic_write = limited
        try:
            module.label("photos", output, sys.argv[1])
        except OSError as error:
            print(f"{error.filename}: {error.strerror}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_is_reported_and_finished_rows_are_saved(photos, rows, quick_weights):
    pytest.importorskip("pyarrow")
    run = subprocess.run([sys.executable, "-c", FULL, quick_weights], capture_output=True, encoding="utf-8")
    outputs = ["rows.jsonl", "labels.csv", "labels.parquet"]
    advice = "File too large. Finished results are saved; the same command continues"
    for output, line in zip(outputs, run.stdout.splitlines(), strict=True):
        assert line == f"{output}.part: {advice}", run.stderr
        count = Path(f"{output}.part").read_bytes().count(b"\n") - 1
        assert count == COUNT if output in outputs[1:] else 10 < count < COUNT
    assert sorted(os.listdir()) == sorted(["photos", *(f"{output}.part" for output in outputs)])
    for output in outputs:
        assert label(photos, output, quick_weights) == Report(COUNT, UNREADABLE)
        assert_same(read_rows(output), rows)


def test_another_process_that_writes_to_the_same_journal_is_noticed(photos, monkeypatch):
    def meddle():
        with open("labels.jsonl.part", "ab") as part:
            part.write(b'{"file": "x.png", "error": "x"}\n')

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="Another process writes to it too"):
        patch.setattr(resume, "Progress", act_at(10, meddle))
        label(photos, "labels.jsonl", "cifar10")
    assert label(photos, "labels.jsonl", "cifar10").files == COUNT


def test_progress_counts_written_rows_and_unreadable_files(photos, monkeypatch):
    notes = []

    class Spy(Progress):
        def advance(self, count, note=""):
            super().advance(count, note)
            assert Path("labels.jsonl.part").read_bytes().count(b"\n") == 1 + self.count  # Already on the disk.
            notes.append((self.start, self.count, self.total, self.unit, self.note))

    interrupt(60, photos, "labels.jsonl")
    monkeypatch.setattr(resume, "Progress", Spy)
    label(photos, "labels.jsonl", "cifar10")
    assert [count for _, count, *_ in notes] == list(range(61, COUNT + 1))
    assert {(start, total, unit) for start, _, total, unit, _ in notes} == {(60, COUNT, "pictures")}
    assert notes[-1][4] == "4 unreadable" and notes[0][4] in ("1 unreadable", "2 unreadable")
