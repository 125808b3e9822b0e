"""Pictures of every kind, as a person sees them, to the arrays of the published protocols."""

import csv
import dataclasses
import io
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tfalexnet import PictureError
from tfalexnet.images.decode import ORIENTATION, decode, decode_plain_jpeg, warnings_suppressed
from tfalexnet.images.preprocessing import BVLC, ILSVRC_MEAN_BGR, TORCHVISION, Preprocessing


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int, height: int) -> np.ndarray:
    """A picture in which no two places look alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 7 + y / 5)], -1).astype("uint8")


@pytest.mark.parametrize("size", [(500, 375), (90, 300), (256, 256), (1, 1)])
def test_bvlc_is_opencvs_resize(size):
    cv2 = pytest.importorskip("cv2")
    picture = gradient(*size)
    squashed = cv2.resize(picture.astype("float32"), (256, 256), interpolation=cv2.INTER_LINEAR)
    expected = squashed[14:241, 14:241, ::-1] - np.array(ILSVRC_MEAN_BGR, "float32")
    np.testing.assert_allclose(BVLC(picture), expected, atol=1e-3)


def test_torchvision_is_pillows_resize():
    picture = gradient(500, 375)
    resized = np.asarray(Image.fromarray(picture).resize((341, 256), Image.Resampling.BILINEAR), "float32")
    expected = (resized[16:240, 58:282] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(TORCHVISION(picture), expected, atol=1e-5)


def test_a_mean_picture_is_cut_like_the_picture():
    mean = gradient(256, 256).astype("float32")[..., ::-1]
    process = Preprocessing("squash", 256, 227, antialias=False, channels="BGR", mean=mean)
    assert np.abs(process(gradient(256, 256))).max() == 0


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "image", "array"])
def test_every_way_to_give_a_picture(kind, tmp_path):
    picture = gradient(60, 40)
    data = encoded(Image.fromarray(picture), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    given = {"path": path, "str": str(path), "bytes": data, "image": Image.fromarray(picture), "array": picture}[kind]
    np.testing.assert_array_equal(np.asarray(decode(given)), picture)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation):
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
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(undo(upright))), "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(data)), upright)


def test_transparency_is_laid_on_white():
    rgba = np.zeros((4, 4, 4), "uint8")
    rgba[:2] = (255, 0, 0, 255)
    rgba[2] = (0, 0, 0, 128)
    seen = np.asarray(decode(encoded(Image.fromarray(rgba), "PNG")))
    np.testing.assert_array_equal(seen[0, 0], (255, 0, 0))
    np.testing.assert_array_equal(seen[2, 0], (127, 127, 127))
    np.testing.assert_array_equal(seen[3, 0], (255, 255, 255))
    np.testing.assert_array_equal(np.asarray(decode(rgba)), seen)


def test_deep_grey_keeps_its_range():
    levels = np.linspace(0, 65535, 64).astype("uint16").reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        seen = np.asarray(decode(encoded(Image.fromarray(levels), kind)))
        np.testing.assert_allclose(seen, levels / 257, atol=0.6)
    seen = np.asarray(decode(encoded(Image.fromarray((levels / 65535).astype("float32")), "TIFF")))
    np.testing.assert_allclose(seen, levels / 257, atol=0.6)


def test_cmyk_grey_palette_and_animation():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert np.asarray(decode(encoded(red.convert("CMYK"), "TIFF")))[0, 0].tolist() == [255, 0, 0]
    assert np.asarray(decode(encoded(red.convert("P"), "PNG")))[0, 0].tolist() == [255, 0, 0]
    frames = encoded(red, "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), (0, 0, 255))])
    assert np.asarray(decode(frames))[0, 0].tolist() == [255, 0, 0]
    grey = np.arange(64, dtype="uint8").reshape(8, 8)
    np.testing.assert_array_equal(BVLC(grey), BVLC(np.stack([grey] * 3, -1)))


def test_one_channel():
    process = Preprocessing("squash", 28, 28, antialias=True, channels="L", mean=(0,), scale=1 / 255)
    assert process(gradient(50, 60)).shape == (28, 28, 1)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"This is not a picture.\n" * 9, "not a picture in a format"),
        (encoded(Image.fromarray(gradient(99, 99)), "PNG")[:800], "damaged picture"),
    ],
)
def test_bad_files_are_named_with_a_reason(content, reason, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(PictureError, match=rf"bad\.jpg: .*{reason}") as caught:
        decode(tmp_path / "bad.jpg")
    assert caught.value.name == str(tmp_path / "bad.jpg")
    assert "\n" not in str(caught.value)


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(PictureError, match="is a folder"):
        decode(tmp_path)
    with pytest.raises(PictureError, match="no such file"):
        decode(tmp_path / "none.jpg")


def test_floats_are_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"uint8.*float64.*\* 255"):
        decode(np.ones((4, 4, 3)))
    with pytest.raises(TypeError, match="Received: int"):
        decode(3)
    with pytest.raises(PictureError, match=r"received shape \(4, 4, 7\)"):
        decode(np.ones((4, 4, 7), "uint8"))


def test_crop_larger_than_the_picture():
    with pytest.raises(ValueError, match="crop <= size"):
        Preprocessing("squash", 10, 11, antialias=False, channels="RGB", mean=(0, 0, 0))


@pytest.mark.data
def test_hard_pictures(data):
    """Pillow's own verdict on 124 odd files: what it reads becomes an input, the rest one line."""
    with (data / "hard" / "manifest.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 124
    for row in rows:
        path = data / "hard" / row["file"]
        if row["Pillow 13"] != "ok" or row["rgb size after EXIF transpose"] == "OSError":
            with pytest.raises(PictureError) as caught:
                BVLC(path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        else:
            width, height = map(int, row["rgb size after EXIF transpose"].split("x"))
            assert decode(path).size == (width, height), row["file"]
            assert np.isfinite(BVLC(path)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"resize": "stretch"},
        {"channels": "CMYK"},
        {"size": 10**12},
        {"size": 256.0},
        {"crop": 0},
        {"crop": 257},
        {"mean": (1.0, 2.0)},
        {"mean": (1.0, 2.0, float("nan"))},
        {"mean": np.zeros((200, 200, 3))},
        {"mean": np.zeros((227, 227, 1))},
        {"std": (0.0,)},
        {"std": (1.0, 1.0)},
        {"scale": float("inf")},
    ],
)
def test_a_preprocessing_that_cannot_be(change):
    with pytest.raises(ValueError, match="Expected .* Received"):
        dataclasses.replace(BVLC, **change)


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"optimize": True, "quality": 30}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(500, 375), (33, 17), (1, 1), (640, 481)])
def test_both_decoders_give_equal_levels(tmp_path, size, subsampling, options):
    coarse = np.random.default_rng(0).integers(0, 256, (9, 7, 3), "uint8")
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    for mode in ("RGB", "L"):
        image.convert(mode).save(tmp_path / "a.jpg", subsampling=subsampling, **options)
        with Image.open(tmp_path / "a.jpg") as opened:
            wanted = np.asarray(opened).reshape(*size[::-1], -1)
        np.testing.assert_array_equal(decode_plain_jpeg(tmp_path / "a.jpg", mode), wanted)


def test_only_a_plain_jpeg_takes_the_short_way(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), "uint8"))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "progressive.jpg", progressive=True)
    image.save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    for name in ("turned.jpg", "cmyk.jpg", "a.png", "progressive.jpg", "cut.jpg"):
        assert decode_plain_jpeg(tmp_path / name, "RGB") is None
    assert decode_plain_jpeg(data, "L") is None
    assert decode_plain_jpeg(data, "RGB").shape == (20, 30, 3)
    with pytest.raises(PictureError, match=r"cut\.jpg: damaged picture"):
        BVLC(tmp_path / "cut.jpg")


def test_threads_leave_the_filters_of_warnings_as_they_were():
    warned = threading.Event()

    def enter(number):
        with warnings_suppressed:
            warnings.warn("unseen", stacklevel=1)  # An error, were it not kept quiet.
            if number:
                warned.wait(5)
            else:
                warned.set()

    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, reversed(range(8))))
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="seen again"):
        warnings.warn("seen again", stacklevel=1)


def test_preprocessings_are_equal_if_pictures_become_the_same():
    assert dataclasses.replace(BVLC, mean=np.array(ILSVRC_MEAN_BGR, "f4")) == BVLC
    assert hash(dataclasses.replace(BVLC, mean=list(ILSVRC_MEAN_BGR))) == hash(BVLC)
    picture = np.random.default_rng(0).random((227, 227, 3), np.float32)
    one = dataclasses.replace(BVLC, mean=picture)
    assert one == dataclasses.replace(BVLC, mean=picture.copy()) and one != BVLC
    others = {"mean": (0.0,) * 3, "scale": 2.0, "std": (2.0,), "channels": "RGB", "antialias": True, "crop": 224}
    for name, value in others.items():
        assert dataclasses.replace(BVLC, **{name: value}) != BVLC, name
    assert BVLC != "BVLC"
