"""Pictures of every kind, and damaged files, are decoded to the pixels that an image viewer shows."""

import io
import os
import pickle
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from support.patterns import gradient

from tfalexnet import PictureError
from tfalexnet.images.decode import (
    ORIENTATION,
    _Budget,
    decode,
    decode_plain_jpeg,
    open_picture,
    picture_formats,
    warnings_suppressed,
)
from tfalexnet.images.preprocessing import BVLC


def plain_jpeg(picture, mode):
    with open_picture(picture) as opened:
        return decode_plain_jpeg(opened, mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "image", "array"])
def test_a_picture_may_be_a_path_bytes_an_image_or_an_array(kind, tmp_path):
    picture = gradient(60, 40)
    data = encoded(Image.fromarray(picture), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    forms = {"path": path, "str": str(path), "bytes": data, "image": Image.fromarray(picture), "array": picture}
    np.testing.assert_array_equal(np.asarray(decode(forms[kind])), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation):
    upright = np.zeros((16, 32, 3), "uint8")
    upright[:8, :8] = 255  # One corner is white.
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(undo(upright))), "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(data)), upright)


def test_transparency_is_laid_on_white():
    rgba = np.zeros((4, 4, 4), "uint8")
    rgba[:2] = (255, 0, 0, 255)
    rgba[2] = (0, 0, 0, 128)
    pixels = np.asarray(decode(encoded(Image.fromarray(rgba), "PNG")))
    np.testing.assert_array_equal(pixels[0, 0], (255, 0, 0))
    np.testing.assert_array_equal(pixels[2, 0], (127, 127, 127))
    np.testing.assert_array_equal(pixels[3, 0], (255, 255, 255))
    np.testing.assert_array_equal(np.asarray(decode(rgba)), pixels)


def test_grey_levels_of_more_than_8_bits_are_scaled():
    levels = np.linspace(0, 65535, 64).astype("uint16").reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        pixels = np.asarray(decode(encoded(Image.fromarray(levels), kind)))
        np.testing.assert_allclose(pixels, levels / 257, atol=0.6)
    pixels = np.asarray(decode(encoded(Image.fromarray((levels / 65535).astype("float32")), "TIFF")))
    np.testing.assert_allclose(pixels, levels / 257, atol=0.6)


def test_cmyk_palettes_and_animations_become_rgb():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert np.asarray(decode(encoded(red.convert("CMYK"), "TIFF")))[0, 0].tolist() == [255, 0, 0]
    assert np.asarray(decode(encoded(red.convert("P"), "PNG")))[0, 0].tolist() == [255, 0, 0]
    frames = encoded(red, "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), (0, 0, 255))])
    assert np.asarray(decode(frames))[0, 0].tolist() == [255, 0, 0]


def test_grey_pictures_become_rgb_for_networks_of_three_channels():
    grey = np.arange(64, dtype="uint8").reshape(8, 8)
    assert decode(grey).mode == "L"
    np.testing.assert_array_equal(BVLC(grey), BVLC(np.stack([grey] * 3, -1)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"This is not a picture.\n" * 9, "not a picture in a format"),
        (encoded(Image.fromarray(gradient(99, 99)), "PNG")[:800], "damaged picture"),
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


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"optimize": True, "quality": 30}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(500, 375), (33, 17), (1, 1), (640, 481)])
def test_tensorflow_and_pillow_decode_plain_jpegs_equally(tmp_path, size, subsampling, options):
    coarse = np.random.default_rng(0).integers(0, 256, (9, 7, 3), "uint8")
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    for mode in ("RGB", "L"):
        image.convert(mode).save(tmp_path / "a.jpg", subsampling=subsampling, **options)
        with Image.open(tmp_path / "a.jpg") as opened:
            expected = np.asarray(opened).reshape(*size[::-1], -1)
        np.testing.assert_array_equal(plain_jpeg(tmp_path / "a.jpg", mode), expected)


def test_tensorflow_decodes_only_plain_jpegs(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), "uint8"))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "progressive.jpg", progressive=True)
    image.save(tmp_path / "complete.jpg")
    data = (tmp_path / "complete.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    for name in ("turned.jpg", "cmyk.jpg", "a.png", "progressive.jpg"):
        assert plain_jpeg(tmp_path / name, "RGB") is None
    assert plain_jpeg(data, "L") is None
    assert plain_jpeg(data, "RGB").shape == (20, 30, 3)
    with pytest.raises(PictureError, match=r"cut\.jpg: damaged picture"):
        BVLC(tmp_path / "cut.jpg")


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


def test_heic_is_read_by_pillow_heif_or_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("tfalexnet.images.decode.picture_formats", picture_formats.__wrapped__)
    with pytest.raises(PictureError, match=r"HEIC; to read it: pip install 'tfalexnet\[heic\]'"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))


@pytest.mark.data
def test_pillow_heif_reads_heic(data):
    pytest.importorskip("pillow_heif")
    assert decode(data / "hard" / "other" / "hopper.heif").mode == "RGB"


def test_pictures_of_too_many_pixels_are_refused_unless_asked_for():
    data = encoded(Image.new("1", (200, 100)), "PNG")
    with pytest.raises(PictureError, match=r"at most 19999 pixels \(max_pixels\); received 200×100"):
        decode(data, max_pixels=19_999)
    assert decode(data, max_pixels=20_000).size == (200, 100)


def test_more_pixels_than_pillow_allows_may_be_asked_for(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    data = encoded(Image.new("1", (200, 100)), "PNG")
    with pytest.raises(PictureError, match="refused: .*2000 pixels"):
        decode(data, max_pixels=2000)
    assert decode(data, max_pixels=20_000).size == (200, 100)


def test_threads_together_have_a_budget_of_pixels(monkeypatch):
    monkeypatch.setattr("tfalexnet.images.decode.BUDGET", 250)
    monkeypatch.setattr("tfalexnet.images.decode.budget", budget := _Budget())
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
