"""`label` writes a row for each file, in order, with the answers of `predict`."""

import csv
import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
from support.labels import COUNT, SUFFIXES, UNREADABLE, assert_same, expected_row, interrupt, read_rows
from support.nets import random_parameters
from support.weights import cifar_checkpoint, write_infinite

import tfalexnet
from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub.cache import locate_weights
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.inference.label import Report, expand_sources, label
from tfalexnet.runtimes import network
from tfalexnet.runtimes.network import Network


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_file_has_a_row_in_order(photos, rows, suffix):
    output = Path("out", f"labels{suffix}")
    assert label(photos, output, "cifar10") == Report(COUNT, UNREADABLE)
    assert_same(read_rows(output), rows)
    assert os.listdir("out") == [output.name]
    columns = [f"{name}_{rank}" for rank in range(1, 6) for name in ("index", "label", "wnid", "score")]
    if suffix == ".csv":
        assert output.read_bytes().split(b"\r\n")[0].decode().split(",") == ["file", "error", *columns]
    if suffix == ".parquet":
        schema = pytest.importorskip("pyarrow.parquet").read_schema(output)
        assert schema.names == ["file", "error", *columns]
        assert [str(kind) for kind in schema.types[:6]] == ["string"] * 2 + ["int32", "string", "string", "float"]


@pytest.mark.usefixtures("photos")
def test_fewer_classes_and_more_than_the_network_has():
    label("photos/0000.png", "one.csv", "cifar10", top=1)
    assert_same(read_rows("one.csv"), [expected_row("photos/0000.png", 1)])
    label("photos/0000.png", "all.csv", "cifar10", top=999)
    assert_same(read_rows("all.csv"), [expected_row("photos/0000.png", 10)])


@pytest.mark.usefixtures("photos")
def test_rows_state_wordnet_ids():
    pytest.importorskip("pyarrow")
    net = tfalexnet.ARCHITECTURES["cifar10_18pct"].with_classes(1000)
    spec = ModelSpec(net, read_spec(locate_weights("cifar10")).preprocessing, imagenet_classes())
    write_checkpoint("net.weights.h5", Checkpoint(random_parameters(net), spec))
    answers = tfalexnet.predict("photos/0000.png", "net.weights.h5")
    assert all(answer.wnid.startswith("n") for answer in answers)
    for output in ("a.jsonl", "a.csv", "a.parquet"):
        label("photos/0000.png", output, "net.weights.h5")
        ((_, predictions),) = (row.values() for row in read_rows(output))
        assert [(p["index"], p["wnid"], p["label"]) for p in predictions] == [answer[:3] for answer in answers]


def test_sources_are_files_folders_and_patterns(photos):
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


def test_names_that_look_like_patterns_hidden_files_and_broken_links(photos):
    for name in ("[1].png", "1.png", "what?.txt", ".hidden.png"):
        (photos / name).touch()
    assert expand_sources("photos/[1].png") == ["photos/[1].png"]
    assert expand_sources("photos/[12].png") == ["photos/1.png"]
    assert expand_sources("photos/what?.txt") == ["photos/what?.txt"]
    matching = expand_sources("photos/*")
    assert "photos/what?.txt" in matching and "photos/.hidden.png" not in matching and "photos/deep" not in matching
    os.symlink("nowhere", photos / "gone.png")
    for source in ("photos/gone.png", "photos/g*.png"):
        assert expand_sources(source) == ["photos/gone.png"]
    assert "photos/gone.png" in expand_sources(photos)
    label("photos/g*.png", "g.jsonl", "cifar10")
    assert read_rows("g.jsonl") == [{"file": "photos/gone.png", "error": "no such file or directory"}]


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
def test_sources_without_a_file_are_refused(sources, message):
    os.mkdir("empty")
    with pytest.raises((ValueError, OSError), match=message):
        label(sources, "labels.jsonl", "cifar10")
    assert sorted(os.listdir()) == ["empty", "photos"]


def test_the_output_among_the_pictures_is_not_labelled(photos, rows):
    output = photos / "labels.csv"
    for _ in range(2):
        interrupt(40, "photos/**/*", output, overwrite=True)
        assert label("photos/**/*", output, "cifar10", overwrite=True).files == COUNT
        assert_same(read_rows(output), rows)
    with pytest.raises(ValueError, match=r"at least one picture. The only file is the output, photos/labels\.csv"):
        label("photos/*.csv", output, "cifar10", overwrite=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_with_quotes_commas_and_line_ends_are_written_and_read_back(photos, suffix):
    shutil.rmtree(photos / "deep")
    names = ["ü 日本.png", "a,b.png", 'say "a".png', "two\nlines\r.png", "back\\slash.png", "=1+1.png", " .png"]
    for name in names:
        shutil.copy(photos / "0000.png", photos / name)
    label(photos, f"labels{suffix}", "cifar10")
    assert [row["file"] for row in read_rows(f"labels{suffix}")] == expand_sources(photos)
    assert set(expand_sources(photos)) >= {f"photos/{name}" for name in names}


utf8_names = pytest.mark.skipif(os.fsencode("é") != b"\xc3\xa9", reason="names are UTF-16 here")


@utf8_names
@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_name_that_is_not_utf8_is_written_with_escapes(suffix):
    os.rename(b"photos/0000.png", b"photos/caf\xe9.png")
    output = Path(f"labels{suffix}")
    interrupt(COUNT, "photos", output)
    assert label("photos", output, "cifar10").files == COUNT
    (name,) = (row["file"] for row in read_rows(output) if "caf" in row["file"])
    if suffix == ".jsonl":
        assert os.fsencode(name) == b"photos/caf\xe9.png"
    assert name.encode("utf-8", "backslashreplace") == rb"photos/caf\udce9.png"


@utf8_names
@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_only_jsonl_distinguishes_a_byte_from_its_escape(suffix):
    names = [b"photos/caf\xe9.png", rb"photos/caf\udce9.png"]
    for name in names:
        shutil.copy(b"photos/0000.png", name)
    label("photos/caf*", f"labels{suffix}", "cifar10")
    received = [os.fsencode(row["file"]) for row in read_rows(f"labels{suffix}")]
    assert sorted(received) == sorted(names if suffix == ".jsonl" else names[1:] * 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"output": "labels.txt"}, r"ends in \.jsonl, \.csv, \.parquet\. Received: labels\.txt"),
        ({"output": "labels"}, r"Received: labels"),
        ({"output": "folder.csv", "overwrite": True}, r"folder\.csv: expected a file; received a folder"),
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


def test_parquet_without_pyarrow_is_refused_before_the_work(photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"the package pyarrow\. .* pip install 'tfalexnet\[parquet\]'"):
        label(photos, "labels.parquet", "cifar10")
    assert os.listdir() == ["photos"]
    label("photos/0000.png", "labels.csv", "cifar10")


def test_answers_that_are_not_finite_are_refused(photos):
    write_infinite("huge.weights.h5")
    with pytest.raises(CheckpointError, match=r"huge\.weights\.h5: expected finite numbers; .*0000\.png with .*inf"):
        label(photos, "labels.jsonl", "huge.weights.h5")
    assert not os.path.exists("labels.jsonl")


def test_an_error_of_the_system_elsewhere_is_not_attributed_to_the_journal(photos, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "what TensorFlow says", "its file")

    monkeypatch.setattr(Network, "__call__", fail)
    with pytest.raises(OSError, match=r"^\[Errno 5\] what TensorFlow says: 'its file'$"):
        label(photos, "labels.jsonl", "cifar10")


def test_formulas_in_names_are_quoted_on_request(photos, tmp_path, monkeypatch):
    os.makedirs("formulas")
    names = ["=1+1.png", "+a.png", "-b.png", "@c.png", "plain=.png"]
    for name in names:
        shutil.copy(photos / "0000.png", f"formulas/{name}")
    monkeypatch.chdir("formulas")
    checkpoint = cifar_checkpoint(["=SUM(A1)", "@b", *"cdefghij"])
    write_checkpoint(tmp_path / "net.weights.h5", checkpoint)
    label(names, "plain.csv", tmp_path / "net.weights.h5", top=10)
    label(names, "quoted.csv", tmp_path / "net.weights.h5", top=10, quote_formulas=True)
    with open("plain.csv", encoding="utf-8") as plain, open("quoted.csv", encoding="utf-8") as quoted:
        pairs = zip(csv.DictReader(plain), csv.DictReader(quoted), strict=True)
        cells = [(cell, other[key]) for row, other in pairs for key, cell in row.items()]
    assert {cell for cell, other in cells if other == f"'{cell}"} == {*names[:4], "=SUM(A1)", "@b"}
    assert all(other in (cell, f"'{cell}") for cell, other in cells)
    with pytest.raises(ValueError, match=r"ends in \.csv for quote_formulas. Received: other\.jsonl"):
        label(names, "other.jsonl", "cifar10", quote_formulas=True)


@pytest.mark.usefixtures("photos")
def test_the_network_is_loaded_once(monkeypatch):
    loaded, load = [], network._load
    monkeypatch.setattr(network, "_load", lambda *given: loaded.append(given) or load(*given))
    label("photos/0000.png", "labels.jsonl", "cifar10")
    assert len(loaded) == 1


@pytest.mark.data
def test_hard_pictures_are_rows_with_their_reasons(data, tmp_path):
    output = tmp_path / "labels.csv"
    report = label(f"{data}/hard/**/*", output, "cifar10")
    received = read_rows(output)
    files = sorted(str(path) for path in (data / "hard").rglob("*") if path.is_file())
    assert_same(received, [expected_row(file) for file in files])
    assert report == Report(len(files), sum("error" in row for row in received)) and report.unreadable > 20
