"""Pictures of every kind, and damaged files, are decoded to the pixels that an image viewer shows."""

import numpy as np
import pytest
from PIL import Image
from support.patterns import gradient
from support.pictures import encode

from tfalexnet import PictureError
from tfalexnet.images import fast
from tfalexnet.images.decode import ORIENTATION, decode, decode_plain_jpeg
from tfalexnet.images.opening import open_picture
from tfalexnet.images.preprocessing import BVLC


@pytest.fixture
def simplejpeg(monkeypatch):
    monkeypatch.setattr(fast, "_loaded", {"simplejpeg": pytest.importorskip("simplejpeg")})


def plain_jpeg(picture, mode):
    with open_picture(picture) as opened:
        return decode_plain_jpeg(opened, mode)


@pytest.mark.parametrize("kind", ["path", "str", "bytes", "image", "array"])
def test_a_picture_may_be_a_path_bytes_an_image_or_an_array(kind, tmp_path):
    picture = gradient(60, 40)
    data = encode(picture, "PNG")
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
    data = encode(np.ascontiguousarray(undo(upright)), "PNG", exif=exif)
    np.testing.assert_array_equal(np.asarray(decode(data)), upright)


def test_transparency_is_laid_on_white():
    rgba = np.zeros((4, 4, 4), "uint8")
    rgba[:2] = (255, 0, 0, 255)
    rgba[2] = (0, 0, 0, 128)
    pixels = np.asarray(decode(encode(rgba, "PNG")))
    np.testing.assert_array_equal(pixels[0, 0], (255, 0, 0))
    np.testing.assert_array_equal(pixels[2, 0], (127, 127, 127))
    np.testing.assert_array_equal(pixels[3, 0], (255, 255, 255))
    np.testing.assert_array_equal(np.asarray(decode(rgba)), pixels)


def test_grey_levels_of_more_than_8_bits_are_scaled():
    levels = np.linspace(0, 65535, 64).astype("uint16").reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        pixels = np.asarray(decode(encode(levels, kind)))
        np.testing.assert_allclose(pixels, levels / 257, atol=0.6)
    pixels = np.asarray(decode(encode((levels / 65535).astype("float32"), "TIFF")))
    np.testing.assert_allclose(pixels, levels / 257, atol=0.6)


def test_cmyk_palettes_and_animations_become_rgb():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    assert np.asarray(decode(encode(red.convert("CMYK"), "TIFF")))[0, 0].tolist() == [255, 0, 0]
    assert np.asarray(decode(encode(red.convert("P"), "PNG")))[0, 0].tolist() == [255, 0, 0]
    frames = encode(red, "GIF", save_all=True, append_images=[Image.new("RGB", (8, 8), (0, 0, 255))])
    assert np.asarray(decode(frames))[0, 0].tolist() == [255, 0, 0]


def test_grey_pictures_become_rgb_for_networks_of_three_channels():
    grey = np.arange(64, dtype="uint8").reshape(8, 8)
    assert decode(grey).mode == "L"
    np.testing.assert_array_equal(BVLC(grey), BVLC(np.stack([grey] * 3, -1)))


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"optimize": True, "quality": 30}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(500, 375), (33, 17), (1, 1), (640, 481)])
@pytest.mark.usefixtures("simplejpeg")
def test_simplejpeg_and_pillow_decode_plain_jpegs_equally(tmp_path, size, subsampling, options):
    coarse = np.random.default_rng(0).integers(0, 256, (9, 7, 3), "uint8")
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    for mode in ("RGB", "L"):
        image.convert(mode).save(tmp_path / "a.jpg", subsampling=subsampling, **options)
        with Image.open(tmp_path / "a.jpg") as opened:
            expected = np.asarray(opened).reshape(*size[::-1], -1)
        np.testing.assert_array_equal(plain_jpeg(tmp_path / "a.jpg", mode), expected)


@pytest.mark.usefixtures("simplejpeg")
def test_simplejpeg_decodes_only_plain_jpegs(tmp_path, capfd):
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
    assert capfd.readouterr().err == ""


def answer(data, packages, monkeypatch):
    monkeypatch.setattr(fast, "_loaded", packages)
    try:
        return BVLC(data).tobytes()
    except PictureError as error:
        return str(error)


def test_damaged_jpegs_are_answered_as_by_pillow_alone(monkeypatch):
    packages = {"simplejpeg": pytest.importorskip("simplejpeg")}
    random = np.random.default_rng(0)
    data = encode(gradient(200, 150), "JPEG", quality=90)
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.integers(700, len(data), 2):
            damaged[place] = random.integers(256)
        assert answer(bytes(damaged), packages, monkeypatch) == answer(bytes(damaged), {}, monkeypatch)
