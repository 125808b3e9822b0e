"""Pictures in, labels out: with a network whose answers are known, and with the shipped weights."""

import json
import os
import pickle
import subprocess
import sys
import threading

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.exported import output_path, require
from support.nets import small
from support.pictures import noise
from support.weights import LABELS, write_infinite, write_unprepared

import tfalexnet
from tfalexnet import AlexNet, CheckpointError, PictureError, Prediction
from tfalexnet.caffe_classes import class_names
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.exporters.export import export
from tfalexnet.hub.cache import locate_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.images.preprocessing import BVLC, TORCHVISION
from tfalexnet.inference.predict import iter_predictions
from tfalexnet.networks.catalog import BVLC_ALEXNET
from tfalexnet.runtimes.network import Network


def test_the_answers_are_those_of_the_model(weights_file):
    (picture,) = noise(1)
    model = AlexNet("cifar10_18pct", weights=weights_file)
    scores = model(read_spec(weights_file).preprocessing(picture)[None]).numpy()[0]
    order = np.argsort(-scores)[:5]
    answer = tfalexnet.predict(picture, weights=weights_file)
    assert [prediction.index for prediction in answer] == list(order)
    assert [prediction.label for prediction in answer] == [LABELS[index] for index in order]
    np.testing.assert_allclose([prediction.score for prediction in answer], scores[order], atol=1e-6)
    assert all(isinstance(prediction, Prediction) and prediction.wnid is None for prediction in answer)


def scores_of(answers):
    """(pictures, 5), the scores in the order of the labels."""
    return np.array([[prediction.score for prediction in sorted(answer)] for answer in answers])


def test_a_list_is_answered_in_order_and_in_batches(weights_file, monkeypatch):
    pictures, sizes, call = noise(70), [], Network.__call__
    monkeypatch.setattr(Network, "__call__", lambda self, x, n: sizes.append(len(x)) or call(self, x, n))
    answers = scores_of(tfalexnet.predict(pictures, weights=weights_file))
    assert sizes == [32, 32, 32]  # The last six pictures are padded.
    singly = scores_of([tfalexnet.predict(picture, weights=weights_file) for picture in pictures])
    np.testing.assert_allclose(answers, singly, atol=1e-6)
    assert len({tuple(row) for row in singly.round(4)}) == len(pictures)  # Another order would be noticed.
    assert tfalexnet.predict([], weights=weights_file) == []


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_answered(weights_file):
    first, second = noise(2)
    with pytest.raises(PictureError, match=r"none\.jpg: no such file"):
        tfalexnet.predict([first, "none.jpg", second], weights=weights_file)
    kinds = [type(answer) for answer in iter_predictions([first, "none.jpg", second], weights_file)]
    assert kinds == [list, PictureError, list]


@pytest.mark.parametrize("top", [0, -1, 2.5])
def test_top_is_a_positive_integer(top):
    with pytest.raises(ValueError, match="Expected `top`"):
        tfalexnet.predict("picture.png", weights="none.npy", top=top)


def test_weights_of_unknown_preprocessing_are_refused(tmp_path):
    write_unprepared(tmp_path / "own.weights.h5")
    with pytest.raises(CheckpointError, match="expected to know the preprocessing of own_net"):
        tfalexnet.predict(noise(1)[0], weights=tmp_path / "own.weights.h5")


def test_a_file_that_keras_wrote_is_read_with_its_network(tmp_path):
    model = AlexNet(small(BVLC_ALEXNET))
    model.save_weights(tmp_path / "own.weights.h5")
    again = AlexNet(small(BVLC_ALEXNET), weights=tmp_path / "own.weights.h5")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


def test_preprocess_input_is_a_part_of_a_model():
    inputs = keras.Input((227, 227, 3))
    model = keras.Model(inputs, tfalexnet.preprocess_input(inputs))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 227, 227, 3), "uint8")
    np.testing.assert_allclose(model(pixels.astype("float32")), tfalexnet.preprocess_input(pixels), atol=1e-4)


def test_preprocess_input_normalizes_as_the_weights_expect():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 227, 227, 3), "uint8")
    expected = pixels[..., ::-1].astype("float32") - np.array(BVLC.mean, "float32")
    before = pixels.copy()
    for x in (pixels, pixels.astype("float32"), list(pixels)):
        np.testing.assert_array_equal(tfalexnet.preprocess_input(x), expected)
    np.testing.assert_array_equal(pixels, before)
    dataset = tf.data.Dataset.from_tensors(pixels).map(tfalexnet.preprocess_input)
    np.testing.assert_array_equal(next(iter(dataset)), expected)


def test_preprocess_input_states_what_is_wrong(tmp_path):
    with pytest.warns(UserWarning, match=r"Expected grey levels 0–255; the largest here is 1\."):
        tfalexnet.preprocess_input(np.ones((1, 227, 227, 3)))
    with pytest.raises(ValueError, match=r"Expected shape .*227, 227, 3.*Received: \(1, 224, 224, 3\)"):
        tfalexnet.preprocess_input(np.ones((1, 224, 224, 3)))
    with pytest.raises(ValueError, match="channels_last"):
        tfalexnet.preprocess_input(np.ones((1, 227, 227, 3)), data_format="channels_first")
    write_unprepared(tmp_path / "own.weights.h5")
    with pytest.raises(CheckpointError, match=r"own\.weights\.h5 does not state"):
        tfalexnet.preprocess_input(np.ones((1, 32, 32, 3)), weights=tmp_path / "own.weights.h5")


def test_decode_predictions_returns_what_keras_returns():
    scores = np.zeros((2, 1000))
    scores[0, 281], scores[0, 282], scores[1, 134] = 0.6, 0.4, 1
    rows = tfalexnet.decode_predictions(scores, top=2)
    assert rows[0] == [("n02123045", "tabby, tabby cat", 0.6), ("n02123159", "tiger cat", 0.4)]
    assert rows[1][0] == ("n02012849", "crane", 1.0)
    with pytest.raises(ValueError, match=r"Expected predictions of shape \(batch, 1000\).*\(2, 10\)"):
        tfalexnet.decode_predictions(scores[:, :10])
    with pytest.raises(ValueError, match="Expected `top`"):
        tfalexnet.decode_predictions(scores, top=0)


def test_the_classes_are_those_of_caffe():
    assert len(class_names) == 1000
    assert class_names[0] == "tench, Tinca tinca" and class_names[-1] == "toilet tissue, toilet paper, bathroom tissue"
    assert [i for i, name in enumerate(class_names) if name == "crane"] == [134, 517]
    wnids = [wnid for wnid, _ in imagenet_classes()]
    assert wnids == sorted(wnids) and len(set(wnids)) == 1000


def test_the_shipped_weights_recognise_a_cat_in_every_kind_of_input(photo):
    answer = tfalexnet.predict(photo, weights="cifar10")
    assert answer[0].label == "cat" and len(answer) == 5
    with Image.open(photo) as image:
        assert tfalexnet.predict(image, weights="cifar10") == answer
    assert tfalexnet.predict(photo.read_bytes(), weights="cifar10") == answer
    assert os.path.getsize(locate_weights("cifar10")) < 1_000_000


def cifar10_accuracy(files):
    answers = iter_predictions(files, "cifar10", top=1)
    return 100 * np.mean([best.label == file.parent.name for (best,), file in zip(answers, files, strict=True)])


@pytest.mark.data
@pytest.mark.slow
def test_the_shipped_weights_have_the_published_accuracy(data):
    files = sorted((data / "cifar10" / "test").glob("*/*"))
    assert len(files) == 10_000
    accuracy = cifar10_accuracy(files)
    assert accuracy >= 82 and accuracy == pytest.approx(REGISTRY["cifar10"].accuracy.top1)


@pytest.mark.data
def test_the_shipped_weights_have_about_the_published_accuracy_on_a_sample(data):
    files = sorted((data / "cifar10" / "test").glob("*/*"))[::10]
    assert cifar10_accuracy(files) == pytest.approx(REGISTRY["cifar10"].accuracy.top1, abs=3)


WITHOUT_TENSORFLOW = """
import sys, tfalexnet
for answer in tfalexnet.predict(sys.argv[1], weights=sys.argv[2]):
    print(answer.label, answer.score)
assert {"tensorflow", "keras", "ml_dtypes", "http.client", "matplotlib", "onnx"}.isdisjoint(sys.modules)
"""


def test_weights_label_a_photo_without_tensorflow(photo):
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, photo, "cifar10"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = tfalexnet.predict(photo, weights="cifar10", engine="tensorflow")
    assert [line.split()[0] for line in lines] == [answer.label for answer in expected]
    np.testing.assert_allclose([float(line.split()[1]) for line in lines], [a.score for a in expected], atol=1e-5)


@pytest.mark.parametrize("format", ["litert", "openvino"])
def test_an_exported_file_labels_a_photo_without_tensorflow(format, photo, tmp_path):
    require(format)
    file = export("cifar10", output_path(tmp_path, format), format)
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, photo, file]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    expected = tfalexnet.predict(photo, weights="cifar10")
    assert [line.split()[0] for line in lines] == [answer.label for answer in expected]
    np.testing.assert_allclose([float(line.split()[1]) for line in lines], [a.score for a in expected], atol=1e-5)
    with pytest.raises(ValueError, match=r"Expected the layer prob of an exported file. Received: fc4"):
        tfalexnet.features(photo, "fc4", file)


SPECS = {
    "no JSON": b"{",
    "nested too deeply": b"[" * 100_000,
    "a list": b"[1, 2, 3]",
    "an unknown layer": lambda spec: spec["table"]["layers"].append({"kind": "Attention"}),
    "too few labels": lambda spec: spec.update(labels=["one", "two"]),
    "labels that are no text": lambda spec: spec.update(labels=["one", "two", "\ud800", "4", "5", "6"]),
    "preprocessing with missing fields": lambda spec: spec.update(preprocessing={"resize": 1, "std": [1]}),
    "no mean": lambda spec: spec["preprocessing"].pop("mean"),
    "a mean of another shape": lambda spec: spec["preprocessing"].update(mean=[[1, 2]]),
}


@pytest.mark.parametrize("damage", SPECS)
def test_a_file_whose_spec_is_damaged_is_refused(damage, weights_file):
    with h5py.File(weights_file, "r+") as file:
        change, spec = SPECS[damage], json.loads(file["tfalexnet/spec"][:].tobytes())
        if callable(change):
            change(spec)
        content = json.dumps(spec).encode() if callable(change) else change
        del file["tfalexnet/spec"]
        file["tfalexnet/spec"] = np.frombuffer(content, np.uint8)
    with pytest.raises(ValueError, match=r"net\.weights\.h5"):
        tfalexnet.decode_predictions(np.zeros((1, 6)), weights=weights_file)
    with pytest.raises(CheckpointError, match=r"^[^\n]*net\.weights\.h5: [^\n]*$"):
        predict_one(weights_file)


def predict_one(weights):
    return tfalexnet.predict(noise(1)[0], weights=weights)


def test_answers_that_are_not_finite_are_refused(tmp_path):
    write_infinite(tmp_path / "huge.weights.h5")
    message = r"huge\.weights\.h5: expected finite .*a picture with NaN or infinity in"
    with pytest.raises(CheckpointError, match=message):
        predict_one(tmp_path / "huge.weights.h5")


def test_an_unreadable_picture_leaves_no_threads(photo, tmp_path):
    before = threading.active_count()
    with pytest.raises(PictureError) as raised:  # Keeps the error and all that its traceback refers to.
        tfalexnet.predict([photo, tmp_path / "none.png", *[photo] * 200], "cifar10")
    assert threading.active_count() == before and raised.value.__traceback__ is not None


def test_the_transform_gives_the_inputs_of_the_model(weights_file, photo):
    transform = tfalexnet.transform(weights_file)
    model = AlexNet("cifar10_18pct", weights=weights_file)
    with Image.open(photo) as image:
        pictures = [photo, str(photo), photo.read_bytes(), image, np.asarray(image)]
        inputs = [transform(picture) for picture in pictures]
    assert {(x.dtype, x.shape) for x in inputs} == {(np.dtype("f4"), (32, 32, 3))}
    for x in inputs:
        scores = [prediction.score for prediction in tfalexnet.predict(photo, weights_file, top=1)]
        np.testing.assert_allclose(model(x[None]).numpy().max(), scores, atol=1e-6)
    assert "squashed to 36×36, bilinear" in repr(transform) and "the centre 32×32" in transform.summary()
    assert tfalexnet.transform(weights_file, crop="none").size == 32
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(transform))(photo), inputs[0])  # Loaders use processes.
    assert tfalexnet.transform("one_weird_trick") == TORCHVISION  # Its file is not on this machine.
    write_unprepared("own.weights.h5")
    with pytest.raises(CheckpointError, match=r"own\.weights\.h5 does not state how its pictures are preprocessed"):
        tfalexnet.transform("own.weights.h5")
