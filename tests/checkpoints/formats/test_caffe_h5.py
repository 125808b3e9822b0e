"""Caffe's weights in HDF5: files that Caffe wrote, compared with h5py and with the .caffemodel of the same net."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import caffe_h5, caffemodel


def write(path: Path, parameters: dict) -> None:
    """In Caffe's layout, by h5py."""
    with h5py.File(path, "w") as file:
        file.create_group("data/relu1")
        for name, (kernel, bias) in parameters.items():
            if name == "fc6":
                height, width, channels = NET.flattened
                kernel = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
            file[f"data/{name}/0"] = np.moveaxis(kernel, (3, 2), (0, 1)) if kernel.ndim == 4 else kernel.T
            file[f"data/{name}/1"] = bias


def test_the_layout(tmp_path):
    write(tmp_path / "x.caffemodel.h5", PARAMETERS)
    checkpoint = read_checkpoint(tmp_path / "x.caffemodel.h5", NET)
    assert_equal(checkpoint.parameters)
    assert checkpoint.notes == ()


def test_other_blobs_and_links_are_named(tmp_path):
    write(tmp_path / "x.h5", PARAMETERS)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["data/scale/0"] = np.ones(3, "f4")
    assert "scale: not a kernel and a bias (0)" in "".join(read_checkpoint(tmp_path / "x.h5", NET).notes)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["data/shared"] = h5py.SoftLink("/data/fc7")
    with pytest.raises(CheckpointError, match="x.h5: /data/shared is a link; refused"):
        read_checkpoint(tmp_path / "x.h5", NET)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("data")
    with pytest.raises(CheckpointError, match="x.h5: expected layers; received none"):
        read_checkpoint(tmp_path / "x.h5")


@pytest.mark.data
def test_the_file_of_caffe_equals_its_caffemodel(data):
    folder = data / "caffe" / "truth"
    contents = caffe_h5.read(folder / "bvlc_alexnet.caffemodel.h5")
    assert_equal(contents.parameters, caffemodel.read(folder / "bvlc_alexnet.caffemodel").parameters)
    assert contents.flatten == "CHW"


@pytest.mark.data
def test_a_network_of_somebody_else_equals_what_h5py_shows(data, tmp_path):
    source = data / "real" / "caffe_h5" / "cifar10_full_iter_100000.caffemodel.h5"
    shutil.copy(source, tmp_path)
    checkpoint = read_checkpoint(tmp_path / source.name)
    assert checkpoint.spec.architecture.name == "cifar10_18pct"
    assert "ip1 is used as fc4: no other layer matches it." in checkpoint.notes
    with h5py.File(source) as file:
        for name in ("conv1", "conv2", "conv3"):
            expected = file[f"data/{name}/0"][()].transpose(2, 3, 1, 0)
            np.testing.assert_array_equal(checkpoint.parameters[name][0], expected)
        rows = file["data/ip1/0"][()].reshape(10, 64, 4, 4)  # Reads channel, height, width.
        kernel = checkpoint.parameters["fc4"][0].reshape(4, 4, 64, 10)
        np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), rows)
