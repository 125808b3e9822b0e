"""The table of a report, and the published weights that it names beside the measured ones."""

import dataclasses
import hashlib
import os
import shutil

import pytest
from PIL import Image
from support.nets import random_parameters, write_npy

import tfalexnet
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.evaluation.evaluate import evaluate
from tfalexnet.evaluation.report import report_table
from tfalexnet.hub.cache import identify_published, locate_weights
from tfalexnet.hub.download import Digest
from tfalexnet.hub.registry import REGISTRY, Source
from tfalexnet.hub.registry import REGISTRY as KNOWN
from tfalexnet.images.classes import classes_from_labels
from tfalexnet.images.preprocessing import TORCHVISION

NET = tfalexnet.ARCHITECTURES["cifar10_18pct"]
PREPROCESSING = dataclasses.replace(TORCHVISION, size=40, crop=32)


def report_of(**changes):
    """What the report of a whole evaluation of bvlc_alexnet would say."""
    return {
        "weights": "bvlc_alexnet",
        "known": "bvlc_alexnet",
        "architecture": "bvlc_alexnet",
        "protocol": {"words": "squashed", "crops": 1},
        "truth": None,
        "classes": 1000,
        "pictures": 50_000,
        "read": 49_998,
        "unreadable": [{}, {}],
        "top1_error": 43.2,
        "top5_error": 19.7,
        "per_class": dict.fromkeys(map(str, range(1000))),
    } | changes


def test_the_table_has_measured_published_and_difference():
    lines = report_table(report_of()).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["measured", "published", "difference"],
        ["top-1", "error", "43.20", "%", "42.90", "%", "+0.30"],
        ["top-5", "error", "19.70", "%", "19.80", "%", "-0.10"],
    ]
    assert "pictures     49,998 of 1000 classes" in lines and "unreadable   2" in lines
    assert lines[-1] == "published    ImageNet validation, centre crop; Caffe's readme"
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize(
    ("changes", "reservation"),
    [
        ({"pictures": 800, "per_class": dict.fromkeys("0123456789")}, "here are pictures of 10 of 1000 classes"),
        ({"pictures": 10_000}, "here are 10,000 pictures, in the validation set 50,000"),
        ({"protocol": {"words": "squashed", "crops": 10}}, "they are of one view"),
    ],
)
def test_published_figures_of_something_else_are_only_beside(changes, reservation):
    assert report_table(report_of(**changes)).endswith(f"The published figures are not comparable: {reservation}.")


def converted(path, net=NET, **said):
    write_checkpoint(
        path,
        Checkpoint(random_parameters(net), ModelSpec(net, PREPROCESSING, classes_from_labels(list("abcdefghij")))),
        **said,
    )
    return path


NPY = {"source": "alex.npy", "source_sha256": REGISTRY["bvlc_alexnet"].sources[1].digest.hexadecimal}
CAFFES = {"source": "bvlc_alexnet.caffemodel", "source_sha256": "0" * 64}  # Published with SHA-1 alone.
OTHERS = {"source": "bvlc_alexnet.npy", "source_sha256": "0" * 64}


@pytest.mark.parametrize(
    ("said", "architecture", "name"),
    [
        (NPY, "bvlc_alexnet", "bvlc_alexnet"),
        (CAFFES, "bvlc_alexnet", "bvlc_alexnet"),
        ({"source": "AlexNet_compressed.net"}, "bvlc_alexnet", "deep_compression"),
        (OTHERS, "bvlc_alexnet", None),
        ({"source": "bvlc_alexnet.weights.h5"}, "bvlc_alexnet", None),
        ({}, "bvlc_alexnet", None),
        (NPY, "bvlc_caffenet", None),
        (NPY, "tf_alexnet", None),
    ],
)
def test_weights_are_recognised_by_what_they_were_made_from(said, architecture, name, tmp_path):
    for called in ("mine.weights.h5", "bvlc_alexnet.weights.h5"):
        known = identify_published(converted(tmp_path / called, **said), architecture)
        assert (known and known.name) == name


def test_a_name_is_no_proof(tmp_path, monkeypatch):
    """A file put where a known name is looked for, made from something else."""
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    converted(tmp_path / "bvlc_alexnet.weights.h5", **OTHERS)
    assert identify_published(locate_weights("bvlc_alexnet"), "bvlc_alexnet") is None


def test_published_files_themselves_are_recognised(tmp_path, monkeypatch):
    file = tmp_path / "mine.npy"
    write_npy(file, random_parameters(NET))
    assert identify_published(file, NET.name) is None
    source = Source(("https://example.org/x.npy",), Digest("sha1", hashlib.sha1(file.read_bytes()).hexdigest()))
    known = dataclasses.replace(REGISTRY["bvlc_alexnet"], sources=(source,), architecture=NET.name)
    monkeypatch.setitem(KNOWN, "bvlc_alexnet", known)
    assert identify_published(file, NET.name) is known


def test_a_path_has_its_published_figures_beside_it(tmp_path):
    os.makedirs(tmp_path / "set/cat")
    Image.new("RGB", (32, 32)).save(tmp_path / "set/cat/x.png")
    shipped = locate_weights("cifar10")
    copy = shutil.copy(shipped, tmp_path / "copy.weights.h5")
    for file, name in ((shipped, "cifar10"), (os.path.relpath(shipped), "cifar10"), (copy, None)):
        report = evaluate(tmp_path / "set", file)
        assert report["known"] == name and ("16.91 %" in report_table(report)) == bool(name)


def test_the_table_names_the_labels_and_weights_of_no_name_have_nothing_beside_them():
    truth = {"file": "val.txt", "ids": "ilsvrc", "unused": 49_200}
    text = report_table(report_of(known=None, truth=truth))
    assert "labels       val.txt; the devkit's own ids from 1; 49,200 without a picture" in text
    assert "top-1 error       43.20 %           –           –" in text and "published " not in text.split("\n", 1)[1]
    assert "labels       val.csv; 0 without" in report_table(
        report_of(truth={"file": "val.csv", "ids": None, "unused": 0})
    )
