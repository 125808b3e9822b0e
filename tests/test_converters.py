"""The scripts in converters/: each is `tfalexnet convert`, for files of its format."""

import runpy
import subprocess
import sys

import h5py
import numpy as np
import pytest
from support import ROOT
from support.caffe import prototxt
from support.command import run
from support.nets import random_parameters

from tfalexnet import AlexNet
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import orientation
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.cli import main as cli_main
from tfalexnet.exporters import onnx
from tfalexnet.networks.catalog import CIFAR10_18PCT

SCRIPTS = {  # The suffix of the file that each converts.
    "caffe_h5_to_keras": ".caffemodel.h5",
    "caffe_npy_to_keras": ".npy",
    "caffemodel_to_keras": ".caffemodel",
    "deep_compression_to_keras": ".net",
    "keras_h5_to_keras": ".h5",
    "keras_to_others": ".weights.h5",
    "matconvnet_to_keras": ".mat",
    "npz_to_keras": ".npz",
    "onnx_to_keras": ".onnx",
    "prototxt_to_keras": ".caffemodel",
    "safetensors_to_keras": ".safetensors",
    "tensorflow_to_keras": ".index",
    "torch_to_keras": ".pth",
}


def test_every_script_is_tested():
    assert {path.stem for path in (ROOT / "converters").glob("*.py")} == set(SCRIPTS)


def write(path, suffix: str, capsys) -> None:
    """Write random weights of the smallest network in a format."""
    parameters = random_parameters(CIFAR10_18PCT)
    if suffix == ".pth":
        torch = pytest.importorskip("torch")
        state = {
            f"{name}.{part}": torch.tensor(np.ascontiguousarray(array))
            for name, pair in parameters.items()
            for part, array in zip(("weight", "bias"), (orientation.channels_first(pair[0]), pair[1]), strict=True)
        }
        torch.save(state, path)
    elif suffix == ".index":
        import tensorflow as tf

        pairs = {name: {"kernel": kernel, "bias": bias} for name, (kernel, bias) in parameters.items()}
        objects = {
            name: tf.train.Checkpoint(**{part: tf.Variable(array) for part, array in pair.items()})
            for name, pair in pairs.items()
        }
        tf.train.Checkpoint(**objects).write(str(path.with_suffix("")))
    elif suffix == ".caffemodel.h5":
        with h5py.File(path, "w") as file:
            for name, (kernel, bias) in parameters.items():
                file[f"data/{name}/0"], file[f"data/{name}/1"] = orientation.channels_first(kernel), bias
    elif suffix == ".h5":
        AlexNet(CIFAR10_18PCT).save(path)
    elif suffix == ".net":
        run(capsys, "compress", "cifar10", "--output", path)
    elif suffix == ".onnx":
        pytest.importorskip("onnx")
        path.write_bytes(onnx.graph(CIFAR10_18PCT, parameters).SerializeToString())
    elif suffix == ".mat":
        pytest.importorskip("scipy")
        from support import matconvnet

        size = {"imageSize": np.array([[32.0, 32, 3]])}
        matconvnet.write(path, matconvnet.layers_of(CIFAR10_18PCT, parameters), "new", size, {})
    else:
        write_checkpoint(path, Checkpoint(parameters, ModelSpec(CIFAR10_18PCT, None, ())))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_converts_its_format(script, tmp_path, monkeypatch, capsys):
    write(tmp_path / f"net{SCRIPTS[script]}", SCRIPTS[script], capsys)
    results = []
    monkeypatch.setattr(cli_main, "main", lambda: results.append(run(capsys, *sys.argv[1:], cwd=tmp_path)))
    network, name = ["--architecture", "cifar10_18pct"], "cifar10_18pct"
    if script == "prototxt_to_keras":
        (tmp_path / "net.prototxt").write_text(prototxt(CIFAR10_18PCT))
        network, name = ["--prototxt", "net.prototxt"], "caffe"
    arguments = [f"net{SCRIPTS[script]}", "--output", "out.npz", *network]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(ROOT / "converters" / f"{script}.py"), run_name="__main__")
    [result] = results
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{name}, 10 classes, written to out.npz" in result.stdout


def test_a_script_in_a_process(tmp_path, capsys):
    write(tmp_path / "cifar10_18pct.npy", ".npy", capsys)
    script = ROOT / "converters" / "caffe_npy_to_keras.py"
    process = subprocess.run(
        [sys.executable, script, "cifar10_18pct.npy"], capture_output=True, cwd=tmp_path, encoding="utf-8"
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert (tmp_path / "weights" / "cifar10_18pct.weights.h5").exists()
