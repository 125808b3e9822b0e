"""What `features` takes: layers by lists, files, generators, prepared arrays, models and folders of trainings."""

import dataclasses
import gc
import json
import weakref
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from PIL import Image
from support.pictures import noise
from support.weights import write_infinite, write_unprepared

import tfalexnet
from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint, read_spec, write_checkpoint
from tfalexnet.hub.cache import WeightsNotFoundError
from tfalexnet.inference.features import extract_features
from tfalexnet.inference.pipeline import BATCHES_AHEAD
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.layer_names import all_outputs

MAPS = ["conv1", "pool1", "relu1", "norm1", "conv2", "pool2", "norm2", "conv3", "pool3"]


@pytest.fixture
def files(tmp_path):
    """Two pictures whose order is not that of their names."""
    for name, pixels in zip(("b.png", "a.png"), noise(2), strict=True):
        Image.fromarray(pixels).save(tmp_path / name)
    return ["b.png", "a.png"]


def read(path, layer="fc4"):
    with h5py.File(path) as file:
        return list(file["files"].asstr()[:]), file[layer][:]


@pytest.mark.parametrize("engine", ["tensorflow", "auto"])
def test_all_layers_equal_those_of_keras(weights_file, engine):
    (picture,) = noise(1)
    outputs = tfalexnet.features(picture, "all", weights_file, engine=engine)
    assert list(outputs) == [*MAPS, "fc4", "prob"]
    model = AlexNet("cifar10_18pct", weights=weights_file)
    x = read_spec(weights_file).preprocessing(picture)[None]
    names = [layer.name for layer in model.layers if layer.name in outputs]
    assert names == [*MAPS, "fc4"]
    reference = keras.Model(model.input, [model.get_layer(name).output for name in names])(x)
    for name, array in zip(MAPS, reference, strict=False):
        np.testing.assert_allclose(outputs[name], array[0], rtol=1e-5, atol=1e-6 * np.abs(array).max())
    np.testing.assert_allclose(outputs["prob"], reference[-1][0], atol=1e-6)


def test_all_leaves_out_what_changes_nothing_and_what_has_no_weights(weights_file):
    net = ARCHITECTURES["bvlc_alexnet"]
    names = [*("conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4", "conv5", "pool5")]
    assert all_outputs(net) == (*names, "fc6", "fc7", "fc8", "prob")
    assert all_outputs(net, {"fc8"}) == (*names, "fc6", "fc7")
    checkpoint = read_checkpoint(weights_file)
    del checkpoint.parameters["fc4"]
    write_checkpoint("headless.weights.h5", dataclasses.replace(checkpoint, missing=("fc4",)))
    with pytest.warns(UserWarning, match="without fc4"):
        assert list(tfalexnet.features(noise(1)[0], "all", "headless.weights.h5")) == MAPS


def test_layers_may_be_separated_by_commas(weights_file):
    outputs = tfalexnet.features(noise(1)[0], ["fc4, pool3", "conv1"], weights_file)
    assert list(outputs) == ["fc4", "pool3", "conv1"]
    with pytest.raises(ValueError, match="at least one layer"):
        tfalexnet.features(noise(1)[0], ",", weights_file)


@pytest.mark.parametrize(
    ("pool", "reduce"),
    [
        ("max", lambda maps: maps.max((1, 2))),
        ("mean", lambda maps: maps.mean((1, 2))),
        ("flatten", lambda maps: maps.reshape(len(maps), -1)),
    ],
)
def test_pools_equal_numpy(weights_file, files, pool, reduce):
    plain = tfalexnet.features(noise(2), "pool3,conv2:pre,fc4", weights_file)
    pooled = tfalexnet.features(noise(2), "pool3,conv2:pre,fc4", weights_file, pool=pool)
    for name in ("pool3", "conv2:pre"):
        np.testing.assert_allclose(pooled[name], reduce(plain[name]), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pooled["fc4"], plain["fc4"], rtol=1e-5, atol=1e-5)
    extract_features(files, "f.h5", "pool3", weights_file, pool=pool)
    np.testing.assert_allclose(read("f.h5", "pool3")[1], pooled["pool3"], rtol=1e-5, atol=1e-5)
    with h5py.File("f.h5") as file:
        assert file.attrs["pool"] == pool
    with pytest.raises(ValueError, match="`pool` to be one of max, mean, flatten. Received: 'median'"):
        tfalexnet.features(noise(2), "pool3", weights_file, pool="median")


def test_a_job_of_another_pool_is_not_continued(weights_file, files, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tfalexnet.inference.features.write_features", interrupt)
        extract_features(files, "f.h5", "pool3", weights_file, pool="max")
    with pytest.raises(ValueError, match="pool: max there, mean here"):
        extract_features(files, "f.h5", "pool3", weights_file, pool="mean")


def interrupt(*_):
    raise KeyboardInterrupt


def test_files_and_lists_of_files_keep_their_order_and_continue(weights_file, files, monkeypatch):
    expected = tfalexnet.features(noise(2), "fc4", weights_file)["fc4"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("tfalexnet.inference.features.write_features", interrupt)
        extract_features(files, "f.h5", "fc4", weights_file)
    with monkeypatch.context() as patch:
        patch.setattr("tfalexnet.images.preprocessing.Preprocessing.views", interrupt)  # No picture is read again.
        extract_features(files, "f.h5", "fc4", weights_file)
    names, rows = read("f.h5")
    assert names == ["b.png", "a.png"]
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)
    extract_features("a.png", "one.h5", "fc4", weights_file)
    np.testing.assert_allclose(read("one.h5")[1], expected[1:], rtol=1e-5, atol=1e-5)
    extract_features("*.png", "pattern.h5", "fc4", weights_file)
    assert read("pattern.h5")[0] == ["a.png", "b.png"]
    with pytest.raises(FileNotFoundError, match="Expected a file, a folder or a pattern. Received: 'none.png'"):
        extract_features("none.png", "none.h5", "fc4", weights_file)


def test_a_generator_of_any_pictures_is_written_in_its_order(weights_file, files):
    pictures = noise(3)
    given = [files[0], pictures[1], Image.fromarray(pictures[2]), b"no picture"]
    errors = extract_features(iter(given), "f.h5", "fc4", weights_file)
    names, rows = read("f.h5")
    assert names == ["b.png", "1", "2"] and [error.name for error in errors] == ["3"]
    expected = tfalexnet.features(iter(pictures), "fc4", weights_file)["fc4"]
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="Received 0 files"):
        extract_features(iter(()), "none.h5", "fc4", weights_file)
    assert not Path("none.h5").exists() and not list(Path().glob("*.part"))


def test_the_pictures_of_a_generator_are_not_kept(weights_file):
    """A few batches are in memory, whatever the number of pictures."""
    alive, most = set(), 0

    def generate():
        nonlocal most
        for number in range(120):
            picture = np.full((8, 8, 3), number, np.uint8)
            alive.add(number)
            weakref.finalize(picture, alive.discard, number)
            yield picture
            del picture
            gc.collect(0)
            most = max(most, len(alive))

    extract_features(generate(), "f.h5", "fc4", weights_file, batch=4)
    assert len(read("f.h5")[0]) == 120 and most <= 4 * (BATCHES_AHEAD + 2)


def test_prepared_arrays_give_the_features_of_their_pictures(weights_file):
    pictures, transform = noise(3), tfalexnet.transform(weights_file)
    inputs = np.stack([transform(picture) for picture in pictures])
    expected = tfalexnet.features(pictures, "fc4", weights_file)["fc4"]
    for given in (inputs, list(inputs), iter(inputs)):
        received = tfalexnet.features(given, "fc4", weights_file, preprocessed=True)["fc4"]
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    one = tfalexnet.features(inputs[1], "fc4", weights_file, preprocessed=True)["fc4"]
    np.testing.assert_allclose(one, expected[1], rtol=1e-5, atol=1e-5)
    extract_features(iter(inputs), "f.h5", "fc4", weights_file, preprocessed=True)
    names, rows = read("f.h5")
    assert names == ["0", "1", "2"]
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-5)
    with h5py.File("f.h5") as file:
        assert json.loads(file.attrs["preprocessing"]) is None


def test_arrays_that_are_not_prepared_are_refused(weights_file, photo):
    for wrong, received in ((noise(1)[0], r"uint8, \(40, 50, 3\)"), (str(photo), r"<U\d+, \(\)")):
        with pytest.raises(ValueError, match=rf"shape \(32, 32, 3\)\. Received: {received}"):
            tfalexnet.features([wrong], "fc4", weights_file, preprocessed=True)
    with pytest.raises(ValueError, match="`resize` and `crop` for pictures only"):
        tfalexnet.features(np.zeros((32, 32, 3)), "fc4", weights_file, preprocessed=True, crop="none")


def test_weights_of_unknown_preprocessing_take_prepared_arrays(weights_file):
    write_unprepared("own.weights.h5")
    inputs = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("f4")
    received = tfalexnet.features(inputs, "pool3", "own.weights.h5", preprocessed=True)["pool3"]
    expected = tfalexnet.features(inputs, "pool3", weights_file, preprocessed=True)["pool3"]
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(CheckpointError, match="expected to know the preprocessing of own_net.*preprocessed=True"):
        tfalexnet.features(noise(1)[0], "pool3", "own.weights.h5")


def test_protocols_are_computed_and_recorded(weights_file, files):
    for resize, crop in (("torchvision", None), ("caffe", "none"), ("none", None), (None, "none")):
        transform = tfalexnet.transform(weights_file, resize, crop)
        inputs = np.stack([transform(picture) for picture in noise(2)])
        expected = tfalexnet.features(inputs, "fc4", weights_file, preprocessed=True)["fc4"]
        received = tfalexnet.features(noise(2), "fc4", weights_file, resize=resize, crop=crop)["fc4"]
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
        extract_features(files, "f.h5", "fc4", weights_file, resize=resize, crop=crop, overwrite=True)
        np.testing.assert_allclose(read("f.h5")[1], expected, rtol=1e-5, atol=1e-5)
        with h5py.File("f.h5") as file:
            assert json.loads(file.attrs["preprocessing"]) == transform.to_dict()


def test_the_folder_of_a_training_stands_for_its_model(weights_file, tmp_path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    with pytest.raises(WeightsNotFoundError, match=r"it is a folder without model\.weights\.h5, which a training"):
        tfalexnet.features(noise(1)[0], "fc4", run)
    weights_file.rename(run / "model.weights.h5")
    expected = tfalexnet.features(noise(1)[0], "fc4", run / "model.weights.h5")["fc4"]
    np.testing.assert_array_equal(tfalexnet.features(noise(1)[0], "fc4", run)["fc4"], expected)
    model = AlexNet(weights=run / "model.weights.h5")
    np.testing.assert_allclose(tfalexnet.features(noise(1)[0], "fc4", model)["fc4"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("weights_file")
def test_an_output_of_a_pool_that_is_not_finite_is_refused():
    write_infinite("huge.weights.h5")
    with pytest.raises(CheckpointError, match="NaN or infinity in fc4"):
        tfalexnet.features(noise(1)[0], "fc4", "huge.weights.h5", pool="max")
