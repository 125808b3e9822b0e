"""`model.fit` trains every network for the answers after its conversion, and lowers the loss on real pictures."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from support.nets import random_parameters, small

from tfalexnet import AlexNet, convert, evaluate, predict, preprocess_input
from tfalexnet.data import from_folder
from tfalexnet.images.decode import decode
from tfalexnet.networks.build import set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES

QUICK = ("krizhevsky2012", "bvlc_alexnet", "cifar10_18pct")  # The three kinds of preprocessing.


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


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES]
)
def test_a_trained_network_answers_after_its_conversion_as_in_keras(name, tmp_path, monkeypatch):
    """The preprocessing is the same in `from_folder` and, after `save_weights` and `convert`, in `evaluate`."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for index, (label, colour) in enumerate([("blue", (30, 60, 200)), ("red", (200, 60, 30))] * 3):
        pixels = (colour + generator.normal(0, 30, (60, 90, 3))).clip(0, 255).astype("uint8")
        for part in ("train", "val"):
            Path("colours", part, label).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(f"colours/{part}/{label}/{index}.png")
    net = small(ARCHITECTURES[name]).with_classes(2)
    model = AlexNet(net)
    set_parameters(model, random_parameters(net))
    before = model.get_weights()
    model.compile(
        keras.optimizers.SGD(1e-2, clipnorm=1.0), "sparse_categorical_crossentropy", run_eagerly=True
    )  # Not traced.
    pictures = from_folder("colours", architecture=net, batch=6, augment="none")
    history = model.fit(pictures, verbose=0, shuffle=False)
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.abs(new - old).max() > 0 for new, old in zip(model.get_weights(), before, strict=True))
    inputs, labels = next(iter(from_folder("colours", architecture=net, batch=6, part="validation")))
    expected = model(inputs, training=False).numpy()
    model.save_weights("trained.weights.h5")
    Path("names.txt").write_text("blue\nred\n")
    convert("trained.weights.h5", "converted.weights.h5", net, "names.txt")
    report = evaluate("colours/val", "converted.weights.h5")
    assert (report["read"], report["top1_wrong"]) == (6, np.count_nonzero(expected.argmax(axis=1) != labels))
    answers = predict(sorted(Path("colours/val").glob("*/*.png")), "converted.weights.h5")
    received = np.array(
        [[{answer.index: answer.score for answer in row}[index] for index in (0, 1)] for row in answers]
    )
    # Another preprocessing changes the logits by about as much as they differ between pictures, which may be little.
    received_logits, expected_logits = (np.log(scores[:, 0] / scores[:, 1]) for scores in (received, expected))
    spread = np.ptp(expected_logits)
    assert np.isfinite(spread) and spread > 1e-3
    np.testing.assert_allclose(received_logits, expected_logits, atol=0.02 * spread)
