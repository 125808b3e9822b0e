"""Two logical devices for every test, and the data where there is any."""

import os
from pathlib import Path

import pytest
import tensorflow as tf
from support import ROOT
from support.nets import random_parameters, write_npy
from support.small_npy import PARAMETERS
from support.weights import cifar_checkpoint

from tfalexnet.checkpoints.checkpoint import write_checkpoint
from tfalexnet.networks.catalog import BVLC_ALEXNET

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


@pytest.fixture(autouse=True)
def seeded():
    tf.keras.utils.set_random_seed(2012)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of pictures: photos/, hard/, cifar10/ and others."""
    folder = os.environ.get("TFALEXNET_TEST_DATA")
    if not folder:
        pytest.skip("TFALEXNET_TEST_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def photo() -> Path:
    return ROOT / "examples" / "chelsea.png"


@pytest.fixture(scope="session")
def parameters() -> dict:
    """Random weights of BVLC's network at full size."""
    return random_parameters(BVLC_ALEXNET)


@pytest.fixture(scope="session")
def npy(parameters, tmp_path_factory) -> Path:
    """The file of these weights."""
    path = tmp_path_factory.mktemp("weights") / "bvlc_alexnet.npy"
    write_npy(path, parameters)
    return path


@pytest.fixture
def weights_file(tmp_path, monkeypatch) -> Path:
    """The file of a small network with six classes of its own, in the working folder."""
    monkeypatch.chdir(tmp_path)
    write_checkpoint("net.weights.h5", cifar_checkpoint())
    return Path("net.weights.h5")


@pytest.fixture
def in_tmp_path(tmp_path, monkeypatch) -> Path:
    """The test's own folder, as the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_npy(in_tmp_path) -> str:
    """The file of `support.small_npy` in the working folder."""
    write_npy(in_tmp_path / "net.npy", PARAMETERS)
    return "net.npy"
