"""`Skipped`: the files that cannot be read, the first one reported at once, all listed at the end."""

import pytest

from tfalexnet import data
from tfalexnet.images.opening import PictureError


def test_unreadable_files_are_counted_once_and_sorted(tmp_path):
    skipped = data.Skipped()
    assert skipped.news() == skipped.report(9) == ""
    for name in ("b", "a", "b"):
        (tmp_path / name).touch()
        skipped.add(PictureError(str(tmp_path / name), "empty file"))
    assert skipped.report(1200).splitlines() == [
        "2 of 1,200 files could not be read",
        f"left out {tmp_path}/a: empty file",
        f"left out {tmp_path}/b: empty file",
    ]


def test_a_report_lists_at_most_ten_unreadable_pictures():
    skipped = data.Skipped()
    for number in range(12):
        skipped.add(PictureError(f"./{number:02}.png", "empty"))
    assert skipped.news() == "left out ./00.png: empty" and skipped.news() == ""
    first, *listed, last = skipped.report(1234).splitlines()
    assert (first, last) == ("12 of 1,234 files could not be read", "… and 2 more")
    assert listed == [f"left out ./{number:02}.png: empty" for number in range(10)]


@pytest.mark.parametrize(
    ("strict", "file", "expected"),
    [
        (True, "x.png", PictureError),
        (False, "gone/x.png", NotADirectoryError),
        (True, "gone/x.png", NotADirectoryError),
    ],
)
def test_a_fatal_error_is_raised_and_replaces_the_report(tmp_path, strict, file, expected):
    (tmp_path / "x.png").touch()
    skipped = data.Skipped(strict)
    with pytest.raises(expected) as raised:
        skipped.add(PictureError(str(tmp_path / file), "empty file"))
    assert skipped.error is raised.value and skipped.reasons == {str(tmp_path / file): "empty file"}
    assert skipped.news() == skipped.report(9) == ""
