"""Small files that ask for much memory or time are refused before they are decoded; usual files are not."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from support.patterns import gradient

from tfalexnet import PictureError
from tfalexnet.images import bounds
from tfalexnet.images.bounds import decoded_pixels, has_too_many_scans
from tfalexnet.images.decode import decode

PARTS = r"a file in more than \d+ parts"


def encoded(kind: str, picture: np.ndarray | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(gradient(40, 30) if picture is None else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(order: str, big: bool, **tags: int) -> bytes:
    """Return the beginning of a TIFF of 10×10 grey pixels with these numbers: tag_N of one value, count_N of many."""
    entries = {256: (1, 10), 257: (1, 10), 258: (1, 8), 259: (1, 1), 262: (1, 1), 273: (1, 8), 279: (1, 100)}
    for name, number in tags.items():
        kind, _, tag = name.partition("_")
        entries[int(tag)] = (1, number) if kind == "tag" else (number, 8)
    layout = {False: ("HI", "H", "HHII"), True: ("HHHQ", "Q", "HHQQ")}[big]
    header, count, entry = (f"{order}{part}" for part in layout)
    start = struct.pack(header, *((43, 8, 0, 16) if big else (42, 8)))
    rows = (struct.pack(entry, tag, 4, *entries[tag]) for tag in sorted(entries))
    return {"<": b"II", ">": b"MM"}[order] + start + struct.pack(count, len(entries)) + b"".join(rows) + bytes(300)


@pytest.mark.parametrize(
    "data",
    [
        encoded("JPEG")[:2] + b"\xff" * 9000 + encoded("JPEG")[2:],
        encoded("JPEG")[:2] + b"\xff\xfe\0\2" * 9000 + encoded("JPEG")[2:],
        b"P5 #" + b"a" * 9000 + b"\n10 10 255\n" + bytes(100),
    ],
    ids=["fill bytes", "comments", "header"],
)
def test_files_in_very_many_parts_are_refused(data, monkeypatch):
    assert decode(data).size
    monkeypatch.setattr(bounds, "READS", 5000)
    with pytest.raises(PictureError, match=PARTS):
        decode(data)


@pytest.mark.parametrize("mode", [{}, {"progressive": True}])
def test_jpegs_with_very_many_scans_are_refused(mode, monkeypatch):
    data = encoded("JPEG", gradient(400, 300), quality=95, exif=b"Exif\0\0" + b"\xff\xda" * 9000, **mode)
    scan = data[data.rfind(b"\xff\xda") : -2]
    monkeypatch.setattr(bounds, "SCANNED", 400 * 300 * 50)
    assert decode(data).size == (400, 300)
    assert decode(data + b"\xff\xda" * 9000).size == (400, 300)  # Behind the picture: a film, for example.
    with pytest.raises(PictureError, match="expected a JPEG of a few scans; received too many for 400×300 pixels"):
        decode(data[:-2] + scan * 50 + b"\xff\xd9")
    with Image.open(io.BytesIO(data)) as image:
        monkeypatch.setattr(bounds, "READS", 100)
        assert has_too_many_scans(image, data[:-2] + b"\xff\xfe\0\2" * 100 + b"\xff\xd9")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_tiffs_with_very_many_strips_or_tiles_are_refused(order, big):
    if order == "<" or not big:  # Pillow does not read the others.
        assert decode(tiff(order, big)).size == (10, 10)
    for tag in bounds.PARTS:
        with pytest.raises(PictureError, match="at most 262144 strips or tiles; received more"):
            decode(tiff(order, big, **{f"count_{tag}": 1 << 18 | 1}))


def test_the_pixels_of_whole_tiles_count():
    data = tiff("<", False, tag_322=40_000, tag_323=4000, tag_324=8, tag_325=100)
    with pytest.raises(PictureError, match=r"received 10×10, whose decoding takes as much as 160000000 pixels"):
        decode(data)
    data = tiff("<", False, tag_322=16, tag_323=32, tag_324=8, tag_325=100)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (10, 10) and decoded_pixels(image) == 16 * 32


@pytest.mark.parametrize(("kind", "copies"), [("PNG", 1), ("TIFF", 1), ("JPEG", 1), ("WEBP", 2), ("JPEG2000", 2)])
def test_pixels_count_as_many_times_as_their_decoder_copies_them(kind, copies):
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow does not write {kind}")
    data = encoded(kind)
    assert decode(data, max_pixels=1200 * copies).size == (40, 30)
    with pytest.raises(PictureError, match=rf"at most {1200 * copies - 1} pixels \(max_pixels\); received 40×30"):
        decode(data, max_pixels=1200 * copies - 1)
