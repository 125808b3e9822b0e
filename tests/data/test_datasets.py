"""Every form of labelled pictures is read to the same data, and what cannot be read is refused with one line."""

import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from tfalexnet.data.datasets import read
from tfalexnet.data.labelled import MOST_NUMBERS, from_arrays

PIXELS = np.zeros((3, 4, 4), np.uint8)


def make(folder, classes, count=3, level=0):
    """Class folders of pictures."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((6, 5, 3), level + i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture
def folder(tmp_path):
    """Folders train and val, of three classes."""
    make(tmp_path / "train", ("ant", "bee", "cat"), 6)
    make(tmp_path / "val", ("ant", "bee", "cat"), 2, level=100)
    return tmp_path


def write(path, text, encoding="utf-8"):
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path.parent


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_folders_lists_and_arrays_give_the_same_data(folder, tmp_path):
    parts = read(folder)
    for form, gap, names in (
        ("names", " ", ("ant", "bee", "cat")),
        ("tabs", "\t", ("ant", "bee", "cat")),
        ("tabs and spaces", " \t ", ("ant", "bee", "cat")),
        ("numbers", " ", "012"),
    ):
        (tmp_path / form).mkdir()
        for part, expected in zip(("train", "val"), parts, strict=True):
            lines = [
                f"../{file.relative_to(tmp_path)}{gap}{names[y]}"
                for file, y in zip(expected.pictures, expected.labels, strict=True)
            ]
            write(tmp_path / form / f"{part}.txt", "\r\n".join([*lines, ""]), "utf-8-sig")
        for actual, expected in zip(read(tmp_path / form), parts, strict=True):
            assert [file.resolve() for file in actual.pictures] == [file.resolve() for file in expected.pictures]
            np.testing.assert_array_equal(actual.labels, expected.labels)
            assert actual.classes == tuple(names)
    arrays = {}
    for part, expected in zip(("train", "test"), parts, strict=True):
        arrays[f"x_{part}"] = np.stack([np.asarray(Image.open(file)) for file in expected.pictures])
        arrays[f"y_{part}"] = expected.labels[:, None]
    for actual, part in zip(read(save(tmp_path / "data.NPZ.npz", **arrays)), ("train", "test"), strict=True):
        np.testing.assert_array_equal(actual.pictures, arrays[f"x_{part}"])
        np.testing.assert_array_equal(actual.labels, arrays[f"y_{part}"][:, 0])


@pytest.mark.parametrize("numbers", [range(11), range(1, 18), (3, 20, 100)])
def test_folders_named_by_numbers_are_sorted_by_number(numbers, tmp_path):
    training, validation = read(make(tmp_path / "d", map(str, numbers)))
    assert training.classes == validation.classes == tuple(map(str, numbers))
    for file, label in zip(training.pictures, training.labels, strict=True):
        assert int(file.parent.name) == list(numbers)[label]
    names = [f"w{number}" for number in numbers]
    named, _ = read(tmp_path / "d", classes=names)
    assert all(named.classes[y] == f"w{f.parent.name}" for f, y in zip(named.pictures, named.labels, strict=True))


def test_folders_are_sorted_by_name_unless_all_names_are_numbers(tmp_path):
    assert read(make(tmp_path, ("10", "2", "a")))[0].classes == ("10", "2", "a")


def test_names_of_classes_are_read_from_a_file(folder, tmp_path):
    write(tmp_path / "names.txt", "cat\r\nant \nbee\n\n", "utf-8-sig")
    for part, unnamed in zip(read(folder, classes=tmp_path / "names.txt"), read(folder), strict=True):
        assert part.classes == ("cat", "ant", "bee")
        assert [part.classes[y] for y in part.labels] == [unnamed.classes[y] for y in unnamed.labels]
    for text, message in ((b"\xff\xfe", "names.txt: expected text in UTF-8"), ("a\n\nb", "line 2: expected the name")):
        write(tmp_path / "names.txt", text)
        with pytest.raises(ValueError, match=message):
            read(folder, classes=str(tmp_path / "names.txt"))


def test_a_part_of_each_class_is_used_for_validation_if_there_is_none(tmp_path):
    sizes = {0: 1, 1: 2, 2: 9, 3: 40}
    labels = np.repeat(list(sizes), list(sizes.values()))
    pixels = np.arange(52, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    path = save(tmp_path / "d.npz", x_train=pixels, y_train=labels)
    training, validation = read(path)
    assert np.bincount(validation.labels).tolist() == [0, 1, 1, 4] and len(training) == 46
    assert sorted([*training.pictures[:, 0, 0], *validation.pictures[:, 0, 0]]) == list(range(52))
    for part in (training, validation):
        np.testing.assert_array_equal(labels[part.pictures[:, 0, 0]], part.labels)
    np.testing.assert_array_equal(read(path)[1].pictures, validation.pictures)


def test_the_digest_does_not_depend_on_how_the_folder_is_given(folder, monkeypatch):
    monkeypatch.chdir(folder)
    make(folder / "list", ("a", "b"))
    write(folder / "list" / "train.txt", f"a/0.png a\n{folder}/list/b/0.png b\n../train/ant/1.png a\n")
    (folder / "link").symlink_to(folder / "train")
    (folder / "listlink").symlink_to(folder / "list")
    forms = {
        "train": ("train", "train/", "./train", "val/../train", folder / "train", "link", folder / "link"),
        "list": ("list", "./list/", folder / "list", "listlink", folder / "listlink"),
    }
    for same in forms.values():
        assert len({tuple(part.digest() for part in read(form)) for form in same}) == 1
    monkeypatch.chdir(folder / "train")
    assert read(".")[0].digest() == read("../train")[0].digest() == read(os.curdir)[0].digest()
    data, _ = read(".")
    for change in ({"labels": data.labels[::-1]}, {"pictures": data.pictures[1:] + data.pictures[:1]}):
        assert dataclasses.replace(data, **change).digest() != data.digest()


def test_a_data_set_of_keras_is_read(monkeypatch):
    import keras

    x, y = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: ((x, y), (x, y)))
    assert read("mnist")[0].classes == tuple("0123456789")

    def offline():
        raise Exception("URL fetch failure on https://…")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", offline)
    with pytest.raises(OSError, match=r"mnist: expected Keras to have or download it; received: URL fetch"):
        read("mnist")


def one_class(folder):
    for part in ("train", "val"):
        for name in ("bee", "cat"):
            (folder / part / name).rename(folder / f"{part}{name}")
    return folder


def damaged(path):
    save(path, x_train=PIXELS, y_train=np.arange(3))
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    return path


def arrays(x=PIXELS, y=(0, 1, 2), **others):
    return lambda f: save(f / "x.npz", x_train=x, y_train=np.asarray(y), **others)


def listed(text):
    return lambda f: write(f / "train.txt", text)


REFUSED = {
    "no such file": (lambda f: f / "none", "Expected a folder of pictures, an .npz or one of mnist.*no such file"),
    "another file": (lambda f: write(f / "a.txt", "a") / "a.txt", "a.txt'; a file of another kind"),
    "no class folders": (lambda f: f / "train" / "ant", "expected a folder of pictures for each class; received none"),
    "validation without classes": (
        lambda f: [(f / "val" / name).rename(f / name) for name in ("ant", "bee", "cat")] and f,
        "val: expected a folder of pictures for each class; received none. Give .*/train to use a tenth",
    ),
    "empty classes": (
        lambda f: [(f / "train" / name).mkdir() for name in ("dog", "fly")] and f,
        "received none in dog, fly. Remove folders that are no class, or add pictures",
    ),
    "one class": (one_class, "at least two classes; received only ant"),
    "one class, array": (arrays(y=[1, 1, 1]), "x.npz: expected pictures of at least two classes; received only 1"),
    "one class, list": (listed("a.png 5\nb.png 5"), "at least two classes; received only 5"),
    "a picture of each class": (arrays(), "expected pictures for validation, or two of a class"),
    "a class only in validation": (
        lambda f: (f / "val" / "ant").rename(f / "val" / "dog") and f,
        "classes of validation among those of training; received dog, of which training has no pictures",
    ),
    "a number only in validation": (
        arrays(y=[0, 2, 2], x_test=PIXELS, y_test=[0, 1, 2]),
        "x.npz: .*those of training; received 1, of which training has no pictures",
    ),
    "a number only in the list of validation": (
        lambda f: write(f / "train.txt", "a.png 0\nb.png 2") and write(f / "val.txt", "c.png 1\nd.png 3"),
        "those of training; received 1, 3, of which training has no pictures",
    ),
    "numbers after names": (
        lambda f: write(f / "train.txt", "a.png 3\nb.png ant") and write(f / "val.txt", "c.png 3\nd.png 1"),
        "those of training; received 1, of which",
    ),
    "floats": (arrays(np.zeros((3, 4, 4))), r"x.npz: Expected pictures of uint8.*float64 \(3, 4, 4\)"),
    "two channels": (arrays(np.zeros((3, 4, 4, 2), "u1")), r"1, 3, 4 or no channels.*uint8 \(3, 4, 4, 2\)"),
    "no pixels": (arrays(np.zeros((3, 0, 4), "u1")), "Expected pictures, and classes counted from 0"),
    "negative": (arrays(y=[-1, 0, 1]), "classes counted from 0. Received: none, or negative ones"),
    # A million, so that a reader without the limit fails here and does not fill the memory.
    "a stray number": (arrays(y=[0, 1, 10**6]), "x.npz: Expected classes numbered from 0 to 999. Received: 1000000"),
    "a stray number of a list": (listed("a.png 0\nb.png 1000000"), "train.txt: .*from 0 to 999. Received: 1000000"),
    "more classes in validation": (arrays(x_test=PIXELS, y_test=[0, 1, 3]), "those of training; received 3, of which"),
    "the folder above": (
        lambda f: (f / "train").rename(f / "x" / "photos") and f / "x" if (f / "x").mkdir() is None else None,
        "received only photos. Give .*/x/photos, if its folders are the classes",
    ),
    "parts of other names": (
        lambda f: (f / "train").rename(f / "training_set") and (f / "val").rename(f / "test_set") and f,
        "received parts of a data set: test_set, training_set. Name the parts train and val, or give .*/training_set",
    ),
    "half of validation": (arrays(x_test=PIXELS), "x_test and y_test or neither; received x_train, y_train, x_test"),
    "other arrays": (lambda f: save(f / "x.npz", a=np.zeros(3)), "expected arrays x_train and y_train.*received a"),
    "objects": (arrays(y=np.array([0, 1, "2"], object)), "x.npz: expected an .npz of plain arrays; .*Object arrays"),
    "damaged": (lambda f: damaged(f / "x.npz"), "x.npz: expected an .npz of plain arrays; received a damaged one"),
    "cut": (lambda f: write(f / "x.npz", b"PK\x03\x04") / "x.npz", "x.npz: .*received a damaged one"),
    "empty": (lambda f: write(f / "x.npz", b"") / "x.npz", "x.npz: .*received a damaged one"),
    "a list without classes": (listed("a.png"), "line 1: expected a path and a class"),
    "a list of nothing": (listed("\n \n"), "train.txt: expected lines of path and class; received none"),
    "a list of other bytes": (listed(b"\xff\xfe\x00"), "train.txt: expected text in UTF-8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_cannot_be_read_is_refused_in_one_line(name, folder):
    prepare, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as raised:
        read(prepare(folder))
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 400


def test_a_list_may_have_more_classes_than_pictures(tmp_path):
    write(tmp_path / "train.txt", "a.png 0\nb.png 998\nc.png 998\n")
    write(tmp_path / "val.txt", "a.png 998\n")
    training, validation = read(tmp_path)
    assert len(training.classes) == len(validation.classes) == 999 and validation.labels.tolist() == [998]
    write(tmp_path / "train.txt", "\n".join(f"{i}.png {i}" for i in range(2000)))
    write(tmp_path / "val.txt", "a.png 1999\n")
    assert len(read(tmp_path)[1].classes) == 2000
    wide = from_arrays(PIXELS, np.array([0, 1, 5000]), classes=[str(i) for i in range(6000)])
    assert len(wide.classes) == 6000 and MOST_NUMBERS == 1000


PARTS = {
    "case of folders": ("Train", "VAL", ()),
    "test": ("train", "Test", ()),
    "first of two": ("train", "validation", ("test",)),
    "none of a known name": ("train", None, ("dev",)),
}


@pytest.mark.parametrize("form", ["folders", "lists", "arrays"])
@pytest.mark.parametrize("name", PARTS)
def test_parts_are_found_in_any_case_and_others_reported(name, form, tmp_path, recwarn):
    training, validation, others = PARTS[name]
    source = make(tmp_path / "pictures", "ab", 4) if form == "lists" else tmp_path
    arrays = {}
    for count, part in zip((4, 3, 2), filter(None, (training, validation, *others)), strict=False):
        if form == "folders":
            make(tmp_path / part, "ab", count)
        elif form == "lists":
            lines = [f"{name}/{i}.png {name}" for name in "ab" for i in range(count)]
            write(source / f"{part}.txt", "\n".join(lines))
        else:
            arrays |= {f"X_{part}": np.zeros((2 * count, 4, 4), "u1"), f"y_{part}": np.repeat([0, 1], count)}
    if arrays:
        source = save(tmp_path / "d.npz", **arrays)
    parts = read(source)
    assert tuple(map(len, parts)) == ((8, 6) if validation else (6, 2))
    notes = [str(warning.message) for warning in recwarn]
    assert len(notes) == len(others)
    if others:
        used = validation or "a tenth of the training pictures"
        assert notes == [f"{source}: validation uses {used}; not used: {others[0]}"]


def test_pictures_of_all_classes_that_are_not_read_are_counted_once(tmp_path):
    for name in "ab":
        write(make(tmp_path, name) / name / "x.jxl", "")
    (tmp_path / "a" / "more").symlink_to(tmp_path / "b")
    with pytest.warns(UserWarning, match=r"left out .jxl \(2\), links to folders \(1\), which are not read") as notes:
        assert len(read(tmp_path)[0]) == 4
    assert len(notes) == 1


def test_folders_of_metadata_are_no_class(tmp_path):
    (make(tmp_path, "ab") / "__MACOSX").mkdir()
    assert read(tmp_path)[0].classes == ("a", "b")


def test_numbers_from_1_have_no_class_0(tmp_path):
    path = save(tmp_path / "d.npz", x_train=np.zeros((6, 4, 4), "u1"), y_train=[1, 1, 2, 2, 3, 3])
    training, validation = read(path)
    assert training.classes == validation.classes == ("1", "2", "3")
    assert training.labels.tolist() == validation.labels.tolist() == [0, 1, 2]
