"""The classes of ILSVRC 2012, and files of class names."""

import pytest

from tfalexnet.caffe_classes import class_names
from tfalexnet.images.classes import (
    Class,
    classes_from_labels,
    ilsvrc_ids,
    imagenet_classes,
    numbered_classes,
    read_classes,
)


def test_imagenet_has_1000_classes_in_the_order_of_their_wordnet_ids():
    classes = imagenet_classes()
    wnids = [wnid for wnid, _ in classes]
    assert len(set(wnids)) == 1000 and wnids == sorted(wnids)
    assert classes[0] == ("n01440764", "tench, Tinca tinca")
    assert classes[134].label == classes[517].label == "crane"


def test_ids_of_the_development_kit_are_a_permutation_of_the_classes():
    ids = ilsvrc_ids()
    assert sorted(ids) == list(range(1, 1001)) and sorted(ids.values()) == list(range(1000))
    # ILSVRC2012_ID 1 is the kit fox (meta.mat of the development kit).
    assert imagenet_classes()[ids[1]].label.startswith("kit fox")


def test_old_scripts_import_the_names_as_a_list():
    assert class_names == [label for _, label in imagenet_classes()]


def test_classes_without_wordnet_ids():
    assert classes_from_labels(["a", "b"]) == (Class(None, "a"), Class(None, "b"))
    assert numbered_classes(2) == classes_from_labels(["class 0", "class 1"])


def test_a_file_of_names_has_one_on_a_line(tmp_path):
    (tmp_path / "names.txt").write_bytes("\ufeffcat\r\n  Hündin \n\n\n".encode())
    assert read_classes(tmp_path / "names.txt") == (Class(None, "cat"), Class(None, "Hündin"))


def test_a_tab_separates_the_wordnet_id_or_the_number_from_the_name(tmp_path):
    (tmp_path / "names.txt").write_text("n01440764\ttench, Tinca tinca\n1\tshark\nray\t\n")
    classes = read_classes(tmp_path / "names.txt")
    assert classes == (Class("n01440764", "tench, Tinca tinca"), Class(None, "shark"), Class(None, "ray"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\ndog\n", "line 2: expected the name"),
        (b"\xff", "UTF-8"),
        (b"cat\n0\tdog\n", "line 2: expected a name, or a WordNet id"),
        (b"cat\tdog\n", "line 1: .*a tab and a name; received 'cat.tdog'"),
    ],
)
def test_a_wrong_file_of_names_is_refused(content, message, tmp_path):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"names\.txt.*{message}"):
        read_classes(tmp_path / "names.txt")
