"""Means of Caffe's training pictures: the files that Caffe and NumPy write, and what is refused."""

import numpy as np
import pytest
from support import caffe

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.formats import caffe_mean

PICTURE = np.random.default_rng(0).uniform(90, 130, (3, 5, 4)).astype("float32")  # Channels first, as in Caffe.


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (PICTURE, PICTURE.transpose(1, 2, 0)),
        (PICTURE[None], PICTURE.transpose(1, 2, 0)),
        (PICTURE.transpose(1, 2, 0).astype("float64"), PICTURE.transpose(1, 2, 0)),
        (PICTURE[:1], PICTURE[:1].transpose(1, 2, 0)),
        (PICTURE.mean((1, 2)), PICTURE.mean((1, 2))),
    ],
)
def test_an_array_of_numpy_is_a_picture_or_numbers(array, expected, tmp_path):
    np.save(tmp_path / "mean.npy", array)
    mean = caffe_mean.read_mean(tmp_path / "mean.npy")
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, expected)


@pytest.mark.parametrize("blob", [caffe.old_blob(PICTURE), caffe.blob(PICTURE[None]), caffe.blob(PICTURE, "double")])
def test_a_binaryproto_is_a_picture(blob, tmp_path):
    (tmp_path / "mean.binaryproto").write_bytes(blob)
    mean = caffe_mean.read_mean(tmp_path / "mean.binaryproto")
    np.testing.assert_array_equal(mean, PICTURE.transpose(1, 2, 0))
    caffe_mean.write_mean(tmp_path / "again.binaryproto", mean)
    np.testing.assert_array_equal(caffe_mean.read_mean(tmp_path / "again.binaryproto"), mean)


@pytest.mark.data
def test_files_of_caffe_are_read(data):
    mean = caffe_mean.read_mean(data / "caffe" / "ilsvrc_2012_mean.npy")
    assert mean.shape == (256, 256, 3)
    np.testing.assert_allclose(mean.mean((0, 1)), (104.00699, 116.66877, 122.67891), rtol=1e-6)
    assert caffe_mean.read_mean(data / "real" / "cifar10_full" / "mean.binaryproto").shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 5, 5)), "received an array of shape"),
        (np.ones((3, 5000, 1), "f2"), "at most 4096 pixels"),
        (np.ones(4), "1 or 3 numbers"),
        (np.full(3, np.nan), "finite"),
        (np.array(["a", "b", "c"]), "expected numbers; received"),
        (np.array([None] * 3), "expected numbers; received"),
    ],
)
def test_other_arrays_are_refused(array, message, tmp_path):
    np.save(tmp_path / "mean.npy", array)
    with pytest.raises(CheckpointError, match=message):
        caffe_mean.read_mean(tmp_path / "mean.npy")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "mean.binaryproto").write_bytes(b"104,117,123")
    with pytest.raises(CheckpointError, match=r"mean\.binaryproto"):
        caffe_mean.read_mean(tmp_path / "mean.binaryproto")
