"""Arrays with labels, numbers of classes, and other names or another order of the classes."""

import numpy as np
import pytest

from tfalexnet.data.labelled import Labelled, from_arrays, number_classes, rename_classes

PIXELS = np.zeros((3, 4, 4), np.uint8)

RENAMINGS = {
    "another order": (("a", "b", "c"), ("c", "a", "b"), (1, 2, 0)),
    "numbers in another order": (("0", "1", "2"), ("2", "0", "1"), (1, 2, 0)),
    "for numbers": (("0", "1", "2"), ("x", "y", "z"), (0, 1, 2)),
    "for more numbers": (("0", "1", "2"), ("x", "y", "z", "w"), (0, 1, 2)),
    "for other numbers": (("1", "5", "9"), ("x", "y", "z"), (0, 1, 2)),
    "fewer": (("0", "1", "2"), ("x", "y"), "Expected the classes 0, 1, 2 .*or 3 names.*Received: x, y"),
    "more than other numbers": (("1", "5", "9"), ("w", "x", "y", "z"), "classes 1, 5, 9 .*or 3 names.*Received: w"),
    "others": (
        ("a", "b", "c"),
        ("a", "b", "d"),
        r"classes a, b, c \(3\) in any order. Received: a, b, d \(3\); missing: c; unknown: d$",
    ),
    "too few": (("a", "b", "c"), ("a", "b"), "; missing: c; unknown: none"),
    "twice": (("0", "1", "2"), ("x", "y", "x"), "another name for each class. Received more than once: x"),
}


@pytest.mark.parametrize("name", RENAMINGS)
def test_classes_are_reordered_or_renamed(name):
    classes, names, expected = RENAMINGS[name]
    data = Labelled(PIXELS, np.arange(3), classes)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            rename_classes(data, names)
    else:
        renamed = rename_classes(data, names)
        assert renamed.classes == names and renamed.labels.tolist() == list(expected)


def test_labels_beyond_int64_are_refused():
    with pytest.raises(ValueError, match="numbered from 0 to 2. Received: 9223372036854775809"):
        from_arrays(PIXELS, np.array([0, 1, 2**63 + 1], np.uint64), classes=("a", "b", "c"))


NUMBERS = {
    "from 0": ((0, 2), (0, 2), "012"),
    "from 1": ((3, 1), (2, 0), "123"),
    "from 2, which may be a part of those from 0": ((2, 3), (2, 3), "0123"),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_counted_from_1_if_that_is_the_smallest(name):
    numbers, labels, classes = NUMBERS[name]
    actual = number_classes(numbers, 4)
    assert actual[0].tolist() == list(labels) and actual[1] == tuple(classes)


def test_as_many_numbers_as_classes_are_the_limit():
    assert len(number_classes([1, 1000], 1000)[1]) == len(number_classes([0, 999], 1000)[1]) == 1000
    with pytest.raises(ValueError, match="numbered from 1 to 1000. Received: 1001"):
        number_classes([1, 1001], 1000)
    with pytest.raises(ValueError, match="numbered from 0 to 999. Received: 1000"):
        number_classes([0, 1000], 1000)
