"""A class is found by its WordNet id, its name or its index."""

import pytest

from tfalexnet.evaluation.class_index import find_class
from tfalexnet.images.classes import classes_from_labels, imagenet_classes


@pytest.mark.parametrize("class_", [281, "281", "n02123045", "tabby, tabby cat", "tabby", "Tabby_Cat"])
def test_every_way_to_name_a_class(class_):
    assert find_class(class_, imagenet_classes()) == 281


def test_a_name_of_digits_is_a_name():
    classes = classes_from_labels(["1", "2", "3"])
    assert find_class("2", classes) == 1 and find_class(2, classes) == 2 and find_class("0", classes) == 0


@pytest.mark.parametrize("class_", [-1, 1000, "1000", "tabbi"])
def test_a_class_that_does_not_exist(class_):
    with pytest.raises(ValueError, match=r"Expected the WordNet id, name or index of a class \(n01440764, .*999\)"):
        find_class(class_, imagenet_classes())


def test_a_name_of_two_classes_is_refused():
    with pytest.raises(ValueError, match=r"'crane' is the name of 134 \(crane\), 517 \(crane\). Give the number"):
        find_class("crane", imagenet_classes())
