"""Pictures are labelled by folder or ground-truth file; the two numberings of ImageNet are never confused."""

import os

import pytest
from support.files import touch

from tfalexnet.evaluation.ground_truth import label_by_folder, read_ground_truth
from tfalexnet.images.classes import classes_from_labels, ilsvrc_ids, imagenet_classes
from tfalexnet.images.folders import list_pictures

IMAGENET = imagenet_classes()
PETS = classes_from_labels(["cat", "dog", "guinea pig", "Egyptian cat", "egyptian Cat"])

# ILSVRC2012_validation_ground_truth.txt of the devkit and Caffe's val.txt, pictures 1 to 10.
DEVKIT = [490, 361, 171, 822, 297, 482, 13, 704, 599, 164]
CAFFE = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]
FAR = 20_000  # A number of a validation picture after those whose classes are known.


pytestmark = pytest.mark.usefixtures("in_tmp_path")


def write(lines, file="truth.txt"):
    with open(file, "w", encoding="utf-8") as opened:
        opened.writelines(f"{line}\n" for line in lines)
    return file


def val(number):
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def indices(pictures):
    """The index of each picture's class by the picture's name."""
    return {path.relative_to("set").as_posix(): index for path, index in pictures}


def by_folder(classes):
    return indices(label_by_folder("set", classes))


def by_file(classes, truth, ids=None):
    """The answer to a ground-truth file, given by its name or its lines."""
    return indices(read_ground_truth("set", classes, truth if isinstance(truth, str) else write(truth), ids).pictures)


def devkit(index):
    return next(number for number, other in ilsvrc_ids().items() if other == index)


def test_folders_are_classes_by_wordnet_id():
    touch(
        "n01440764/a.JPEG", "n02123045/b.JPEG", "n02123045/more/c.JPEG", "N03126707/d.JPEG", ".cache/e.JPEG", "f/g.txt"
    )
    assert by_folder(IMAGENET) == {
        "n01440764/a.JPEG": 0,
        "n02123045/b.JPEG": 281,
        "n02123045/more/c.JPEG": 281,
        "N03126707/d.JPEG": 517,
    }


def test_folders_are_classes_by_name():
    touch("Cat/1.png", "dog/2.png", "guinea_pig/3.png", "egyptian Cat/4.png")
    assert by_folder(PETS) == {
        "Cat/1.png": 0,
        "dog/2.png": 1,
        "guinea_pig/3.png": 2,
        "egyptian Cat/4.png": 4,  # An exact name has precedence over one in another case.
    }
    touch("EGYPTIAN_CAT/5.png")
    with pytest.raises(ValueError, match=r"EGYPTIAN_CAT: expected one class; .* is the name of 3 .*, 4 "):
        by_folder(PETS)


def test_links_to_class_folders_are_followed():
    touch("cat/1.png", "../elsewhere/2.png")
    os.symlink(os.path.abspath("elsewhere"), "set/dog")
    assert by_folder(PETS) == {"cat/1.png": 0, "dog/2.png": 1}


def test_a_folder_without_pictures_is_refused():
    touch("x.txt", "cat/x.txt")
    with pytest.raises(ValueError, match=r"set: expected sub-folders named by class.*received none"):
        by_folder(PETS)


def test_a_name_of_two_classes_is_refused():
    touch("crane/1.png", "tench,_tinca_tinca/2.png")
    with pytest.raises(ValueError, match=r"'crane' is the name of 134 \(n02012849\), 517 \(n03126707\)\. Use WordNet"):
        by_folder(IMAGENET)
    os.rename("set/crane", "set/n03126707")
    assert by_folder(IMAGENET) == {"n03126707/1.png": 517, "tench,_tinca_tinca/2.png": 0}


def test_unknown_folders_are_listed_beside_the_expected_names():
    touch("cat/1.png", "lion/2.png", "tiger/3.png", "empty/4.txt")
    with pytest.raises(ValueError, match=r"set: .*\(cat, dog, guinea pig, …\); received 2 .* no class: lion, tiger\.$"):
        by_folder(PETS)


def test_the_folder_below_is_suggested_if_it_contains_the_classes():
    touch("train/cat/1.png", "val/dog/2.png", "docs/x/3.png")
    with pytest.raises(ValueError, match=r"received 3 .*: docs, train, val\. Give set/train or set/val\."):
        by_folder(PETS)


def test_pictures_outside_of_class_folders_are_refused():
    touch("cat/1.png", "2.png")
    with pytest.raises(ValueError, match=r"received 1 pictures outside of them, as 2\.png\. .*--truth"):
        by_folder(PETS)
    os.remove("set/cat/1.png")
    with pytest.raises(ValueError, match=r"received 1 pictures outside of them, as 2\.png\. .*--truth"):
        by_folder(PETS)


@pytest.mark.parametrize(
    "form",
    [
        "{name}.png {label}",
        "{name} {label}",
        "val/{name}.png\t{label}",
        "./{name}.jpg,{label}",
        "\n  {name}.png, {label} \r",
    ],
)
def test_a_line_is_a_name_and_a_number_in_several_forms(form):
    touch("a 1.png", "b.2.png", "c.png")
    truth = write(form.format(name=name, label=label) for name, label in [("c", 0), ("b.2", 2), ("a 1", 1), ("d", 3)])
    answer = read_ground_truth("set", PETS, truth)
    assert indices(answer.pictures) == {"a 1.png": 1, "b.2.png": 2, "c.png": 0}
    assert answer.unused == 1 and answer.ids is None


@pytest.mark.parametrize("form", ["{name}.png\t{label}", "{name}.png,{label}", "{name}.png {label}", "{name}, {label}"])
def test_labels_may_contain_spaces(form):
    touch("c.png", "b.2.png", "a 1.png")
    lines = {"c": "dog", "b.2": "guinea pig", "a 1": "Egyptian_cat", "not here": "guinea pig", "nor, this": "dog"}
    classes = classes_from_labels(["dog", "pig", "guinea pig", "cat", "egyptian cat"])
    truth = write(form.format(name=name, label=label) for name, label in lines.items())
    answer = read_ground_truth("set", classes, truth)
    assert indices(answer.pictures) == {"c.png": 0, "b.2.png": 2, "a 1.png": 4} and answer.unused == 2


def test_labels_with_spaces_may_have_no_names():
    touch("c.png", "a.png", "b.png")
    assert by_file(PETS, ["guinea pig", "dog", "Egyptian cat"]) == {"a.png": 2, "b.png": 1, "c.png": 3}


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_the_message_contains_all_of_an_unknown_label_with_spaces(separator):
    touch("a.png", "b.png")  # Else b.png would be a dog.
    with pytest.raises(ValueError, match=r"line 2: expected names of classes .*received 'hot dog'\."):
        by_file(PETS, ["a.png cat", f"b.png{separator}hot dog"])


def test_an_ambiguous_end_of_a_name_is_refused():
    touch("x.png", "x sea.png")
    animals = classes_from_labels(["lion", "sea lion"])
    with pytest.raises(ValueError, match=r"line 2: .* received 'sea lion' of 'x' or 'lion' of 'x sea'\. Put a tab"):
        by_file(animals, ["x sea.png lion", "x sea lion"])
    assert by_file(animals, ["x sea\tlion", "x\tsea lion"]) == {"x sea.png": 0, "x.png": 1}


def test_labels_may_be_names_or_wordnet_ids():
    touch("a.png", "b.png")
    assert by_file(PETS, ["a.png dog", "b.png Guinea_Pig"]) == {"a.png": 1, "b.png": 2}
    assert by_file(IMAGENET, ["n02123045", "n01440764"]) == {"a.png": 281, "b.png": 0}
    with pytest.raises(ValueError, match=r"truth\.txt, line 2: expected one class; 'crane' is the name of 134"):
        by_file(IMAGENET, ["a n02123045", "b crane"])


def test_numbers_are_names_if_all_are_names_of_classes():
    touch("a.png", "b.png")
    digits = classes_from_labels([str(number) for number in range(1, 11)])
    assert by_file(digits, ["1", "10"]) == {"a.png": 0, "b.png": 9}
    assert by_file(digits, ["1", "0"]) == {"a.png": 1, "b.png": 0}


def test_the_csv_of_kaggle_is_read():
    touch(val(48981), val(37956))
    lines = [
        "ImageId,PredictionString",
        "ILSVRC2012_val_00048981,n03995372 85 1 499 272 ",
        "ILSVRC2012_val_00037956,n03481172 131 0 499 254 n03481172 7 8 9 10",
        "ILSVRC2012_val_00026161,n02108000 38 0 464 280",
    ]
    answer = read_ground_truth("set", IMAGENET, write(lines))
    wnids = {name: IMAGENET[index].wnid for name, index in indices(answer.pictures).items()}
    assert wnids == {val(48981): "n03995372", val(37956): "n03481172"}
    assert answer.unused == 1 and answer.ids is None
    with pytest.raises(ValueError, match="line 2: expected .* label; received 'nonsense'"):
        by_file(IMAGENET, [lines[0], "nonsense"])


def test_labels_without_names_belong_to_the_sorted_pictures():
    touch("c.png", "a.png", "b.png")
    truth = write([2, 0, 1])
    assert by_file(PETS, truth) == {"a.png": 2, "b.png": 0, "c.png": 1}
    with pytest.raises(ValueError, match=r"expected as many labels as pictures, 3; received 2"):
        by_file(PETS, [2, 0])
    with pytest.raises(ValueError, match=r"on every line or on none; received a label without a name on line 2"):
        by_file(PETS, ["a.png 2", "0"])


def test_labels_without_names_belong_to_the_numbers_of_validation_pictures():
    touch(val(7), val(3))
    for lines, ids in ((DEVKIT, "ilsvrc"), (CAFFE, "sorted")):
        answer = read_ground_truth("set", IMAGENET, write(lines))
        assert indices(answer.pictures) == {val(3): 230, val(7): 334}
        assert (answer.ids, answer.unused) == (ids, 8)
    touch(val(11))
    with pytest.raises(ValueError, match=rf"a label for each picture of set; 1 of 3 have none, as {val(11)}"):
        by_file(IMAGENET, DEVKIT)


def test_a_byte_order_mark_is_not_part_of_a_name():
    touch("a.png")
    assert by_file(PETS, ["\ufeffa.png 1"]) == {"a.png": 1}


def test_a_picture_without_a_label_is_refused():
    touch("a.png", "b.png", "c.png")
    with pytest.raises(ValueError, match=r"a label for each picture of set; 2 of 3 have none, as b\.png"):
        by_file(PETS, ["a.png 1", "x.png 1"])


def test_each_picture_has_one_label_and_each_label_one_picture():
    touch("s/a.png", "t/a.png")
    assert by_file(PETS, ["s/a.png 1", "t/a.png 2"]) == {"s/a.png": 1, "t/a.png": 2}
    with pytest.raises(ValueError, match=r"expected one picture for line 1; received s/a\.png and t/a\.png"):
        by_file(PETS, ["a.png 1"])
    os.remove("set/s/a.png")
    with pytest.raises(ValueError, match=r"expected one label for t/a\.png; received two, on lines 1 and 3"):
        by_file(PETS, ["x/a.png 1", "b.png 0", "y/a.png 2"])
    assert by_file(PETS, ["x/a.png 1", "y/a.png 1"]) == {"t/a.png": 1}
    touch("t/a.jpg")
    assert by_file(PETS, ["a.jpg 3", "a.png 4"]) == {"t/a.jpg": 3, "t/a.png": 4}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.png 5"], r"line 1: expected numbers from 0 to 4; received 5"),
        (["a.png -1"], r"line 1: expected names of classes \(cat, .*received '-1'"),
        (["a.png cat", "b.png lion"], r"line 2: expected names of classes .*received 'lion'"),
        (["a.png cat", "b.png 1"], r"line 2: .*the same on every line; received '1'"),
        (["a.png 1", "b.png lion"], r"line 2: .*received 'lion'"),
        ([",,"], r"line 1: expected \[a name and\] a label; received ',,'"),
        ([], "received an empty file"),
    ],
)
def test_labels_that_are_no_class_are_refused(lines, message):
    touch("a.png")
    with pytest.raises(ValueError, match=rf"truth\.txt.*{message}"):
        by_file(PETS, lines)


def test_a_binary_or_missing_file_is_refused():
    touch("a.png")
    with open("truth.mat", "wb") as file:
        file.write(b"MATLAB 5.0\xff\xfe")
    with pytest.raises(ValueError, match=r"truth\.mat: expected text in UTF-8"):
        by_file(PETS, "truth.mat")
    with pytest.raises(FileNotFoundError):
        by_file(PETS, "gone.txt")


def test_ids_apply_to_the_classes_of_imagenet_only():
    touch("a.png")
    with pytest.raises(ValueError, match="only for the numbers of ImageNet's classes"):
        by_file(PETS, ["a.png 1"], ids="sorted")
    with pytest.raises(ValueError, match="Expected ids 'sorted' or 'ilsvrc'. Received: 'caffe'"):
        by_file(PETS, ["a.png 1"], ids="caffe")


# The two numberings.


def numbered(pairs):
    """Create validation pictures with these numbers, and a file of their labels."""
    touch(*(val(number) for number, _ in pairs))
    return write(f"{val(number)} {label}" for number, label in pairs)


def test_the_first_ten_labels_of_devkit_and_caffe_agree():
    assert [ilsvrc_ids()[number] for number in DEVKIT] == CAFFE


@pytest.mark.parametrize(("extreme", "ids"), [(0, "sorted"), (1000, "ilsvrc")])
def test_a_0_or_a_1000_shows_the_numbering(extreme, ids):
    truth = numbered([(FAR, 500), (FAR + 1, extreme)])
    answer = read_ground_truth("set", IMAGENET, truth)
    assert answer.ids == ids
    assert answer.pictures[0][1] == (500 if ids == "sorted" else ilsvrc_ids()[500])
    assert read_ground_truth("set", IMAGENET, truth, ids) == answer
    other = {"sorted": "ilsvrc", "ilsvrc": "sorted"}[ids]
    with pytest.raises(
        ValueError, match=rf"received both: .*ids='{other}' was asked for|line 2 is {extreme}, but ids="
    ):
        read_ground_truth("set", IMAGENET, truth, other)


@pytest.mark.parametrize("position", range(10))
def test_each_of_the_first_ten_pictures_shows_the_numbering(position):
    touch(val(FAR))
    for numbers, ids in ((DEVKIT, "ilsvrc"), (CAFFE, "sorted")):
        # The known picture need not be in the folder.
        truth = write([f"{val(FAR)} 500", f"{val(position + 1)} {numbers[position]}"])
        answer = read_ground_truth("set", IMAGENET, truth)
        assert (answer.ids, answer.unused) == (ids, 1)
        assert answer.pictures[0][1] == (500 if ids == "sorted" else ilsvrc_ids()[500])
    devkit_id, index = DEVKIT[position], CAFFE[position]
    for wrong in {devkit_id - 1, devkit_id + 1, index - 1, index + 1} - {devkit_id}:
        with pytest.raises(ValueError, match=rf"line 2: .*{index} .* or {devkit_id} .*received {wrong}\."):
            read_ground_truth("set", IMAGENET, write([f"{val(FAR)} 500", f"{val(position + 1)} {wrong}"]))


def test_a_wordnet_id_in_a_name_shows_the_numbering():
    touch("n02123045_17.JPEG", "x.JPEG")  # Names of training pictures have this form.
    for number, ids in ((281, "sorted"), (devkit(281), "ilsvrc")):
        assert read_ground_truth("set", IMAGENET, write([f"n02123045_17.JPEG {number}", "x.JPEG 5"])).ids == ids
    with pytest.raises(ValueError, match=r"line 1: expected n02123045_17\.JPEG to be 281 .*received 282"):
        read_ground_truth("set", IMAGENET, write(["n02123045_17.JPEG 282", "x.JPEG 5"]))


def test_a_class_with_the_same_number_in_both_numberings_shows_nothing():
    same = next(index for number, index in ilsvrc_ids().items() if number == index)
    touch(f"{IMAGENET[same].wnid}_1.JPEG")
    with pytest.raises(ValueError, match="State which"):
        read_ground_truth("set", IMAGENET, write([same]))


def test_an_ambiguous_numbering_must_be_given():
    truth = numbered([(FAR, 1), (FAR + 1, 999)])
    with pytest.raises(
        ValueError, match=r"\('sorted'\) or .* \('ilsvrc'\); received .* either\. State which \(ids; --truth-ids\)"
    ):
        read_ground_truth("set", IMAGENET, truth)
    assert by_file(IMAGENET, truth, "sorted") == {val(FAR): 1, val(FAR + 1): 999}
    assert by_file(IMAGENET, truth, "ilsvrc") == {val(FAR): ilsvrc_ids()[1], val(FAR + 1): ilsvrc_ids()[999]}


@pytest.mark.parametrize(
    "pairs",
    [
        [(FAR, 0), (FAR + 1, 1000)],
        [(1, DEVKIT[0]), (FAR, 0)],
        [(1, CAFFE[0]), (FAR, 1000)],
        [(1, CAFFE[0]), (2, DEVKIT[1])],
    ],
)
def test_contradictory_evidence_is_refused(pairs):
    truth = numbered(pairs)
    for ids in (None, "sorted", "ilsvrc"):
        with pytest.raises(
            ValueError, match=r"received both: line \d.*, but line \d|ids='(sorted|ilsvrc)' was asked for"
        ):
            read_ground_truth("set", IMAGENET, truth, ids)


def test_a_given_numbering_that_contradicts_the_evidence_is_refused():
    truth = numbered([(3, DEVKIT[2])])
    with pytest.raises(ValueError, match=r"both: ids='sorted' was asked for, but line 1, ILSVRC2012_val_00000003"):
        read_ground_truth("set", IMAGENET, truth, "sorted")


@pytest.mark.parametrize("number", [1001, 5000])
def test_a_number_of_neither_numbering_is_refused(number):
    with pytest.raises(ValueError, match=rf"line 2: expected numbers from 0 to 1000; received {number}"):
        read_ground_truth("set", IMAGENET, numbered([(FAR, 0), (FAR + 1, number)]))


def test_the_numbering_of_a_complete_file_is_detected_and_a_shifted_one_is_refused():
    """A line for each validation picture, reduced to 5 of each class; the first ten are the published ones."""
    sorted_ids = CAFFE + [index for index in range(1000) for _ in range(5 - CAFFE.count(index))]
    touch(val(1), val(2_000), val(5_000))
    number = {index: devkit for devkit, index in ilsvrc_ids().items()}
    devkit_ids = [number[index] for index in sorted_ids]
    for lines, ids in ((sorted_ids, "sorted"), (devkit_ids, "ilsvrc")):
        answer = read_ground_truth("set", IMAGENET, write(lines))
        assert indices(answer.pictures) == {val(1): 65, val(2_000): sorted_ids[1_999], val(5_000): 999}
        assert (answer.ids, answer.unused) == (ids, 4_997)
    for shifted in ([index + 1 for index in sorted_ids], [number - 1 for number in devkit_ids]):
        with pytest.raises(ValueError, match=r"line 1: expected ILSVRC2012_val_00000001 to be 65 .* or 490"):
            read_ground_truth("set", IMAGENET, write(shifted))
    with pytest.raises(ValueError, match="received both"):
        read_ground_truth("set", IMAGENET, write(sorted_ids[:2_500] + devkit_ids[2_500:]))


@pytest.mark.data
def test_the_class_folders_of_imagenette(data):
    pairs = label_by_folder(data / "imagenette" / "val", IMAGENET)
    assert len(pairs) == len(list_pictures(data / "imagenette" / "val"))
    assert {index for _, index in pairs} == {0, 217, 482, 491, 497, 566, 569, 571, 574, 701}
    with pytest.raises(ValueError, match=r"received 2 .*: train, val\. Give .*imagenette/train or .*imagenette/val\."):
        label_by_folder(data / "imagenette", IMAGENET)
