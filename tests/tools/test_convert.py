"""A .npy goes in, a file for Keras comes out, whole or not at all."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import ROOT
from support.nets import random_parameters, small, write_npy

from tfalexnet import AlexNet, CheckpointError, convert
from tfalexnet.checkpoints.checkpoint import read_checkpoint, read_spec
from tfalexnet.checkpoints.formats import keras_h5
from tfalexnet.networks.catalog import ARCHITECTURES, BVLC_ALEXNET
from tfalexnet.tools.convert import describe_checkpoint, parameters_table

NET = small(BVLC_ALEXNET)
PARAMETERS = random_parameters(NET)
LAST = NET.classifier.name


@pytest.fixture
def npy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_npy("net.npy", PARAMETERS)
    return "net.npy"


def test_keras_and_alexnet_read_the_file(npy):
    output, checkpoint = convert(npy, architecture=NET)
    assert str(output) == "weights/net.weights.h5"
    loaded, given, direct = AlexNet(NET), AlexNet(NET, weights=output), AlexNet(NET, weights=npy)
    loaded.load_weights(output)
    for name, arrays in PARAMETERS.items():
        for model in (loaded, given, direct):
            for have, want in zip(model.get_layer(name).get_weights(), arrays, strict=True):
                np.testing.assert_array_equal(have, want)
    assert checkpoint.spec.architecture == NET


def test_each_source_has_an_output_of_its_own(npy):
    names = {"run.1.npy": "run.1", "run.2.npy": "run.2", ".hidden.npy": ".hidden", "plain": "plain"}
    for name, stem in names.items():
        Path(name).write_bytes(Path(npy).read_bytes())
        assert convert(name, architecture=NET)[0] == Path("weights", f"{stem}.weights.h5")
    convert(npy, "net.npz", NET)
    convert(npy, architecture=NET)
    before = Path("weights/net.weights.h5").read_bytes()
    for source in (npy, "net.npz"):
        with pytest.raises(FileExistsError, match=r"net\.weights\.h5 to be new. It exists"):
            convert(source, architecture=NET)
    assert Path("weights/net.weights.h5").read_bytes() == before
    convert("net.npz", architecture=NET, overwrite=True)
    assert keras_h5.attributes("weights/net.weights.h5")["source"] == "net.npz"
    with pytest.raises(ValueError, match="an output other than the source"):
        convert("net.npz", "net.npz", NET, overwrite=True)


def test_what_a_format_cannot_hold_is_said(npy):
    output, checkpoint = convert(npy, "x.caffemodel", NET)
    assert (
        "x.caffemodel stores weights only: state network, class names and preprocessing again when it is read"
        in checkpoint.notes[-1]
    )
    output, checkpoint = convert(npy, "x.npz", NET)
    assert not checkpoint.notes
    assert "bvlc_alexnet" in describe_checkpoint(npy, NET) and "squashed to 256×256" in describe_checkpoint(output, NET)


def test_one_file_serves_two_devices(npy):
    output, _ = convert(npy, architecture=NET)
    picture = np.random.default_rng(0).normal(0, 60, (1, 227, 227, 3)).astype("float32")
    one = AlexNet(NET, weights=output)
    two = AlexNet(NET, weights=output, devices=("/CPU:0", "/CPU:1"))
    np.testing.assert_allclose(two(picture), one(picture), atol=1e-5)


def test_attributes_say_where_it_comes_from(npy):
    output, _ = convert(npy, architecture=NET)
    said = keras_h5.read(output).attributes
    assert said["source"] == "net.npy"
    assert said["source_sha256"] == hashlib.sha256(Path(npy).read_bytes()).hexdigest()
    assert said["architecture"] == "bvlc_alexnet" and read_spec(output).architecture.classes == 10


def test_the_table_and_its_total(npy):
    _, checkpoint = convert(npy, architecture=NET)
    lines = parameters_table(checkpoint).splitlines()
    assert lines[1].split() == ["conv1", "11×11×3×12", "12", "4,368"]
    assert lines[-1].split() == ["total", f"{sum(a.size for pair in PARAMETERS.values() for a in pair):,}"]


@pytest.mark.parametrize("classes", [1, 205, 365])
def test_any_number_of_classes(classes, tmp_path):
    net = NET.with_classes(classes)
    write_npy(tmp_path / "places.npy", random_parameters(net))
    output, checkpoint = convert(tmp_path / "places.npy", tmp_path / "places.weights.h5", NET)
    assert checkpoint.spec.architecture.classes == classes
    assert AlexNet(NET, weights=output).output_shape == (None, classes)


def test_another_number_of_classes_gets_a_fresh_classifier(npy):
    with pytest.warns(UserWarning, match="fc8 of 'net.npy' has 10 classes; for 17 it gets new weights"):
        model = AlexNet(NET, weights=npy, classes=17)
    for name, arrays in PARAMETERS.items():
        if name != LAST:
            for have, want in zip(model.get_layer(name).get_weights(), arrays, strict=True):
                np.testing.assert_array_equal(have, want)
    kernel, bias = model.get_layer(LAST).get_weights()
    assert kernel.shape == (64, 17) and 0 < kernel.std() < 1 and not bias.any()


def test_a_renamed_classifier(tmp_path):
    parameters = {f"{name}_flickr" if name == LAST else name: arrays for name, arrays in PARAMETERS.items()}
    write_npy(tmp_path / "flickr.npy", parameters)
    _, checkpoint = convert(tmp_path / "flickr.npy", tmp_path / "flickr.weights.h5", NET)
    assert list(checkpoint.parameters) == list(PARAMETERS)


def test_own_class_names(npy, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"thing {i}" for i in range(10)), encoding="utf-8-sig")
    output, _ = convert(npy, architecture=NET, labels=labels)
    classes = read_spec(output).classes
    assert classes[0] == (None, "thing 0") and classes[3] == (None, "thing 3")
    labels.write_text("one\ntwo")
    with pytest.raises(CheckpointError, match=r"labels.txt: expected 10 lines.*received 2"):
        convert(npy, "other.weights.h5", NET, labels)
    labels.write_bytes("Löwe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"labels.txt: expected text in UTF-8"):
        convert(npy, "other.weights.h5", NET, labels)
    write_npy("headless.npy", without(LAST))
    with pytest.raises(CheckpointError, match=r"with a classifier for the labels"):
        convert("headless.npy", "other.weights.h5", NET, labels)
    assert not os.path.exists("other.weights.h5")


def without(name):
    return {other: arrays for other, arrays in PARAMETERS.items() if other != name}


def spoiled(value):
    kernel = PARAMETERS["fc6"][0].copy()
    kernel[3, 4] = value
    return PARAMETERS | {"fc6": (kernel, PARAMETERS["fc6"][1])}


WRONG = {
    "missing": (without("conv3"), "conv3: expected, and missing"),
    "called otherwise": (
        {"conv9" if name == "conv1" else name: arrays for name, arrays in PARAMETERS.items()},
        r"conv9: received, and not expected \(--map conv9=… renames it\)",
    ),
    "transposed": (
        PARAMETERS | {"conv2": (PARAMETERS["conv2"][0].transpose(3, 2, 0, 1), PARAMETERS["conv2"][1])},
        r"conv2 kernel: expected \(5, 5, 6, 32\), received \(32, 6, 5, 5\) \(transposed\?\)",
    ),
    "bias": (PARAMETERS | {"fc7": (PARAMETERS["fc7"][0], np.ones((1, 64), "f4"))}, r"fc7 bias: expected \(64,\)"),
    "NaN": (spoiled(np.nan), "fc6 kernel holds 1 numbers that are not finite"),
    "infinity": (spoiled(np.inf), "fc6 kernel holds 1 numbers that are not finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_writes_nothing(name, tmp_path):
    parameters, message = WRONG[name]
    write_npy(tmp_path / "wrong.npy", parameters)
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "wrong.npy", tmp_path / "out" / "wrong.weights.h5", NET)
    assert os.listdir(tmp_path) == ["wrong.npy"]


def test_the_networks_that_would_fit_are_named(tmp_path):
    for name in ("mnist_28", "cifar10_18pct"):
        write_npy(tmp_path / "net.npy", random_parameters(ARCHITECTURES[name]))
        with pytest.raises(CheckpointError, match=f"These weights would fit: {name}"):
            convert(tmp_path / "net.npy", tmp_path / "wrong.weights.h5", "bvlc_alexnet")
        output, _ = convert(tmp_path / "net.npy", tmp_path / f"{name}s.weights.h5")
        assert read_checkpoint(output).spec.architecture.name == name


def test_weights_of_another_network_of_the_same_shapes_are_warned_of(npy):
    output, _ = convert(npy, architecture=NET)
    caffenet = small(ARCHITECTURES["bvlc_caffenet"])
    with pytest.warns(UserWarning, match="is read as bvlc_caffenet. It was written for bvlc_alexnet"):
        AlexNet(caffenet, weights=output)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY", b"\x89HDF\r\n\x1a\nhello"])
def test_not_a_checkpoint(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="expected"):
        convert(tmp_path / "file", tmp_path / "file.weights.h5")
    assert os.listdir(tmp_path) == ["file"]


def test_damaged_h5_files(npy):
    output, _ = convert(npy, architecture=NET)
    with h5py.File(output, "r+") as file:
        del file["layers/conv2d/vars/1"]
    with pytest.raises(CheckpointError, match=r"conv1 \(conv2d\): not 2 variables but 1"):
        read_checkpoint(output, NET)
    with h5py.File(output, "r+") as file:
        file["layers/conv2d/vars/1"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(CheckpointError, match="is a link; refused"):
        read_checkpoint(output, NET)
    with h5py.File(output, "r+") as file:
        file["layers/dense_9"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(CheckpointError, match="is a link; refused"):
        read_checkpoint(output, NET)
    for chunks, message in ((None, "claims 4398046511104 bytes, more than the file"), ((1024,), "in one piece")):
        with h5py.File(output, "w") as file:
            file["layers/dense/vars/0"] = np.ones(3, "f4")
            file.create_dataset("layers/dense/vars/1", (1 << 40,), "f4", chunks=chunks)
            file["layers/dense/vars"].attrs["name"] = "fc8"
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(output, NET)


def test_a_name_that_keras_would_not_read(npy):
    with pytest.raises(ValueError, match=r"ends in one of .weights.h5.*Received: out.h5"):
        convert(npy, "out.h5", NET)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_leaves_the_old_file(npy):
    output, _ = convert(npy, architecture=NET)
    before = output.read_bytes()
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from support.nets import small; from tfalexnet import convert\n"
        "from tfalexnet.networks.catalog import BVLC_ALEXNET\n"
        "try: convert('net.npy', architecture=small(BVLC_ALEXNET), overwrite=True)\n"
        "except OSError: sys.exit(7)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode == 7, run.stderr
    assert output.read_bytes() == before
    assert os.listdir("weights") == ["net.weights.h5"]


def test_a_kill_leaves_the_old_file(npy):
    output, _ = convert(npy, architecture=NET)
    before = output.read_bytes()
    code = (
        "import os, signal\n"
        "from tfalexnet.checkpoints.formats import Contents, keras_h5\n"
        "class Killer(dict):\n"
        "    def items(self):\n"
        "        yield from list(dict.items(self))[:4]\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "path = 'weights/net.weights.h5'\n"
        "keras_h5.write(path, Contents(Killer(keras_h5.read(path).parameters)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert run.returncode == -9
    assert output.read_bytes() == before


def test_weights_that_are_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFALEXNET_OFFLINE", "1")
    with pytest.raises(FileNotFoundError) as caught:
        AlexNet(weights="bvlc_alexnet")
    message = str(caught.value)
    for part in (
        str(tmp_path / "weights"),
        str(tmp_path / "home"),
        "TFALEXNET_OFFLINE=1 forbids",
        "http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",
        "tfalexnet convert FILE --architecture bvlc_alexnet",
    ):
        assert part in message
    with pytest.raises(FileNotFoundError, match="a file or one of bvlc_alexnet, .*, cifar10.*no such file"):
        AlexNet(weights="nothing")
    with pytest.raises(FileNotFoundError, match=r"did you mean bvlc_caffenet\?"):
        AlexNet(weights="bvlc_cafenet")
    with pytest.raises(FileNotFoundError, match="no weights are published for this network"):
        AlexNet("mnist_28", weights="mnist_28")
    with pytest.raises(FileNotFoundError, match="it is a folder"):
        AlexNet(weights=tmp_path)
    with pytest.raises(TypeError, match="a name or a path. Received: 3"):
        AlexNet(weights=3)
    with pytest.raises(CheckpointError, match="not fit bvlc_alexnet. It was written for cifar10_18pct"):
        AlexNet(weights="cifar10")
