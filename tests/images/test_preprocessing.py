"""From pictures to arrays: equality with OpenCV, Pillow and TensorFlow, and the fields of a preprocessing."""

import csv
import dataclasses

import numpy as np
import PIL
import pytest
from PIL import Image
from support.patterns import gradient

from tfalexnet import PictureError
from tfalexnet.images.decode import decode
from tfalexnet.images.preprocessing import (
    BVLC,
    CROPS,
    ILSVRC_MEAN_BGR,
    PAPER,
    TORCHVISION,
    Preprocessing,
    with_protocol,
)

NEWLY_READ = {"other/hopper.avif", "wrongext/avif_as.jpg", "corrupt/crash-0da0.tif"}  # By Pillow 11.3 and 13.
UNCERTAIN = {"gray/12bit.cropped.tif", "gray/16bit.cropped.tif"}  # Grey levels of 1 % of the range: black pictures.


@pytest.mark.parametrize("size", [(500, 375), (90, 300), (256, 256), (1, 1)])
def test_bvlc_equals_opencv(size):
    cv2 = pytest.importorskip("cv2")
    picture = gradient(*size)
    squashed = cv2.resize(picture.astype("float32"), (256, 256), interpolation=cv2.INTER_LINEAR)
    expected = squashed[14:241, 14:241, ::-1] - np.array(ILSVRC_MEAN_BGR, "float32")
    np.testing.assert_allclose(BVLC(picture), expected, atol=1e-3)


def test_torchvision_equals_pillow():
    picture = gradient(500, 375)
    resized = np.asarray(Image.fromarray(picture).resize((341, 256), Image.Resampling.BILINEAR), "float32")
    expected = (resized[16:240, 58:282] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(TORCHVISION(picture), expected, atol=1e-5)


@pytest.mark.parametrize("crop", [26, 27, 28, 29, 30, 31])
def test_the_crop_of_a_squashed_picture_is_that_of_caffe(crop):
    """BVLC/caffe, data_transformer.cpp: h_off = (datum_height - crop_size) / 2, of integers."""
    picture, start = gradient(32, 32), (32 - crop) // 2
    preprocessing = Preprocessing("squash", 32, crop, antialias=False, channels="RGB", mean=(0, 0, 0))
    np.testing.assert_array_equal(preprocessing(picture), picture[start : start + crop, start : start + crop])


def test_a_mean_picture_is_cropped_like_the_picture():
    mean = gradient(256, 256).astype("float32")[..., ::-1]
    preprocessing = Preprocessing("squash", 256, 227, antialias=False, channels="BGR", mean=mean)
    assert np.abs(preprocessing(gradient(256, 256))).max() == 0


def test_one_channel_gives_grey_pixels():
    preprocessing = Preprocessing("squash", 28, 28, antialias=True, channels="L", mean=(0,), scale=1 / 255)
    assert preprocessing(gradient(50, 60)).shape == (28, 28, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"resize": "stretch"},
        {"channels": "CMYK"},
        {"size": 10**12},
        {"size": 256.0},
        {"crop": 0},
        {"crop": 257},
        {"crop": 63},
        {"size": 4097, "crop": 4000},
        {"mean": (1.0, 2.0)},
        {"mean": (1.0, 2.0, float("nan"))},
        {"mean": np.zeros((200, 200, 3))},
        {"mean": np.zeros((227, 227, 1))},
        {"std": (0.0,)},
        {"std": (1.0, 1.0)},
        {"scale": float("inf")},
    ],
)
def test_fields_out_of_their_range_are_refused(change):
    with pytest.raises(ValueError, match="Expected .* Received"):
        dataclasses.replace(BVLC, **change)


def test_preprocessings_are_equal_if_their_results_are():
    assert dataclasses.replace(BVLC, mean=np.array(ILSVRC_MEAN_BGR, "f4")) == BVLC
    assert hash(dataclasses.replace(BVLC, mean=list(ILSVRC_MEAN_BGR), std=[1.0])) == hash(BVLC)
    mean = np.random.default_rng(0).random((227, 227, 3), np.float32)
    one = dataclasses.replace(BVLC, mean=mean)
    assert one == dataclasses.replace(BVLC, mean=mean.copy()) and one != BVLC
    changes = {"mean": (0.0,) * 3, "scale": 2.0, "std": (2.0,), "channels": "RGB", "antialias": True, "crop": 224}
    for name, value in changes.items():
        assert dataclasses.replace(BVLC, **{name: value}) != BVLC, name
    assert BVLC != "BVLC"


@pytest.mark.data
def test_what_pillow_reads_is_preprocessed_and_the_rest_is_an_error(data):
    """Of 124 unusual files, those that Pillow reads are preprocessed; the others are errors of one line."""
    with (data / "hard" / "manifest.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) == 124
    for row in rows:
        path = data / "hard" / row["file"]
        refused = row["file"] in UNCERTAIN or row["rgb size after EXIF transpose"] == "OSError"
        if row["file"] in NEWLY_READ and int(PIL.__version__.split(".")[0]) < 13:
            continue
        if row["Pillow 13"] != "ok" or refused:
            with pytest.raises(PictureError) as caught:
                BVLC(path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        else:
            width, height = map(int, row["rgb size after EXIF transpose"].split("x"))
            assert decode(path).size == (width, height), row["file"]
            assert np.isfinite(BVLC(path)).all()


def test_ten_crops_are_the_corners_the_centre_and_their_mirror_images():
    preprocessing = Preprocessing("squash", 6, 4, antialias=False, channels="RGB", mean=(0, 0, 0))
    picture = gradient(6, 6).astype("float32")
    corners = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    upright = [picture[top : top + 4, left : left + 4] for top, left in corners]
    views = preprocessing.views(gradient(6, 6), 10)
    np.testing.assert_array_equal(views, [*upright, *(view[:, ::-1] for view in upright)])
    np.testing.assert_array_equal(preprocessing.views(gradient(6, 6)), upright[-1:])
    with pytest.raises(ValueError, match="Expected 1 or 10 crops. Received: 5"):
        preprocessing.views(gradient(6, 6), 5)


def test_each_of_ten_crops_subtracts_its_part_of_a_mean_picture():
    mean = gradient(256, 256).astype("float32")[..., ::-1]
    preprocessing = Preprocessing("squash", 256, 227, antialias=False, channels="BGR", mean=mean)
    views = preprocessing.views(gradient(256, 256), 10)
    assert np.abs(views[:5]).max() == 0


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (100, 250)])
def test_the_paper_resizes_the_shorter_side_to_256(size):
    picture = gradient(*size)
    assert PAPER.resized(picture).shape == (256, 256, 3)
    scale = 256 / min(size)
    resized = Image.fromarray(picture).resize((int(size[0] * scale), int(size[1] * scale)), Image.Resampling.BILINEAR)
    top, left = (round((side - 256) / 2) + 14 for side in resized.size[::-1])  # 227 of the central 256 pixels.
    expected = np.asarray(resized, "float32")[top : top + 227, left : left + 227] - ILSVRC_MEAN_BGR[::-1]
    np.testing.assert_allclose(PAPER(picture), expected, atol=1e-3)


def test_the_summary_and_the_json_form_hold_every_field():
    assert BVLC.summary() == (
        "squashed to 256×256, bilinear, not antialiased; the centre 227×227; "
        "(BGR · 1 − (104.007, 116.669, 122.679)) / (1)"
    )
    assert BVLC.summary("ten crops").split("; ")[1] == "ten crops"
    assert Preprocessing(**BVLC.to_dict()) == BVLC
    with_picture = dataclasses.replace(BVLC, mean=np.zeros((256, 256, 3), "float32"))
    assert "− mean picture)" in with_picture.summary()
    assert with_picture.to_dict()["mean"].keys() == {"shape", "sha256"}


def resized_by_opencv(picture, width, height):
    cv2 = pytest.importorskip("cv2")
    return cv2.resize(picture.astype("float32"), (width, height), interpolation=cv2.INTER_LINEAR)


def resized_by_pillow(picture, width, height):
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR), "float32")


@pytest.mark.parametrize(
    ("resize", "crop", "resized", "corner"),
    [
        ("caffe", None, lambda picture: resized_by_opencv(picture, 256, 256), (14, 14)),
        ("caffe", "none", lambda picture: resized_by_opencv(picture, 227, 227), (0, 0)),
        ("shorter-side", None, lambda picture: resized_by_pillow(picture, 341, 256), (14, 42 + 14)),
        ("torchvision", "centre", lambda picture: resized_by_pillow(picture, 341, 256), (14, 42 + 14)),
        ("torchvision", "none", lambda picture: resized_by_pillow(picture, 302, 227), (0, 38)),
        ("none", None, lambda picture: picture, (74, 136)),
    ],
)
@pytest.mark.parametrize("original", [BVLC, PAPER], ids=["bvlc", "paper"])
def test_a_protocol_changes_the_geometry_and_not_the_levels(original, resize, crop, resized, corner):
    picture, (top, left) = gradient(500, 375), corner
    expected = resized(picture)[top : top + 227, left : left + 227, :: -1 if original is BVLC else 1]
    received = with_protocol(original, resize, crop)(picture)
    np.testing.assert_allclose(received, expected - np.array(original.mean, "float32"), atol=2e-3)


def test_a_protocol_of_a_small_input_cuts_the_same_margin():
    small = dataclasses.replace(BVLC, size=40, crop=32)
    assert with_protocol(small) is small
    sizes = {(resize, crop): with_protocol(small, resize, crop).size for resize in ("caffe", None) for crop in CROPS}
    assert sizes == {("caffe", "centre"): 36, ("caffe", "none"): 32, (None, "centre"): 36, (None, "none"): 32}
    assert with_protocol(dataclasses.replace(BVLC, size=224, crop=224), "torchvision").size == 256


def test_impossible_protocols_and_pictures_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="`resize` to be one of caffe, shorter-side, torchvision, none. Received: 'x'"):
        with_protocol(BVLC, "x")
    with pytest.raises(ValueError, match="`crop` to be one of centre, none. Received: 'x'"):
        with_protocol(BVLC, None, "x")
    with pytest.raises(ValueError, match="resized or cropped"):
        with_protocol(BVLC, "none", "none")
    with pytest.raises(PictureError, match="expected at least 227×227 pixels, as it is not resized; received 400×226"):
        with_protocol(BVLC, "none")(gradient(400, 226))


def test_the_description_names_every_step():
    assert repr(BVLC) == f"<Preprocessing: {BVLC.summary()}>" and "squashed to 256×256, bilinear" in repr(BVLC)
    assert with_protocol(BVLC, "none").summary().startswith("not resized; the centre 227×227; (BGR")
