"""Lists of paths and classes: header lines, paths from the working directory, numbers from 1."""

import pytest
from PIL import Image

from tfalexnet.data.lists import read_list


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The path of a list beside two pictures, `x 0.png` and `1`; the folder above is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    for name in ("x 0.png", "1.png"):
        Image.new("L", (4, 4)).save(tmp_path / "set" / name)
    return tmp_path / "set" / "train.txt"


@pytest.mark.parametrize("header", ["", "path label\n", "# file\tclass\n"])
@pytest.mark.parametrize("folder", ["", "set/", "../set/"])
@pytest.mark.parametrize("classes", ["12", "ab"])
def test_headers_are_left_out_and_paths_found(header, folder, classes, path):
    gap = "\t" if "\t" in header else " "
    path.write_text(f"{header}{folder}x 0.png{gap}{classes[0]}\n\n{folder}1.png{gap}{classes[1]}\n")
    data = read_list(path)
    assert [file.resolve() for file in data.pictures] == [path.parent / "x 0.png", path.parent / "1.png"]
    assert data.labels.tolist() == [0, 1] and data.classes == tuple(classes)


def test_the_digest_does_not_depend_on_what_paths_are_relative_to(path):
    digests = set()
    for folder in ("", "set/"):
        path.write_text(f"{folder}x 0.png 0\n{folder}1.png 1\n")
        digests |= {read_list(path).digest(), read_list(path.relative_to(path.parents[1])).digest()}
    assert len(digests) == 1


def test_a_first_line_is_no_header_if_other_lines_name_no_picture_either(path):
    path.write_text("a 0\nb 1\n")
    assert len(read_list(path)) == 2
