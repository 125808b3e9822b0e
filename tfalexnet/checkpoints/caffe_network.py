"""The table of a network that Caffe's definition describes: a prototxt, or the layers inside a `.caffemodel`.

Layers for training and its data are left out. `caffe_rows` makes the rows of the others.
"""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfalexnet.checkpoints import match
from tfalexnet.checkpoints.caffe_layers import DATA, CaffeLayer, is_tested, read_input, read_layers, text
from tfalexnet.checkpoints.caffe_rows import Chain
from tfalexnet.checkpoints.formats import CheckpointError, Contents, explaining
from tfalexnet.checkpoints.formats.prototxt import Message
from tfalexnet.checkpoints.formats.prototxt import read as read_prototxt
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.io.terminal import escape
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.row_json import LONGEST_TEXT
from tfalexnet.networks.spec import Architecture, Parameters

SKIPPED = ("accuracy", "softmaxwithloss", "softmaxloss", "multinomiallogisticloss", "silence")


@dataclass(frozen=True)
class CaffeNetwork:
    """What a definition states.

    Attributes:
        architecture: the table; a network of the catalog if that computes the same.
        preprocessing: as the data layer of training states it; None where there is none, or its mean is in a file.
        mean_file: the name of the file with the mean, where the data layer states one.
        renamed: the names of rows by the names of Caffe's layers, where they differ.
    """

    architecture: Architecture
    preprocessing: Preprocessing | None = None
    mean_file: str | None = None
    renamed: dict[str, str] = field(default_factory=dict)

    def note(self) -> str:
        """Return a sentence for the user of a network that is not in the catalog."""
        net = self.architecture
        return f"{net.name} is the network that {net.source} defines."

    def mean_note(self) -> str:
        """Return a sentence for the user where the mean of the pictures is not in the definition."""
        file = f", {escape(self.mean_file, limit=200)} in training" if self.mean_file else ""
        return f"The definition does not hold the mean of the pictures{file}: give it with --mean."


def read_network(definition: Message, source: str, parameters: Parameters, side: int | None = None) -> CaffeNetwork:
    """Return the network of a definition.

    Args:
        definition: Caffe's message NetParameter.
        source: its file, for `Architecture.source`.
        parameters: the weights by Caffe's names, whose shapes state the number of channels of pictures where the
            definition, as one for training, does not.
        side: height and width of the pictures, used where the definition does not state them.

    Raises:
        CheckpointError: the network is not a chain of supported layers, or its shapes do not fit.
    """
    layers = list(read_layers(definition))
    blob, shape, data = read_input(definition, layers, parameters, side)
    chain = Chain(shape, {blob})
    for layer in layers:
        if layer.kind not in (*DATA, *SKIPPED) and is_tested(layer):
            chain.add(layer)
    rows = chain.finished()
    name = re.sub(r"[/:]|[^ -~]", "_", text(definition, "name"))[:LONGEST_TEXT] or "caffe"
    name = f"{name}_caffe" if name in (*ARCHITECTURES, "input", "prob") else name
    architecture = Architecture(name, escape(source, limit=LONGEST_TEXT), shape, rows)
    try:
        architecture.to_dict()
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    known = match.known_network(architecture)
    if known:
        return CaffeNetwork(known)
    preprocessing, mean_file = _preprocessing(architecture, data)
    return CaffeNetwork(architecture, preprocessing, mean_file, chain.renamed)


def find_network(
    contents: Contents, path: Path, prototxt: str | os.PathLike | None, side: int | None
) -> tuple[CaffeNetwork | None, str]:
    """Return the network that a prototxt or the file of weights defines, and why the definition cannot be used.

    Args:
        contents: of the file of weights.
        path: the file of weights.
        prototxt: the file of the definition; None is the definition in the file of weights, if there is one.
        side: as for `read_network`.

    Raises:
        CheckpointError: the prototxt cannot be used.
        OSError: the prototxt cannot be read.
    """
    if prototxt is not None:
        definition = read_prototxt(prototxt)
        with explaining(prototxt, "the definition of a network"):
            network = read_network(definition, Path(prototxt).name, contents.parameters, side)
        return _with_trained_preprocessing(network, contents, path), ""
    if not contents.definition or isinstance(contents.definition, str):
        return None, contents.definition or ""
    try:
        with explaining(path, "the definition of a network"):
            return read_network(contents.definition, path.name, contents.parameters, side), ""
    except CheckpointError as error:
        return None, str(error).removeprefix(f"{path}: ")


def _with_trained_preprocessing(network: CaffeNetwork, contents: Contents, path: Path) -> CaffeNetwork:
    """Return the network with the preprocessing of the definition in the file of weights, if it states none itself.

    A deploy.prototxt has no data layer; the definition that Caffe's solver stored has that of training.
    """
    if network.preprocessing or network.mean_file or network.architecture.name in ARCHITECTURES:
        return network
    trained, _ = find_network(contents, path, None, network.architecture.input_shape[0])
    if trained is None or trained.architecture.input_shape != network.architecture.input_shape:
        return network
    return replace(network, preprocessing=trained.preprocessing, mean_file=trained.mean_file)


def caffe_preprocessing(architecture: Architecture) -> Preprocessing:
    """Return what Caffe's tools do to pictures unless told otherwise: squashed, B, G, R, levels 0–255, no mean.

    Raises:
        ValueError: the input is not square, or has neither 1 nor 3 channels.
    """
    height, width, channels = shape = architecture.input_shape
    if height != width or channels not in (1, 3):
        expected = f"Expected a square input of 1 or 3 channels for {architecture.name}"
        raise ValueError(f"{expected}. Received: {shape}; prepare its pictures yourself.")
    return Preprocessing("squash", width, width, False, {1: "L", 3: "BGR"}[channels], (0.0,) * channels)


def _preprocessing(net: Architecture, data: CaffeLayer | None) -> tuple[Preprocessing | None, str | None]:
    """Return what the data layer of training does to pictures, and the name of the file with their mean."""
    if data is None or data.kind not in ("data", "imagedata"):
        return None, None
    stated = data.parameters(DATA[data.kind], "transform_param")
    if mean_file := text(stated, "mean_file"):
        return None, mean_file
    channels, scale = net.input_shape[2], float(data.number(stated, "scale", 1.0))
    mean = [float(data.number({"mean_value": [value]}, "mean_value")) for value in stated.get("mean_value", [0.0])]
    try:
        mean = tuple(level * scale for level in (mean * channels if len(mean) == 1 else mean))
        return replace(caffe_preprocessing(net), mean=mean, scale=scale), None
    except ValueError:  # Pictures that are not square, or of other channels.
        return None, None
