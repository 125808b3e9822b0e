"""Keras' `.keras`: models of every network, on one device or two; other models and hostile archives."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
from support.command import run
from support.nets import small
from support.parameters import assert_equal
from support.weights import cifar_checkpoint

from tfalexnet import ARCHITECTURES, AlexNet, CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import keras_model, npz
from tfalexnet.networks.build import get_parameters

pytestmark = pytest.mark.usefixtures("in_tmp_path")


@pytest.fixture
def saved(in_tmp_path):
    """The smallest network of the catalog with six classes, saved by Keras."""
    AlexNet(cifar_checkpoint().spec.architecture).save("net.keras")
    return in_tmp_path / "net.keras"


def rewritten(path, **members):
    """The archive with other members in place of those of these names, without their suffix."""
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile("other.keras", "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, members.get(name.partition(".")[0], archive.read(name)))
    return "other.keras"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_table_and_the_weights_are_those_of_the_model(name):
    net = small(ARCHITECTURES[name])
    model = AlexNet(net)
    model.save("x.keras")
    checkpoint = read_checkpoint("x.keras")
    assert checkpoint.spec.architecture.layers == net.layers
    assert (checkpoint.spec.architecture.name, checkpoint.spec.architecture.input_shape) == (name, net.input_shape)
    assert (checkpoint.notes, checkpoint.missing) == ((), ())
    assert_equal(checkpoint.parameters, get_parameters(model))


def test_a_table_of_the_users_own_that_was_trained_is_read():
    net = cifar_checkpoint().spec.architecture
    model = AlexNet(net, dropout=0.25)
    model.compile("adam", "mse")
    model.fit(np.zeros((1, *net.input_shape)), np.zeros((1, 6)), verbose=0)
    model.save("x.keras")
    assert_equal(read_checkpoint("x.keras").parameters, get_parameters(model))


def test_weights_of_two_devices_and_without_classifier_are_read():
    model = AlexNet("krizhevsky2012", classes=3, devices=("/CPU:0", "/CPU:1"), include_top=False)
    model.save("towers.keras")
    checkpoint = read_checkpoint("towers.keras")
    assert checkpoint.spec.architecture.name == "krizhevsky2012"
    assert checkpoint.missing == ("fc6", "fc7", "fc8")
    assert_equal(checkpoint.parameters, get_parameters(model))


def test_every_command_takes_the_file(saved, photo, capsys):
    model = keras.models.load_model(saved)
    for number in range(6):
        (saved.parent / "photos" / f"class {number}").mkdir(parents=True)
        shutil.copy(photo, saved.parent / "photos" / f"class {number}")
    for arguments in (
        ("info", saved),
        ("predict", photo, "--weights", saved, "--json"),
        ("features", "photos", "--layer", "pool3", "--weights", saved, "--output", "pool3.h5"),
        ("evaluate", "photos", "--weights", saved),
        ("export", saved, "--format", "savedmodel"),
        ("convert", saved, "--output", "net.safetensors"),
    ):
        result = run(capsys, *arguments)
        assert result.returncode == 0, result.stderr
        if arguments[0] == "predict":
            assert len(json.loads(result.stdout)["predictions"]) == 5
    assert_equal(read_checkpoint("net.safetensors").parameters, get_parameters(model))


def test_a_packed_archive_is_read(saved):
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile("packed.keras", "w", zipfile.ZIP_DEFLATED) as copy:
        for name in archive.namelist():
            copy.writestr(name, archive.read(name))
    assert_equal(keras_model.read("packed.keras").parameters, keras_model.read(saved).parameters)


def other_models():
    """Models that `AlexNet` does not build, by the class of the layer that tells."""
    layers, inputs = keras.layers, keras.Input((32, 32, 3), name="input")
    flat = layers.Flatten()(inputs)
    dilated = layers.Conv2D(4, 3, dilation_rate=2)(inputs)
    return {
        "Lambda": keras.Model(inputs, layers.Dense(4)(layers.Lambda(lambda x: x * 2)(flat))),
        "GlobalMaxPooling2D": keras.Model(inputs, layers.Dense(4)(layers.GlobalMaxPooling2D()(inputs))),
        "Dense": keras.Model(inputs, [layers.Dense(4)(flat), layers.Dense(4)(flat)]),
        "Conv2D": keras.Model(inputs, layers.Dense(4)(layers.Flatten()(dilated))),
        "Functional": keras.Model(inputs, AlexNet("cifar10_18pct")(inputs)),
        "a last activation": AlexNet("cifar10_18pct", classifier_activation="sigmoid"),
    }


@pytest.mark.parametrize("kind", ["Lambda", "GlobalMaxPooling2D", "Dense", "Conv2D", "Functional", "a last activation"])
def test_models_that_alexnet_does_not_build_are_refused_with_advice(kind):
    other_models()[kind].save("x.keras")
    with pytest.raises(CheckpointError, match=rf"builds; received {kind} \(.*\)\. Save only .*save_weights\("):
        read_checkpoint("x.keras")


def test_hostile_archives_are_refused(saved, monkeypatch):
    config = json.loads(zipfile.ZipFile(saved).read("config.json"))
    for change, message in (
        ({"config": b"{}"}, r"received a damaged one \(KeyError"),
        ({"config": b"["}, "received a damaged one"),
        ({"config": b"[" * 100_000}, "received a damaged one"),
        ({"config": b" " * (keras_model.MAX_CONFIG + 1)}, r"config\.json of at most 1,048,576 bytes"),
        ({"model": b"\x89HDF\r\n\x1a\n"}, "expected an HDF5 file"),
        ({"config": json.dumps(config | {"class_name": "Other"}).encode()}, r"AlexNet builds; received Other"),
        ({"config": json.dumps(config | {"class_name": "Sequential"}).encode()}, r"AlexNet builds; received"),
    ):
        with pytest.raises(CheckpointError, match=rf"^other\.keras: .*{message}"):
            read_checkpoint(rewritten(saved, **change))
    config["config"]["layers"][1]["config"]["kernel_size"] = [5, 4]
    with pytest.raises(CheckpointError, match=r"expected equal sides; received \[5, 4\]"):
        read_checkpoint(rewritten(saved, config=json.dumps(config).encode()))
    config["config"]["layers"][1]["config"]["kernel_size"] = [1 << 40] * 2
    with pytest.raises(CheckpointError, match=r"`size` to be an integer from 1 to 65536"):
        read_checkpoint(rewritten(saved, config=json.dumps(config).encode()))
    monkeypatch.setattr(npz, "EXPANSION", 0)
    with pytest.raises(CheckpointError, match="expected at most 0 times the file's"):
        read_checkpoint(saved)


def test_a_truncated_archive_is_damaged(saved):
    shutil.copy(saved, "short.keras")
    with open("short.keras", "r+b") as file:
        file.truncate(saved.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"short\.keras: "):
        read_checkpoint("short.keras")
