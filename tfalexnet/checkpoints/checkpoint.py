"""Weights from a file, checked against their network, with all that is needed to use them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from tfalexnet.checkpoints.formats import (
    CheckpointError,
    Contents,
    caffe_npy,
    caffemodel,
    deep_compression,
    keras_h5,
    npz,
    orientation,
    safetensors,
    torch_pth,
)
from tfalexnet.checkpoints.match import (
    GUESSES,
    guess_architecture,
    match_parameters,
    named_architecture,
    rename_layers,
    reorder_first_dense,
)
from tfalexnet.images.classes import Class, classes_from_labels, imagenet_classes, numbered_classes
from tfalexnet.images.preprocessing import BVLC, TORCHVISION, Preprocessing
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture, Parameters

# What pictures become where a file does not say: the published protocol of each network, levels 0–1 if not noted.
_LEVELS = {"antialias": True, "scale": 1 / 255}
PREPROCESSING = {
    "krizhevsky2012": BVLC,
    "bvlc_alexnet": BVLC,
    "bvlc_caffenet": BVLC,
    "tf_alexnet": BVLC,
    "one_weird_trick": TORCHVISION,
    "single_tower": Preprocessing("shorter side", 227, 227, channels="RGB", mean=(0.0,) * 3, **_LEVELS),
    "single_tower_avgpool": Preprocessing("shorter side", 227, 227, channels="RGB", mean=(0.0,) * 3, **_LEVELS),
    "tflearn_flowers17": Preprocessing("squash", 227, 227, channels="RGB", mean=(0.0,) * 3, **_LEVELS),
    "d2l_fashion_mnist": Preprocessing("squash", 224, 224, channels="L", mean=(0.0,), **_LEVELS),
    "mnist_28": Preprocessing("squash", 28, 28, channels="L", mean=(0.0,), **_LEVELS),
}

# By the end of a file's name when writing; a file that is read is told by its content, and the
# surest marks come first.
FORMATS: dict[str, ModuleType] = {
    ".weights.h5": keras_h5,
    ".npy": caffe_npy,
    ".pth": torch_pth,
    ".npz": npz,
    ".safetensors": safetensors,
    ".net": deep_compression,
    ".caffemodel": caffemodel,
}


# What others can do with a file that is none of these.
EXPORTED = {
    ".onnx": " ONNX is only written; its runtime reads it, and `predict` an .xml of OpenVINO.",
    ".xml": " `predict` and `evaluate` alone answer from an OpenVINO .xml.",
    ".tflite": " `predict` and `evaluate` alone answer from a .tflite.",
}
WEIGHTS_ONLY = (caffe_npy, caffemodel)  # Formats of weights alone.
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


def read_checkpoint(
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
        ValueError: there is no such network.
        OSError: the file cannot be read.
    """
    path = Path(path)
    wanted = None if architecture is None else get_architecture(architecture)
    contents = rename_layers(_contents(path, wanted), renamed or {}, path)
    said = contents.attributes.get("architecture")
    named = named_architecture(contents, path)
    net = wanted or named or guess_architecture(contents)
    belongs = f"It was written for {said}." if said not in (None, net.name) else ""
    parameters, net, notes = match_parameters(contents, net, os.fspath(path), belongs)
    if belongs:
        notes.insert(0, f"{path.name} is read as {net.name}. {belongs} The shapes agree; the answers will differ.")
    elif wanted is None and named is None:
        notes.insert(0, f"{path.name} does not name its network; by its shapes it is taken for {net.name}.")
    missing = tuple(row.name for row in net.weighted if row.name not in parameters)
    if missing:
        held = f"{next(iter(parameters))} … {next(reversed(parameters))}"
        notes.append(f"{path.name} holds {held} alone; without {', '.join(missing)} it cannot name classes.")
    notes += [f"Left out: {entry}." for entry in contents.left_out]
    process, names = _description(contents, net, path)
    return Checkpoint(parameters, net, process, () if missing else names, missing, tuple(notes))


def read_description(path: str | os.PathLike) -> tuple[Preprocessing | None, tuple[Class, ...]]:
    """Preprocessing and classes of a file; of a `.weights.h5` that says both, without a look at its weights."""
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
    checkpoint = read_checkpoint(path)
    return checkpoint.preprocessing, checkpoint.classes


def output_stem(path: Path) -> str:
    """What an output made of a file is called: its name without the suffix; of RUN/model.weights.h5 that of RUN."""
    suffix = next((suffix for suffix in FORMATS if path.name.endswith(suffix)), path.suffix)
    name = path.name.removesuffix(suffix)
    return path.absolute().parent.name if name == "model" else name


def write_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint, **attributes: str) -> None:
    """A file in the format that its name ends in.

    Attributes of the weights travel where the format has a place for them: architecture, number and
    names of classes, preprocessing, and those given here.

    Raises:
        ValueError: no format ends so.
        CheckpointError: the format cannot hold these weights.
        OSError: the file cannot be written; whatever was there before still is.
    """
    module = output_format(path)
    if module is deep_compression and checkpoint.missing:
        raise CheckpointError(
            f"Expected all layers, which a .net must hold. Missing: {', '.join(checkpoint.missing)}."
        )
    said, extras = _attributes(checkpoint)
    parameters = reorder_first_dense(
        checkpoint.parameters, checkpoint.architecture, orientation.flatten_chw, module.FLATTEN
    )
    module.write(path, Contents(parameters, said | attributes, extras, module.FLATTEN))


def output_format(path: str | os.PathLike) -> ModuleType:
    """The format that the name of an output ends in.

    Raises:
        ValueError: it ends in none, or in one that is only read.
    """
    written = {suffix: module for suffix, module in FORMATS.items() if hasattr(module, "write")}
    for suffix, module in written.items():
        if os.fspath(path).endswith(suffix):
            return module
    raise ValueError(f"Expected an output that ends in one of {', '.join(written)}. Received: {os.fspath(path)}")


def _contents(path: Path, net: Architecture | None) -> Contents:
    """What the file holds, read by the first format that knows it."""
    for module in FORMATS.values():
        if module is deep_compression:
            contents = _compressed(path, net)
            if contents is not None:
                return contents
        elif module.recognises(path):
            return module.read(path)
    with path.open("rb") as file:
        start = file.read(8)
    received = f"a file that begins with {start!r}" if start else "an empty file"
    hint = EXPORTED.get(path.suffix, "")
    raise CheckpointError(f"{path}: expected a checkpoint ({', '.join(FORMATS)}); received {received}.{hint}")


def _compressed(path: Path, net: Architecture | None) -> Contents | None:
    """A file of Deep Compression, which no mark tells: of the network it names, or the first it makes sense for."""
    named = ARCHITECTURES.get(deep_compression.attributes(path).get("architecture", ""))
    candidates = [candidate for candidate in (net or named,) if candidate] or map(get_architecture, GUESSES)
    damaged = None
    for candidate in candidates:
        count = deep_compression.classes(path, candidate.parameter_shapes())
        if count:
            try:
                return deep_compression.read(path, candidate.with_classes(count).parameter_shapes())
            except CheckpointError as error:
                damaged = damaged or error
    if damaged:
        raise damaged
    return None


def _attributes(checkpoint: Checkpoint) -> tuple[dict[str, str | int], dict[str, np.ndarray]]:
    """What a file says of its weights: attributes and arrays."""
    said: dict[str, str | int] = {"architecture": checkpoint.architecture.name}
    arrays = {}
    if not checkpoint.missing:
        said["classes"] = checkpoint.architecture.classes
        if checkpoint.classes and checkpoint.classes != imagenet_classes():
            labels = [label for _, label in checkpoint.classes]
            arrays["labels"] = np.frombuffer(json.dumps(labels).encode(), np.uint8)
    if checkpoint.preprocessing is not None:
        arrays["mean"] = np.asarray(checkpoint.preprocessing.mean, np.float32)
        fields = checkpoint.preprocessing.to_dict()
        said["preprocessing"] = json.dumps({name: value for name, value in fields.items() if name != "mean"})
    return said, arrays


def _description(contents: Contents, net: Architecture, path: Path) -> tuple[Preprocessing | None, tuple[Class, ...]]:
    """What a file says of pictures and classes, or what is published of its network."""
    said, extras = contents.attributes, contents.extras
    try:
        labels = classes_from_labels(_texts(extras["labels"])) if "labels" in extras else None
        process = PREPROCESSING.get(net.name)
        if "preprocessing" in said:
            fields = json.loads(str(said["preprocessing"]))
            process = Preprocessing(**fields | {"std": tuple(fields["std"])}, mean=np.array(extras["mean"]))
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its preprocessing or its labels are damaged ({error!r}).") from error
    if process is not None and process.shape != net.input_shape:
        raise CheckpointError(f"{path}: expected pictures of {net.input_shape}; it prepares them to {process.shape}.")
    if labels is not None and len(labels) != net.classes:
        raise CheckpointError(f"{path}: expected {net.classes} labels, as many as classes; received {len(labels)}.")
    known = imagenet_classes()
    return process, labels or (known if net.classes == len(known) else numbered_classes(net.classes))


def _texts(array: np.ndarray) -> list[str]:
    """A list of texts in JSON."""
    found = json.loads(array.tobytes())
    if not isinstance(found, list) or not all(isinstance(text, str) and text.isprintable() for text in found):
        raise ValueError("expected a list of names")
    return found
