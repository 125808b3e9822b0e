"""Pictures are opened within bounds; whatever cannot be opened is an error that names the picture and the reason."""

import os
import pickle
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from support.patterns import gradient
from support.pictures import encode

from tfalexnet import PictureError
from tfalexnet.images.decode import decode
from tfalexnet.images.opening import _Budget, open_picture, picture_formats, warnings_suppressed
from tfalexnet.images.preprocessing import BVLC


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"This is not a picture.\n" * 9, "not a picture in a format"),
        (encode(gradient(99, 99), "PNG")[:800], "damaged picture"),
    ],
)
def test_errors_state_the_file_and_the_reason(content, reason, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=rf"bad\.jpg: .*{reason}") as caught:
        decode(tmp_path / "bad.jpg")
    assert caught.value.name == str(tmp_path / "bad.jpg")
    assert "\n" not in str(caught.value)


def test_errors_of_worker_processes_arrive():
    error = pickle.loads(pickle.dumps(PictureError("a.jpg", "empty file")))
    assert (str(error), error.name, error.reason) == ("a.jpg: empty file", "a.jpg", "empty file")


def test_folders_and_missing_files_are_refused(tmp_path):
    with pytest.raises(PictureError, match="is a folder"):
        decode(tmp_path)
    with pytest.raises(PictureError, match="no such file"):
        decode(tmp_path / "none.jpg")


def test_arrays_of_floats_and_other_types_are_refused_with_advice():
    with pytest.raises(TypeError, match=r"uint8.*float64.*\* 255"):
        decode(np.ones((4, 4, 3)))
    with pytest.raises(TypeError, match="Received: int"):
        decode(3)
    with pytest.raises(PictureError, match=r"received shape \(4, 4, 7\)"):
        decode(np.ones((4, 4, 7), "uint8"))


def test_threads_restore_the_filters_of_warnings():
    warned = threading.Event()

    def enter(number):
        with warnings_suppressed:
            warnings.warn("unseen", stacklevel=1)  # pytest raises an error for a warning that is not suppressed.
            if number:
                warned.wait(5)
            else:
                warned.set()

    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, reversed(range(8))))
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="issued again"):
        warnings.warn("issued again", stacklevel=1)


def test_only_regular_files_of_a_limited_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(60 << 30)
    for name, reason in {
        "pipe": "a device or a pipe",
        "zero": "a device or a pipe",
        "sparse": "at most .* bytes",
    }.items():
        with pytest.raises(PictureError, match=rf"{name}\.jpg: .*{reason}"):
            decode(tmp_path / f"{name}.jpg")
    with pytest.raises(PictureError, match="not the name of a file"):
        decode("a\0b.jpg")


def test_only_formats_of_pictures_are_opened(monkeypatch):
    def run(*arguments, **_):
        raise AssertionError(arguments)

    monkeypatch.setattr("subprocess.Popen", run)
    others = {"EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "FITS": b"SIMPLE  =    T"}
    for data in others.values():
        with pytest.raises(PictureError, match="not a picture in a format that is read"):
            decode(data)
    assert not {"EPS", "WMF", "FITS", "MPEG", "HDF5", "SPIDER"} & {*picture_formats()}


def test_the_plugins_of_all_formats_are_imported_and_few_others():
    code = """if True:
        import sys
        from PIL import Image
        from tfalexnet.images.opening import FORMATS, picture_formats
        opened = picture_formats()
        few = sum(name.endswith("ImagePlugin") for name in sys.modules)
        Image.init()
        assert opened == tuple(name for name in FORMATS if name in Image.OPEN), opened
        assert few < sum(name.endswith("ImagePlugin") for name in sys.modules) / 2, few
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_heic_is_read_by_pillow_heif_or_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("tfalexnet.images.opening.picture_formats", picture_formats.__wrapped__)
    with pytest.raises(PictureError, match=r"HEIC; to read it: pip install 'tfalexnet\[heic\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))


@pytest.mark.data
def test_pillow_heif_reads_heic(data):
    pytest.importorskip("pillow_heif")
    assert decode(data / "hard" / "other" / "hopper.heif").mode == "RGB"


def test_pictures_of_too_many_pixels_are_refused_unless_asked_for():
    data = encode(Image.new("1", (200, 100)), "PNG")
    with pytest.raises(PictureError, match=r"at most 19999 pixels \(max_pixels\); received 200×100"):
        decode(data, max_pixels=19_999)
    assert decode(data, max_pixels=20_000).size == (200, 100)


def test_more_pixels_than_pillow_allows_may_be_asked_for(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = encode(Image.new("1", (200, 100)), "PNG")
    with pytest.raises(PictureError, match="refused: .*2000 pixels"):
        decode(data, max_pixels=2000)
    assert decode(data, max_pixels=20_000).size == (200, 100)


def test_threads_together_have_a_budget_of_pixels(monkeypatch):
    monkeypatch.setattr("tfalexnet.images.opening.BUDGET", 250)
    monkeypatch.setattr("tfalexnet.images.opening.budget", budget := _Budget())
    most = []

    def work(side):
        with open_picture(np.zeros((side, side), "uint8")):
            most.append(budget.free)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [10, 20, 5, 15, 10, 30] * 9))  # 30² alone is more than the budget.
    assert len(most) == 54 and min(most) >= 0 and budget.free == 250


@pytest.mark.parametrize("error", [MemoryError(), OverflowError("too long"), RecursionError()])
def test_whatever_a_picture_raises_is_an_error_of_the_picture(error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("tfalexnet.images.preprocessing.resize_bilinear", fail)
    with pytest.raises(PictureError, match="array: (too large for the memory|damaged picture)"):
        BVLC(gradient(20, 10))
