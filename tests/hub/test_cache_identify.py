"""Published weights are identified by digests and by what a file was converted from, not by names of files."""

import dataclasses
import hashlib

import pytest
from support.evaluation import NET, save
from support.nets import random_parameters, write_npy

from tfalexnet.hub.cache import identify_published, locate_weights
from tfalexnet.hub.digest import Digest
from tfalexnet.hub.registry import REGISTRY, Source
from tfalexnet.images.classes import classes_from_labels

CLASSES = classes_from_labels(list("abcdefghij"))

SOURCES = {source.file: source for name in ("bvlc_alexnet", "bvlc_caffenet") for source in REGISTRY[name].sources}


def converted_from(file: str, source: str) -> dict[str, str]:
    """The attributes of a file that was converted from a published one of another name."""
    return {"source": file, "source_sha256": SOURCES[source].digest.hexadecimal}


NPY = converted_from("alex.npy", "bvlc_alexnet.npy")
ONNX = converted_from("alex.onnx", "bvlcalexnet-12.onnx")
CAFFENET = converted_from("net.onnx", "caffenet-12.onnx")
CAFFEMODEL = {"source": "bvlc_alexnet.caffemodel", "source_sha256": "0" * 64}  # Only its SHA-1 is published.
OTHER = {"source": "bvlc_alexnet.npy", "source_sha256": "0" * 64}


@pytest.mark.parametrize(
    ("attributes", "architecture", "name"),
    [
        (NPY, "bvlc_alexnet", "bvlc_alexnet"),
        (ONNX, "bvlc_alexnet", "bvlc_alexnet"),
        (CAFFENET, "bvlc_caffenet", "bvlc_caffenet"),
        (CAFFEMODEL, "bvlc_alexnet", "bvlc_alexnet"),
        ({"source": "AlexNet_compressed.net"}, "bvlc_alexnet", "deep_compression"),
        (OTHER, "bvlc_alexnet", None),
        ({"source": "bvlc_alexnet.weights.h5"}, "bvlc_alexnet", None),
        ({}, "bvlc_alexnet", None),
        (NPY, "bvlc_caffenet", None),
        (NPY, "tf_alexnet", None),
    ],
)
def test_weights_are_identified_by_the_file_they_were_converted_from(attributes, architecture, name, tmp_path):
    for file in ("mine.weights.h5", "bvlc_alexnet.weights.h5"):
        published = identify_published(save(tmp_path / file, NET, CLASSES, **attributes), architecture)
        assert (published and published.name) == name


def test_weights_are_not_identified_by_their_file_name(tmp_path, monkeypatch):
    """A file converted from another one lies where the weights of a published name are looked for."""
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "bvlc_alexnet.weights.h5", NET, CLASSES, **OTHER)
    assert identify_published(locate_weights("bvlc_alexnet"), "bvlc_alexnet") is None


def test_published_files_are_identified_by_their_digest(tmp_path, monkeypatch):
    file = tmp_path / "mine.npy"
    write_npy(file, random_parameters(NET))
    assert identify_published(file, NET.name) is None
    digest = Digest("sha1", hashlib.sha1(file.read_bytes()).hexdigest())
    for size in (None, file.stat().st_size):
        source = Source(("https://example.org/x.npy",), digest, size)
        published = dataclasses.replace(REGISTRY["bvlc_alexnet"], sources=(source,), architecture=NET.name)
        monkeypatch.setitem(REGISTRY, "bvlc_alexnet", published)
        assert identify_published(file, NET.name) is published
