"""Which class each picture shows; the two numberings of ImageNet are never confused."""

import os

import pytest

from tfalexnet.evaluation.ground_truth import label_by_folder, read_ground_truth
from tfalexnet.images.classes import classes_from_labels, ilsvrc_ids, imagenet_classes
from tfalexnet.images.folders import list_pictures

PETS = classes_from_labels(["cat", "dog", "guinea pig", "Egyptian cat", "egyptian Cat"])

# ILSVRC2012_validation_ground_truth.txt of the devkit and Caffe's val.txt, pictures 1 to 10.
DEVKIT = [490, 361, 171, 822, 297, 482, 13, 704, 599, 164]
CAFFE = [65, 970, 230, 809, 516, 57, 334, 415, 674, 332]
FAR = 20_000  # Numbers of validation pictures behind those whose classes are known.


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*names):
    for name in names:
        os.makedirs(os.path.dirname(f"set/{name}"), exist_ok=True)
        open(f"set/{name}", "w").close()


def write(lines, file="truth.txt"):
    with open(file, "w", encoding="utf-8") as opened:
        opened.writelines(f"{line}\n" for line in lines)
    return file


def val(number):
    return f"ILSVRC2012_val_{number:08d}.JPEG"


def found(pairs):
    return {path.relative_to("set").as_posix(): index for path, index in pairs}


def names(paths):
    return [path.relative_to("set").as_posix() for path in paths]


def devkit(index):
    return next(number for number, other in ilsvrc_ids().items() if other == index)


def test_folders_by_wordnet_id():
    touch(
        "n01440764/a.JPEG", "n02123045/b.JPEG", "n02123045/more/c.JPEG", "N03126707/d.JPEG", ".cache/e.JPEG", "f/g.txt"
    )
    assert found(label_by_folder("set", imagenet_classes())) == {
        "n01440764/a.JPEG": 0,
        "n02123045/b.JPEG": 281,
        "n02123045/more/c.JPEG": 281,
        "N03126707/d.JPEG": 517,
    }


def test_folders_by_name():
    touch("Cat/1.png", "dog/2.png", "guinea_pig/3.png", "egyptian Cat/4.png")
    assert found(label_by_folder("set", PETS)) == {
        "Cat/1.png": 0,
        "dog/2.png": 1,
        "guinea_pig/3.png": 2,
        "egyptian Cat/4.png": 4,  # As it is written, before case is let go.
    }
    touch("EGYPTIAN_CAT/5.png")
    with pytest.raises(ValueError, match=r"EGYPTIAN_CAT: expected one class; .* is the name of 3 .*, 4 "):
        label_by_folder("set", PETS)


def test_a_name_of_two_classes_is_refused():
    touch("crane/1.png", "tench,_tinca_tinca/2.png")
    with pytest.raises(ValueError, match=r"'crane' is the name of 134 \(n02012849\), 517 \(n03126707\)\. Use WordNet"):
        label_by_folder("set", imagenet_classes())
    os.rename("set/crane", "set/n03126707")
    assert found(label_by_folder("set", imagenet_classes())) == {"n03126707/1.png": 517, "tench,_tinca_tinca/2.png": 0}


def test_unknown_folders_are_named_with_what_was_expected():
    touch("cat/1.png", "lion/2.png", "tiger/3.png", "empty/4.txt")
    with pytest.raises(ValueError, match=r"set: .*\(cat, dog, guinea pig, …\); received 2 .* no class: lion, tiger\.$"):
        label_by_folder("set", PETS)


def test_a_layer_above_is_told_from_a_wrong_folder():
    touch("train/cat/1.png", "val/dog/2.png", "docs/x/3.png")
    with pytest.raises(ValueError, match=r"received 3 .*: docs, train, val\. Give set/train or set/val\."):
        label_by_folder("set", PETS)


def test_pictures_outside_of_class_folders():
    touch("cat/1.png", "2.png")
    with pytest.raises(ValueError, match=r"received 1 pictures outside of them, as 2\.png\. .*--truth"):
        label_by_folder("set", PETS)
    os.remove("set/cat/1.png")
    with pytest.raises(ValueError, match=r"received 1 pictures outside of them, as 2\.png\. .*--truth"):
        label_by_folder("set", PETS)
    with pytest.raises(ValueError, match="ids without one"):
        label_by_folder("set", PETS, ids="sorted")


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
def test_forms_of_a_line_with_a_name(form):
    touch("a 1.png", "b.2.png", "c.png")
    truth = write(form.format(name=name, label=label) for name, label in [("c", 0), ("b.2", 2), ("a 1", 1), ("d", 3)])
    assert label_by_folder("set", PETS, truth) == read_ground_truth("set", PETS, truth).pictures
    answer = read_ground_truth("set", PETS, truth)
    assert found(answer.pictures) == {"a 1.png": 1, "b.2.png": 2, "c.png": 0}
    assert answer.unused == 1 and answer.ids is None


@pytest.mark.parametrize("form", ["{name}.png\t{label}", "{name}.png,{label}", "{name}.png {label}", "{name}, {label}"])
def test_labels_may_hold_spaces(form):
    touch("c.png", "b.2.png", "a 1.png")
    lines = {"c": "dog", "b.2": "guinea pig", "a 1": "Egyptian_cat", "not here": "guinea pig", "nor, this": "dog"}
    classes = classes_from_labels(["dog", "pig", "guinea pig", "cat", "egyptian cat"])
    truth = write(form.format(name=name, label=label) for name, label in lines.items())
    answer = read_ground_truth("set", classes, truth)
    assert found(answer.pictures) == {"c.png": 0, "b.2.png": 2, "a 1.png": 4} and answer.unused == 2


def test_labels_with_spaces_alone():
    touch("c.png", "a.png", "b.png")
    assert found(label_by_folder("set", PETS, write(["guinea pig", "dog", "Egyptian cat"]))) == {
        "a.png": 2,
        "b.png": 1,
        "c.png": 3,
    }


@pytest.mark.parametrize("between", [" ", ",", "\t"])
def test_a_label_with_spaces_that_is_no_class_is_named_whole(between):
    touch("a.png", "b.png")  # Else b.png would be a dog.
    with pytest.raises(ValueError, match=r"line 2: expected names of classes .*received 'hot dog'\."):
        label_by_folder("set", PETS, write(["a.png cat", f"b.png{between}hot dog"]))


def test_where_a_name_ends_is_not_guessed():
    touch("x.png", "x sea.png")
    animals = classes_from_labels(["lion", "sea lion"])
    with pytest.raises(ValueError, match=r"line 2: .* received 'sea lion' of 'x' or 'lion' of 'x sea'\. Put a tab"):
        label_by_folder("set", animals, write(["x sea.png lion", "x sea lion"]))
    assert found(label_by_folder("set", animals, write(["x sea\tlion", "x\tsea lion"]))) == {"x sea.png": 0, "x.png": 1}


def test_labels_may_be_names_or_wordnet_ids():
    touch("a.png", "b.png")
    assert found(label_by_folder("set", PETS, write(["a.png dog", "b.png Guinea_Pig"]))) == {"a.png": 1, "b.png": 2}
    assert found(label_by_folder("set", imagenet_classes(), write(["n02123045", "n01440764"]))) == {
        "a.png": 281,
        "b.png": 0,
    }
    with pytest.raises(ValueError, match=r"truth\.txt, line 2: expected one class; 'crane' is the name of 134"):
        label_by_folder("set", imagenet_classes(), write(["a n02123045", "b crane"]))


def test_numbers_that_are_names_are_names():
    touch("a.png", "b.png")
    digits = classes_from_labels([str(number) for number in range(1, 11)])
    assert found(label_by_folder("set", digits, write(["1", "10"]))) == {"a.png": 0, "b.png": 9}
    assert found(label_by_folder("set", digits, write(["1", "0"]))) == {"a.png": 1, "b.png": 0}


def test_kaggles_file():
    touch(val(48981), val(37956))
    lines = [
        "ImageId,PredictionString",
        "ILSVRC2012_val_00048981,n03995372 85 1 499 272 ",
        "ILSVRC2012_val_00037956,n03481172 131 0 499 254 n03481172 7 8 9 10",
        "ILSVRC2012_val_00026161,n02108000 38 0 464 280",
    ]
    answer = read_ground_truth("set", imagenet_classes(), write(lines))
    wnids = {name: imagenet_classes()[index].wnid for name, index in found(answer.pictures).items()}
    assert wnids == {val(48981): "n03995372", val(37956): "n03481172"}
    assert answer.unused == 1 and answer.ids is None
    with pytest.raises(ValueError, match="line 2: expected .* label; received 'nonsense'"):
        label_by_folder("set", imagenet_classes(), write([lines[0], "nonsense"]))


def test_labels_alone_belong_to_the_sorted_names():
    touch("c.png", "a.png", "b.png")
    truth = write([2, 0, 1])
    assert found(label_by_folder("set", PETS, truth)) == {"a.png": 2, "b.png": 0, "c.png": 1}
    with pytest.raises(ValueError, match=r"expected as many labels as pictures, 3; received 2"):
        label_by_folder("set", PETS, write([2, 0]))
    with pytest.raises(ValueError, match=r"on every line or on none; received a label without a name on line 2"):
        label_by_folder("set", PETS, write(["a.png 2", "0"]))


def test_labels_alone_belong_to_the_numbers_of_a_part_of_the_validation_set():
    touch(val(7), val(3))
    for lines, ids in ((DEVKIT, "ilsvrc"), (CAFFE, "sorted")):
        answer = read_ground_truth("set", imagenet_classes(), write(lines))
        assert found(answer.pictures) == {val(3): 230, val(7): 334}
        assert (answer.ids, answer.unused) == (ids, 8)
    touch(val(11))
    with pytest.raises(ValueError, match=rf"a label for each picture of set; 1 of 3 have none, as {val(11)}"):
        label_by_folder("set", imagenet_classes(), write(DEVKIT))


def test_a_byte_order_mark_is_no_part_of_a_name():
    touch("a.png")
    assert found(label_by_folder("set", PETS, write(["\ufeffa.png 1"]))) == {"a.png": 1}


def test_a_picture_without_a_label():
    touch("a.png", "b.png", "c.png")
    with pytest.raises(ValueError, match=r"a label for each picture of set; 2 of 3 have none, as b\.png"):
        label_by_folder("set", PETS, write(["a.png 1", "x.png 1"]))


def test_one_label_for_one_picture():
    touch("s/a.png", "t/a.png")
    assert found(label_by_folder("set", PETS, write(["s/a.png 1", "t/a.png 2"]))) == {"s/a.png": 1, "t/a.png": 2}
    with pytest.raises(ValueError, match=r"expected one picture for line 1; received s/a\.png and t/a\.png"):
        label_by_folder("set", PETS, write(["a.png 1"]))
    os.remove("set/s/a.png")
    with pytest.raises(ValueError, match=r"expected one label for t/a\.png; received two, on lines 1 and 3"):
        label_by_folder("set", PETS, write(["x/a.png 1", "b.png 0", "y/a.png 2"]))
    assert found(label_by_folder("set", PETS, write(["x/a.png 1", "y/a.png 1"]))) == {"t/a.png": 1}
    touch("t/a.jpg")
    assert found(label_by_folder("set", PETS, write(["a.jpg 3", "a.png 4"]))) == {"t/a.jpg": 3, "t/a.png": 4}


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
def test_labels_that_are_no_class(lines, message):
    touch("a.png")
    with pytest.raises(ValueError, match=rf"truth\.txt.*{message}"):
        label_by_folder("set", PETS, write(lines))


def test_a_file_that_is_no_text():
    touch("a.png")
    with open("truth.mat", "wb") as file:
        file.write(b"MATLAB 5.0\xff\xfe")
    with pytest.raises(ValueError, match=r"truth\.mat: expected text, .*binary"):
        label_by_folder("set", PETS, "truth.mat")
    with pytest.raises(FileNotFoundError):
        label_by_folder("set", PETS, "gone.txt")


def test_ids_are_of_imagenet_alone():
    touch("a.png")
    with pytest.raises(ValueError, match="only for the numbers of ImageNet's classes"):
        label_by_folder("set", PETS, write(["a.png 1"]), ids="sorted")
    with pytest.raises(ValueError, match="Expected ids 'sorted' or 'ilsvrc'. Received: 'caffe'"):
        label_by_folder("set", PETS, write(["a.png 1"]), ids="caffe")


# The two numberings.


def numbered(pairs):
    """Pictures that give nothing away, and their labels."""
    touch(*(val(number) for number, _ in pairs))
    return write(f"{val(number)} {label}" for number, label in pairs)


def test_the_facts_about_the_first_ten_agree():
    assert [ilsvrc_ids()[number] for number in DEVKIT] == CAFFE


@pytest.mark.parametrize(("extreme", "ids"), [(0, "sorted"), (1000, "ilsvrc")])
def test_a_0_or_a_1000_tells(extreme, ids):
    truth = numbered([(FAR, 500), (FAR + 1, extreme)])
    answer = read_ground_truth("set", imagenet_classes(), truth)
    assert answer.ids == ids
    assert answer.pictures[0][1] == (500 if ids == "sorted" else ilsvrc_ids()[500])
    assert read_ground_truth("set", imagenet_classes(), truth, ids) == answer
    other = {"sorted": "ilsvrc", "ilsvrc": "sorted"}[ids]
    with pytest.raises(
        ValueError, match=rf"received both: .*ids='{other}' was asked for|line 2 is {extreme}, but ids="
    ):
        read_ground_truth("set", imagenet_classes(), truth, other)


@pytest.mark.parametrize("place", range(10))
def test_each_of_the_first_ten_tells(place):
    touch(val(FAR))
    for numbers, ids in ((DEVKIT, "ilsvrc"), (CAFFE, "sorted")):
        # It need not be among the pictures, to be of the file.
        truth = write([f"{val(FAR)} 500", f"{val(place + 1)} {numbers[place]}"])
        answer = read_ground_truth("set", imagenet_classes(), truth)
        assert (answer.ids, answer.unused) == (ids, 1)
        assert answer.pictures[0][1] == (500 if ids == "sorted" else ilsvrc_ids()[500])
    for wrong in {DEVKIT[place] - 1, DEVKIT[place] + 1, CAFFE[place] - 1, CAFFE[place] + 1} - {DEVKIT[place]}:
        with pytest.raises(ValueError, match=rf"line 2: .*{CAFFE[place]} .* or {DEVKIT[place]} .*received {wrong}\."):
            read_ground_truth("set", imagenet_classes(), write([f"{val(FAR)} 500", f"{val(place + 1)} {wrong}"]))


def test_a_wordnet_id_in_a_name_tells():
    touch("n02123045_17.JPEG", "x.JPEG")  # As the training pictures are called.
    for number, ids in ((281, "sorted"), (devkit(281), "ilsvrc")):
        assert (
            read_ground_truth("set", imagenet_classes(), write([f"n02123045_17.JPEG {number}", "x.JPEG 5"])).ids == ids
        )
    with pytest.raises(ValueError, match=r"line 1: expected n02123045_17\.JPEG to be 281 .*received 282"):
        read_ground_truth("set", imagenet_classes(), write(["n02123045_17.JPEG 282", "x.JPEG 5"]))


def test_a_class_of_the_same_number_in_both_tells_nothing():
    same = next(index for number, index in ilsvrc_ids().items() if number == index)
    touch(f"{imagenet_classes()[same].wnid}_1.JPEG")
    with pytest.raises(ValueError, match="Say which"):
        read_ground_truth("set", imagenet_classes(), write([same]))


def test_what_does_not_tell_must_be_said():
    truth = numbered([(FAR, 1), (FAR + 1, 999)])
    with pytest.raises(
        ValueError, match=r"may be sorted .* \('sorted'\) or .* \('ilsvrc'\)\. Say which \(ids; --truth-ids\)"
    ):
        read_ground_truth("set", imagenet_classes(), truth)
    assert [index for _, index in label_by_folder("set", imagenet_classes(), truth, "sorted")] == [1, 999]
    assert [index for _, index in label_by_folder("set", imagenet_classes(), truth, "ilsvrc")] == [
        ilsvrc_ids()[1],
        ilsvrc_ids()[999],
    ]


@pytest.mark.parametrize(
    "pairs",
    [
        [(FAR, 0), (FAR + 1, 1000)],
        [(1, DEVKIT[0]), (FAR, 0)],
        [(1, CAFFE[0]), (FAR, 1000)],
        [(1, CAFFE[0]), (2, DEVKIT[1])],
    ],
)
def test_signs_of_both_contradict(pairs):
    truth = numbered(pairs)
    for ids in (None, "sorted", "ilsvrc"):
        with pytest.raises(
            ValueError, match=r"received both: line \d.*, but line \d|ids='(sorted|ilsvrc)' was asked for"
        ):
            read_ground_truth("set", imagenet_classes(), truth, ids)


def test_what_is_said_is_not_obeyed_against_the_evidence():
    truth = numbered([(3, DEVKIT[2])])
    with pytest.raises(ValueError, match=r"both: ids='sorted' was asked for, but line 1, ILSVRC2012_val_00000003"):
        read_ground_truth("set", imagenet_classes(), truth, "sorted")


@pytest.mark.parametrize("number", [1001, 5000])
def test_a_number_that_nobody_uses(number):
    with pytest.raises(ValueError, match=rf"line 2: expected numbers from 0 to 1000; received {number}"):
        read_ground_truth("set", imagenet_classes(), numbered([(FAR, 0), (FAR + 1, number)]))


def test_the_whole_file_tells_itself_and_one_that_is_shifted_is_refused():
    """50,000 lines, 50 of each class, the first ten as they are."""
    indices = CAFFE + [index for index in range(1000) for _ in range(50 - CAFFE.count(index))]
    touch(val(1), val(FAR), val(50_000))
    number = {index: devkit for devkit, index in ilsvrc_ids().items()}
    for lines, ids in ((indices, "sorted"), ([number[index] for index in indices], "ilsvrc")):
        answer = read_ground_truth("set", imagenet_classes(), write(lines))
        assert found(answer.pictures) == {val(1): 65, val(FAR): indices[FAR - 1], val(50_000): 999}
        assert (answer.ids, answer.unused) == (ids, 49_997)
    for shifted in ([index + 1 for index in indices], [number[index] - 1 for index in indices]):
        with pytest.raises(ValueError, match=r"line 1: expected ILSVRC2012_val_00000001 to be 65 .* or 490"):
            read_ground_truth("set", imagenet_classes(), write(shifted))
    half = indices[:25_000] + [number[index] for index in indices[25_000:]]
    with pytest.raises(ValueError, match="received both"):
        read_ground_truth("set", imagenet_classes(), write(half))


@pytest.mark.data
def test_imagenette(data):
    pairs = label_by_folder(data / "imagenette" / "val", imagenet_classes())
    assert len(pairs) == len(list_pictures(data / "imagenette" / "val"))
    assert {index for _, index in pairs} == {0, 217, 482, 491, 497, 566, 569, 571, 574, 701}
    with pytest.raises(ValueError, match=r"received 2 .*: train, val\. Give .*imagenette/train or .*imagenette/val\."):
        label_by_folder(data / "imagenette", imagenet_classes())
