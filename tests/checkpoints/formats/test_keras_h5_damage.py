"""Damaged and hostile .weights.h5 files are refused, and a kill while writing leaves the old file."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from support.nets import random_parameters, small

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.networks.catalog import BVLC_ALEXNET

NET = small(BVLC_ALEXNET)


@pytest.fixture
def output(tmp_path):
    path = tmp_path / "net.weights.h5"
    write_checkpoint(path, Checkpoint(random_parameters(NET), ModelSpec(NET, None, ())))
    return path


def test_damaged_h5_files(output):
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


def test_a_kill_leaves_the_old_file(output):
    before = output.read_bytes()
    code = (
        "import os, signal\n"
        "from tfalexnet.checkpoints.formats import Contents, keras_h5\n"
        "class Killer(dict):\n"
        "    def items(self):\n"
        "        yield from list(dict.items(self))[:4]\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        f"path = {str(output)!r}\n"
        "keras_h5.write(path, Contents(Killer(keras_h5.read(path).parameters)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert run.returncode == -9
    assert output.read_bytes() == before
