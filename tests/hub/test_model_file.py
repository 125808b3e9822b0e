"""A Keras model that `AlexNet` built is taken wherever weights are."""

import gc

import h5py
import keras
import numpy as np
import pytest
from support.nets import small
from support.patterns import gradient

import tfalexnet
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.hub.cache import SHIPPED, find_weights
from tfalexnet.inference.features import extract_features
from tfalexnet.networks.build import get_parameters
from tfalexnet.networks.catalog import BVLC_ALEXNET

PHOTO = gradient(40, 50)
FILE = SHIPPED / "cifar10.weights.h5"


@pytest.fixture
def model():
    return tfalexnet.AlexNet(weights="cifar10")


def assert_close(received, expected):
    assert [each.label for each in received] == [each.label for each in expected]
    np.testing.assert_allclose([each.score for each in received], [each.score for each in expected], atol=1e-6)


def test_every_entry_answers_as_for_the_file(model, tmp_path):
    assert_close(tfalexnet.predict(PHOTO, model), tfalexnet.predict(PHOTO, FILE))
    np.testing.assert_allclose(
        tfalexnet.features(PHOTO, "pool1", model)["pool1"], tfalexnet.features(PHOTO, "pool1", FILE)["pool1"], atol=1e-5
    )
    inputs = np.full((1, 32, 32, 3), 9)
    np.testing.assert_array_equal(
        tfalexnet.preprocess_input(inputs, weights=model), tfalexnet.preprocess_input(inputs, weights=FILE)
    )
    folder = tmp_path / "photos" / "cat"
    folder.mkdir(parents=True)
    keras.utils.save_img(folder / "a.png", PHOTO)
    report = tfalexnet.evaluate(tmp_path / "photos", model, output=tmp_path / "report.json")
    assert report["weights"] == "cifar10_18pct.weights.h5" and report["pictures"] == 1
    extract_features(folder, tmp_path / "f.h5", "prob", model)
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["prob"].shape == (1, 10)
    for name in ("c.weights.h5", "c.npz"):
        converted, _ = tfalexnet.convert(model, tmp_path / name)
        received, expected = read_checkpoint(converted), read_checkpoint(FILE)
        assert received.spec.to_json() == expected.spec.to_json()
        for name, arrays in expected.parameters.items():
            for one, other in zip(received.parameters[name], arrays, strict=True):
                np.testing.assert_array_equal(one, other)


def test_the_weights_are_those_of_the_moment_of_the_call(model):
    before = tfalexnet.predict(PHOTO, model, top=10)
    kernel, _ = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 0, np.arange(10, dtype="float32")])
    after = tfalexnet.predict(PHOTO, model, top=10)
    assert [each.index for each in after] == list(range(9, -1, -1)) != [each.index for each in before]


def test_models_that_keras_loaded_or_cloned_keep_their_weights(model, tmp_path):
    model.save(tmp_path / "m.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for other in (keras.models.load_model(tmp_path / "m.keras"), clone):
        received = tfalexnet.predict(PHOTO, other, top=10)
        expected = tfalexnet.predict(PHOTO, FILE, top=10)
        assert [each.index for each in received] == [each.index for each in expected]
        assert received[0].label == f"class {received[0].index}"  # Keras does not store the names.


def test_two_towers_are_joined_and_a_new_classifier_has_no_names():
    net = small(BVLC_ALEXNET).with_classes(3)
    towers = tfalexnet.AlexNet(net, devices=("/CPU:0", "/CPU:0"))
    read = read_checkpoint(find_weights(towers))
    assert read.spec.architecture == net
    for name, arrays in get_parameters(towers).items():
        np.testing.assert_array_equal(read.parameters[name][0], arrays[0])
    with pytest.warns(UserWarning, match="10 classes; for 4 it gets new weights"):
        other = tfalexnet.AlexNet(weights="cifar10", classes=4)
    spec = read_checkpoint(find_weights(other)).spec
    assert [label for _, label in spec.classes] == [f"class {number}" for number in range(4)]
    assert np.ndim(spec.preprocessing.mean) == 3


def test_the_file_is_deleted_with_the_model(model):
    assert find_weights(model) == find_weights(model)
    other = keras.models.clone_model(model)
    path = find_weights(other)
    del other
    keras.backend.clear_session()
    gc.collect()
    assert not path.parent.exists()


def test_other_models_and_objects_are_refused():
    foreign = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(tfalexnet.CheckpointError, match=r"AlexNet builds; received inputs of the shape"):
        tfalexnet.predict(PHOTO, foreign)
    with pytest.raises(TypeError, match="Expected `weights` to be a name, a path or a keras.Model. Received: 3"):
        tfalexnet.predict(PHOTO, 3)
