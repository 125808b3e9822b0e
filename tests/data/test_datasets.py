"""Every form of data is the same data; what is none is said; a part of each class validates."""

import dataclasses
import os

import numpy as np
import pytest
from PIL import Image

from tfalexnet.data.datasets import MOST_NUMBERS, Labelled, from_arrays, read, rename_classes

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


def test_every_form_of_data_is_the_same_data(folder, tmp_path):
    wanted = read(folder)
    for form, gap, names in (
        ("names", " ", ("ant", "bee", "cat")),
        ("tabs", "\t", ("ant", "bee", "cat")),
        ("tabs and spaces", " \t ", ("ant", "bee", "cat")),
        ("numbers", " ", "012"),
    ):
        (tmp_path / form).mkdir()
        for part, own in zip(("train", "val"), wanted, strict=True):
            lines = [
                f"../{file.relative_to(tmp_path)}{gap}{names[y]}"
                for file, y in zip(own.pictures, own.labels, strict=True)
            ]
            write(tmp_path / form / f"{part}.txt", "\r\n".join([*lines, ""]), "utf-8-sig")
        for found, own in zip(read(tmp_path / form), wanted, strict=True):
            assert [file.resolve() for file in found.pictures] == [file.resolve() for file in own.pictures]
            np.testing.assert_array_equal(found.labels, own.labels)
            assert found.classes == tuple(names)
    arrays = {}
    for part, own in zip(("train", "test"), wanted, strict=True):
        arrays[f"x_{part}"] = np.stack([np.asarray(Image.open(file)) for file in own.pictures])
        arrays[f"y_{part}"] = own.labels[:, None]
    for found, part in zip(read(save(tmp_path / "data.NPZ.npz", **arrays)), ("train", "test"), strict=True):
        np.testing.assert_array_equal(found.pictures, arrays[f"x_{part}"])
        np.testing.assert_array_equal(found.labels, arrays[f"y_{part}"][:, 0])


@pytest.mark.parametrize("numbers", [range(11), range(1, 18), (3, 20, 100)])
def test_numbered_folders_are_in_the_order_of_their_numbers(numbers, tmp_path):
    training, validation = read(make(tmp_path / "d", map(str, numbers)))
    assert training.classes == validation.classes == tuple(map(str, numbers))
    for file, label in zip(training.pictures, training.labels, strict=True):
        assert int(file.parent.name) == list(numbers)[label]
    words = [f"w{number}" for number in numbers]
    named, _ = read(tmp_path / "d", classes=words)
    assert all(named.classes[y] == f"w{f.parent.name}" for f, y in zip(named.pictures, named.labels, strict=True))


def test_one_name_that_is_no_number_makes_all_of_them_text(tmp_path):
    assert read(make(tmp_path, ("10", "2", "a")))[0].classes == ("10", "2", "a")


NAMES = {
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


@pytest.mark.parametrize("name", NAMES)
def test_classes_get_names_and_an_order(name):
    classes, names, expected = NAMES[name]
    data = Labelled(PIXELS, np.arange(3), classes)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            rename_classes(data, names)
    else:
        found = rename_classes(data, names)
        assert found.classes == names and found.labels.tolist() == list(expected)


def test_names_come_from_a_file(folder, tmp_path):
    write(tmp_path / "names.txt", "cat\r\nant \nbee\n\n", "utf-8-sig")
    for part, own in zip(read(folder, classes=tmp_path / "names.txt"), read(folder), strict=True):
        assert part.classes == ("cat", "ant", "bee")
        assert [part.classes[y] for y in part.labels] == [own.classes[y] for y in own.labels]
    for text, message in ((b"\xff\xfe", "names.txt: expected text in UTF-8"), ("a\n\nb", "line 2: expected the name")):
        write(tmp_path / "names.txt", text)
        with pytest.raises(ValueError, match=message):
            read(folder, classes=str(tmp_path / "names.txt"))


def test_a_part_of_each_class_validates_where_nobody_says(tmp_path):
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


def test_the_same_data_has_the_same_digest_however_it_is_typed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    make(folder / "list", ("a", "b"))
    write(folder / "list" / "train.txt", f"a/0.png a\n{folder}/list/b/0.png b\n../train/ant/1.png a\n")
    (folder / "link").symlink_to(folder / "train")
    (folder / "listlink").symlink_to(folder / "list")
    ways = {
        "train": ("train", "train/", "./train", "val/../train", folder / "train", "link", folder / "link"),
        "list": ("list", "./list/", folder / "list", "listlink", folder / "listlink"),
    }
    for typed in ways.values():
        assert len({tuple(part.digest() for part in read(way)) for way in typed}) == 1
    monkeypatch.chdir(folder / "train")
    assert read(".")[0].digest() == read("../train")[0].digest() == read(os.curdir)[0].digest()
    data, _ = read(".")
    for change in ({"labels": data.labels[::-1]}, {"pictures": data.pictures[1:] + data.pictures[:1]}):
        assert dataclasses.replace(data, **change).digest() != data.digest()


def test_a_data_set_of_keras(monkeypatch):
    import keras

    x, y = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10
    monkeypatch.setattr(keras.datasets.mnist, "load_data", lambda: ((x, y), (x, y)))
    assert read("mnist")[0].classes == tuple("0123456789")

    def offline():
        raise Exception("URL fetch failure on https://…")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", offline)
    with pytest.raises(OSError, match=r"mnist: expected Keras to have or download it; it says: URL fetch"):
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


WRONG = {
    "no such place": (lambda f: f / "none", "Expected a folder of pictures, an .npz or one of mnist.*no such file"),
    "another file": (lambda f: write(f / "a.txt", "a") / "a.txt", "a.txt'; a file of another kind"),
    "no class folders": (lambda f: f / "train" / "ant", "expected a folder of pictures for each class; received none"),
    "empty classes": (
        lambda f: [(f / "train" / name).mkdir() for name in ("dog", "fly")] and f,
        "received none in dog, fly. Remove what is no class, or put pictures there",
    ),
    "one class": (one_class, "at least two classes; received ant alone"),
    "one class, array": (arrays(y=[1, 1, 1]), "x.npz: expected pictures of at least two classes; received 1 alone"),
    "one class, list": (listed("a.png 5\nb.png 5"), "at least two classes; received 5 alone"),
    "a picture of each class": (arrays(), "expected pictures for validation, or two of a class"),
    "a class of validation alone": (
        lambda f: (f / "val" / "ant").rename(f / "val" / "dog") and f,
        "classes of validation among those of training; received dog, of which training has no pictures",
    ),
    "a number of validation alone": (
        arrays(y=[0, 2, 2], x_test=PIXELS, y_test=[0, 1, 2]),
        "x.npz: .*those of training; received 1, of which training has no pictures",
    ),
    "a number of validation's list alone": (
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
    "more classes in validation": (arrays(x_test=PIXELS, y_test=[0, 1, 3]), "numbered from 0 to 2. Received: 3"),
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


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_is_said_in_a_line(name, folder):
    spoil, message = WRONG[name]
    with pytest.raises(ValueError, match=message) as caught:
        read(spoil(folder))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


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


def test_numbers_beyond_int64_do_not_wrap():
    with pytest.raises(ValueError, match="numbered from 0 to 2. Received: 9223372036854775809"):
        from_arrays(PIXELS, np.array([0, 1, 2**63 + 1], np.uint64), classes=("a", "b", "c"))
