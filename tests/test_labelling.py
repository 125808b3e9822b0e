"""A row for each file, in order, with what `predict` answers, whatever interrupts the labelling."""

import csv
import errno
import json
import os
import random
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.nets import random_parameters

import tfalexnet
from tfalexnet import CheckpointError, PictureError
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub.cache import locate_weights
from tfalexnet.images.classes import classes_from_labels
from tfalexnet.inference import pipeline as inference
from tfalexnet.inference import resume
from tfalexnet.inference.label import Report, expand_sources, label
from tfalexnet.inference.pipeline import run_network
from tfalexnet.io.progress import Progress
from tfalexnet.runtimes.network import Network, _load

FORMATS = (
    ".jsonl",
    ".csv",
    pytest.param(".parquet", marks=pytest.mark.skipif(not find_spec("pyarrow"), reason="no pyarrow")),
)
COUNT = 150  # Pictures; a few of them unreadable, more than are read ahead.


def fill(folder, count=COUNT):
    """Pictures of noise in two folders; every 50th is none, the eighth is empty."""
    generator = np.random.default_rng(0)
    (folder / "deep").mkdir(parents=True)
    for i in range(count):
        file = folder / ("deep" if i % 3 else "") / f"{i:04}.png"
        if i == 7:
            file.touch()
        elif i % 50 == 49:
            file.write_text("no picture")
        else:
            Image.fromarray(generator.integers(0, 256, (9, 8, 3), "uint8")).save(file)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    fill(folder / "photos")
    return folder


@pytest.fixture
def photos(noise, tmp_path, monkeypatch):
    """The working folder has them in `photos`."""
    shutil.copytree(noise / "photos", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return Path("photos")


@pytest.fixture(scope="module")
def rows(noise):
    """What `predict` says to each, one at a time; names below the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(noise)
        files = sorted(str(path) for path in Path("photos").rglob("*.png"))
        return [expected(file) for file in files]


def expected(file, top=5):
    try:
        predictions = tfalexnet.predict(file, "cifar10", top)
    except PictureError as error:
        return {"file": file, "error": error.reason}
    return {"file": file, "predictions": [best._asdict() for best in predictions]}


def read(output):
    """The rows of a file of any format, by readers that are not ours."""
    output = Path(output)
    if output.suffix == ".jsonl":
        return [json.loads(line) for line in output.read_text("utf-8").split("\n")[:-1]]
    if output.suffix == ".csv":
        with open(output, encoding="utf-8", newline="") as file:
            records = list(csv.DictReader(file))
        empty = ""
    else:
        records = pytest.importorskip("pyarrow.parquet").read_table(output).to_pylist()
        empty = None
    found = []
    for record in records:
        row = {"file": record["file"]}
        if record["error"] != empty:
            row["error"] = record["error"]
            assert all(record[name] == empty for name in record if name not in ("file", "error"))
        else:
            row["predictions"] = [
                {
                    "index": int(record[f"index_{place}"]),
                    "wnid": record[f"wnid_{place}"] or None,
                    "label": record[f"label_{place}"],
                    "score": float(record[f"score_{place}"]),
                }
                for place in range(1, (len(record) - 2) // 4 + 1)
            ]
        found.append(row)
    return found


def same(found, wanted):
    """Equal but for the last digits, which depend on the others of a batch."""
    assert [row["file"] for row in found] == [row["file"] for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        assert row.get("error") == other.get("error") and set(row) == set(other)
        for one, two in zip(row.get("predictions", []), other.get("predictions", []), strict=True):
            assert one == two | {"score": pytest.approx(two["score"], abs=1e-5)}, row["file"]
            assert list(one) == ["index", "wnid", "label", "score"]


@pytest.mark.parametrize("ending", FORMATS)
def test_a_row_for_each_file_in_order(photos, rows, ending):
    output = Path("out", f"labels{ending}")
    assert label(photos, output, "cifar10") == Report(COUNT, 4)
    same(read(output), rows)
    assert os.listdir("out") == [output.name]
    columns = [f"{name}_{place}" for place in range(1, 6) for name in ("index", "label", "wnid", "score")]
    if ending == ".csv":
        assert output.read_bytes().split(b"\r\n")[0].decode().split(",") == ["file", "error", *columns]
    if ending == ".parquet":
        schema = pytest.importorskip("pyarrow.parquet").read_schema(output)
        assert schema.names == ["file", "error", *columns]
        assert [str(kind) for kind in schema.types[:6]] == ["string"] * 2 + ["int32", "string", "string", "float"]


@pytest.mark.usefixtures("photos")
def test_fewer_classes_and_more_than_there_are():
    label("photos/0000.png", "one.csv", "cifar10", top=1)
    same(read("one.csv"), [expected("photos/0000.png", 1)])
    label("photos/0000.png", "all.csv", "cifar10", top=999)
    same(read("all.csv"), [expected("photos/0000.png", 10)])


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("ending", FORMATS)
def test_wordnet_ids_are_there(ending):
    net = tfalexnet.ARCHITECTURES["cifar10_18pct"].with_classes(1000)
    process, _ = read_spec(locate_weights("cifar10"))
    classes = tfalexnet.classes.imagenet()
    write_checkpoint("net.weights.h5", Checkpoint(random_parameters(net), ModelSpec(net, process, classes)))
    label("photos/0000.png", f"a{ending}", "net.weights.h5")
    (found,) = read(f"a{ending}")
    answers = tfalexnet.predict("photos/0000.png", "net.weights.h5")
    for one, best in zip(found["predictions"], answers, strict=True):
        assert (one["index"], one["wnid"], one["label"]) == best[:3] and one["wnid"].startswith("n")


# Which files.


def test_files_folders_and_patterns(photos):
    by_folder = expand_sources(photos)
    assert by_folder == sorted(str(path) for path in photos.rglob("*.png")) and len(by_folder) == COUNT
    for sources in (
        ["photos/deep", "photos/*.png"],
        ["photos/**/*.png"],
        ["photos/", "./photos/deep/", "photos/deep/0001.png", "photos//deep/*"],
        (name for name in by_folder),
    ):
        assert expand_sources(sources) == by_folder
    assert expand_sources(Path("photos", "0000.png")) == ["photos/0000.png"]
    assert expand_sources([photos.absolute()]) == [os.path.abspath(name) for name in by_folder]


def test_names_that_look_like_patterns_and_files_of_any_name(photos):
    for name in ("[1].png", "1.png", "what?.txt", ".hidden.png"):
        (photos / name).touch()
    assert expand_sources("photos/[1].png") == ["photos/[1].png"]
    assert expand_sources("photos/[12].png") == ["photos/1.png"]
    assert expand_sources("photos/what?.txt") == ["photos/what?.txt"]
    found = expand_sources("photos/*")
    assert "photos/what?.txt" in found and "photos/.hidden.png" not in found and "photos/deep" not in found
    os.symlink("nowhere", photos / "gone.png")
    for source in ("photos/gone.png", "photos/g*.png"):
        assert expand_sources(source) == ["photos/gone.png"]
    assert "photos/gone.png" in expand_sources(photos)
    label("photos/g*.png", "g.jsonl", "cifar10")
    assert read("g.jsonl") == [{"file": "photos/gone.png", "error": "no such file or directory"}]


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("photos/*.jpg", r"Expected a pattern that files match. Received: 'photos/\*.jpg', which none does"),
        ("photos/dee[p]", "which none does"),
        ("phtos", "Expected a file, a folder or a pattern. Received: 'phtos', which is not there"),
        (["photos", ""], "Received: ''"),
        ("empty", "empty: expected pictures"),
        ([], "Expected at least one file, folder or pattern. Received: none"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_sources_without_a_file(sources, message):
    os.mkdir("empty")
    with pytest.raises((ValueError, OSError), match=message):
        label(sources, "labels.jsonl", "cifar10")
    assert sorted(os.listdir()) == ["empty", "photos"]


def test_the_output_may_be_among_the_pictures(photos, rows, monkeypatch):
    output = photos / "labels.csv"
    for _ in range(2):
        interrupted(monkeypatch, 40, "photos/**/*", output, overwrite=True)
        assert label("photos/**/*", output, "cifar10", overwrite=True).files == COUNT
        same(read(output), rows)
    with pytest.raises(ValueError, match=r"pictures beside the output. Received: photos/labels\.csv alone"):
        label("photos/*.csv", output, "cifar10", overwrite=True)


@pytest.mark.parametrize("ending", FORMATS)
def test_odd_names(photos, ending):
    shutil.rmtree(photos / "deep")
    names = ["ü 日本.png", "a,b.png", 'say "a".png', "two\nlines\r.png", "back\\slash.png", "=1+1.png", " .png"]
    for name in names:
        shutil.copy(photos / "0000.png", photos / name)
    label(photos, f"labels{ending}", "cifar10")
    assert [row["file"] for row in read(f"labels{ending}")] == expand_sources(photos)
    assert set(expand_sources(photos)) >= {f"photos/{name}" for name in names}


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("ending", FORMATS)
def test_a_name_that_is_no_text(ending, monkeypatch):
    if os.fsencode("é") != b"\xc3\xa9":
        pytest.skip("names are UTF-16 here")
    os.rename(b"photos/0000.png", b"photos/caf\xe9.png")
    output = Path(f"labels{ending}")
    interrupted(monkeypatch, COUNT, "photos", output)
    assert label("photos", output, "cifar10").files == COUNT
    (found,) = (row["file"] for row in read(output) if "caf" in row["file"])
    if ending == ".jsonl":
        assert os.fsencode(found) == b"photos/caf\xe9.png"
    assert found.encode("utf-8", "backslashreplace") == rb"photos/caf\udce9.png"


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("ending", FORMATS)
def test_only_jsonl_tells_a_byte_from_its_six_characters(ending):
    if os.fsencode("é") != b"\xc3\xa9":
        pytest.skip("names are UTF-16 here")
    names = [b"photos/caf\xe9.png", rb"photos/caf\udce9.png"]
    for name in names:
        shutil.copy(b"photos/0000.png", name)
    label("photos/caf*", f"labels{ending}", "cifar10")
    found = [os.fsencode(row["file"]) for row in read(f"labels{ending}")]
    assert sorted(found) == sorted(names if ending == ".jsonl" else names[1:] * 2)


# Whatever interrupts it.


def interrupted(monkeypatch, count, sources, output, error=KeyboardInterrupt, **given):
    """Ctrl-C when so many are done."""
    seen = []

    class Interrupting(Progress):
        def advance(self, *given):
            super().advance(*given)
            seen.append(self.count)
            if self.count >= count:
                raise error

    with monkeypatch.context() as patch, pytest.raises(error):
        patch.setattr(resume, "Progress", Interrupting)
        label(sources, output, **{"weights": "cifar10"} | given)
    part = Path(f"{output}.part")
    assert part.read_bytes().count(b"\n") == 1 + count
    return part


@pytest.mark.parametrize("ending", FORMATS)
def test_interrupted_it_goes_on_where_it_was(photos, rows, monkeypatch, ending):
    output = f"labels{ending}"
    looked_at = []
    run = run_network
    monkeypatch.setattr(
        inference, "run", lambda network, files: run(network, (looked_at.append(file) or file for file in files))
    )
    interrupted(monkeypatch, 1, photos, output)
    interrupted(monkeypatch, 60, photos, output, MemoryError)
    interrupted(monkeypatch, COUNT, photos, output)
    looked_at.clear()
    assert label(photos, output, "cifar10") == Report(COUNT, 4) and looked_at == []
    same(read(output), rows)
    assert sorted(os.listdir()) == [output, "photos"]


TORN = {
    "cut": lambda whole: whole[:-3],
    "all but the end of the line": lambda whole: whole[:-1],
    "half a line": lambda whole: whole + b'{"file": "photos',
    "half a letter": lambda whole: whole + '{"file": "photos/ü'.encode()[:-1],
    "noughts": lambda whole: whole + b"\x00" * 100,
    "noughts and a line": lambda whole: whole + b"\x00\n",
    "no row": lambda whole: whole + b"[]\n",
    "another file": lambda whole: whole + b'{"file": "x.png", "error": "x"}\n',
    "one row missing": lambda whole: b"\n".join(whole.split(b"\n")[:9] + whole.split(b"\n")[10:]),
    "one row twice": lambda whole: b"\n".join(whole.split(b"\n")[:9] + whole.split(b"\n")[8:]),
    "the head alone": lambda whole: whole.split(b"\n")[0] + b"\n",
}


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_is_done_again(photos, rows, monkeypatch, torn):
    part = interrupted(monkeypatch, 40, photos, "labels.jsonl")
    part.write_bytes(TORN[torn](part.read_bytes()))
    interrupted(monkeypatch, 70, photos, "labels.jsonl")  # Cut, and written on.
    assert label(photos, "labels.jsonl", "cifar10") == Report(COUNT, 4)
    same(read("labels.jsonl"), rows)


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
import tensorflow  # Once, for all that are killed.
from tfalexnet.inference import label as labelling

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def killed_while_writing():
    write = labelling.WRITERS[Path(output).suffix]
    labelling.WRITERS[Path(output).suffix] = lambda *given: (write(*given), killed())

def killed_once_written():
    unlink = Path.unlink
    Path.unlink = lambda self, **given: killed() if self == part else unlink(self, **given)

generator = random.Random(int(sys.argv[1]))
for output, kills in (("labels.jsonl", 4), ("labels.parquet", 1)):
    part = Path(f"{output}.part")
    for spoil in (None,) * kills + (killed_while_writing, killed_once_written):
        kept = part.read_bytes() if part.exists() else b""
        child = os.fork()
        if not child:
            spoil and spoil()
            labelling.label("photos", output, "cifar10")
            os._exit(1)
        while not spoil and not (part.exists() and part.stat().st_size > len(kept)):
            time.sleep(0.0005)
        if not spoil:
            time.sleep(generator.choice((0, 0.001, 0.004, 0.01)))
            os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        found = part.read_bytes()
        assert found.startswith(kept[:kept.rfind(b"\\n") + 1])
        print(output, found.count(b"\\n") - 1, Path(output).exists(), flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_killed_at_random_moments_it_loses_and_repeats_nothing(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    count, failed = 1000, 21
    fill(tmp_path / "photos", count)
    assert label("photos", "whole.jsonl", "cifar10") == Report(count, failed)
    rows = read("whole.jsonl")
    seed = random.randrange(1000)
    run = subprocess.run([sys.executable, "-c", KILLS, str(seed)], capture_output=True, encoding="utf-8", timeout=100)
    assert run.returncode == 0, (seed, run.stderr)
    states = [line.split() for line in run.stdout.splitlines()]
    for ending in (".jsonl", ".parquet"):
        output = f"labels{ending}"
        done = [int(count) for name, count, _ in states if name == output]
        there = [exists for name, _, exists in states if name == output]
        assert done[:-2] == sorted(set(done[:-2])) and done[-3] < count == done[-2] == done[-1], (seed, done)
        assert there == ["False"] * (len(done) - 1) + ["True"]
        same(read(output), rows)
        with pytest.raises(FileExistsError):
            label("photos", output, "cifar10")
        assert label("photos", output, "cifar10", overwrite=True) == Report(count, failed)
        assert label("photos", output, "cifar10", top=2, overwrite=True) == Report(count, failed)
        same(read(output), [row | {k: row[k][:2] for k in row if k == "predictions"} for row in rows])
    assert sorted(os.listdir()) == ["labels.jsonl", "labels.parquet", "photos", "whole.jsonl"]


# What may be in the way.


def test_what_another_command_left_is_kept_and_refused(photos, monkeypatch):
    part = interrupted(monkeypatch, 40, photos, "labels.jsonl")
    before = part.read_bytes()

    def refused(what, sources=photos, **given):
        with pytest.raises(ValueError, match=rf"labels\.jsonl\.part to be left by the same.*: {what}\. Delete it, or"):
            label(sources, "labels.jsonl", **{"weights": "cifar10"} | given)
        assert part.read_bytes() == before

    net = tfalexnet.ARCHITECTURES["cifar10_18pct"]
    process, _ = read_spec(locate_weights("cifar10"))
    own = Checkpoint(random_parameters(net), ModelSpec(net, process, classes_from_labels(list("abcdefghij"))))
    write_checkpoint("cifar10.weights.h5", own)
    refused("weights: others", weights="cifar10.weights.h5")
    refused("top: 5 there, 4 here", top=4)
    refused("precision: float32 there, bfloat16 here", precision="bfloat16")
    refused("files: 150 there, 1 here", sources="photos/0000.png")
    os.rename("photos/0000.png", "photos/0000.PNG")
    refused("files: others")
    os.rename("photos/0000.PNG", "photos/0000.png")
    assert label(photos, "labels.jsonl", "cifar10").files == COUNT


@pytest.mark.parametrize("content", [b"dear diary\n", b"", b"[1, 2]\n", b'{"top": 5}\n', b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_only_has_the_name_of_a_part_is_kept(photos, content):
    Path("labels.jsonl.part").write_bytes(content)
    with pytest.raises(ValueError, match=r"labels\.jsonl\.part: expected what an interrupted command left; it is not"):
        label(photos, "labels.jsonl", "cifar10")
    assert Path("labels.jsonl.part").read_bytes() == content


def test_an_output_that_is_there_stays(photos, monkeypatch):
    label(photos, "labels.jsonl", "cifar10")
    before = Path("labels.jsonl").read_bytes()
    with pytest.raises(FileExistsError, match=r"labels\.jsonl to be new"):
        label("photos/0000.png", "labels.jsonl", "cifar10")
    part = interrupted(monkeypatch, 40, photos, "labels.jsonl", overwrite=True, top=3)
    assert Path("labels.jsonl").read_bytes() == before
    os.utime(part, (0, 0))  # Older than the output, and kept all the same.
    kept = part.read_bytes()
    with pytest.raises(ValueError, match=r"labels\.jsonl\.part to be left by the same"):
        label(photos, "labels.jsonl", "cifar10", overwrite=True)
    assert part.read_bytes() == kept
    label(photos, "labels.jsonl", "cifar10", top=3, overwrite=True)
    assert len(read("labels.jsonl")[0]["predictions"]) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"output": "labels.txt"}, r"ends in \.jsonl, \.csv, \.parquet\. Received: labels\.txt"),
        ({"output": "labels"}, r"Received: labels"),
        (
            {"output": "folder.csv", "overwrite": True},
            r"folder\.csv: expected a file for the labels; received a folder",
        ),
        ({"top": 0}, "Expected `top` to be a positive integer. Received: top=0"),
        ({"top": True}, "Expected `top` to be a positive integer. Received: top=True"),
        ({"precision": "float16"}, "Expected `precision` to be one of"),
        ({"weights": "nothing"}, "nothing"),
    ],
)
def test_arguments_are_checked_before_the_work(photos, given, message):
    os.mkdir("folder.csv")
    with pytest.raises((ValueError, OSError), match=message):
        label(**{"sources": photos, "output": "labels.jsonl", "weights": "cifar10"} | given)
    assert sorted(os.listdir()) == ["folder.csv", "photos"]


def test_without_pyarrow_parquet_is_refused_before_the_work(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ValueError, match=r"Expected pyarrow, .* It is not installed: pip install 'tfalexnet\[parquet\]'"
    ):
        label(photos, "labels.parquet", "cifar10")
    assert os.listdir() == ["photos"]
    label("photos/0000.png", "labels.csv", "cifar10")


def test_answers_that_are_no_numbers(photos):
    net = tfalexnet.ARCHITECTURES["cifar10_18pct"]
    process, classes = read_spec(locate_weights("cifar10"))
    parameters = {name: (kernel * np.float32(1e30), bias) for name, (kernel, bias) in random_parameters(net).items()}
    write_checkpoint("huge.weights.h5", Checkpoint(parameters, ModelSpec(net, process, classes)))
    with pytest.raises(CheckpointError, match=r"huge\.weights\.h5: expected finite numbers; .*0000\.png with .*NaN"):
        label(photos, "labels.jsonl", "huge.weights.h5")
    assert not os.path.exists("labels.jsonl")


def vanishing(folder, count, left):
    """A progress that takes a folder away after so many files."""

    class Vanishing(Progress):
        def advance(self, *given):
            super().advance(*given)
            if self.count == count:
                os.rename(folder, "away")
                left == "nothing" or os.mkdir(folder)

    return Vanishing


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
@pytest.mark.parametrize("sources", ["photos", "photos/**/*.png", "every file"])
def test_a_folder_that_vanishes_midway_makes_no_picture_unreadable(photos, rows, monkeypatch, left, sources):
    sources = expand_sources(photos) if sources == "every file" else sources

    with monkeypatch.context() as patch:
        patch.setattr(resume, "Progress", vanishing("photos", 10, left))
        with pytest.raises(OSError, match=r"photos(/deep)?: expected the pictures that were there; it is gone, or em"):
            label(sources, "labels.jsonl", "cifar10")
    with pytest.raises((OSError, ValueError), match="photos"):
        label(sources, "labels.jsonl", "cifar10")
    assert Path("labels.jsonl.part").read_bytes().count(b"\n") > 10
    left == "nothing" or os.rmdir("photos")
    os.rename("away", "photos")
    assert label(sources, "labels.jsonl", "cifar10") == Report(COUNT, 4)
    same(read("labels.jsonl"), rows)


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_so_does_a_disk_below_the_folder(photos, monkeypatch, left):
    """Of the pictures some are on it, `photos/deep` and below, others are not."""
    shutil.move("photos/deep", "disk")
    os.makedirs("photos/deep/er")
    shutil.move("disk", "photos/deep/er")
    wanted = expand_sources(photos)

    with monkeypatch.context() as patch:
        patch.setattr(resume, "Progress", vanishing("photos/deep", 1, left))
        patch.setattr(inference, "BATCHES_AHEAD", 1)
        with pytest.raises(OSError, match=r"photos/deep: expected the pictures that were there; it is gone, or empty"):
            label([photos, "photos/0000.png"], "labels.jsonl", "cifar10")
    assert b"no such file" not in Path("labels.jsonl.part").read_bytes()
    left == "nothing" or os.rmdir("photos/deep")
    os.rename("away", "photos/deep")
    assert label([photos, "photos/0000.png"], "labels.jsonl", "cifar10") == Report(COUNT, 4)
    assert [row["file"] for row in read("labels.jsonl")] == wanted


def test_a_picture_that_vanishes_midway_is_a_row(photos, rows, monkeypatch):
    class Vanishing(Progress):
        def advance(self, *given):
            super().advance(*given)
            if self.count == 1:
                os.unlink(last)

    last = expand_sources(photos)[-2]
    monkeypatch.setattr(resume, "Progress", Vanishing)
    assert label(photos, "labels.jsonl", "cifar10") == Report(COUNT, 5)
    same(read("labels.jsonl"), [*rows[:-2], {"file": last, "error": "no such file or directory"}, rows[-1]])


FULL = """
import os, resource, signal
import tensorflow  # Once, for all.
from tfalexnet.inference import label as labelling
from tfalexnet.io.files import atomic_write

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def limited(path, *given):
    if path.name == output:
        limit(1000)
    return replacing(path, *given)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for output in ("rows.jsonl", "labels.csv", "labels.parquet"):
    child = os.fork()
    if not child:
        if output == "rows.jsonl":
            limit(20_000)
        else:
            labelling.replacing = limited
        try:
            labelling.label("photos", output, "cifar10")
        except OSError as error:
            print(f"{error.filename}: {error.strerror}", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_is_a_line_and_keeps_what_is_done(photos, rows):
    pytest.importorskip("pyarrow")
    run = subprocess.run([sys.executable, "-c", FULL], capture_output=True, encoding="utf-8")
    outputs = ["rows.jsonl", "labels.csv", "labels.parquet"]
    for output, line in zip(outputs, run.stdout.splitlines(), strict=True):
        assert line == f"{output}.part: File too large. What is done is kept: the same command goes on", run.stderr
        done = Path(f"{output}.part").read_bytes().count(b"\n") - 1
        assert done == COUNT if output in outputs[1:] else 10 < done < COUNT
    assert sorted(os.listdir()) == sorted(["photos", *(f"{output}.part" for output in outputs)])
    for output in outputs:
        assert label(photos, output, "cifar10") == Report(COUNT, 4)
        same(read(output), rows)


def test_what_fails_elsewhere_is_not_said_of_the_part(photos, monkeypatch):
    def failing(*_):
        raise OSError(errno.EIO, "what TensorFlow says", "its file")

    monkeypatch.setattr(Network, "__call__", failing)
    with pytest.raises(OSError, match=r"^\[Errno 5\] what TensorFlow says: 'its file'$"):
        label(photos, "labels.jsonl", "cifar10")


@pytest.mark.usefixtures("photos")
def test_the_network_is_loaded_once(monkeypatch):
    loaded = []
    load = _load
    monkeypatch.setattr(inference, "_load", lambda *given: loaded.append(given) or load(*given))
    label("photos/0000.png", "labels.jsonl", "cifar10")
    assert len(loaded) == 1


def test_another_process_that_writes_to_the_same_part_is_noticed(photos, monkeypatch):
    class Meddling(Progress):
        def advance(self, *given):
            super().advance(*given)
            if self.count == 10:
                with open("labels.jsonl.part", "ab") as part:
                    part.write(b'{"file": "x.png", "error": "x"}\n')

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="another process writes to it too"):
        patch.setattr(resume, "Progress", Meddling)
        label(photos, "labels.jsonl", "cifar10")
    assert label(photos, "labels.jsonl", "cifar10").files == COUNT


def test_progress_is_of_what_is_written_and_says_how_many_could_not_be_read(photos, monkeypatch):
    notes = []

    class Spy(Progress):
        def advance(self, count, note=""):
            super().advance(count, note)
            assert Path("labels.jsonl.part").read_bytes().count(b"\n") == 1 + self.count  # Already on the disk.
            notes.append((self.start, self.count, self.total, self.unit, self.note))

    interrupted(monkeypatch, 60, photos, "labels.jsonl")
    monkeypatch.setattr(resume, "Progress", Spy)
    label(photos, "labels.jsonl", "cifar10")
    assert [count for _, count, *_ in notes] == list(range(61, COUNT + 1))
    assert {(start, total, unit) for start, _, total, unit, _ in notes} == {(60, COUNT, "pictures")}
    assert notes[-1][4] == "4 unreadable" and notes[0][4] in ("1 unreadable", "2 unreadable")


@pytest.mark.data
def test_hard_pictures_are_rows_with_their_reasons(data, tmp_path):
    output = tmp_path / "labels.csv"
    report = label(f"{data}/hard/**/*", output, "cifar10")
    found = read(output)
    files = sorted(str(path) for path in (data / "hard").rglob("*") if path.is_file())
    same(found, [expected(file) for file in files])
    assert report == Report(len(files), sum("error" in row for row in found)) and report.unreadable > 20
