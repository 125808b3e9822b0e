"""Resizing: equality with TensorFlow, OpenCV, Pillow and torchvision, and only the central box is computed."""

import numpy as np
import PIL
import pytest
import tensorflow as tf
from PIL import Image
from support.patterns import gradient

from tfalexnet.images import fast, resizing
from tfalexnet.images.preprocessing import BVLC, TORCHVISION, Preprocessing
from tfalexnet.images.resizing import central_box, centre, resize_antialiased, resize_bilinear

SIZES = [((375, 500), (256, 256)), ((1, 1), (7, 7)), ((3, 2), (300, 256)), ((4000, 37), (256, 256)), ((32, 9), (32, 9))]
COLOUR = {"size": 32, "crop": 28, "channels": "RGB", "mean": (0, 0, 0)}


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resizing_equals_tensorflow(old, new, kind):
    pixels = (np.random.default_rng(0).random((*old, 3)) * 255).astype(kind)
    expected = tf.raw_ops.ResizeBilinear(images=pixels[None], size=new, half_pixel_centers=True)[0].numpy()
    resized = resize_bilinear(pixels, *new, min(new))
    np.testing.assert_allclose(resized, central_box(expected, min(new)), atol=1e-4)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resizing_equals_opencv(old, new):
    cv2 = pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).random((*old, 3), np.float32) * 255
    expected = central_box(cv2.resize(pixels, new[::-1], interpolation=cv2.INTER_LINEAR), min(new))
    resized = resize_bilinear(pixels, *new, min(new))
    np.testing.assert_allclose(resized, expected, atol=1e-2)
    assert np.abs(resized - expected).mean() < 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("new", [(256, 256), (341, 256), (8, 16), (1, 1), (64, 4096)])
@pytest.mark.parametrize("old", [(375, 500), (1, 1), (3, 2), (37, 2047), (500, 31), (130, 256)])
def test_with_opencv_loaded_the_result_is_the_same_to_the_bit(old, new, channels, monkeypatch):
    cv2, calls = pytest.importorskip("cv2"), []
    pixels = np.random.default_rng(0).integers(0, 256, (*old, channels), "uint8")
    monkeypatch.setattr(fast, "_loaded", {})
    expected = resize_bilinear(pixels, *new, min(new))
    monkeypatch.setattr(fast, "_loaded", {"cv2": cv2})
    monkeypatch.setattr(
        cv2, "resize", lambda *arguments, resize=cv2.resize, **options: calls.append(1) or resize(*arguments, **options)
    )
    np.testing.assert_array_equal(resize_bilinear(pixels, *new, min(new)), expected)
    assert calls or 2 * new[1] * old[1] >= resizing.EXACT or old == new


@pytest.mark.parametrize("new", [(227, 227), (256, 341)])
def test_opencv_resizes_only_where_its_products_are_exact(new, monkeypatch):
    monkeypatch.setattr(fast, "_loaded", {"cv2": None})  # Its use would be an error.
    pixels = np.random.default_rng(0).integers(0, 256, (375, 500, 3), "uint8")
    assert resize_bilinear(pixels, *new, 200).shape == (200, 200, 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_of_large_pictures_only_the_rows_that_are_used_are_copied(mode, monkeypatch):
    image = Image.fromarray(gradient(90, 70)).convert(mode)
    expected = resize_bilinear(image, 32, 41, 32)
    monkeypatch.setattr(resizing, "LARGE", 0)
    np.testing.assert_allclose(resize_bilinear(image, 32, 41, 32), expected, atol=1e-4)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(300, 200), (7, 3), (3, 700), (64, 64), (1, 1), (900, 70), (70, 900)])
def test_the_box_alone_equals_that_of_pillow(size, mode, monkeypatch):
    monkeypatch.setattr(resizing, "THIN", 0)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), "uint8")).convert(mode)
    height, width = (side * 64 // min(size) for side in size[::-1])
    whole = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
    difference = np.abs(resize_antialiased(image, height, width, 64) - central_box(whole, 64).astype(int))
    if int(PIL.__version__.split(".")[0]) < 13:  # Earlier versions order and round the two passes in other ways.
        assert difference.max() <= 6 and difference.mean() < 0.5
    else:
        assert difference.max() <= (1 if size == (70, 900) else 0)  # Of this size Pillow begins with the columns.


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(100_000, 1), (1, 100_000), (60_000, 3)])
def test_of_thin_pictures_the_box_alone_is_computed(size, antialias, monkeypatch):
    monkeypatch.setattr(Image.Image, "resize", None)  # Of the first picture it would need 1 GB.
    picture = np.full((*size[::-1], 3), 7, "uint8")
    central_box(picture, 1)[...] = 200
    resized = Preprocessing("shorter side", antialias=antialias, **COLOUR).resized(picture)
    assert resized.shape == (32, 32, 3) and resized.max() > 100 and resized.min() >= 7


def test_the_centre_is_that_of_torchvision():
    # torchvision.transforms.functional: resize gives the longer side int(256 * long / short), and center_crop
    # begins at int(round((side - 224) / 2.0)).
    for longer in range(224, 2001):
        for shorter in {224, 255, 256, 257, min(longer, 1080), longer}:
            if shorter <= longer:
                _, resized = TORCHVISION._resized_shape(shorter, longer)
                assert resized == int(256 * longer / shorter)
                start = centre(resized, 256).start + centre(256, 224).start
                assert start == int(round((resized - 224) / 2.0))  # noqa: RUF046, as there.
        assert centre(longer, 224).start == int(round((longer - 224) / 2.0))  # noqa: RUF046


@pytest.mark.parametrize(("size", "left"), [((1920, 1080), 115 + 1), ((304, 300), 18)])
def test_torchvision_crops_a_half_pixel_to_even(size, left):
    picture = gradient(*size)
    width = 256 * size[0] // size[1]
    resized = np.asarray(Image.fromarray(picture).resize((width, 256), Image.Resampling.BILINEAR), "float32")
    expected = (resized[16:240, left : left + 224] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(TORCHVISION(picture), expected, atol=1e-5)


def test_bvlc_of_an_odd_border_is_that_of_caffe():
    assert centre(BVLC.size, BVLC.crop).start == 14  # Caffe: (256 - 227) / 2 in integers.
