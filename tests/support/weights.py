"""Files of small networks that state their preprocessing and classes."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from support.nets import random_parameters, small
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec, published_preprocessing
from tfalexnet.images.classes import classes_from_labels, numbered_classes
from tfalexnet.images.preprocessing import BVLC
from tfalexnet.networks.catalog import ARCHITECTURES

LABELS = ("one", "two", "drei", "vier", "fünf", "six, half a dozen")


def cifar_checkpoint(labels: Sequence[str] = LABELS, seed: int = 0) -> Checkpoint:
    """The smallest network of the catalog with random weights, for 36×36 pixels around the centre 32×32."""
    net = ARCHITECTURES["cifar10_18pct"].with_classes(len(labels))
    preprocessing = dataclasses.replace(BVLC, size=36, crop=32)
    return Checkpoint(random_parameters(net, seed), ModelSpec(net, preprocessing, classes_from_labels(list(labels))))


def write_unprepared(path: Path | str) -> None:
    """Write weights of a table of the user's own, whose preprocessing nothing states."""
    checkpoint = cifar_checkpoint()
    net = dataclasses.replace(checkpoint.spec.architecture, name="own_net")
    spec = dataclasses.replace(checkpoint.spec, architecture=net, preprocessing=None)
    write_checkpoint(path, dataclasses.replace(checkpoint, spec=spec))


def write_infinite(path: Path | str) -> None:
    """Write weights that are finite, and whose outputs are not."""
    checkpoint = cifar_checkpoint()
    kernel, bias = checkpoint.parameters["fc4"]
    checkpoint.parameters["fc4"] = kernel / abs(kernel).max() * kernel.dtype.type(3e38), bias
    write_checkpoint(path, checkpoint)


def write_small(path: Path, name: str) -> Path:
    """Write random weights of a small network of the catalog, with its published preprocessing."""
    net = small(ARCHITECTURES[name])
    spec = ModelSpec(net, published_preprocessing(name), numbered_classes(net.classes))
    write_checkpoint(path, Checkpoint(random_parameters(net), spec))
    return path
