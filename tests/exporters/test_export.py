"""`export`: what it refuses, what it replaces, and the pictures it calibrates with."""

import dataclasses
import json
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.exported import RUNTIMES, output_path, require
from support.pictures import noise
from support.weights import cifar_checkpoint, write_unprepared

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.exported import describe_export, parse_description
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.exporters import export as module
from tfalexnet.exporters.export import EXPORTERS, calibration_pictures, export
from tfalexnet.images.classes import imagenet_classes, numbered_classes
from tfalexnet.images.preprocessing import BVLC, TORCHVISION
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.runtimes.network import load_network


def test_a_description_is_read_back_completely():
    net = ARCHITECTURES["cifar10_18pct"]
    mean = np.random.default_rng(0).random((32, 32, 3)).astype("f4") * 255
    spec = ModelSpec(net, dataclasses.replace(TORCHVISION, size=40, crop=32, mean=mean), imagenet_classes()[:10])
    parsed, precision = parse_description(describe_export(spec, "int8", "NHWC"))
    assert (parsed.architecture, parsed.classes, precision) == (net, imagenet_classes()[:10], "int8")
    assert parsed.preprocessing == spec.preprocessing
    parsed, _ = parse_description(describe_export(ModelSpec(net, None, numbered_classes(10)), "float32", "NCHW"))
    assert parsed.preprocessing is None and parsed.classes == numbered_classes(10)


def test_an_openvino_file_carries_the_description(weights_file):
    require("openvino")
    import openvino

    path = export(weights_file, format="openvino")
    description = json.loads(openvino.Core().read_model(path).get_rt_info("tfalexnet").astype(str))
    assert description["labels"][4] == "fünf" and description["preprocessing"]["mean"] == pytest.approx(BVLC.mean)
    assert path.with_suffix(".bin").exists()


def tree(folder=Path()):
    """All files and folders, with the contents of the files."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "torch"}, "Expected `format` to be one of savedmodel, litert, onnx, openvino.*'torch'"),
        ({"format": "onnx", "precision": "int8"}, "of onnx to be one of float32, float16.*'int8'"),
        ({"format": "openvino", "precision": "bfloat16"}, "of openvino to be one of float32, float16.*'bfloat16'"),
        ({"format": "litert", "precision": "int8"}, r"Expected pictures \(--pictures DIR\) for int8"),
        ({"format": "litert", "precision": "int8", "pictures": ["no.jpg"]}, "Received 1, none of which can be read"),
        ({"format": "onnx", "output": "a.tflite"}, r"ends in \.onnx\. Received: a\.tflite"),
        ({"format": "savedmodel", "output": "."}, "a new folder, or one that holds saved_model.pb"),
        ({"format": "savedmodel", "output": ".", "overwrite": True}, "a new folder, or one that holds saved_model.pb"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(given, message, weights_file):
    if given["format"] in EXPORTERS:
        require(given["format"])
    before = tree()
    with pytest.raises(ValueError, match=message):
        export(weights_file, **given)
    assert tree() == before


@pytest.mark.parametrize(("format", "package"), [("onnx", "onnx"), ("openvino", "openvino"), ("openvino", "onnx")])
def test_a_missing_package_is_named_before_the_weights_are_looked_for(format, package, monkeypatch):
    require(format)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"the package {package}\. .*: pip install 'tfalexnet\[export\]'$"):
        export("nowhere.weights.h5", format=format)


@pytest.mark.parametrize("format", RUNTIMES)
def test_an_output_is_replaced_completely_and_only_if_requested(format, weights_file, monkeypatch):
    require(format)
    folder = Path("out")
    path = export(weights_file, output_path(folder, format), format)
    before = tree(folder)
    with pytest.raises(FileExistsError, match="exists"):
        export(weights_file, path, format)

    def fail_midway(path, *_):
        (path.mkdir() if format == "savedmodel" else path.write_bytes(b"half"))
        raise OSError("no room")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no room"):
        patch.setattr(EXPORTERS[format], "write", fail_midway)
        export(weights_file, path, format, overwrite=True)
    assert tree(folder) == before
    write_checkpoint(weights_file, cifar_checkpoint(seed=1))
    assert export(weights_file, path, format, overwrite=True) == path
    x = np.random.default_rng(0).random((1, 32, 32, 3), np.float32) * 100
    np.testing.assert_allclose(RUNTIMES[format](path, x), load_network(weights_file)(x)[0], atol=1e-5)
    assert set(tree(folder)) == set(before)


def test_default_names_state_the_precision(weights_file):
    names = [export(weights_file, None, "litert", precision) for precision in ("float32", "float16")]
    assert [path.as_posix() for path in names] == ["weights/net.tflite", "weights/net.float16.tflite"]
    with pytest.raises(CheckpointError, match=r"Only `predict` and `evaluate` read a \.tflite"):
        read_checkpoint(names[0])


def test_new_weights_never_stand_beside_an_old_description(weights_file, monkeypatch):
    require("openvino")
    export(weights_file, "a.xml", "openvino")
    replace = Path.replace

    def killed_after(self, target):
        replace(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed_after)
    with pytest.raises(KeyboardInterrupt):
        export(weights_file, "a.xml", "openvino", overwrite=True)
    assert Path("a.bin").exists() and not Path("a.xml").exists()


def test_the_second_file_of_openvino_is_not_overwritten_unasked(weights_file):
    require("openvino")
    Path("a.bin").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"a\.bin"):
        export(weights_file, "a.xml", "openvino")
    assert Path("a.bin").read_bytes() == b"mine"


@pytest.mark.parametrize(("format", "precision"), [("savedmodel", "float32"), ("litert", "int8")])
@pytest.mark.usefixtures("weights_file")
def test_formats_that_take_pictures_require_a_known_preprocessing(format, precision):
    write_unprepared("unprepared.weights.h5")
    with pytest.raises(CheckpointError, match="the preprocessing of own_net"):
        export("unprepared.weights.h5", None, format, precision, noise(1))


def test_weights_without_a_classifier_are_refused(weights_file):
    checkpoint = read_checkpoint(weights_file)
    del checkpoint.parameters["fc4"]
    spec = dataclasses.replace(checkpoint.spec, classes=())
    write_checkpoint("headless.weights.h5", dataclasses.replace(checkpoint, missing=("fc4",), spec=spec))
    with pytest.raises(CheckpointError, match="lacks fc4"):
        export("headless.weights.h5", "h.tflite", "litert")


@pytest.mark.parametrize(
    ("format", "output", "message"),
    [
        ("savedmodel", "file", "new, or a folder. Received a file: file"),
        ("savedmodel", "file/1", "to make it in a folder. .*file is a file"),
        ("onnx", "model.onnx", "new, or a file. Received a folder: model.onnx"),
        ("onnx", "empty.onnx", "new, or a file. Received a folder: empty.onnx"),
        ("openvino", "file.xml", "new, or a file. Received a folder: file.bin"),
    ],
)
def test_a_file_never_replaces_a_folder_nor_a_folder_a_file(format, output, message, weights_file):
    require(format)
    Path("file").write_bytes(b"mine")
    Path("model.onnx").mkdir()
    Path("model.onnx", "saved_model.pb").touch()
    for name in ("empty.onnx", "file.bin"):
        Path(name).mkdir()
    before = tree()
    with pytest.raises((ValueError, OSError), match=message):
        export(weights_file, output, format, overwrite=True)
    assert tree() == before


def test_an_empty_folder_is_filled_and_leftovers_of_a_kill_are_removed(weights_file):
    killed, other = Path("served/.1.x3_abcde.part"), Path("served/.2.x3_abcde.part")
    for folder in (Path("served/1"), killed / "new" / "1", other):
        folder.mkdir(parents=True)
    path = export(weights_file, "served/1", "savedmodel")
    assert (path / "saved_model.pb").is_file()
    assert {entry.name for entry in Path("served").iterdir()} == {"1", other.name}


def test_an_error_of_a_library_on_a_full_disk_is_that_of_the_system(weights_file, monkeypatch):
    def write(*_):
        raise RuntimeError("Failed to write")

    monkeypatch.setattr(EXPORTERS["savedmodel"], "write", write)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    free = 1 << 30
    with pytest.raises(RuntimeError, match="Failed to write"):
        export(weights_file, "full")
    free = 4096
    with pytest.raises(OSError, match=r"No space left on device: 'full'"):
        export(weights_file, "full")
    assert not [name for name in os.listdir() if "full" in name]


@pytest.mark.parametrize("count", [1, 2, 101, 199, 200, 201, 399, 400, 401, 12_345])
def testcalibration_pictures_are_evenly_spread(count):
    chosen = calibration_pictures(f"{index}.png" for index in range(count))
    indices = [int(name.removesuffix(".png")) for name in chosen]
    gaps = set(np.diff([*indices, count]))
    assert len(indices) == min(count, 200) and indices[0] == 0
    assert max(gaps) - min(gaps) <= 1 and min(gaps) > 0


def test_a_folder_a_list_a_generator_and_an_array_calibrate(weights_file):
    Path("photos").mkdir()
    for number, pixels in enumerate(noise(3)):
        Image.fromarray(pixels).save(f"photos/{number}.png")
    files = sorted(Path("photos").iterdir())
    outputs = set()
    for pictures in ("photos", files, (path for path in files), np.stack(noise(3))):
        path = export(weights_file, "net.tflite", "litert", "int8", pictures, overwrite=True)
        with zipfile.ZipFile(path) as archive:
            assert json.loads(archive.read("tfalexnet.json"))["precision"] == "int8"
        outputs.add(
            path.read_bytes().partition(b"PK\x03\x04")[0]
        )  # Without the archive, which holds the source and times.
    assert len(outputs) == 1
    with pytest.raises(NotADirectoryError, match="nowhere"):
        export("nothing.weights.h5", "net.tflite", "litert", "int8", "nowhere")
