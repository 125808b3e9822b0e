"""Errors from answers, and their table beside the published figures."""

import os
import shutil

import pytest
from PIL import Image

from tfalexnet.evaluation.evaluate import evaluate
from tfalexnet.evaluation.report import report_table, summarize_answers
from tfalexnet.hub.cache import locate_weights
from tfalexnet.images.classes import classes_from_labels

CLASSES = classes_from_labels(list("abcdefghij"))


def report_of(**changes):
    """The report of an evaluation of bvlc_alexnet on the validation set."""
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


def test_a_class_whose_pictures_cannot_be_read_has_no_error():
    summary = summarize_answers([0, 0, 1], [[0, 1, 2, 3, 4], [9, 8, 7, 6, 5], None], CLASSES)
    assert (summary["read"], summary["top1_error"], summary["top5_wrong"]) == (2, 50, 1)
    assert summary["per_class"]["1"] == {
        **{"wnid": None, "name": "b", "read": 0},
        **{"top1_wrong": 0, "top1_error": None, "top5_wrong": 0, "top5_error": None},
    }
    assert summary["confusion"] == [[0, 0, 1], [0, 9, 1]]


def test_the_table_has_measured_and_published_errors_and_their_difference():
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
def test_published_errors_of_another_measurement_are_not_comparable(changes, reservation):
    assert report_table(report_of(**changes)).endswith(f"The published figures are not comparable: {reservation}.")


def test_weights_without_a_known_source_have_no_published_errors():
    text = report_table(report_of(known=None))
    assert "top-1 error       43.20 %           –           –" in text and "published " not in text.split("\n", 1)[1]


@pytest.mark.parametrize(
    ("truth", "line"),
    [
        ({"file": "v.txt", "ids": "ilsvrc", "unused": 49_200}, "v.txt; the devkit's own ids from 1; 49,200 without a"),
        ({"file": "v.csv", "ids": None, "unused": 0}, "v.csv; 0 without a picture"),
    ],
)
def test_the_table_names_the_file_of_the_labels(truth, line):
    assert f"labels       {line}" in report_table(report_of(truth=truth))


def test_the_shipped_file_has_its_published_error_in_the_table_and_a_copy_has_not(tmp_path):
    os.makedirs(tmp_path / "set/cat")
    Image.new("RGB", (32, 32)).save(tmp_path / "set/cat/x.png")
    shipped = locate_weights("cifar10")
    copy = shutil.copy(shipped, tmp_path / "copy.weights.h5")
    for file, name in ((shipped, "cifar10"), (os.path.relpath(shipped), "cifar10"), (copy, None)):
        report = evaluate(tmp_path / "set", file)
        assert report["known"] == name and ("16.91 %" in report_table(report)) == bool(name)
