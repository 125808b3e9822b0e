"""Grey pictures of more than 8 bits are scaled from their range to 0–255, or refused with the reason."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from tfalexnet import PictureError
from tfalexnet.images import grey_levels
from tfalexnet.images.decode import decode

SCENE = np.linspace(0.1, 0.8, 256).reshape(16, 16)


def tiff(levels: np.ndarray, **tags: int) -> bytes:
    """Return an uncompressed TIFF of these levels; `tags` replace its numbers: photometric, sample_format."""
    buffer, numbers = io.BytesIO(), ImageFileDirectory_v2()
    for name, value in tags.items():
        numbers[getattr(grey_levels, name.upper())] = value
    Image.fromarray(levels).save(buffer, "TIFF", tiffinfo=numbers)
    data = bytearray(buffer.getvalue())
    directory = int.from_bytes(data[4:8], "little")
    for entry in range(directory + 2, directory + 2 + 12 * data[directory], 12):  # Pillow replaces some of them.
        for name, value in tags.items():
            if int.from_bytes(data[entry : entry + 2], "little") == getattr(grey_levels, name.upper()):
                data[entry + 8] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("levels", "tags"),
    [
        (SCENE.astype("float32"), {}),
        ((SCENE + 0.26).astype("float32"), {}),  # Up to 1.06.
        ((SCENE - 0.15).astype("float32"), {}),
        ((SCENE * 255).astype("float32"), {}),
        ((SCENE * 255).round().astype("int32"), {}),
        ((SCENE * 65535).astype("int32"), {}),
        ((SCENE * 65535).astype("uint16"), {}),
        ((65535 - SCENE * 65535).astype("uint16"), {"photometric": 0}),
        ((1 - SCENE).astype("float32"), {"photometric": 0}),
        ((SCENE * (2.0**32 - 1)).astype("uint32").view("int32"), {"sample_format": 1}),
        ((SCENE * 32767).astype("uint16"), {"sample_format": 2}),
    ],
)
def test_levels_are_scaled_from_the_range_of_their_type(levels, tags):
    offset = {1.06: 0.26, 0.65: -0.15}.get(round(float(levels.max()), 2), 0)
    expected = (255 * (SCENE + offset)).clip(0, 255)
    np.testing.assert_allclose(np.asarray(decode(tiff(levels, **tags))), expected, atol=1.1)


@pytest.mark.parametrize(
    ("levels", "received"),
    [
        (np.where(SCENE > 0.5, np.nan, SCENE).astype("float32"), "NaN or infinity"),
        (np.where(SCENE > 0.5, np.inf, SCENE).astype("float32"), "NaN or infinity"),
        ((SCENE - 0.5).astype("float32"), "-0.4 to 0.3"),
        ((SCENE * 3).astype("float32"), "in 0 to 255"),
        (np.where(SCENE > 0.79, 200, SCENE).astype("float32"), "in 0 to 255"),  # Most are 0–1.
        ((SCENE * 0.01).astype("float32"), "in 0 to 1"),
        ((SCENE * 4095).astype("int32"), "in 0 to 65535"),
        ((SCENE * 4095).astype("uint16"), "in 0 to 65535"),
        ((SCENE * 2000 - 1000).astype("int32"), "-800 to 600"),
    ],
)
def test_levels_of_an_uncertain_range_are_refused(levels, received):
    with pytest.raises(PictureError, match=rf"bytes: expected .*grey levels.*; received .*{received}.*8 bits"):
        decode(tiff(levels))


def test_signed_levels_of_8_bits_are_refused():
    with pytest.raises(PictureError, match="received signed ones"):
        decode(tiff((SCENE * 255).astype("uint8"), sample_format=2))


def test_a_transparent_level_is_laid_on_white():
    levels = (SCENE * 65535).astype("uint16")
    transparent, buffer = int(levels[3, 4]), io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", transparency=transparent)
    with Image.open(buffer) as image:
        assert image.info["transparency"] == transparent
    expected = np.where(levels == transparent, 255, SCENE * 255)
    np.testing.assert_allclose(np.asarray(decode(buffer.getvalue())), expected, atol=1.1)


def test_black_pictures_are_black_and_bands_are_joined(monkeypatch):
    assert np.asarray(decode(tiff(np.zeros((9, 9), "uint16")))).max() == 0
    levels = (SCENE * 65535).astype("uint16")
    whole = np.asarray(decode(tiff(levels)))
    monkeypatch.setattr(grey_levels, "BAND", 48)
    np.testing.assert_array_equal(np.asarray(decode(tiff(levels))), whole)
