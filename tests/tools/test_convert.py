"""Conversion between formats: outputs, notes, class names, and refused sources that leave no output."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ROOT
from support.nets import random_parameters, write_npy
from support.small_npy import LAST, NET, PARAMETERS
from support.weights import cifar_checkpoint

from tfalexnet import AlexNet, CheckpointError, convert
from tfalexnet.checkpoints.checkpoint import read_checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.formats import keras_h5
from tfalexnet.checkpoints.spec import published_preprocessing
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.tools.convert import describe_checkpoint, parameters_table


def test_outputs_are_named_after_sources_and_not_overwritten(small_npy):
    names = {"run.1.npy": "run.1", "run.2.npy": "run.2", ".hidden.npy": ".hidden", "plain": "plain"}
    for name, stem in names.items():
        Path(name).write_bytes(Path(small_npy).read_bytes())
        assert convert(name, architecture=NET)[0] == Path("weights", f"{stem}.weights.h5")
    convert(small_npy, "net.npz", NET)
    convert(small_npy, architecture=NET)
    before = Path("weights/net.weights.h5").read_bytes()
    for source in (small_npy, "net.npz"):
        with pytest.raises(FileExistsError, match=r"net\.weights\.h5 to be new. It exists"):
            convert(source, architecture=NET)
    assert Path("weights/net.weights.h5").read_bytes() == before
    convert("net.npz", architecture=NET, overwrite=True)
    assert keras_h5.attributes("weights/net.weights.h5")["source"] == "net.npz"
    with pytest.raises(ValueError, match="an output other than the source"):
        convert("net.npz", "net.npz", NET, overwrite=True)


def test_a_note_states_what_a_format_does_not_store(small_npy):
    output, checkpoint = convert(small_npy, "x.caffemodel", NET)
    assert (
        "x.caffemodel stores weights only: state network, class names and preprocessing again when it is read"
        in checkpoint.notes[-1]
    )
    output, checkpoint = convert(small_npy, "x.npz", NET)
    assert not checkpoint.notes
    assert "bvlc_alexnet" in describe_checkpoint(small_npy, NET)
    assert "squashed to 256×256" in describe_checkpoint(output, NET)


def test_attributes_state_the_source(small_npy):
    output, _ = convert(small_npy, architecture=NET)
    attributes = keras_h5.read(output).attributes
    assert attributes["source"] == "net.npy"
    assert attributes["source_sha256"] == hashlib.sha256(Path(small_npy).read_bytes()).hexdigest()
    assert attributes["architecture"] == "bvlc_alexnet" and read_spec(output).architecture.classes == 10


def test_the_table_and_its_total(small_npy):
    _, checkpoint = convert(small_npy, architecture=NET)
    lines = parameters_table(checkpoint).splitlines()
    assert lines[1].split() == ["conv1", "11×11×3×12", "12", "4,368"]
    assert lines[-1].split() == ["total", f"{sum(a.size for pair in PARAMETERS.values() for a in pair):,}"]


def test_a_classifier_of_another_name_is_recognised(tmp_path):
    parameters = {f"{name}_flickr" if name == LAST else name: arrays for name, arrays in PARAMETERS.items()}
    write_npy(tmp_path / "flickr.npy", parameters)
    _, checkpoint = convert(tmp_path / "flickr.npy", tmp_path / "flickr.weights.h5", NET)
    assert list(checkpoint.parameters) == list(PARAMETERS)


def test_class_names_of_a_text_file(small_npy, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"thing {i}" for i in range(10)), encoding="utf-8-sig")
    output, _ = convert(small_npy, architecture=NET, labels=labels)
    classes = read_spec(output).classes
    assert classes[0] == (None, "thing 0") and classes[3] == (None, "thing 3")
    labels.write_text("one\ntwo")
    with pytest.raises(CheckpointError, match=r"labels.txt: expected 10 lines.*received 2"):
        convert(small_npy, "other.weights.h5", NET, labels)
    labels.write_bytes("Löwe".encode("latin-1"))
    with pytest.raises(ValueError, match=r"labels.txt: expected text in UTF-8"):
        convert(small_npy, "other.weights.h5", NET, labels)
    write_npy("headless.npy", without(LAST))
    with pytest.raises(CheckpointError, match=r"with a classifier for the labels"):
        convert("headless.npy", "other.weights.h5", NET, labels)
    assert not os.path.exists("other.weights.h5")


def test_every_name_that_is_written_can_be_read(small_npy):
    names = ["café\u00a0au lait", "👩\u200d🔬", "گربه\u200cها", "mush\u00adroom", "a\u2028b", "\U000e0fff", *"789a"]
    Path("names.txt").write_text("\n".join(names), encoding="utf-8")
    output, _ = convert(small_npy, None, NET, "names.txt")
    assert [label for _, label in read_spec(output).classes] == names
    assert [label for _, label in read_checkpoint(output).spec.classes] == names
    for control in ("\x1b[2J", "\x07", "\u0085"):
        Path("names.txt").write_text("\n".join([f"a{control}b", *names[1:]]), encoding="utf-8")
        with pytest.raises(ValueError, match="without control characters"):
            convert(small_npy, "other.npz", NET, "names.txt")


def test_weights_that_keras_saved_get_what_they_need_to_be_used(tmp_path):
    model = AlexNet("cifar10_18pct", classes=6)
    model.save_weights(tmp_path / "x.weights.h5")
    spec = read_checkpoint(tmp_path / "x.weights.h5").spec
    assert spec.preprocessing == published_preprocessing("cifar10_18pct")

    source = cifar_checkpoint()
    write_checkpoint(tmp_path / "like.npz", source)
    output, _ = convert(tmp_path / "x.weights.h5", tmp_path / "y.npz", like=tmp_path / "like.npz")
    assert read_spec(output) == source.spec
    output, _ = convert(tmp_path / "x.weights.h5", tmp_path / "z.npz", mean=(1, 2, 3.5), like=tmp_path / "like.npz")
    assert read_spec(output).preprocessing == dataclasses.replace(source.spec.preprocessing, mean=(1, 2, 3.5))
    with pytest.raises(ValueError, match="mean"):
        convert(tmp_path / "x.weights.h5", tmp_path / "w.npz", mean=(1, 2))
    assert "one, two, drei, …" in describe_checkpoint(output)


def test_names_with_commas_are_quoted(tmp_path):
    write_checkpoint(tmp_path / "x.npz", cifar_checkpoint(("crane, bird", "cat")))
    assert '2: "crane, bird", cat' in describe_checkpoint(tmp_path / "x.npz")


def without(name):
    return {other: arrays for other, arrays in PARAMETERS.items() if other != name}


def with_number(value):
    kernel = PARAMETERS["fc6"][0].copy()
    kernel[3, 4] = value
    return PARAMETERS | {"fc6": (kernel, PARAMETERS["fc6"][1])}


WRONG = {
    "missing": (without("conv3"), "conv3: expected, and missing"),
    "another name": (
        {"conv9" if name == "conv1" else name: arrays for name, arrays in PARAMETERS.items()}
        | {"fc9": [np.ones((2, 2), "f4"), np.ones(2, "f4")]},
        r"conv9: received, and not expected \(--map conv9=… renames it\)",
    ),
    "transposed": (
        PARAMETERS | {"conv2": (PARAMETERS["conv2"][0].transpose(3, 2, 0, 1), PARAMETERS["conv2"][1])},
        r"conv2 kernel: expected \(5, 5, 6, 32\), received \(32, 6, 5, 5\) \(transposed\?\)",
    ),
    "bias": (PARAMETERS | {"fc7": (PARAMETERS["fc7"][0], np.ones((1, 64), "f4"))}, r"fc7 bias: expected \(64,\)"),
    "NaN": (with_number(np.nan), "fc6 kernel holds 1 numbers that are not finite"),
    "infinity": (with_number(np.inf), "fc6 kernel holds 1 numbers that are not finite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_parameters_that_do_not_match_write_nothing(name, tmp_path):
    parameters, message = WRONG[name]
    write_npy(tmp_path / "wrong.npy", parameters)
    with pytest.raises(CheckpointError, match=message):
        convert(tmp_path / "wrong.npy", tmp_path / "out" / "wrong.weights.h5", NET)
    assert os.listdir(tmp_path) == ["wrong.npy"]


def test_networks_whose_shapes_match_are_named(tmp_path):
    for name in ("mnist_28", "cifar10_18pct"):
        write_npy(tmp_path / "net.npy", random_parameters(ARCHITECTURES[name]))
        with pytest.raises(CheckpointError, match=f"These weights would fit: {name}"):
            convert(tmp_path / "net.npy", tmp_path / "wrong.weights.h5", "bvlc_alexnet")
        output, _ = convert(tmp_path / "net.npy", tmp_path / f"{name}s.weights.h5")
        assert read_checkpoint(output).spec.architecture.name == name


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY", b"\x89HDF\r\n\x1a\nhello"])
def test_not_a_checkpoint(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointError, match="expected"):
        convert(tmp_path / "file", tmp_path / "file.weights.h5")
    assert os.listdir(tmp_path) == ["file"]


def test_an_output_with_an_unknown_suffix(small_npy):
    with pytest.raises(ValueError, match=r"ends in one of .weights.h5.*Received: out.h5"):
        convert(small_npy, "out.h5", NET)


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_leaves_the_old_file(small_npy):
    output, _ = convert(small_npy, architecture=NET)
    before = output.read_bytes()
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from support.small_npy import NET; from tfalexnet import convert\n"
        "try: convert('net.npy', architecture=NET, overwrite=True)\n"
        "except OSError: sys.exit(7)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode == 7, run.stderr
    assert output.read_bytes() == before
    assert os.listdir("weights") == ["net.weights.h5"]
