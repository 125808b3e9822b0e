"""Weights from a file, checked against their network, with all that is needed to use them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tfalexnet import architectures, classes, preprocessing
from tfalexnet.architectures import ARCHITECTURES, Architecture
from tfalexnet.classes import Class
from tfalexnet.formats import (
    CheckpointError,
    Contents,
    Parameters,
    caffe_npy,
    caffemodel,
    deep_compression,
    keras_h5,
    npz,
    orientation,
    safetensors,
    torch_pth,
)
from tfalexnet.preprocessing import Preprocessing

# What pictures become where a file does not say: the published protocol of each network.
PREPROCESSING = {
    "krizhevsky2012": preprocessing.BVLC,
    "bvlc_alexnet": preprocessing.BVLC,
    "bvlc_caffenet": preprocessing.BVLC,
    "tf_alexnet": preprocessing.BVLC,
    "one_weird_trick": preprocessing.TORCHVISION,
}

# By the end of a file's name when writing; a file that is read is told by its content, and the
# surest marks come first. A network is guessed by its shapes in the order of GUESSES.
FORMATS: dict[str, ModuleType] = {
    ".weights.h5": keras_h5,
    ".npy": caffe_npy,
    ".pth": torch_pth,
    ".npz": npz,
    ".safetensors": safetensors,
    ".net": deep_compression,
    ".caffemodel": caffemodel,
}
GUESSES = ("bvlc_alexnet", *ARCHITECTURES)


MOST_CLASSES = 1 << 16  # Where a file's own word is all there is.


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and all that is needed to use them.

    Attributes:
        parameters: kernel and bias of the layers, in the order of the network.
        architecture: the network, with the number of classes of the weights.
        preprocessing: what its pictures become; None where nobody says.
        classes: the names of its outputs; none where the classifier is missing.
        missing: the last layers of the network, where the file does not hold them.
        notes: what was guessed, renamed or left out, each a sentence.
    """

    parameters: Parameters
    architecture: Architecture
    preprocessing: Preprocessing | None
    classes: tuple[Class, ...]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read(
    path: str | os.PathLike,
    architecture: str | Architecture | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Weights of a file in any format, checked against their network.

    Args:
        path: the file; its format is told from the content.
        architecture: the network they are meant for. None takes what the file says or is named
            after, or else the first network that they fit, bvlc_alexnet before others.
        renamed: layers of the file, and what the network calls them.

    Raises:
        CheckpointError: the file is no checkpoint, or does not fit the network.
        OSError: the file cannot be read.
    """
    path = Path(path)
    wanted = None if architecture is None else architectures.find(architecture)
    contents = _rename(_contents(path, wanted), renamed or {}, path)
    said = contents.attributes.get("architecture")
    net = wanted or _named(contents, path) or _fitting(contents)
    belongs = f"It was written for {said}." if said not in (None, net.name) else ""
    parameters, net, notes = _fitted(contents, net, os.fspath(path), belongs)
    if belongs:
        notes.insert(0, f"{path.name} is read as {net.name}. {belongs} The shapes agree; the answers will differ.")
    elif wanted is None and _named(contents, path) is None:
        notes.insert(0, f"{path.name} does not name its network; by its shapes it is taken for {net.name}.")
    missing = tuple(row.name for row in net.weighted if row.name not in parameters)
    if missing:
        held = f"{next(iter(parameters))} … {next(reversed(parameters))}"
        notes.append(f"{path.name} holds {held} alone; without {', '.join(missing)} it cannot name classes.")
    notes += [f"{entry} is left out: {net.name} has no such layer." for entry in contents.left_out]
    process, names = _description(contents, net, path)
    return Checkpoint(parameters, net, process, () if missing else names, missing, tuple(notes))


def describe(path: str | os.PathLike) -> tuple[Preprocessing | None, tuple[Class, ...]]:
    """Preprocessing and classes of a file, without a look at its weights where it says both."""
    path = Path(path)
    if keras_h5.recognises(path):
        contents = keras_h5.read(path)
        if {"architecture", "classes"} <= set(contents.attributes):
            said, count = contents.attributes["architecture"], contents.attributes["classes"]
            if said not in ARCHITECTURES or not isinstance(count, int) or not 0 < count <= MOST_CLASSES:
                raise CheckpointError(
                    f"{path}: expected a known network and its classes; it says {said!r}, {count!r}."
                )
            return _description(contents, ARCHITECTURES[str(said)].with_classes(count), path)
    checkpoint = read(path)
    return checkpoint.preprocessing, checkpoint.classes


def source(path: Path) -> str | None:
    """The name of the file that a `.weights.h5` was converted from; None where it does not say."""
    try:
        return str(keras_h5.attributes(path)["source"])
    except (CheckpointError, KeyError):
        return None


def write(path: str | os.PathLike, checkpoint: Checkpoint, **attributes: str) -> None:
    """A file in the format that its name ends in.

    Attributes of the weights travel where the format has a place for them: architecture, number and
    names of classes, preprocessing, and those given here.

    Raises:
        ValueError: no format ends so.
        CheckpointError: the format cannot hold these weights.
        OSError: the file cannot be written; whatever was there before still is.
    """
    module = format_of(path)
    said, extras = _attributes(checkpoint)
    parameters = _flattened(checkpoint.parameters, checkpoint.architecture, orientation.flatten_chw, module.FLATTEN)
    module.write(path, Contents(parameters, said | attributes, extras, module.FLATTEN))


def format_of(path: str | os.PathLike) -> ModuleType:
    """The format that the name of an output ends in.

    Raises:
        ValueError: it ends in none, or in one that is only read.
    """
    written = {suffix: module for suffix, module in FORMATS.items() if hasattr(module, "write")}
    for suffix, module in written.items():
        if os.fspath(path).endswith(suffix):
            return module
    raise ValueError(f"Expected an output that ends in one of {', '.join(written)}. Received: {os.fspath(path)}")


def fill(model: Any, parameters: Parameters) -> None:
    """Copy checked weights into the layers of a model that bear their names."""
    for layer in model.layers:
        if layer.weights and layer.name in parameters:
            kernel, bias = parameters[layer.name]
            layer.load_own_variables({"0": kernel, "1": bias})


def taken(model: Any) -> Parameters:
    """The weights of a model, also of one on two devices, in the canonical form."""
    parameters = {}
    for layer in model.layers:
        if layer.weights:
            store: dict[str, np.ndarray] = {}
            layer.save_own_variables(store)
            parameters[layer.name] = np.asarray(store["0"], np.float32), np.asarray(store["1"], np.float32)
    return parameters


def _contents(path: Path, net: Architecture | None) -> Contents:
    """What the file holds, read by the first format that knows it."""
    for module in FORMATS.values():
        if module is not deep_compression:
            if module.recognises(path):
                return module.read(path)
            continue
        for candidate in [net] if net else map(architectures.find, GUESSES):
            count = deep_compression.classes(path, candidate.parameter_shapes())
            if count:
                return deep_compression.read(path, candidate.with_classes(count).parameter_shapes())
    with path.open("rb") as file:
        start = file.read(8)
    received = f"a file that begins with {start!r}" if start else "an empty file"
    raise CheckpointError(f"{path}: expected a checkpoint ({', '.join(FORMATS)}); received {received}.")


def _rename(contents: Contents, renamed: Mapping[str, str], path: Path) -> Contents:
    unknown = set(renamed) - set(contents.parameters)
    if unknown:
        raise CheckpointError(
            f"{path}: expected the layers to rename among {', '.join(contents.parameters)}; "
            f"received {', '.join(sorted(unknown))}."
        )
    parameters = {renamed.get(name, name): arrays for name, arrays in contents.parameters.items()}
    if len(parameters) < len(contents.parameters):
        raise CheckpointError(f"{path}: two layers would have the same name after renaming.")
    return dataclasses.replace(contents, parameters=parameters)


def _named(contents: Contents, path: Path) -> Architecture | None:
    """The network that a file says, resembles or is named after."""
    names = (contents.attributes.get("architecture"), contents.resembles, path.name.split(".")[0])
    return next((architectures.find(str(name)) for name in names if name in architectures.ARCHITECTURES), None)


def _fitting(contents: Contents) -> Architecture:
    """The first network that weights fit, or the most usual one."""
    guesses = [architectures.find(name) for name in GUESSES]
    return next((net for net in guesses if not _problems(contents, net)), guesses[0])


def _fitted(
    contents: Contents, net: Architecture, source: str, belongs: str
) -> tuple[Parameters, Architecture, list[str]]:
    """The weights in the order of the network, the network with their number of classes, notes."""
    problems = _problems(contents, net)
    if problems:
        fitting = [other.name for other in architectures.ARCHITECTURES.values() if not _problems(contents, other)]
        hint = f"\nThese weights would fit: {', '.join(fitting)}." if fitting else ""
        lines = "\n  ".join([f"{source} does not fit {net.name}. {belongs}".rstrip(), *problems])
        raise CheckpointError(f"{lines}{hint}")
    classifier = _classifier(contents.parameters, net)
    parameters = {net.classifier.name if n == classifier else n: a for n, a in contents.parameters.items()}
    notes = []
    if classifier not in (None, net.classifier.name):
        notes.append(f"{classifier} is taken for {net.classifier.name}: nothing else could be.")
    net = _sized(net, parameters)
    known = [row.name for row in net.weighted]
    notes += [f"{name} is left out: {net.name} has no such layer." for name in parameters if name not in known]
    parameters = {name: parameters[name] for name in known if name in parameters}
    for name, arrays in parameters.items():
        for part, array in zip(("kernel", "bias"), arrays, strict=True):
            if not np.isfinite(array).all():
                count = array.size - int(np.isfinite(array).sum())
                raise CheckpointError(
                    f"{source}: {name} {part} holds {count} numbers that are not finite (NaN or "
                    "infinity). Get the file anew, or look into the training that made it."
                )
    if contents.flatten == "CHW":
        parameters = _flattened(parameters, net, orientation.flatten_hwc, "CHW")
    return parameters, net, notes


def _flattened(parameters: Parameters, net: Architecture, reorder: Any, order: str) -> Parameters:
    """The weights with the rows of the first fully connected kernel in another order."""
    first = next(row.name for row in net.layers if isinstance(row, architectures.Dense))
    if order == "HWC" or first not in parameters:
        return parameters
    kernel, bias = parameters[first]
    return parameters | {first: (reorder(kernel, net.flattened), bias)}


def _classifier(parameters: Parameters, net: Architecture) -> str | None:
    """The layer of a file that is the classifier: by its name, or because nothing else can be.

    Fine-tuned networks often rename their last layer: fc8_flickr is fc8.
    """
    last = net.classifier.name
    if last in parameters:
        return last
    known = {row.name for row in net.weighted}
    (width, _), _ = net.parameter_shapes()[last]
    fitting = [
        name
        for name, (kernel, bias) in parameters.items()
        if name not in known and kernel.shape == (width, bias.size)
    ]
    return fitting[0] if len(fitting) == 1 and known - {last} <= set(parameters) else None


def _sized(net: Architecture, parameters: Parameters) -> Architecture:
    """The network with as many classes as its classifier has biases."""
    _, bias = parameters.get(net.classifier.name, (None, np.empty(0)))
    return net.with_classes(bias.size) if bias.ndim == 1 and bias.size else net


def _problems(contents: Contents, net: Architecture) -> list[str]:
    """Every way in which weights do not fit a network: expected and received.

    Layers that the network has not are left out, and its last ones may be missing; a hole may not.
    """
    parameters = dict(contents.parameters)
    classifier = _classifier(parameters, net)
    if classifier:
        parameters[net.classifier.name] = parameters[classifier]
    expected = _sized(net, parameters).parameter_shapes()
    names = list(expected)
    last = max((names.index(name) for name in parameters if name in names), default=len(names) - 1)
    problems = [f"{name}: expected, and missing" for name in names[: last + 1] if name not in parameters]
    if problems:
        extra = [name for name in parameters if name not in expected and name != classifier]
        problems += [f"{name}: received, and not expected (--map {name}=… renames it)" for name in extra]
    for name, shapes in expected.items():
        for part, want, array in zip(("kernel", "bias"), shapes, parameters.get(name, ()), strict=False):
            if array.shape != want:
                hint = " (transposed?)" if sorted(array.shape) == sorted(want) else ""
                problems.append(f"{name} {part}: expected {want}, received {array.shape}{hint}")
    return problems


def _attributes(checkpoint: Checkpoint) -> tuple[dict[str, str | int], dict[str, np.ndarray]]:
    """What a file says of its weights: attributes and arrays."""
    said: dict[str, str | int] = {"architecture": checkpoint.architecture.name}
    arrays = {}
    if not checkpoint.missing:
        said["classes"] = checkpoint.architecture.classes
        if checkpoint.classes and checkpoint.classes != classes.imagenet():
            labels = [label for _, label in checkpoint.classes]
            arrays["labels"] = np.frombuffer(json.dumps(labels).encode(), np.uint8)
    if checkpoint.preprocessing is not None:
        arrays["mean"] = np.asarray(checkpoint.preprocessing.mean, np.float32)
        fields = checkpoint.preprocessing.described()
        said["preprocessing"] = json.dumps({name: value for name, value in fields.items() if name != "mean"})
    return said, arrays


def _description(contents: Contents, net: Architecture, path: Path) -> tuple[Preprocessing | None, tuple[Class, ...]]:
    """What a file says of pictures and classes, or what is published of its network."""
    said, extras = contents.attributes, contents.extras
    try:
        labels = classes.named(_texts(extras["labels"])) if "labels" in extras else None
        process = PREPROCESSING.get(net.name)
        if "preprocessing" in said:
            fields = json.loads(str(said["preprocessing"]))
            process = Preprocessing(**fields | {"std": tuple(fields["std"])}, mean=np.array(extras["mean"]))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its preprocessing or its labels are damaged ({error!r}).") from error
    if labels is not None and len(labels) != net.classes:
        raise CheckpointError(f"{path}: expected {net.classes} labels, as many as classes; received {len(labels)}.")
    known = classes.imagenet()
    return process, labels or (known if net.classes == len(known) else classes.numbered(net.classes))


def _texts(array: np.ndarray) -> list[str]:
    """A list of texts in JSON."""
    found = json.loads(array.tobytes())
    if not isinstance(found, list) or not all(isinstance(text, str) and text.isprintable() for text in found):
        raise ValueError("expected a list of names")
    return found
