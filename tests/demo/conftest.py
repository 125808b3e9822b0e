"""A small network of two towers, and its page with the weights that ship."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.demo import served
from support.nets import random_parameters, small

from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec, published_preprocessing
from tfalexnet.images.classes import classes_from_labels
from tfalexnet.networks.catalog import ARCHITECTURES

LABELS = ["crane", "cat", "crane", *"cdefghi"]


@pytest.fixture(scope="session")
def towers(tmp_path_factory) -> Path:
    """Weights of a small network of two towers whose pictures are BGR, with two classes of one name."""
    net = small(ARCHITECTURES["krizhevsky2012"])
    preprocessing = dataclasses.replace(published_preprocessing("krizhevsky2012"), channels="BGR")
    path = tmp_path_factory.mktemp("demo") / "towers.weights.h5"
    write_checkpoint(
        path, Checkpoint(random_parameters(net), ModelSpec(net, preprocessing, classes_from_labels(LABELS)))
    )
    return path


@pytest.fixture(scope="session")
def errors(tmp_path_factory) -> Path:
    """The file of what the server writes to stderr."""
    return tmp_path_factory.mktemp("server") / "stderr"


@pytest.fixture(scope="session")
def address(towers, errors) -> Iterator[str]:
    """The address of the page."""
    pytest.importorskip("gradio")
    with served(errors, "--weights", "cifar10", "--compare", towers) as address:
        yield address
