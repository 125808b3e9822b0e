"""Which files below a folder are pictures, and what a missing folder is told from."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image, features

from tfalexnet.evaluation.ground_truth import label_by_folder
from tfalexnet.images.classes import classes_from_labels, ilsvrc_ids
from tfalexnet.images.folders import check_folder_present, list_pictures

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


def test_pictures_by_their_suffix_sorted_without_what_is_hidden():
    touch("b/2.JPEG", "b/1.jpg", "a.png", "c.webp", "d.mpo", "z/deep/x.TIFF")
    touch("notes.txt", "net.weights.h5", "film.mpg", "b/.hidden.jpg", ".git/x.png", "noending", "jpg")
    assert names(list_pictures("set")) == ["a.png", "b/1.jpg", "b/2.JPEG", "c.webp", "d.mpo", "z/deep/x.TIFF"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "ppm", "tga", "webp", "jp2", "ico"])
def test_what_pillow_writes_and_reads_is_found(suffix):
    if suffix == "jp2" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    touch("other.txt")
    Image.new("RGB", (16, 16)).save(f"set/x.{suffix}")
    assert names(list_pictures("set")) == [f"x.{suffix}"]


def test_links_to_files_and_class_folders_are_pictures_and_dead_ones_are_not_forgotten():
    touch("cat/1.png")
    os.makedirs("elsewhere")
    open("elsewhere/2.png", "w").close()
    os.symlink(os.path.abspath("elsewhere/2.png"), "set/cat/2.png")
    os.symlink("nowhere", "set/cat/3.png")
    os.symlink(os.path.abspath("set"), "set/cat/loop")
    os.symlink(os.path.abspath("elsewhere"), "set/dog")
    assert names(list_pictures("set")) == ["cat/1.png", "cat/2.png", "cat/3.png"]
    assert found(label_by_folder("set", PETS)) == {"cat/1.png": 0, "cat/2.png": 0, "cat/3.png": 0, "dog/2.png": 1}


def test_a_folder_that_is_none_or_empty():
    touch("x.png", "empty/x.txt")
    with pytest.raises(NotADirectoryError, match=r"set/x\.png: expected a folder of pictures; received a file"):
        list_pictures("set/x.png")
    with pytest.raises(NotADirectoryError, match=r"gone: .*received nothing of this name"):
        list_pictures("gone")
    with pytest.raises(ValueError, match=r"set/empty: expected pictures .*without any"):
        list_pictures("set/empty")
    with pytest.raises(ValueError, match=r"set/empty: expected sub-folders named by class.*received none"):
        label_by_folder("set/empty", PETS)


def test_a_picture_that_alone_is_missing_or_is_damaged_was_there():
    touch("a/1.png", "a/2.png")
    os.symlink("nowhere", "set/a/3.png")
    os.mkdir("set/b")
    os.symlink("nowhere", "set/b/1.png")
    for file in ("set/a/1.png", Path("set/a/3.png"), "set/b/1.png", "set/a/gone.png", Path("set/a/gone.png")):
        check_folder_present(file, {Path("set")})
        check_folder_present(os.path.abspath(file), ())


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
@pytest.mark.parametrize(
    ("folder", "folders", "named"),
    [
        ("set/a", {"set"}, "set/a"),
        ("set", {"set"}, "set"),
        ("set", {"set/a"}, "set/a"),  # What is above was not looked into.
        ("set", {"set/b", "."}, "set"),
        ("set", (), "set"),
    ],
)
def test_a_disk_that_is_gone_says_nothing_about_its_pictures(left, folder, folders, named):
    touch("a/1.png", "a/2.png", "b/1.png")
    shutil.rmtree(folder)
    left == "nothing" or os.makedirs(folder)
    open("beside.txt", "w").close()
    with pytest.raises(NotADirectoryError, match=rf"^{named}: expected the pictures .*gone, or empty\. .*continues"):
        check_folder_present("set/a/1.png", {Path(name) for name in folders})


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="nothing is closed to this user")
def test_a_closed_folder_is_no_empty_one():
    touch("a/1.png", "b/2.png")
    os.chmod("set/b", 0)
    try:
        with pytest.raises(PermissionError):
            list_pictures("set")
    finally:
        os.chmod("set/b", 0o700)
