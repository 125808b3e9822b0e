"""Folders and archives of model zoos: what is found, and what is refused."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support import ROOT
from support.command import run
from support.nets import random_parameters, write_npy
from support.parameters import assert_equal

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.networks.catalog import CIFAR10_18PCT
from tfalexnet.tools import model_files
from tfalexnet.tools.convert import convert

NAMES = [f"name {number}" for number in range(10)]
PARAMETERS = random_parameters(CIFAR10_18PCT)
MEAN = np.random.default_rng(0).uniform(90, 150, (3, 32, 32)).astype("float32")


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A folder as a zoo ships it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cifar_zoo"
    (folder / "extra").mkdir(parents=True)
    write_npy(folder / "net.npy", PARAMETERS)
    (folder / "labels.txt").write_text("\n".join(NAMES) + "\n")
    (folder / "readme.md").write_text("A network.")
    (folder / "license.txt").write_text("Free.")
    (folder / "train_val.prototxt").write_text("layer {}")
    definition = (ROOT / "tests" / "fixtures" / "prototxt" / "cifar10_full.prototxt").read_text("utf-8")
    (folder / "deploy.prototxt").write_text(definition.replace("ip1", "fc4"))
    np.save(folder / "extra" / "cifar_mean.npy", MEAN)
    return folder


def packed(folder: Path, kind: str) -> Path:
    """The folder as an archive, by Python's own modules."""
    path = folder.with_name(f"packed.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob("*.*")):
                archive.write(file, file.relative_to(folder.parent))
    else:
        with tarfile.open(path, {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2"}[kind]) as archive:
            archive.add(folder, folder.name)
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "tar.gz", "tar.bz2"])
def test_weights_and_labels_are_found_and_named(kind, zoo, capsys):
    source = zoo if kind == "folder" else packed(zoo, kind)
    result = run(capsys, "convert", source, "--output", "out.npz")
    assert (result.returncode, result.stderr) == (0, "")
    inside = "" if kind == "folder" else "cifar_zoo/"
    for note in (
        f"{inside}net.npy is used: weights.",
        f"{inside}labels.txt is used: names of the classes.",
        f"{inside}deploy.prototxt is used: definition.",
        f"{inside}extra/cifar_mean.npy is used: mean.",
    ):
        assert f"Note: {note}" in result.stdout
    checkpoint = read_checkpoint("out.npz")
    assert_equal(checkpoint.parameters, PARAMETERS)
    assert [label for _, label in checkpoint.spec.classes] == NAMES
    np.testing.assert_array_equal(checkpoint.spec.preprocessing.mean, MEAN.transpose(1, 2, 0))
    assert not [name for name in os.listdir() if name not in ("cifar_zoo", "out.npz", source.name)]


def test_one_packed_file_of_weights_is_no_npz(zoo):
    with zipfile.ZipFile("net.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(zoo / "net.npy", "net.npy")
    assert_equal(convert("net.zip", "net.npz")[1].parameters, PARAMETERS)
    assert not model_files.is_collection(Path("net.npz"))


def test_labels_of_the_user_come_first_and_other_counts_are_ignored(zoo):
    (zoo.parent / "mine.txt").write_text("\n".join(NAMES[::-1]))
    _, checkpoint = convert(zoo, "a.npz", labels="mine.txt")
    assert checkpoint.spec.classes[0].label == NAMES[-1]
    assert "labels.txt" not in "".join(checkpoint.notes)
    (zoo / "labels.txt").write_text("\n".join(NAMES[:9]))
    _, checkpoint = convert(zoo, "b.npz")
    assert checkpoint.spec.classes[0].label == "class 0"


def test_the_list_of_imagenet_does_not_replace_its_names(zoo):
    """caffe_ilsvrc12's synset_words.txt: a WordNet id, a blank and the names."""
    lines = [f"{wnid} {label}, a synonym" for wnid, label in imagenet_classes()]
    (zoo / "synset_words.txt").write_text("\n".join(lines))
    assert model_files._is_imagenet(zoo / "synset_words.txt")
    (zoo / "synset_words.txt").write_text("\n".join(lines[1:] + lines[:1]))
    assert not model_files._is_imagenet(zoo / "synset_words.txt")


def test_no_or_several_files_of_weights_are_refused(zoo):
    write_npy(zoo / "extra" / "net2.npy", PARAMETERS)
    with pytest.raises(CheckpointError, match=r"one file of weights; received net.npy, extra/net2.npy. Give one of"):
        convert(zoo, "x.npz")
    (zoo / "net.npy").unlink()
    (zoo / "extra" / "net2.npy").unlink()
    with pytest.raises(CheckpointError, match="received none. Give the file of weights"):
        convert(zoo, "x.npz")
    assert not Path("x.npz").exists()


def test_members_cannot_leave_the_temporary_folder(zoo):
    data = (zoo / "net.npy").read_bytes()
    with zipfile.ZipFile("evil.zip", "w") as archive:
        archive.writestr("../../escaped.npy", data)
        archive.writestr("/labels.txt", "\n".join(NAMES))
    with tarfile.open("evil.tar", "w") as archive:
        for name, kind in (("link.npy", tarfile.SYMTYPE), ("../../escaped.npy", tarfile.REGTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "/etc/passwd", len(data) * (kind == tarfile.REGTYPE)
            archive.addfile(member, io.BytesIO(data))
    for name in ("evil.zip", "evil.tar"):
        _, checkpoint = convert(name, f"{name}.npz")
        assert checkpoint.notes[0] == "escaped.npy is used: weights."
    assert not list(zoo.parent.parent.glob("escaped.npy")) and not list(zoo.parent.glob("escaped.npy"))


def test_large_and_damaged_archives_are_refused(zoo, monkeypatch):
    monkeypatch.setattr(model_files, "MAX_BYTES", 10_000)
    for kind in ("zip", "tar.gz"):
        with pytest.raises(CheckpointError, match=f"packed.{kind}: expected .* it holds more than 10,000 bytes"):
            convert(packed(zoo, kind), "x.npz")
    monkeypatch.undo()
    monkeypatch.chdir(zoo.parent)
    monkeypatch.setattr(model_files, "MAX_FILES", 3)
    for source in (zoo, packed(zoo, "zip"), packed(zoo, "tar")):
        with pytest.raises(CheckpointError, match="more than 3"):
            convert(source, "x.npz")
    monkeypatch.undo()
    monkeypatch.chdir(zoo.parent)
    for kind in ("zip", "tar.gz"):
        path = packed(zoo, kind)
        data = bytearray(path.read_bytes())
        for position in range(100, 2000, 50):
            data[position] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=f"packed.{kind}: "):
            convert(path, "x.npz")
    Path("single.gz").write_bytes(gzip.compress((zoo / "net.npy").read_bytes()))
    with pytest.raises(CheckpointError, match="single.gz: expected an archive that can be unpacked"):
        convert("single.gz", "x.npz")


def test_archives_whose_directory_or_names_are_damaged(zoo):
    """A member before the file, and a file that is a folder too; a long name is shortened."""
    data = bytearray(packed(zoo, "zip").read_bytes())
    start = data.rfind(b"PK\x05\x06")
    data[start + 16 : start + 20] = (1 << 31).to_bytes(4, "little")
    Path("before.zip").write_bytes(data)
    with zipfile.ZipFile("both.zip", "w") as archive:
        archive.writestr("a", b"")
        archive.writestr("a/b.md", b"")
    for name in ("before.zip", "both.zip"):
        with pytest.raises(CheckpointError, match=f"{name}: expected an archive that can be unpacked"):
            convert(name, "x.npz")
    with zipfile.ZipFile("long.zip", "w") as archive:
        archive.writestr("é" * 300 + ".npy", (zoo / "net.npy").read_bytes())
        archive.writestr("x" * 300 + ".md", b"")
    convert("long.zip", "x.npz")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGLINK])
def test_long_headers_are_not_read(kind, tmp_path, monkeypatch):
    """tarfile reads an extended header at once, which a packed archive can make as long as it likes."""
    monkeypatch.chdir(tmp_path)
    member = tarfile.TarInfo("x")
    member.type, member.size = kind, 1 << 30
    Path("x.tar").write_bytes(member.tobuf() + bytes(10_000))
    with pytest.raises(CheckpointError, match="it has a header of 1,073,741,824 bytes"):
        convert("x.tar", "x.npz")
