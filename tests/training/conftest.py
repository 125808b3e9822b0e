"""Finished runs that tests copy, and one strategy of two replicas."""

import shutil

import pytest
import tensorflow as tf
from support.runs import train

from tfalexnet.training import loop, run_folder


@pytest.fixture(scope="session", autouse=True)
def no_figures():
    """Do not draw the figures of each run with Matplotlib, which takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "write_figures", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def one_epoch(tmp_path_factory):
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("one_epoch") / "run"
    train(folder, 1)
    return folder


@pytest.fixture(scope="session")
def two_epochs(tmp_path_factory):
    """The folder of a run of two epochs without a stop, with five validation batches per epoch."""
    folder = tmp_path_factory.mktemp("two_epochs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "VALIDATION_BATCH", 8)
        train(folder, 2)
    return folder


@pytest.fixture
def run(one_epoch, tmp_path):
    """A copy of the run of one epoch."""
    return shutil.copytree(one_epoch, tmp_path / "run")


@pytest.fixture(scope="session")
def two_replicas() -> tf.distribute.Strategy:
    """One for all tests: TensorFlow mixes up the reductions of two such strategies in a process."""
    return tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
