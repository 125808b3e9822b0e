"""Names of parts: which are parts of a data set, and which may be classes."""

from pathlib import Path

import pytest

from tfalexnet.data.parts import check_are_classes, find_parts


def folders(root: Path, *names: str) -> list[Path]:
    """Create folders and return those at the top level."""
    for name in names:
        (root / name).mkdir(parents=True)
    return sorted(root.iterdir())


PARTS = (
    ("Training", "Testing"),
    ("training_set", "test_set"),
    ("seg_train", "seg_test", "seg_pred"),
    ("trainset", "valset1"),
    ("Training/cat", "labels"),
    ("data-train-2/cat", "images"),
)
CLASSES = (
    ("train", "car", "bus"),
    ("training shoe", "sandal"),
    ("trainer", "tester"),
    ("train1",),
    ("cat/test", "dog"),
)


@pytest.mark.parametrize("names", PARTS)
def test_parts_are_no_classes(names, tmp_path):
    with pytest.raises(ValueError, match=r"received parts of a data set: .*\. Name the parts train and val, or give "):
        check_are_classes(folders(tmp_path, *names))


@pytest.mark.parametrize("names", CLASSES)
def test_classes_may_have_similar_names(names, tmp_path, recwarn):
    check_are_classes(folders(tmp_path, *names))
    assert not recwarn


def test_folders_that_may_be_parts_are_reported(tmp_path):
    with pytest.warns(UserWarning, match=r"classes \(one, two, …\), though each contains cat and dog. If these"):
        check_are_classes(folders(tmp_path, "one/cat", "one/dog", "two/cat", "two/dog", "two/fly"))


def test_a_name_in_lower_case_is_preferred():
    with pytest.warns(UserWarning, match="^d: validation uses val; not used: test$"):
        assert find_parts(["val", "VAL", "Train", "train", "test", "classes"], Path("d")) == ("train", "val")
    assert find_parts(["val", "cat"], Path("d")) == (None, None)
