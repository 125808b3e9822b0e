"""`Skipped`: the files that cannot be read, reported once at once and listed at the end."""

from tfalexnet import data
from tfalexnet.images.decode import PictureError


def test_a_report_lists_at_most_ten_unreadable_pictures():
    skipped = data.Skipped()
    for number in range(12):
        skipped.add(PictureError(f"./{number:02}.png", "empty"))
    assert skipped.news() == "left out ./00.png: empty" and skipped.news() == ""
    first, *listed, last = skipped.report(1234).splitlines()
    assert (first, last) == ("12 of 1,234 files could not be read", "… and 2 more")
    assert listed == [f"left out ./{number:02}.png: empty" for number in range(10)]
