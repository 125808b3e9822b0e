"""Training pictures are preprocessed as the source of a network states; other networks get a default."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import tfalexnet
from tfalexnet.data import PREPARED, Labelled, batches, prepared
from tfalexnet.networks.catalog import BVLC_ALEXNET, MNIST_28


def gradient(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 7 + y / 5)], -1).astype("uint8")


def test_the_paper_crops_from_the_central_256_of_the_shorter_side():
    """NIPS 2012, section 2; the mean is that of ILSVRC, R, G, B."""
    picture = gradient(500, 375)
    resized = np.asarray(Image.fromarray(picture).resize((341, 256), Image.Resampling.BILINEAR), "f4")
    central = resized[:, 42:298]
    preprocessing = prepared("krizhevsky2012")
    np.testing.assert_array_equal(preprocessing.resized(picture), central)
    expected = central[14:241, 14:241] - np.float32([122.67891, 116.66877, 104.00699])
    np.testing.assert_allclose(preprocessing(picture), expected, atol=1e-4)
    same = Labelled(np.stack([picture] * 8), np.zeros(8, int), ("a", "b"))
    red = central[..., 0] - np.float32(122.67891)
    pieces = np.lib.stride_tricks.sliding_window_view(red, (227, 227)).reshape(-1, 227, 227)
    ((inputs, _, _),) = batches(same, preprocessing, 8, "crop", seed=1)
    positions = set()
    for crop in inputs.numpy()[..., 0]:
        upright = min(crop, crop[:, ::-1], key=lambda c: c[0, 0])  # Red rises from left to right.
        (matches,) = np.nonzero((pieces[:, :5, :5] == upright[:5, :5]).all(axis=(1, 2)))
        assert any(np.array_equal(pieces[match], upright) for match in matches)
        positions.add(upright.tobytes())
    assert len(positions) > 4


@pytest.mark.data
def test_the_mean_picture_of_cifar10_is_that_of_its_training_pictures(data):
    files = sorted((data / "cifar10" / "train").glob("*/*"))[::50]
    mean = np.mean([np.asarray(Image.open(file), "f4") for file in files], axis=0)
    stored = PREPARED["cifar10_18pct"].mean
    assert stored.shape == (32, 32, 3) and np.abs(stored - mean).max() < 64 / np.sqrt(len(files)) * 5
    assert np.abs(stored - stored.mean((0, 1))).max() > 5  # A picture, not a number per channel.


NETWORKS = {
    "published": (MNIST_28, "mnist_28", (28, 28, 1)),
    "own": (MNIST_28, "mine", (28, 28, 1)),
    "own, of colour pictures": (BVLC_ALEXNET, "mine", (227, 227, 3)),
    "published, of another size": (BVLC_ALEXNET, "bvlc_alexnet", (99, 99, 3)),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_each_network_has_a_preprocessing_of_its_input_shape(kind):
    architecture, name, shape = NETWORKS[kind]
    preprocessing = prepared(dataclasses.replace(architecture, name=name, input_shape=shape))
    assert preprocessing.shape == shape and set(PREPARED) == set(tfalexnet.ARCHITECTURES)
    assert (preprocessing is PREPARED.get(name)) == (kind == "published")
    white = Labelled(np.full((2, 80, 300, 3), 255, np.uint8), np.arange(2), ("a", "b"))
    ((inputs, _, _),) = batches(white, preprocessing, 2, "crop")
    assert inputs.shape == (2, *shape)
    if kind != "published":
        assert preprocessing.size > preprocessing.crop and np.allclose(inputs, 1)


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 20, 2)])
def test_a_network_of_another_input_shape_is_refused(shape):
    architecture = dataclasses.replace(MNIST_28, name="mine", input_shape=shape)
    with pytest.raises(ValueError, match=r"square input of 1 or 3 channels for mine. Received: \(20, "):
        prepared(architecture)
