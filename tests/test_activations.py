"""Activations: by another network's own layers, in memory and streamed to a file."""

import dataclasses
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
from support.nets import random_parameters, small

import tfalexnet
from tfalexnet import AlexNet, CheckpointError, PictureError
from tfalexnet.checkpoints import checkpoint as checkpoints
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.images.classes import numbered_classes
from tfalexnet.images.preprocessing import BVLC
from tfalexnet.inference import features as activations
from tfalexnet.inference import pipeline as inference
from tfalexnet.inference import resume
from tfalexnet.inference.features import extract_features
from tfalexnet.inference.pipeline import run_network
from tfalexnet.io.progress import Progress
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.layer_names import resolve_layer

THIN = ARCHITECTURES["cifar10_18pct"]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Weights of a small network, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    process = dataclasses.replace(BVLC, size=32, crop=32)
    write_checkpoint(
        "net.weights.h5", Checkpoint(random_parameters(THIN), ModelSpec(THIN, process, numbered_classes(10)))
    )
    return "net.weights.h5"


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for name in ("b.png", "a.png", "deep/ü.png", "c.png"):
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), "uint8")).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    return tmp_path / "photos"


def test_before_and_after_the_relu(file):
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), "uint8")
    found = tfalexnet.features(picture, ["conv2:pre", "conv2", "pool2", "norm2", "fc4", "prob"], file)
    process, _ = read_spec(file)
    model = AlexNet(THIN, weights=file)
    names = ["conv2", "pool2", "norm2", "fc4"]
    layers = keras.Model(model.input, [model.get_layer(name).output for name in names])
    outputs = dict(zip(names, layers(process(picture)[None]), strict=True))
    probabilities = outputs.pop("fc4").numpy()[0]
    for name, array in outputs.items():
        np.testing.assert_allclose(found[name], array[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(np.maximum(found["conv2:pre"], 0), found["conv2"])
    assert (found["conv2:pre"] < 0).any()
    np.testing.assert_allclose(found["prob"], probabilities, atol=1e-6)
    exponentials = np.exp(found["fc4"] - found["fc4"].max())
    np.testing.assert_allclose(exponentials / exponentials.sum(), probabilities, atol=1e-6)


def test_torchvisions_names_give_what_pytorch_gives(tmp_path):
    torch = pytest.importorskip("torch")
    from support.pytorch import torch_module

    net = small(ARCHITECTURES["one_weird_trick"])
    parameters = random_parameters(net)
    process = PREPROCESSING["one_weird_trick"]
    write_checkpoint(tmp_path / "owt.weights.h5", Checkpoint(parameters, ModelSpec(net, process, numbered_classes(10))))
    read = read_checkpoint
    module = torch_module(net, parameters).eval()
    picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), "uint8")
    inputs = process(picture)
    asked = ["features.0", "features.10", "features.11", "features.12", "classifier.4", "classifier.5", "classifier"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "read", lambda path: read(path, net))
        found = tfalexnet.features(picture, asked, tmp_path / "owt.weights.h5")
    given = {}
    for name, part in module.named_modules():
        part.register_forward_hook(lambda _, __, output, name=name: given.setdefault(name, output.detach().clone()))
    for part in module.modules():
        if isinstance(part, torch.nn.ReLU):
            part.inplace = False
    with torch.no_grad():
        module(torch.from_numpy(np.ascontiguousarray(inputs.transpose(2, 0, 1)))[None])
    for name in asked:
        wanted = given[name].numpy()[0]
        wanted = wanted.transpose(1, 2, 0) if wanted.ndim == 3 else wanted
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)


def test_lists_and_single_pictures(file):
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), "uint8"))
    several = tfalexnet.features(pictures, "conv1", file)["conv1"]
    assert several.shape == (3, *tfalexnet.features(pictures[0], "conv1", file)["conv1"].shape)
    np.testing.assert_allclose(several[1], tfalexnet.features(pictures[1], "conv1", file)["conv1"], atol=1e-4)
    np.testing.assert_array_equal(tfalexnet.features(np.stack(pictures), "conv1", file)["conv1"], several)
    assert tfalexnet.features([], "conv1", file)["conv1"].shape == (0, *several.shape[1:])
    with pytest.raises(PictureError, match=r"none\.jpg"):
        tfalexnet.features([pictures[0], "none.jpg"], "conv1", file)


def test_a_layer_that_is_not_there_is_answered_with_those_that_are(file):
    with pytest.raises(ValueError, match=r"Expected layers of cifar10_18pct: conv1, .*conv2:pre.*Received: 'fc7'"):
        tfalexnet.features([], "fc7", file)
    with pytest.raises(ValueError, match="Expected at least one layer"):
        tfalexnet.features([], [], file)
    assert resolve_layer(ARCHITECTURES["one_weird_trick"], "classifier.4") == "fc7:pre"
    with pytest.raises(ValueError, match="Expected layers of cifar10_18pct"):
        resolve_layer(ARCHITECTURES["cifar10_18pct"], "classifier.4")


def test_a_folder_streams_to_a_file(file, folder):
    failed = extract_features(folder, "out/f.h5", ["conv2", "fc4"], file)
    assert [error.name for error in failed] == ["bad.jpg"]
    with h5py.File("out/f.h5") as found:
        names = list(found["files"].asstr()[:])
        assert names == ["a.png", "b.png", "c.png", "deep/ü.png"]
        assert list(found["unreadable/files"].asstr()[:]) == ["bad.jpg"]
        assert "not a picture" in found["unreadable/reasons"].asstr()[0]
        wanted = tfalexnet.features([folder / name for name in names], ["conv2", "fc4"], file)
        for layer in ("conv2", "fc4"):
            np.testing.assert_allclose(found[layer], wanted[layer], rtol=1e-5, atol=1e-5)
        assert found.attrs["architecture"] == "cifar10_18pct" and found.attrs["weights"] == "net.weights.h5"
    assert not os.path.exists("out/f.h5.part")


def test_a_kill_costs_no_more_than_the_block(file, folder, monkeypatch):
    monkeypatch.setattr(activations, "BLOCK", 2)
    extract_features(folder, "whole.h5", "fc4", file)
    code = (
        "import os, signal\n"
        "from tfalexnet.inference import features as activations\n"
        "activations.BLOCK = 2\n"
        "append, calls = activations._append, []\n"
        "def killed(*given):\n"
        "    if len(calls) == 1: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    calls.append(1)\n"
        "    return append(*given)\n"
        "activations._append = killed\n"
        f"activations.extract({str(folder)!r}, 'f.h5', 'fc4', {file!r})\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -signal.SIGKILL
    assert os.path.exists("f.h5.part") and not os.path.exists("f.h5")
    with pytest.raises(ValueError, match=r"left by the same command.*layers: fc4 there, conv1 here"):
        extract_features(folder, "f.h5", "conv1", file)
    seen = []
    run = run_network
    monkeypatch.setattr(inference, "run", lambda *given, **more: seen.extend(given[1]) or run(*given, **more))
    extract_features(folder, "f.h5", "fc4", file)
    assert len(seen) == 3
    with h5py.File("f.h5") as again, h5py.File("whole.h5") as whole:
        assert list(again["files"]) == list(whole["files"])
        np.testing.assert_allclose(again["fc4"], whole["fc4"], atol=1e-5)
        assert list(again["unreadable/files"]) == list(whole["unreadable/files"])


def test_an_interruption_costs_nothing(file, folder, monkeypatch):
    run = run_network

    def interrupted(*given, **more):
        for number, answer in enumerate(run(*given, **more)):
            if number == 3:
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr(inference, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_features(folder, "f.h5", "fc4", file)
    with h5py.File("f.h5.part") as part:
        assert len(part["files"]) + len(part["unreadable/files"]) == 3
    monkeypatch.setattr(inference, "run", run)
    extract_features(folder, "f.h5", "fc4", file)
    with h5py.File("f.h5") as found:
        assert len(found["fc4"]) == 4


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_folder_that_vanishes_midway_makes_no_picture_unreadable(file, folder, monkeypatch, left):
    class Vanishing(Progress):
        def advance(self, *given):
            super().advance(*given)
            if self.count == 1:
                folder.rename("away")
                left == "nothing" or folder.mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(resume, "Progress", Vanishing)
        patch.setattr(inference, "BATCHES_AHEAD", 1)
        with pytest.raises(NotADirectoryError, match="photos: expected the pictures that were there; it is gone, or"):
            extract_features(folder, "f.h5", "fc4", file, batch=1)
    with h5py.File("f.h5.part") as part:
        assert list(part["files"].asstr()[:]) == ["a.png"] and len(part["unreadable/files"]) == 0
    left == "nothing" or folder.rmdir()
    Path("away").rename(folder)
    assert [error.name for error in extract_features(folder, "f.h5", "fc4", file)] == ["bad.jpg"]
    with h5py.File("f.h5") as found:
        assert list(found["files"].asstr()[:]) == ["a.png", "b.png", "c.png", "deep/ü.png"]


def test_numbers_that_are_none_are_refused_and_those_before_them_given(file, folder):
    checkpoint = read_checkpoint(file)
    kernel, bias = checkpoint.parameters["fc4"]
    checkpoint.parameters["fc4"] = kernel / abs(kernel).max() * np.float32(3e38), bias  # Finite, as reading wants it.
    write_checkpoint("huge.weights.h5", checkpoint)
    picture = folder / "a.png"
    for layers in ("fc4", "prob", ["conv1", "fc4"]):
        with pytest.raises(CheckpointError, match=r"huge\.weights\.h5: .*a\.png with NaN or infinity in (fc4|prob)\."):
            tfalexnet.features(picture, layers, "huge.weights.h5")
    found, wanted = (tfalexnet.features(picture, "pool3", weights)["pool3"] for weights in ("huge.weights.h5", file))
    np.testing.assert_array_equal(found, wanted)
    with pytest.raises(CheckpointError, match=r"a\.png with NaN or infinity in fc4"):
        extract_features(folder, "f.h5", "fc4", "huge.weights.h5")
    assert not os.path.exists("f.h5")


def test_a_block_that_was_interrupted_does_not_count(file, folder, monkeypatch):
    monkeypatch.setattr(activations, "BLOCK", 2)
    stack = np.stack
    blocks = []

    def interrupted(rows):
        blocks.append(len(rows))
        if len(blocks) == 2:
            raise OSError("full")
        return stack(rows)

    monkeypatch.setattr(np, "stack", interrupted)
    with pytest.raises(OSError, match="full"):
        extract_features(folder, "f.h5", "fc4", file)
    monkeypatch.setattr(np, "stack", stack)
    extract_features(folder, "f.h5", "fc4", file)
    with h5py.File("f.h5") as found:
        assert list(found["files"].asstr()[:]) == ["a.png", "b.png", "c.png", "deep/ü.png"]
        assert list(found["unreadable/files"].asstr()[:]) == ["bad.jpg"] and len(found["fc4"]) == 4


def test_an_output_that_is_there_stays(file, folder):
    extract_features(folder, "f.h5", "fc4", file)
    before = Path("f.h5").read_bytes()
    with pytest.raises(FileExistsError, match=r"f\.h5 to be new"):
        extract_features(folder, "f.h5", "conv1", file)
    assert Path("f.h5").read_bytes() == before
    extract_features(folder, "f.h5", "conv1", file, overwrite=True)
    with pytest.raises(ValueError, match=r"ends in \.h5 or \.hdf5. Received: net\.weights"):
        extract_features(folder, "net.weights", "fc4", file)


def test_a_name_that_is_no_text(file, folder):
    if os.fsencode("é") != b"\xc3\xa9":
        pytest.skip("names are UTF-16 here")
    odd = os.fsencode(folder) + b"/caf\xe9.png"
    os.rename(folder / "a.png", odd)
    extract_features(folder, "f.h5", "fc4", file)
    with h5py.File("f.h5") as found:
        names = found["files"].asstr("utf-8", "surrogateescape")[:]
        assert [os.fsencode(name) for name in names][2] == b"caf\xe9.png"


def test_a_file_damaged_by_a_kill_is_begun_anew(file, folder):
    with open("f.h5.part", "wb") as part:
        part.write(b"\x89HDF\r\n\x1a\n" + bytes(100))
    extract_features(folder, "f.h5", "fc4", file)
    with h5py.File("f.h5") as found:
        assert len(found["fc4"]) == 4


def test_nothing_readable(file, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        extract_features("empty", "f.h5", "fc4", file)
    (tmp_path / "empty" / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="1 files, none of which can be read"):
        extract_features("empty", "f.h5", "fc4", file)
    assert not os.path.exists("f.h5") and not os.path.exists("f.h5.part")
    with pytest.raises(ValueError, match="Expected `batch` to be a positive integer"):
        extract_features("empty", "f.h5", "fc4", file, batch=0)
