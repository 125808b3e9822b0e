"""A SavedModel labels the bytes of pictures without this package, preprocessed as in Python."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from support.answers import keras_case
from support.pictures import encode, noise

import tfalexnet
from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.exporters import savedmodel
from tfalexnet.exporters.export import export
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.images.preprocessing import BVLC, Preprocessing


def test_it_labels_pictures_in_a_process_without_this_package(weights_file):
    export(weights_file, "served/1")
    colour = noise(3)
    grey = np.array(colour[1][..., 0])
    data = [encode(colour[0]), encode(grey), encode(colour[2], "BMP"), encode(colour[0], "JPEG", quality=90)]
    data += [encode(grey, "GIF"), encode(grey, "JPEG")]
    for number, content in enumerate(data):
        Path(f"{number}.img").write_bytes(content)
    code = """if True:
        import sys, json, pathlib, tensorflow as tf
        model = tf.saved_model.load("served/1")
        data = [path.read_bytes() for path in sorted(pathlib.Path().glob("*.img"))]
        outputs = model.signatures["serving_default"](image_bytes=tf.constant(data))
        assert not any(name.startswith("tfalexnet") for name in sys.modules)
        classes = [[label.decode() for label in row] for row in outputs["classes"].numpy()]
        print(json.dumps([classes, outputs["indices"].numpy().tolist(), outputs["scores"].numpy().tolist()]))
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    labels, indices, scores = json.loads(run.stdout or run.stderr)
    expected = tfalexnet.predict(data, weights=weights_file)
    assert labels == [[answer.label for answer in row] for row in expected]
    assert indices == [[answer.index for answer in row] for row in expected]
    np.testing.assert_allclose(scores, [[answer.score for answer in row] for row in expected], atol=1e-5)
    description = json.loads(Path("served/1/assets.extra/tfalexnet.json").read_text("utf-8"))
    assert description["labels"][4] == "fünf" and description["source"] == "net.weights.h5"


def test_it_returns_wordnet_ids_stores_matrices_beside_the_graph_and_needs_no_xla(tmp_path):
    net, parameters, *_ = keras_case("krizhevsky2012")
    kernel = parameters["fc6"][0].tobytes()
    checkpoint = Checkpoint(dict(parameters), ModelSpec(net, BVLC, imagenet_classes()[:10]))
    savedmodel.write(tmp_path / "1", checkpoint, "{}", "float32")
    graph = (tmp_path / "1/saved_model.pb").read_bytes()
    assert kernel in (tmp_path / "1/variables/variables.data-00000-of-00001").read_bytes()
    assert kernel not in graph and b"_XlaMustCompile" not in graph
    assert checkpoint.parameters == {}
    loaded = tf.saved_model.load(tmp_path / "1")
    outputs = loaded.signatures["serving_default"](image_bytes=tf.constant([encode(noise(1)[0])]))
    wnids = [imagenet_classes()[index].wnid.encode() for index in outputs["indices"].numpy()[0]]
    assert outputs["wnids"].numpy()[0].tolist() == wnids
    assert len(outputs["scores"][0]) == 5 == len(set(wnids))


SIDES = [(375, 500), (500, 375), (64, 64), (20, 300), (61, 1)]


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resize": "shorter side"},
        {"channels": "L", "mean": (100.0,)},
        {"mean": np.random.default_rng(0).random((64, 64, 3)) * 255, "std": (50.0, 60.0, 70.0), "scale": 0.5},
        {"size": 56},
    ],
)
def test_preprocessing_in_tensorflow_equals_that_in_python(size, changes):
    preprocessing = dataclasses.replace(BVLC, **{"size": 64, "crop": 55} | changes)
    (pixels,) = noise(1, size)
    for data in (encode(pixels), encode(pixels, "JPEG"), encode(pixels[..., 0])):
        result = savedmodel.preparation(preprocessing)(tf.constant(data)).numpy()
        np.testing.assert_allclose(result, preprocessing(data), atol=1e-4)


@pytest.mark.parametrize("size", SIDES)
def test_antialiased_preprocessing_differs_by_at_most_one_level(size):
    preprocessing = Preprocessing("shorter side", 64, 55, antialias=True, channels="RGB", mean=(0.0, 0.0, 0.0))
    data = encode(noise(1, size)[0])
    difference = np.abs(savedmodel.preparation(preprocessing)(tf.constant(data)).numpy() - preprocessing(data))
    assert difference.max() <= 1 and (difference > 0).mean() < 0.25


@pytest.mark.parametrize(("mode", "bits"), [("RGB", 24), ("RGBA", 32), ("P", 8), ("L", 8), ("1", 1)])
def test_bitmaps_with_a_palette_are_refused_in_tensorflow(mode, bits):
    preprocessing = dataclasses.replace(BVLC, size=36, crop=32)
    data = encode(noise(1)[0], "BMP", mode)
    prepare = tf.function(savedmodel.preparation(preprocessing), input_signature=[tf.TensorSpec((), tf.string)])
    if bits > 8:
        np.testing.assert_allclose(prepare(tf.constant(data)), preprocessing(data), atol=1e-4)
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"a BMP of 24 or 32 bits a pixel.*\[{bits}\]"):
            prepare(tf.constant(data))
