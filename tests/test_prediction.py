"""Pictures in, labels out: with a network whose answers are known, and with the shipped model."""

import dataclasses
import os
import threading

import h5py
import numpy as np
import pytest
from PIL import Image
from support.nets import random_parameters, small

import tfalexnet
from tfalexnet import AlexNet, CheckpointError, PictureError, Prediction
from tfalexnet.caffe_classes import class_names
from tfalexnet.checkpoints import checkpoint as checkpoints
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub.cache import locate_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import classes_from_labels, imagenet_classes
from tfalexnet.images.preprocessing import BVLC
from tfalexnet.inference import pipeline as inference
from tfalexnet.inference.pipeline import BATCHES_AHEAD as AHEAD
from tfalexnet.inference.pipeline import COMPUTED_AT_ONCE as AT_ONCE
from tfalexnet.inference.pipeline import run_network
from tfalexnet.inference.predict import iter_predictions
from tfalexnet.networks.catalog import BVLC_ALEXNET
from tfalexnet.runtimes import tensorflow as frozen
from tfalexnet.runtimes.network import ALIGNMENT, Network, aligned_memory, load_network


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of a small network with three classes of its own."""
    monkeypatch.chdir(tmp_path)
    net = tfalexnet.ARCHITECTURES["cifar10_18pct"].with_classes(3)
    process = dataclasses.replace(BVLC, size=32, crop=32)
    checkpoint = Checkpoint(
        random_parameters(net), ModelSpec(net, process, classes_from_labels(["one", "two", "three"]))
    )
    write_checkpoint("net.weights.h5", checkpoint)
    return "net.weights.h5"


def pictures(count):
    return list(np.random.default_rng(0).integers(0, 256, (count, 40, 50, 3), "uint8"))


def test_answers_are_the_models(file):
    net = tfalexnet.ARCHITECTURES["cifar10_18pct"]
    (picture,) = pictures(1)
    model = AlexNet(net, weights=file)
    process, _ = read_spec(file)
    scores = model(process(picture)[None]).numpy()[0]
    answer = tfalexnet.predict(picture, weights=file)
    assert [a.index for a in answer] == list(np.argsort(-scores))
    assert [a.label for a in answer] == [["one", "two", "three"][i] for i in np.argsort(-scores)]
    np.testing.assert_allclose([a.score for a in answer], np.sort(scores)[::-1], atol=1e-6)
    assert all(isinstance(a, Prediction) and a.wnid is None for a in answer)


def test_a_list_is_answered_in_order_and_in_batches(file, monkeypatch):
    several = pictures(70)
    sizes = []
    call = Network.__call__
    monkeypatch.setattr(Network, "__call__", lambda self, x, n: sizes.append(len(x)) or call(self, x, n))
    together = tfalexnet.predict(several, weights=file, top=1)
    assert sorted(sizes) == [8, 32, 32]  # Six, and two of nothing.
    alone = [tfalexnet.predict(picture, weights=file, top=1) for picture in several]
    assert [a[0].index for a in together] == [a[0].index for a in alone]
    assert tfalexnet.predict([], weights=file) == []


def test_weights_are_loaded_once_and_again_when_their_file_changes(file, monkeypatch):
    (picture,) = pictures(1)
    first = load_network(file)
    reads = []
    read = read_checkpoint
    monkeypatch.setattr(checkpoints, "read", lambda *given: reads.append(given) or read(*given))
    for _ in range(3):
        tfalexnet.predict(picture, weights=file)
    assert reads == [] and load_network(file) is first
    os.utime(file, (1, 1))
    assert load_network(file) is not first


def test_nothing_is_traced_again(file, monkeypatch):
    traced, freeze = [], frozen.freeze

    def counted(*given):
        network = freeze(*given)
        return lambda x: traced.append(x) or network(x)

    monkeypatch.setattr(frozen, "freeze", counted)
    os.utime(file, (2, 2))
    for count in (1, 2, 5, 32, 33, 1):
        tfalexnet.predict(pictures(count), weights=file)
    assert len(traced) == 1


def test_a_bad_picture_is_named_and_the_others_are_answered(file):
    good = pictures(2)
    with pytest.raises(PictureError, match=r"none\.jpg: no such file"):
        tfalexnet.predict([good[0], "none.jpg", good[1]], weights=file)
    kinds = [type(a) for a in iter_predictions([good[0], "none.jpg", good[1]], file)]
    assert kinds == [list, PictureError, list]


@pytest.mark.parametrize("top", [0, -1, 2.5])
def test_top_is_positive(file, top):
    with pytest.raises(ValueError, match="Expected `top`"):
        tfalexnet.predict(pictures(1)[0], weights=file, top=top)


def test_weights_that_do_not_say_how_pictures_are_prepared(tmp_path):
    net = tfalexnet.ARCHITECTURES["cifar10_18pct"]
    checkpoint = Checkpoint(
        random_parameters(net), ModelSpec(net, None, classes_from_labels([str(i) for i in range(10)]))
    )
    write_checkpoint(tmp_path / "n.weights.h5", checkpoint)
    with pytest.raises(tfalexnet.CheckpointError, match="how cifar10_18pct wants its pictures"):
        tfalexnet.predict(pictures(1)[0], weights=tmp_path / "n.weights.h5")


def test_keras_own_file_keeps_no_preprocessing_and_needs_its_network(tmp_path):
    model = AlexNet(small(BVLC_ALEXNET))
    model.save_weights(tmp_path / "own.weights.h5")
    again = AlexNet(small(BVLC_ALEXNET), weights=tmp_path / "own.weights.h5")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


def test_preprocess_input_is_the_end_of_the_protocol():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 227, 227, 3), "uint8")
    expected = pixels[..., ::-1].astype("float32") - np.array(BVLC.mean, "float32")
    before = pixels.copy()
    np.testing.assert_array_equal(tfalexnet.preprocess_input(pixels), expected)
    np.testing.assert_array_equal(tfalexnet.preprocess_input(pixels.astype("float32")), expected)
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(tfalexnet.preprocess_input(list(pixels)), expected)
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensors(pixels).map(tfalexnet.preprocess_input)
    np.testing.assert_array_equal(next(iter(dataset)), expected)


def test_preprocess_input_says_what_is_wrong():
    with pytest.warns(UserWarning, match=r"Expected grey levels 0–255; the largest here is 1\."):
        tfalexnet.preprocess_input(np.ones((1, 227, 227, 3)))
    with pytest.raises(ValueError, match=r"Expected shape .*227, 227, 3.*Received: \(1, 224, 224, 3\)"):
        tfalexnet.preprocess_input(np.ones((1, 224, 224, 3)))
    with pytest.raises(ValueError, match="channels_last"):
        tfalexnet.preprocess_input(np.ones((1, 227, 227, 3)), data_format="channels_first")


def test_decode_predictions_as_in_keras():
    scores = np.zeros((2, 1000))
    scores[0, 281], scores[0, 282], scores[1, 134] = 0.6, 0.4, 1
    rows = tfalexnet.decode_predictions(scores, top=2)
    assert rows[0] == [("n02123045", "tabby, tabby cat", 0.6), ("n02123159", "tiger cat", 0.4)]
    assert rows[1][0] == ("n02012849", "crane", 1.0)
    with pytest.raises(ValueError, match=r"Expected predictions of shape \(batch, 1000\).*\(2, 10\)"):
        tfalexnet.decode_predictions(scores[:, :10])
    with pytest.raises(ValueError, match="Expected `top`"):
        tfalexnet.decode_predictions(scores, top=0)


def test_the_classes_are_caffes():
    assert len(class_names) == 1000
    assert class_names[0] == "tench, Tinca tinca" and class_names[-1] == "toilet tissue, toilet paper, bathroom tissue"
    assert [i for i, name in enumerate(class_names) if name == "crane"] == [134, 517]
    wnids = [wnid for wnid, _ in imagenet_classes()]
    assert wnids == sorted(wnids) and len(set(wnids)) == 1000


def test_the_shipped_model_knows_a_cat(photo):
    answer = tfalexnet.predict(photo, weights="cifar10")
    assert answer[0].label == "cat" and len(answer) == 5
    with Image.open(photo) as image:
        assert tfalexnet.predict(image, weights="cifar10") == answer
    assert tfalexnet.predict(photo.read_bytes(), weights="cifar10") == answer
    assert os.path.getsize(locate_weights("cifar10")) < 1_000_000


@pytest.mark.data
def test_the_shipped_model_has_the_error_it_promises(data):
    files = sorted((data / "cifar10" / "test").glob("*/*"))
    assert len(files) == 10_000
    answers = iter_predictions(files, "cifar10", top=1)
    wrong = sum(best.label != file.parent.name for (best,), file in zip(answers, files, strict=True))
    assert wrong / 10_000 <= 0.18
    assert 100 - wrong / 100 == pytest.approx(REGISTRY["cifar10"].accuracy.top1)


DAMAGED = {
    "architecture": "vgg",
    "classes": -5,
    "preprocessing": '{"resize": 1, "std": [1]}',
    "nested": "[" * 100_000,
    "labels": b'["one", "two"]',
    "numbers": b"[1, 2, 3]",
    "surrogates": b'["one", "two", "\\ud800"]',
}


@pytest.mark.parametrize("damage", [*DAMAGED, "mean"])
def test_a_file_whose_description_is_damaged(damage, file):
    value = DAMAGED.get(damage)
    with h5py.File(file, "r+") as opened:
        if isinstance(value, bytes):
            del opened["tfalexnet/labels"]
            opened["tfalexnet/labels"] = np.frombuffer(value, np.uint8)
        elif value is None:
            del opened["tfalexnet/mean"]
        elif damage == "nested":
            del opened["tfalexnet/labels"]
            opened["tfalexnet/labels"] = np.frombuffer(value.encode(), np.uint8)
        else:
            opened.attrs[damage] = value
    with pytest.raises(tfalexnet.CheckpointError, match=r"net\.weights\.h5: "):
        tfalexnet.decode_predictions(np.zeros((1, 3)), weights=file)
    if damage in ("classes", "architecture"):
        return  # The weights themselves know better.
    with pytest.raises(tfalexnet.CheckpointError, match=r"net\.weights\.h5: "):
        tfalexnet.predict(pictures(1)[0], weights=file)


def test_answers_that_are_no_numbers(file):
    checkpoint = read_checkpoint(file)
    kernel, bias = checkpoint.parameters["fc4"]
    checkpoint.parameters["fc4"] = kernel / abs(kernel).max() * np.float32(3e38), bias  # Finite, as reading wants it.
    write_checkpoint("huge.weights.h5", checkpoint)
    with pytest.raises(
        CheckpointError, match=r"huge\.weights\.h5: expected finite .*a picture with NaN or infinity in"
    ):
        tfalexnet.predict(pictures(1)[0], weights="huge.weights.h5")


def test_answers_before_one_that_is_no_number_are_given(file):
    """Whatever is left in the place of a picture that could not be read."""
    network = load_network(file)

    def function(x):
        bright = x.max(axis=(1, 2, 3)) > 0
        return [np.where(bright[:, None], network.function(x)[0], np.nan)]

    broken = dataclasses.replace(network, function=function)
    black = np.zeros((40, 50, 3), "uint8")
    answers = run_network(broken, ["none.jpg", *pictures(2), black])
    assert [type(next(answers)) for _ in range(3)] == [PictureError, list, list]
    with pytest.raises(CheckpointError, match="answers a picture with NaN or infinity in prob"):
        next(answers)


@pytest.mark.parametrize(("crops", "batch"), [(1, 32), (1, 12), (10, 32), (10, 40), (10, 10)])
def test_whole_batches_are_computed_where_they_were_prepared(file, monkeypatch, crops, batch):
    memory, given, taken = [], [], aligned_memory

    def counted(shape):
        memory.append(taken(shape))
        return memory[-1]

    network = load_network(file)
    spy = dataclasses.replace(network, function=lambda x: given.append(x) or network.function(x))
    monkeypatch.setattr(inference, "aligned_memory", counted)
    together = batch // crops
    assert len(list(run_network(spy, pictures(9 * together), crops, batch))) == 9 * together
    assert len(given) == 9 and len(memory) <= AHEAD + AT_ONCE
    for inputs in given:
        assert any(np.may_share_memory(inputs, own) for own in memory)
        assert inputs.ctypes.data % ALIGNMENT == 0 and crops * together <= len(inputs) <= batch


@pytest.mark.parametrize("crops", [1, 10])
def test_memory_that_is_used_again_holds_nothing_of_before(file, crops):
    several = pictures(300)
    several[40] = several[290] = "none.jpg"
    network = load_network(file)
    found = list(run_network(network, several, crops, batch=8))
    for picture, answer in zip(several, found, strict=True):
        if isinstance(picture, str):
            assert isinstance(answer, PictureError)
        else:
            wanted = network(network.spec.preprocessing.views(picture, crops))[0].mean(axis=0)
            np.testing.assert_allclose(answer[0], wanted, atol=1e-6)


def test_aligned_memory_is_shared_and_other_copied(file):
    network = load_network(file)
    shape = (2, *network.spec.preprocessing.shape)
    inputs = aligned_memory(shape)
    assert inputs.ctypes.data % ALIGNMENT == 0 and inputs.shape == shape and not inputs.any()
    tensor = frozen._as_tensor(inputs)
    inputs[0, 0, 0, 0] = 7
    assert float(tensor[0, 0, 0, 0]) == 7
    for other in (inputs[1:], inputs[:, :, ::-1], np.asfortranarray(inputs)):
        tensor = frozen._as_tensor(other)
        np.testing.assert_array_equal(tensor, other)


def test_what_is_left_early_stops_its_threads(file):
    before = threading.active_count()
    answers = run_network(load_network(file), (picture for picture in pictures(500)))
    next(answers)
    answers.close()
    assert threading.active_count() == before


def test_no_more_than_a_few_batches_are_taken_ahead(file):
    taken = []
    answers = run_network(load_network(file), (taken.append(1) or picture for picture in pictures(300)), batch=8)
    next(answers)
    assert len(taken) == 8 * AHEAD
    assert len(list(answers)) == 299
