"""The pictures below a folder are listed; a missing folder is told from a missing picture."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image, features
from support.files import touch

from tfalexnet import PictureError
from tfalexnet.images.decode import decode
from tfalexnet.images.folders import check_folder_present, list_pictures, subfolders

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def names(paths):
    return [path.relative_to("set").as_posix() for path in paths]


def test_files_with_the_suffix_of_a_picture_are_listed_sorted_without_hidden_ones():
    touch("b/2.JPEG", "b/1.jpg", "a.png", "c.webp", "d.mpo", "z/deep/x.TIFF")
    touch("notes.txt", "net.weights.h5", "film.mpg", "b/.hidden.jpg", ".git/x.png", "noending", "jpg")
    assert names(list_pictures("set")) == ["a.png", "b/1.jpg", "b/2.JPEG", "c.webp", "d.mpo", "z/deep/x.TIFF"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "ppm", "tga", "webp", "jp2", "ico"])
def test_formats_that_pillow_writes_and_reads_are_listed(suffix):
    if suffix == "jp2" and not features.check("jpg_2000"):
        pytest.skip("this Pillow has no JPEG 2000")
    touch("other.txt")
    Image.new("RGB", (16, 16)).save(f"set/x.{suffix}")
    assert names(list_pictures("set")) == [f"x.{suffix}"]


def test_links_to_files_and_class_folders_are_followed_and_dead_ones_are_listed():
    touch("cat/1.png")
    os.makedirs("elsewhere")
    open("elsewhere/2.png", "w").close()
    os.symlink(os.path.abspath("elsewhere/2.png"), "set/cat/2.png")
    os.symlink("nowhere", "set/cat/3.png")
    os.symlink(os.path.abspath("set"), "set/cat/loop")
    os.symlink(os.path.abspath("elsewhere"), "set/dog")
    with pytest.warns(UserWarning, match=r"^set: left out links to folders \(2\), which are not read$"):
        assert names(list_pictures("set")) == ["cat/1.png", "cat/2.png", "cat/3.png"]
    assert names(subfolders(Path("set"))) == ["cat", "dog"]


def test_pictures_that_are_not_read_are_counted():
    touch("a.png", "b.jxl", "c/d.JXL", "c/e.svg", ".f.svg", "notes.txt")
    with pytest.warns(UserWarning, match=r"^set: left out .jxl \(2\), .svg \(1\), which are not read$") as notes:
        assert names(list_pictures("set")) == ["a.png"]
    assert len(notes) == 1


def test_a_missing_or_empty_folder_is_refused():
    touch("x.png", "empty/x.txt")
    with pytest.raises(NotADirectoryError, match=r"set/x\.png: expected a folder of pictures; received a file"):
        list_pictures("set/x.png")
    with pytest.raises(NotADirectoryError, match=r"gone: .*received nothing of this name"):
        list_pictures("gone")
    with pytest.raises(ValueError, match=r"set/empty: expected pictures .*without any"):
        list_pictures("set/empty")


def test_a_missing_or_damaged_picture_in_an_existing_folder_is_no_error_of_the_folder():
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
        ("set", {"set/a"}, "set/a"),  # Folders above the searched ones are not checked.
        ("set", {"set/b", "."}, "set"),
        ("set", (), "set"),
    ],
)
def test_a_missing_or_emptied_folder_is_named(left, folder, folders, named):
    touch("a/1.png", "a/2.png", "b/1.png")
    shutil.rmtree(folder)
    if left == "an empty folder":
        os.makedirs(folder)
    open("beside.txt", "w").close()
    with pytest.raises(NotADirectoryError, match=rf"^{named}: expected the pictures .*gone, or empty\. .*continues"):
        check_folder_present("set/a/1.png", {Path(name) for name in folders})


def test_a_folder_that_cannot_be_read_is_an_error_or_listed_to_state_the_reason(monkeypatch):
    touch("a/1.png", "b/2.png", "b/c/3.png", "d/4.png")
    scandir = os.scandir

    def refused(folder):
        if os.fspath(folder) == "set/b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "set/b")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError):
        list_pictures("set")
    assert names(list_pictures("set", keep_unreadable=True)) == ["a/1.png", "b", "d/4.png"]
    with pytest.raises(PictureError, match="set/b: permission denied"):
        decode("set/b")


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="this user may read all folders")
def test_a_folder_without_permission_is_an_error():
    touch("a/1.png", "b/2.png")
    os.chmod("set/b", 0)
    try:
        with pytest.raises(PermissionError):
            list_pictures("set")
    finally:
        os.chmod("set/b", 0o700)
