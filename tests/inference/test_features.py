"""Features equal the outputs of Keras' and PyTorch's layers, in arrays and in HDF5 files."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from PIL import Image
from support.labels import act_at
from support.nets import random_parameters, small
from support.pictures import noise
from support.weights import write_infinite

import tfalexnet
import tfalexnet.inference.features as module
from tfalexnet import AlexNet, CheckpointError, PictureError
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.images.classes import numbered_classes
from tfalexnet.inference import feature_files, pipeline, resume
from tfalexnet.inference.features import extract_features
from tfalexnet.inference.pipeline import run_network
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.layer_names import resolve_layer

READABLE = ["a.png", "b.png", "c.png", "deep/ü.png"]


@pytest.fixture
def folder(tmp_path):
    """Four pictures and a file that is none, in the order a, b, bad, c, ü."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for name, pixels in zip(READABLE, noise(4), strict=True):
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    return tmp_path / "photos"


@pytest.fixture
def read(monkeypatch):
    """The pictures that are read from now on."""
    read = []

    def run(network, pictures, **given):
        return run_network(network, (read.append(picture) or picture for picture in pictures), **given)

    monkeypatch.setattr(module, "run_network", run)
    return read


def names(dataset):
    return list(dataset.asstr()[:])


def assert_complete(path, folder, weights, layers=("fc4",)):
    """The HDF5 file holds the features of all readable pictures, and nothing of the work is left beside it."""
    expected = tfalexnet.features([folder / name for name in READABLE], layers, weights)
    with h5py.File(path) as file:
        assert names(file["files"]) == READABLE and names(file["unreadable/files"]) == ["bad.jpg"]
        assert "not a picture" in names(file["unreadable/reasons"])[0]
        for layer in layers:
            np.testing.assert_allclose(file[layer], expected[layer], rtol=1e-5, atol=1e-5)
    assert not list(Path(path).parent.glob("*.part"))


def test_outputs_before_and_after_the_relu_equal_those_of_keras(weights_file):
    (picture,) = noise(1)
    outputs = tfalexnet.features(picture, ["conv2:pre", "conv2", "pool2", "norm2", "fc4", "prob"], weights_file)
    net = ARCHITECTURES["cifar10_18pct"]
    model = AlexNet(net, weights=weights_file)
    layers = ["conv2", "pool2", "norm2", "fc4"]
    reference = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    values = dict(zip(layers, reference(read_spec(weights_file).preprocessing(picture)[None]), strict=True))
    probabilities = values.pop("fc4").numpy()[0]
    for name, array in values.items():
        np.testing.assert_allclose(outputs[name], array[0], rtol=1e-5, atol=1e-6 * np.abs(array).max())
    np.testing.assert_array_equal(np.maximum(outputs["conv2:pre"], 0), outputs["conv2"])
    assert (outputs["conv2:pre"] < 0).any()
    np.testing.assert_allclose(outputs["prob"], probabilities, atol=1e-6)
    exponentials = np.exp(outputs["fc4"] - outputs["fc4"].max())
    np.testing.assert_allclose(exponentials / exponentials.sum(), probabilities, atol=1e-6)


def test_torchvisions_names_return_the_outputs_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    from support.pytorch import torch_module

    net, preprocessing = small(ARCHITECTURES["one_weird_trick"]), PREPROCESSING["one_weird_trick"]
    parameters = random_parameters(net)
    weights = tmp_path / "owt.weights.h5"
    write_checkpoint(weights, Checkpoint(parameters, ModelSpec(net, preprocessing, numbered_classes(10))))
    module = torch_module(net, parameters).eval()
    (picture,) = noise(1, (300, 400))
    inputs = preprocessing(picture)
    layers = ["features.0", "features.10", "features.11", "features.12", "classifier.4", "classifier.5", "classifier"]
    outputs = tfalexnet.features(picture, layers, weights)
    expected = {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _, __, output, name=name: expected.setdefault(name, output.detach().clone()))
    for part in module.modules():
        if isinstance(part, torch.nn.ReLU):
            part.inplace = False
    with torch.no_grad():
        module(torch.from_numpy(np.ascontiguousarray(inputs.transpose(2, 0, 1)))[None])
    for name in layers:
        values = expected[name].numpy()[0]
        values = values.transpose(1, 2, 0) if values.ndim == 3 else values
        np.testing.assert_allclose(outputs[name], values, rtol=1e-4, atol=1e-5)


def test_lists_arrays_and_single_pictures(weights_file):
    pictures = noise(3)
    all_three = tfalexnet.features(pictures, "conv1", weights_file)["conv1"]
    one = tfalexnet.features(pictures[1], "conv1", weights_file)["conv1"]
    assert all_three.shape == (3, *one.shape)
    np.testing.assert_allclose(all_three[1], one, atol=1e-4)
    np.testing.assert_array_equal(tfalexnet.features(np.stack(pictures), "conv1", weights_file)["conv1"], all_three)
    assert tfalexnet.features([], "conv1", weights_file)["conv1"].shape == (0, *one.shape)
    with pytest.raises(PictureError, match=r"none\.jpg"):
        tfalexnet.features([pictures[0], "none.jpg"], "conv1", weights_file)


def test_an_unknown_layer_is_answered_with_those_that_exist(weights_file):
    with pytest.raises(ValueError, match=r"Expected layers of cifar10_18pct: conv1, .*conv2:pre.*Received: 'fc7'"):
        tfalexnet.features([], "fc7", weights_file)
    with pytest.raises(ValueError, match="Expected at least one layer"):
        tfalexnet.features([], [], weights_file)
    assert resolve_layer(ARCHITECTURES["one_weird_trick"], "classifier.4") == "fc7:pre"
    with pytest.raises(ValueError, match="Expected layers of cifar10_18pct"):
        resolve_layer(ARCHITECTURES["cifar10_18pct"], "classifier.4")


def test_outputs_that_are_not_finite_are_refused_and_those_of_layers_before_returned(weights_file, folder):
    write_infinite("huge.weights.h5")
    picture = folder / "a.png"
    for layers in ("fc4", "prob", ["conv1", "fc4"]):
        with pytest.raises(CheckpointError, match=r"huge\.weights\.h5: .*a\.png with NaN or infinity in (fc4|prob)\."):
            tfalexnet.features(picture, layers, "huge.weights.h5")
    huge, usual = (tfalexnet.features(picture, "pool3", file)["pool3"] for file in ("huge.weights.h5", weights_file))
    np.testing.assert_array_equal(huge, usual)
    with pytest.raises(CheckpointError, match=r"a\.png with NaN or infinity in fc4"):
        extract_features(folder, "f.h5", "fc4", "huge.weights.h5")
    assert not os.path.exists("f.h5")


def test_a_folder_is_written_to_an_hdf5_file(weights_file, folder, monkeypatch):
    monkeypatch.setattr(feature_files, "AT_ONCE", 1)  # One row at a time.
    errors = extract_features(folder, "out/f.h5", ["conv2", "fc4"], weights_file)
    assert [error.name for error in errors] == ["bad.jpg"]
    assert_complete("out/f.h5", folder, weights_file, ["conv2", "fc4"])
    with h5py.File("out/f.h5") as file:
        assert file.attrs["architecture"] == "cifar10_18pct" and file.attrs["weights"] == "net.weights.h5"
        assert len(file.attrs["weights_sha256"]) == 64 and '"crop": 32' in file.attrs["preprocessing"]
        assert file["conv2"].dtype == np.float32


KILLED = """
import os, signal, sys
from tfalexnet.inference import resume
from tfalexnet.inference.features import extract_features

class Killing(resume.Progress):
    def advance(self, *given):
        super().advance(*given)
        self.count == 3 and os.kill(os.getpid(), signal.SIGKILL)

resume.Progress = Killing
extract_features(sys.argv[1], "f.h5", "prob", sys.argv[2], batch=1)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_kill_loses_nothing(quick_weights, folder, tmp_path, read):
    run = subprocess.run([sys.executable, "-c", KILLED, folder, quick_weights], capture_output=True, cwd=tmp_path)
    output = tmp_path / "f.h5"
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert (tmp_path / "f.h5.part").exists() and not output.exists()
    extract_features(folder, output, "prob", quick_weights, batch=1)
    assert [path.name for path in read] == ["c.png", "ü.png"]
    assert_complete(output, folder, quick_weights, ["prob"])


@pytest.fixture
def interrupted(weights_file, folder, monkeypatch):
    """Features of three readable pictures of four, in the order a, b, bad, c, ü."""

    def fail():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(resume, "Progress", act_at(4, fail))
        extract_features(folder, "f.h5", "fc4", weights_file, batch=1)
    return Path("f.h5.part"), Path("f.h5.rows.part")


ROW = 6 * 4  # Bytes of fc4.


@pytest.mark.parametrize("rows", [0, 1, ROW - 1, ROW, 2 * ROW + 5, 3 * ROW, 3 * ROW + 7, 5 * ROW, None])
@pytest.mark.parametrize("entries", [0, 1, 2, 3, 4])
def test_rows_and_journal_of_different_lengths_are_cut_to_the_same_pictures(
    interrupted, weights_file, folder, read, rows, entries
):
    journal, stored = interrupted
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[: 1 + entries]) + b'{"file": "c.p')
    assert stored.stat().st_size == 3 * ROW
    if rows is None:
        stored.unlink()
    else:
        stored.write_bytes((stored.read_bytes() + b"\xff" * 3 * ROW)[:rows])
    read.clear()
    extract_features(folder, "f.h5", "fc4", weights_file, batch=1)
    with h5py.File("f.h5") as file:
        assert names(file["files"]) == READABLE and np.isfinite(file["fc4"]).all() and file["fc4"].shape == (4, 6)
    usable = min(entries, {0: 0, 1: 1}.get((rows or 0) // ROW, 3 if (rows or 0) < 3 * ROW else 4))
    assert len(read) == 5 - usable


@pytest.mark.usefixtures("interrupted")
def test_the_remaining_pictures_are_computed_in_the_batches_of_an_uninterrupted_job(weights_file, folder, read):
    read.clear()
    extract_features(folder, "f.h5", "fc4", weights_file, batch=3)
    assert [path.name for path in read] == ["c.png", "ü.png"]
    assert_complete("f.h5", folder, weights_file)


def test_features_of_other_layers_do_not_continue_the_job(interrupted, weights_file, folder):
    before = [part.read_bytes() for part in interrupted]
    with pytest.raises(ValueError, match=r"left by the same command.*layers: fc4 there, conv1 here"):
        extract_features(folder, "f.h5", "conv1", weights_file)
    assert [part.read_bytes() for part in interrupted] == before


def test_a_failure_while_the_hdf5_file_is_written_costs_no_picture(weights_file, folder, monkeypatch, read):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "f.h5")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_features", fail)
        advice = r"No space left on device\. Finished results are saved; the same command continues: 'f\.h5\.part'"
        with pytest.raises(OSError, match=advice):
            extract_features(folder, "f.h5", "fc4", weights_file)
    read.clear()
    errors = extract_features(folder, "f.h5", "fc4", weights_file)
    assert read == [] and [error.name for error in errors] == ["bad.jpg"]
    assert_complete("f.h5", folder, weights_file)


@pytest.mark.parametrize("remains", ["nothing", "an empty folder"])
def test_pictures_of_a_folder_that_vanishes_are_not_recorded_as_unreadable(weights_file, folder, monkeypatch, remains):
    def vanish():
        folder.rename("away")
        remains == "nothing" or folder.mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(resume, "Progress", act_at(1, vanish))
        patch.setattr(pipeline, "BATCHES_AHEAD", 1)
        with pytest.raises(NotADirectoryError, match="photos: expected the pictures that were there; it is gone, or"):
            extract_features(folder, "f.h5", "fc4", weights_file, batch=1)
    journal = Path("f.h5.part").read_text("utf-8").splitlines()
    assert [json.loads(line)["file"] for line in journal[1:]] == ["a.png"]
    remains == "nothing" or folder.rmdir()
    Path("away").rename(folder)
    assert [error.name for error in extract_features(folder, "f.h5", "fc4", weights_file)] == ["bad.jpg"]
    assert_complete("f.h5", folder, weights_file)


def test_an_existing_output_is_replaced_only_if_requested(weights_file, folder):
    extract_features(folder, "f.h5", "fc4", weights_file)
    before = Path("f.h5").read_bytes()
    with pytest.raises(FileExistsError, match=r"f\.h5 to be new"):
        extract_features(folder, "f.h5", "conv1", weights_file)
    assert Path("f.h5").read_bytes() == before
    extract_features(folder, "f.h5", "conv1", weights_file, overwrite=True)
    with h5py.File("f.h5") as file:
        assert "conv1" in file and "fc4" not in file


def test_a_name_that_is_not_utf8_is_stored_as_its_bytes(weights_file, folder):
    if os.fsencode("é") != b"\xc3\xa9":
        pytest.skip("names are UTF-16 here")
    os.rename(folder / "a.png", os.fsencode(folder) + b"/caf\xe9.png")
    extract_features(folder, "f.h5", "fc4", weights_file)
    with h5py.File("f.h5") as file:
        stored = file["files"].asstr("utf-8", "surrogateescape")[:]
        assert [os.fsencode(name) for name in stored][2] == b"caf\xe9.png"


def test_the_unfinished_file_of_version_0_1_is_refused_and_stays(weights_file, folder):
    with h5py.File("f.h5.part", "w") as part:  # It was the HDF5 file itself.
        part.attrs["layers"] = "fc4"
    before = Path("f.h5.part").read_bytes()
    message = r"f\.h5\.part: expected the journal of an interrupted command of this version; received another file\."
    with pytest.raises(ValueError, match=message):
        extract_features(folder, "f.h5", "fc4", weights_file)
    assert Path("f.h5.part").read_bytes() == before and not os.path.exists("f.h5.rows.part")


def test_impossible_arguments_and_folders_without_readable_pictures_are_refused(weights_file, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="empty"):
        extract_features(empty, "f.h5", "fc4", weights_file)
    (empty / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="1 files, none of which can be read"):
        extract_features(empty, "f.h5", "fc4", weights_file)
    with pytest.raises(ValueError, match="Expected `batch` to be a positive integer"):
        extract_features(empty, "f.h5", "fc4", weights_file, batch=0)
    with pytest.raises(ValueError, match=r"ends in \.h5, \.hdf5, \.npy, .*\. Received: net\.weights"):
        extract_features(empty, "net.weights", "fc4", weights_file)
    assert sorted(os.listdir()) == ["empty", "net.weights.h5"]
