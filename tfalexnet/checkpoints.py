"""Weights from a file, checked against their network, with all that is needed to use them."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet import architectures, classes, preprocessing
from tfalexnet.architectures import Architecture
from tfalexnet.classes import Class
from tfalexnet.formats import CheckpointError, Parameters, caffe_npy, keras_h5
from tfalexnet.preprocessing import Preprocessing
from tfalexnet.weights import KNOWN, WeightsNotFoundError, locate

# What pictures become where a file does not say: the published protocol of each network.
PREPROCESSING = {
    "krizhevsky2012": preprocessing.BVLC,
    "bvlc_alexnet": preprocessing.BVLC,
    "bvlc_caffenet": preprocessing.BVLC,
    "tf_alexnet": preprocessing.BVLC,
    "one_weird_trick": preprocessing.TORCHVISION,
}

READERS: dict[bytes, Callable[[Path], Parameters]] = {
    caffe_npy.MAGIC: caffe_npy.read,
    keras_h5.MAGIC: keras_h5.read,
}


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and all that is needed to use them."""

    parameters: Parameters
    architecture: Architecture
    preprocessing: Preprocessing | None
    classes: tuple[Class, ...]


def read(weights: str | os.PathLike, architecture: str | Architecture | None = None) -> Checkpoint:
    """Weights of a known name or a file, checked against their network.

    Args:
        weights: a known name, a `.weights.h5` or a `.npy`; the format is told from the content.
        architecture: the network they are meant for. None takes what the file says; a `.npy`, which
            says nothing, is what its name says, or else bvlc_alexnet.

    Raises:
        CheckpointError: the file is no checkpoint, or does not fit the network.
        WeightsNotFoundError: see `locate`.
    """
    path = locate(weights)
    parameters = _reader(path)(path)
    said = _attributes(path).get("architecture")
    if architecture is None:
        architecture = said or (_stem(path) if _stem(path) in architectures.ARCHITECTURES else "bvlc_alexnet")
    net = architectures.find(architecture)
    belongs = f"It was written for {said}." if said not in (None, net.name) else ""
    parameters, net = _checked(parameters, net, os.fspath(path), belongs)
    if belongs:
        warnings.warn(
            f"{path.name} is read as {net.name}. {belongs} The shapes agree; the answers will differ.",
            stacklevel=3,
        )
    return Checkpoint(parameters, net, *_description(path, net))


def describe(weights: str | os.PathLike) -> tuple[Preprocessing | None, tuple[Class, ...]]:
    """Preprocessing and classes alone; of a known name even where its file is missing."""
    try:
        path = locate(weights)
    except WeightsNotFoundError:
        known = KNOWN.get(os.fspath(weights))
        if known is None:
            raise
        return PREPROCESSING[known.architecture], classes.imagenet()
    said = _attributes(path)
    if not {"architecture", "classes"} <= set(said):
        checkpoint = read(path)
        return checkpoint.preprocessing, checkpoint.classes
    net = architectures.find(str(said["architecture"])).with_classes(int(said["classes"]))
    return _description(path, net)


def attributes(checkpoint: Checkpoint) -> tuple[dict[str, str | int], dict[str, np.ndarray]]:
    """What a file says of its weights: attributes and arrays for `keras_h5.write`."""
    said: dict[str, str | int] = {
        "architecture": checkpoint.architecture.name,
        "classes": checkpoint.architecture.classes,
    }
    labels = [label for _, label in checkpoint.classes]
    arrays = {}
    if checkpoint.classes != classes.imagenet():
        arrays["labels"] = np.frombuffer(json.dumps(labels).encode(), np.uint8)
    if checkpoint.preprocessing is not None:
        fields = {
            field.name: getattr(checkpoint.preprocessing, field.name) for field in dataclasses.fields(Preprocessing)
        }
        arrays["mean"] = np.asarray(fields.pop("mean"), np.float32)
        said["preprocessing"] = json.dumps(fields)
    return said, arrays


def fill(model: Any, parameters: Parameters) -> None:
    """Copy checked weights into the layers of a model that bear their names."""
    for layer in model.layers:
        if layer.weights:
            kernel, bias = parameters[layer.name]
            layer.load_own_variables({"0": kernel, "1": bias})


def _reader(path: Path) -> Callable[[Path], Parameters]:
    with path.open("rb") as file:
        start = file.read(max(map(len, READERS)))
    for magic, reader in READERS.items():
        if start.startswith(magic):
            return reader
    received = "an empty file" if not start else f"a file that begins with {start!r}"
    raise CheckpointError(f"{path}: expected a .npy or a .weights.h5 file; received {received}.")


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _attributes(path: Path) -> dict[str, str | int]:
    return keras_h5.attributes(path) if _reader(path) is keras_h5.read else {}


def _description(path: Path, net: Architecture) -> tuple[Preprocessing | None, tuple[Class, ...]]:
    """What a file says of pictures and classes, or what is published of its network."""
    if _reader(path) is not keras_h5.read:
        return PREPROCESSING.get(net.name), _published_classes(net)
    said, extras = keras_h5.attributes(path), keras_h5.extras(path)
    try:
        labels = classes.named(json.loads(extras["labels"].tobytes())) if "labels" in extras else None
        process = PREPROCESSING.get(net.name)
        if "preprocessing" in said:
            fields = json.loads(said["preprocessing"])
            process = Preprocessing(**fields | {"std": tuple(fields["std"])}, mean=np.array(extras["mean"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its preprocessing or its labels are damaged ({error!r}).") from error
    if labels is not None and len(labels) != net.classes:
        raise CheckpointError(f"{path}: expected {net.classes} labels, as many as classes; received {len(labels)}.")
    return process, labels or _published_classes(net)


def _published_classes(net: Architecture) -> tuple[Class, ...]:
    known = classes.imagenet()
    return known if net.classes == len(known) else classes.numbered(net.classes)


def _checked(parameters: Parameters, net: Architecture, source: str, belongs: str) -> tuple[Parameters, Architecture]:
    """The weights in the order of the network, and the network with their number of classes."""
    parameters = _renamed_classifier(parameters, net)
    net = _sized(net, parameters)
    problems = _problems(parameters, net)
    if problems:
        fitting = [
            other.name
            for other in architectures.ARCHITECTURES.values()
            if not _problems(parameters, _sized(other, parameters))
        ]
        hint = f"These weights would fit: {', '.join(fitting)}." if fitting else ""
        lines = [f"{source} does not fit {net.name}. {belongs}".rstrip(), *problems]
        raise CheckpointError("\n  ".join(lines) + (f"\n{hint}" if hint else ""))
    for name, arrays in parameters.items():
        for part, array in zip(("kernel", "bias"), arrays, strict=True):
            if not np.isfinite(array).all():
                count = array.size - int(np.isfinite(array).sum())
                raise CheckpointError(
                    f"{source}: {name} {part} holds {count} numbers that are not finite (NaN or "
                    "infinity). Get the file anew, or look into the training that made it."
                )
    return {row.name: parameters[row.name] for row in net.weighted}, net


def _sized(net: Architecture, parameters: Parameters) -> Architecture:
    """The network with as many classes as its classifier has biases."""
    _, bias = parameters.get(net.classifier.name, (None, np.empty(0)))
    return net.with_classes(bias.size) if bias.ndim == 1 and bias.size else net


def _renamed_classifier(parameters: Parameters, net: Architecture) -> Parameters:
    """Fine-tuned networks often rename their last layer: fc8_flickr is fc8."""
    missing = {row.name for row in net.weighted} - set(parameters)
    extra = set(parameters) - {row.name for row in net.weighted}
    last = net.classifier.name
    if missing != {last} or len(extra) != 1 or not next(iter(extra)).startswith(last):
        return parameters
    return {last if name in extra else name: arrays for name, arrays in parameters.items()}


def _problems(parameters: Parameters, net: Architecture) -> list[str]:
    """Every way in which weights do not fit a network: expected and received."""
    expected = net.parameter_shapes()
    problems = [f"{name}: expected, and missing" for name in expected if name not in parameters]
    problems += [f"{name}: received, and not expected" for name in parameters if name not in expected]
    for name, shapes in expected.items():
        for part, want, array in zip(("kernel", "bias"), shapes, parameters.get(name, ()), strict=False):
            if array.shape != want:
                hint = " (transposed?)" if sorted(array.shape) == sorted(want) else ""
                problems.append(f"{name} {part}: expected {want}, received {array.shape}{hint}")
    return problems
