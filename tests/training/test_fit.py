"""`model.fit` runs on every network, and lowers the loss on real pictures."""

import keras
import numpy as np
import pytest
from support.nets import small

from tfalexnet import AlexNet, preprocess_input
from tfalexnet.images.decode import decode
from tfalexnet.networks.catalog import ARCHITECTURES


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_step_on_every_network(name):
    model = AlexNet(small(ARCHITECTURES[name]))
    before = model.get_weights()
    pictures = np.random.default_rng(0).normal(0, 1, (2, *model.input_shape[1:])).astype("float32")
    model.compile(keras.optimizers.SGD(1e-2), "sparse_categorical_crossentropy", run_eagerly=True)  # Not traced.
    history = model.fit(pictures, np.array([0, 1]), verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.abs(new - old).max() > 0 for new, old in zip(model.get_weights(), before, strict=True))


def test_the_loss_falls_on_real_pictures(photo):
    """Left and right half of a photo, cut out at many places, told apart by the small BVLC network."""
    pixels = np.asarray(decode(photo))
    generator = np.random.default_rng(0)
    width = pixels.shape[1] // 2
    pictures, halves = [], []
    for i in range(16):
        half = i % 2
        left = half * (pixels.shape[1] - 227) if half else generator.integers(0, max(1, width - 200))
        top = generator.integers(0, pixels.shape[0] - 227)
        pictures.append(pixels[top : top + 227, left : left + 227])
        halves.append(half)
    model = AlexNet(small(ARCHITECTURES["bvlc_alexnet"]), classes=2, dropout=0.0)
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), "sparse_categorical_crossentropy")
    inputs = preprocess_input(np.array(pictures))
    history = model.fit(inputs, np.array(halves), epochs=8, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < 0.5 * history[0]
