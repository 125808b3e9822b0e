"""Read and write weights: a file in any format, matched against its network."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tfalexnet.checkpoints import formats, match
from tfalexnet.checkpoints.caffe_network import CaffeNetwork, find_network
from tfalexnet.checkpoints.formats import (
    SPEC,
    caffe_h5,
    caffe_npy,
    caffemodel,
    deep_compression,
    foreign,
    keras_h5,
    keras_legacy_h5,
    keras_model,
    matconvnet,
    npz,
    onnx,
    safetensors,
    tensorflow_checkpoint,
    torch_pth,
)
from tfalexnet.checkpoints.formats.orientation import flatten_chw
from tfalexnet.checkpoints.spec import ModelSpec, architecture_from_json, matching_preprocessing
from tfalexnet.images.classes import imagenet_classes, numbered_classes
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.io.terminal import escape
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture, Parameters

# Formats by the end of an output's name. A file that is read is recognised by its content, in this order: formats
# with an unambiguous signature come first.
FORMATS: dict[str, ModuleType] = {
    ".weights.h5": keras_h5,
    ".caffemodel.h5": caffe_h5,
    ".h5": keras_legacy_h5,
    ".npy": caffe_npy,
    ".pth": torch_pth,
    ".keras": keras_model,
    ".npz": npz,
    ".safetensors": safetensors,
    ".index": tensorflow_checkpoint,
    ".net": deep_compression,
    ".onnx": onnx,
    ".mat": matconvnet,
    ".caffemodel": caffemodel,
}
WEIGHTS_ONLY = (caffe_npy, caffemodel)  # Formats that store neither network, preprocessing nor class names.

# Hints for files that `tfalexnet export` writes.
EXPORTED = {
    ".xml": " Only `predict` and `evaluate` read an OpenVINO .xml.",
    ".tflite": " Only `predict` and `evaluate` read a .tflite.",
}
UNVERIFIED = "unverified"  # The attribute that states why the origin of the weights is not certain.
DESCRIPTION = "a file with a valid description of its network"


@dataclass(frozen=True)
class Checkpoint:
    """Weights, and all that is needed to use them.

    Attributes:
        parameters: kernel and bias by layer, in the order of the network.
        spec: the network with the number of classes of the weights, its preprocessing and its classes.
        missing: the last layers of the network, where the file does not hold them.
        notes: what was guessed, renamed or left out, each a sentence.
        definition: the definition of Caffe that the network is read from, None for a known network.
    """

    parameters: Parameters
    spec: ModelSpec
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    definition: CaffeNetwork | None = None

    def require_complete(self, name: str | os.PathLike) -> None:
        """Raise `CheckpointError` unless the weights of all layers are there; `name` is their file."""
        if self.missing:
            lacks = f"{os.fspath(name)} lacks {', '.join(self.missing)}"
            raise formats.CheckpointError(f"Expected weights with all layers. {lacks}.")


def read_checkpoint(
    path: str | os.PathLike,
    architecture: str | Architecture | None = None,
    renamed: Mapping[str, str] | None = None,
    prototxt: str | os.PathLike | None = None,
    side: int | None = None,
) -> Checkpoint:
    """Read weights from a file in any format, and check them against their network.

    Args:
        path: the file; its format is recognised by its content.
        architecture: the network; a note says if the file states another one. None is the network that `prototxt` or
            the file defines or states, else of those whose shapes match the one whose layers the file lists, the one
            that the file is named after, or the first of the known ones, bvlc_alexnet before others.
        renamed: new names of layers by their names in the file.
        prototxt: Caffe's definition of the network, instead of `architecture`.
        side: height and width of the pictures, where the definition, as one for training, does not state them.

    Raises:
        CheckpointError: the file is not a checkpoint, or does not match the network.
        ValueError: there is no network of this name, or both `architecture` and `prototxt` are given.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if architecture is not None and prototxt is not None:
        raise ValueError("Expected `architecture` or `prototxt`, since each states the network. Received: both")
    requested = None if architecture is None else get_architecture(architecture)
    contents = _read_contents(path, requested)
    network, unusable = (None, "") if requested else find_network(contents, path, prototxt, side)
    defined = {old: new for old, new in network.renamed.items() if old in contents.parameters} if network else {}
    contents = match.rename_layers(contents, defined | dict(renamed or {}), path)
    with formats.reading(path, DESCRIPTION):
        stated = _stated_fields(contents.attributes, contents.extras)
        stated_net, stated_name = architecture_from_json(stated), stated["architecture"]
    hints = (contents.resembles, path.name.split(".")[0])
    net = requested or (network and network.architecture) or stated_net or match.guess_architecture(contents, hints)
    certain = bool(requested or network or stated_net or net.name in hints)
    contents, net, renamed_notes = match.rename_by_shape(contents, net, certain)
    listed = None if network else match.first_match(contents, [contents.resembles])
    written_for = stated_name or (listed and listed.name)
    origin = f"It was written for {escape(str(written_for), limit=100)}." if written_for not in (None, net.name) else ""
    reason = f"{origin} Its own definition cannot be used: {unusable}.".strip() if unusable else origin
    parameters, net, notes = match.match_parameters(contents, net, os.fspath(path), reason)
    notes = renamed_notes + notes
    definition = network if network and net.name not in ARCHITECTURES else None
    if definition:
        notes.insert(0, definition.note())
    elif origin:
        notes.insert(0, f"{path.name} is read as {net.name}. {origin} The shapes agree; the answers will differ.")
    elif requested is None and stated_net is None and net.name not in hints:
        notes.insert(0, f"{path.name} does not state its network; {net.name} is used, the first whose shapes match.")
    missing = tuple(row.name for row in net.weighted if row.name not in parameters)
    if missing:
        present = f"{next(iter(parameters))} … {next(reversed(parameters))}"
        notes.append(f"{path.name} holds {present} only; without {', '.join(missing)} it cannot classify.")
    notes += [*contents.notes, *(f"Left out: {entry}." for entry in contents.left_out)]
    if reason := contents.attributes.get(UNVERIFIED):
        notes.append(f"{path.name} is unverified: {reason}.")
    spec = _spec(net, stated, path, network and network.preprocessing, has_classifier=not missing)
    return Checkpoint(parameters, spec, missing, tuple(notes), definition)


def read_spec(path: str | os.PathLike) -> ModelSpec:
    """Read the spec of a file. The weights of a `.weights.h5` that states the complete spec are not read."""
    path = Path(path)
    if keras_h5.recognises(path):
        contents = keras_h5.read(path)
        with formats.reading(path, DESCRIPTION):
            stated = _stated_fields(contents.attributes, contents.extras)
            net = architecture_from_json(stated) if "table" in stated and stated["labels"] else None
        if net:
            return _spec(net, stated, path)
    return read_checkpoint(path).spec


def output_stem(path: Path) -> str:
    """Return the stem of an output's name: that of the file, or the name of RUN for RUN/model.weights.h5."""
    suffix = next((suffix for suffix in FORMATS if path.name.endswith(suffix)), path.suffix)
    name = path.name.removesuffix(suffix)
    return path.absolute().parent.name if name == "model" else name


def write_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint, **attributes: str) -> None:
    """Write a file in the format that its name ends in.

    The spec, and the attributes given here, are written too where the format has room for them.

    Raises:
        ValueError: no format has this suffix.
        CheckpointError: the format cannot hold these weights.
        OSError: the file cannot be written; an older file stays as it was.
    """
    module = output_format(path)
    if module is deep_compression:
        checkpoint.require_complete("A .net must hold them; the source")
    spec = checkpoint.spec
    parameters = match.reorder_first_dense(checkpoint.parameters, spec.architecture, flatten_chw, module.FLATTEN)
    attributes = {"architecture": spec.architecture.name} | attributes
    extras = {}
    if module not in WEIGHTS_ONLY:
        extras[SPEC] = np.frombuffer(json.dumps(spec.to_json(), ensure_ascii=False).encode(), np.uint8)
    module.write(path, formats.Contents(parameters, attributes, extras, module.FLATTEN))


def output_format(path: str | os.PathLike) -> ModuleType:
    """Return the format that the name of an output ends in.

    Raises:
        ValueError: there is no such format, or it is only read.
    """
    writable = {suffix: module for suffix, module in FORMATS.items() if hasattr(module, "write")}
    for suffix, module in writable.items():
        if os.fspath(path).endswith(suffix):
            return module
    raise ValueError(f"Expected an output that ends in one of {', '.join(writable)}. Received: {os.fspath(path)}")


def recognise_format(path: Path) -> ModuleType | None:
    """Return the first format that recognises a file by its content; Deep Compression has no signature."""
    if foreign.describe(path):
        return None
    formats_with_signature = (module for module in FORMATS.values() if module is not deep_compression)
    return next((module for module in formats_with_signature if module.recognises(path)), None)


def _read_contents(path: Path, requested: Architecture | None) -> formats.Contents:
    """Read the file by the first format that recognises it."""
    expected = f"{path}: expected a checkpoint ({', '.join(FORMATS)})"
    foreigner = foreign.describe(path)
    if foreigner:
        received, advice = foreigner
        raise formats.CheckpointError(f"{expected}; received {received}. {advice and advice + '.'}".rstrip())
    for module in FORMATS.values():
        if module is deep_compression:
            contents = _read_compressed(path, requested)
            if contents is not None:
                return contents
        elif module.recognises(path):
            return module.read(path)
    with path.open("rb") as file:
        start = file.read(8)
    received = f"a file that begins with {start!r}" if start else "an empty file"
    hint = EXPORTED.get(path.suffix, "")
    raise formats.CheckpointError(f"{expected}; received {received}.{hint}")


def _read_compressed(path: Path, requested: Architecture | None) -> formats.Contents | None:
    """Read a file of Deep Compression, None if it is not one.

    The format has no signature: try the requested network, else the one that the file states, else every known
    network until the sizes match.
    """
    try:
        stated = architecture_from_json(_stated_fields(*deep_compression.trailer(path)))
    except Exception:  # Another format, whose last bytes can be anything.
        stated = None
    net = requested or stated
    damaged = None
    for candidate in [net] if net else map(get_architecture, match.GUESSES):
        count = deep_compression.classes(path, candidate.parameter_shapes())
        if count:
            try:
                return deep_compression.read(path, candidate.with_classes(count).parameter_shapes())
            except formats.CheckpointError as error:
                damaged = damaged or error
    if damaged:
        raise damaged
    return None


def _stated_fields(attributes: Mapping[str, str | int], extras: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the JSON of the spec as far as a file states it; the rest is None or empty.

    Version 0.1 stored the name of the network and the preprocessing as attributes, the mean and the labels as extras.
    """
    if SPEC in extras:
        return json.loads(extras[SPEC].tobytes())
    labels = json.loads(extras["labels"].tobytes()) if "labels" in extras else []
    preprocessing = None
    if "preprocessing" in attributes:
        preprocessing = json.loads(str(attributes["preprocessing"])) | {"mean": extras["mean"]}
    name = attributes.get("architecture")
    return {"architecture": name, "labels": labels, "wnids": None, "preprocessing": preprocessing}


def _spec(
    net: Architecture,
    stated: Mapping[str, Any],
    path: Path,
    preprocessing: Preprocessing | None = None,
    has_classifier: bool = True,
) -> ModelSpec:
    """Return the spec that a file states for this network; `preprocessing` and defaults replace what it does not."""
    with formats.reading(path, DESCRIPTION):
        spec = ModelSpec.from_json(stated, net)
        default = imagenet_classes() if net.classes == len(imagenet_classes()) else numbered_classes(net.classes)
        classes = (spec.classes or default) if has_classifier else ()
        return ModelSpec(net, spec.preprocessing or preprocessing or matching_preprocessing(net), classes)
