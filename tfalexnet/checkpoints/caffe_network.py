"""The table of a network that Caffe's definition describes: a prototxt, or the layers inside a `.caffemodel`.

The network must be a chain of the layers in `_ROWS`. Layers for training
and its data are left out; any other is refused by its name.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfalexnet.checkpoints.caffe_layers import DATA, CaffeLayer, is_tested, last, read_input, read_layers, text
from tfalexnet.checkpoints.formats import CheckpointError, Contents, explaining
from tfalexnet.checkpoints.formats.prototxt import Message
from tfalexnet.checkpoints.formats.prototxt import read as read_prototxt
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.io.terminal import escape
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.row_json import LONGEST_TEXT
from tfalexnet.networks.spec import (
    DEFAULT_INIT,
    Activation,
    Architecture,
    Conv,
    Dense,
    Dropout,
    Flatten,
    KernelInit,
    Layer,
    Norm,
    Normal,
    Pad,
    Parameters,
    Pool,
)

SKIPPED = ("accuracy", "softmaxwithloss", "softmaxloss", "multinomiallogisticloss", "silence")
FILLERS = {"xavier": "lecun_uniform", "msra": "he_normal"}  # Keras' initializers with the same variance.


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
    chain = _Chain(shape, {blob})
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
    known = _known_network(architecture)
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
            return read_network(definition, Path(prototxt).name, contents.parameters, side), ""
    if not contents.definition or isinstance(contents.definition, str):
        return None, contents.definition or ""
    try:
        with explaining(path, "the definition of a network"):
            return read_network(contents.definition, path.name, contents.parameters, side), ""
    except CheckpointError as error:
        return None, str(error).removeprefix(f"{path}: ")


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


class _Chain:
    """The rows of the layers so far.

    Attributes:
        shape: (height, width, channels) of the last output.
        blobs: the names of the last output in the definition.
        renamed: the names of rows by the names of layers, where they differ.
    """

    def __init__(self, shape: tuple[int, int, int], blobs: set[str]) -> None:
        self.shape, self.blobs = shape, blobs
        self.rows: list[Layer] = []
        self.renamed: dict[str, str] = {}
        self.padding, self.is_finished = 0, False

    def add(self, layer: CaffeLayer) -> None:
        """Append the rows of a layer, which must read the last output only."""
        if layer.kind == "split":  # Copies of one blob for several readers, which Caffe adds itself.
            self.blobs |= set(layer.tops) if self.blobs & set(layer.bottoms) else set()
            return
        if layer.kind not in _ROWS:
            supported = "Convolution, ReLU, TanH, Sigmoid, LRN, Pooling, InnerProduct, Dropout, Flatten, Softmax"
            raise CheckpointError(f"expected layers among {supported}; received {layer}")
        if self.is_finished or len(layer.tops) != 1 or len(layer.bottoms) != 1 or layer.bottoms[0] not in self.blobs:
            last = ", ".join(sorted(self.blobs))
            received = f"{layer}, which reads {', '.join(layer.bottoms) or 'nothing'} after {last}"
            raise CheckpointError(
                f"expected a chain of layers up to one Softmax; received {escape(received, limit=300)}"
            )
        for row in _ROWS[layer.kind](self, layer):
            self.append(row)
        self.blobs = {layer.tops[0]}

    def append(self, row: Layer) -> None:
        self.rows.append(row)
        self.shape = Architecture("", "", self.shape, (row,)).output_shapes()[row.name]

    def has(self, kind: type) -> bool:
        return any(isinstance(row, kind) for row in self.rows)

    def name(self, layer: CaffeLayer) -> str:
        """Return the name of a layer's row: Caffe's, except for characters and words that Keras reserves."""
        name = layer.name.replace("/", "_").replace(":", "_")
        name = f"{name}_" if name in ("", "input", "prob") else name
        if name != layer.name:
            self.renamed[layer.name] = name
        return name

    def flatten(self, name: str = "flatten") -> Iterator[Layer]:
        """Yield a `Flatten` unless there is one."""
        if not self.has(Flatten):
            while name in {row.name for row in self.rows}:
                name += "_"
            yield Flatten(name)

    def finished(self) -> tuple[Layer, ...]:
        """Return all rows, with a `Flatten` behind a convolution that is the classifier."""
        for row in self.flatten():
            self.append(row)
        last = self.rows[-1]
        if isinstance(last, Activation) or (isinstance(last, Dense) and last.activation):
            raise CheckpointError(
                f"expected a Softmax behind the last layer; received another activation of {last.name}"
            )
        return tuple(self.rows)


def _convolution(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
    fields, name = layer.parameters("convolution_param"), chain.name(layer)
    size, stride = layer.side(fields, "kernel_size"), layer.side(fields, "stride", 1)
    pad, chain.padding = layer.side(fields, "pad", 0) + chain.padding, 0
    is_same = stride == 1 and size == 2 * pad + 1
    if pad and not is_same:
        yield Pad(f"{name}_pad", pad)
    init, bias = _initial(layer, fields)
    filters, groups = layer.size(fields, "num_output"), layer.size(fields, "group", 1)
    if not stride or not groups:
        raise layer.error("a positive stride and group", (stride, groups))
    yield Conv(name, filters, size, stride, "same" if is_same and pad else "valid", groups, None, init, bias)


def _inner_product(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
    fields = layer.parameters("inner_product_param")
    yield from chain.flatten()
    yield Dense(chain.name(layer), layer.size(fields, "num_output"), None, *_initial(layer, fields))


def _initial(layer: CaffeLayer, fields: Message) -> tuple[KernelInit, float]:
    """Return the initial kernel and bias that the fillers of a layer state."""
    filler, constant = last(fields, "weight_filler", {}), last(fields, "bias_filler", {})
    if not isinstance(filler, dict) or not isinstance(constant, dict):
        raise layer.error("fillers with fields", (filler, constant))
    init: KernelInit = FILLERS.get(text(filler, "type"), DEFAULT_INIT)
    deviation = layer.number(filler, "std", 1)
    if text(filler, "type") == "gaussian" and deviation > 0:
        init = Normal(deviation)
    return init, layer.number(constant, "value", 0.0)


def _pooling(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
    fields, (height, width, _) = layer.parameters("pooling_param"), chain.shape
    kind = {"MAX": "max", "AVE": "average"}.get(text(fields, "pool") or "MAX")
    if kind is None:
        raise layer.error("`pool` to be MAX or AVE", text(fields, "pool"))
    if last(fields, "global_pooling") is True:
        if height != width:
            raise layer.error("a square input of global pooling", f"{height}×{width}")
        yield Pool(chain.name(layer), height, 1, kind)
        return
    size, stride = layer.side(fields, "kernel_size"), layer.side(fields, "stride", 1)
    pad, chain.padding = layer.side(fields, "pad", 0) + chain.padding, 0
    if not size or not stride:
        raise layer.error("a positive kernel size and stride", (size, stride))
    is_valid = not pad and all(side >= size and (side - size) % stride == 0 for side in (height, width))
    yield Pool(chain.name(layer), size, stride, kind, *(() if is_valid else ("caffe", pad)))


_LRN_DEFAULTS = {"alpha": 1.0, "beta": 0.75, "k": 1.0}


def _lrn(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
    fields = layer.parameters("lrn_param")
    constants = {name: float(layer.number(fields, name, default)) for name, default in _LRN_DEFAULTS.items()}
    within = text(fields, "norm_region") == "WITHIN_CHANNEL"
    if within:
        constants["k"] = 1.0  # Caffe does not read it there.
    region = "within_channel" if within else "across_channels"
    yield Norm(chain.name(layer), layer.size(fields, "local_size", 5), **constants, region=region)


def _activation(function: str) -> Callable[[_Chain, CaffeLayer], Iterator[Layer]]:
    def rows(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
        layer.parameters(f"{layer.kind}_param")
        last = chain.rows[-1] if chain.rows else None
        if isinstance(last, Conv | Dense) and last.activation is None:
            chain.rows[-1] = replace(last, activation=function)
        else:
            yield Activation(chain.name(layer), function)

    return rows


def _dropout(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
    yield Dropout(chain.name(layer), float(layer.number(layer.parameters("dropout_param"), "dropout_ratio", 0.5)))


def _flatten(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
    layer.parameters("flatten_param")
    return chain.flatten(chain.name(layer))


def _softmax(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
    layer.parameters("softmax_param")
    chain.is_finished = True
    return iter(())


def _padding(chain: _Chain, layer: CaffeLayer) -> Iterator[Layer]:
    """Add the padding of a layer of 2013 to the convolution or pooling behind it."""
    chain.padding += layer.size(layer.fields, "pad", 0)
    return iter(())


_ROWS: dict[str, Callable[[_Chain, CaffeLayer], Iterator[Layer]]] = {
    "convolution": _convolution,
    "innerproduct": _inner_product,
    "pooling": _pooling,
    "lrn": _lrn,
    "relu": _activation("relu"),
    "tanh": _activation("tanh"),
    "sigmoid": _activation("sigmoid"),
    "dropout": _dropout,
    "flatten": _flatten,
    "softmax": _softmax,
    "padding": _padding,
}


def _known_network(net: Architecture) -> Architecture | None:
    """Return the network of the catalog that computes the same, with the number of classes of this one."""
    computed = _computed(net)
    known = (
        other.with_classes(net.classes) for other in ARCHITECTURES.values() if other.input_shape == net.input_shape
    )
    return next((other for other in known if _computed(other) == computed), None)


def _computed(net: Architecture) -> list[Layer]:
    """Return the rows without what does not change the result: names, initial values, dropout."""
    rows = []
    for row in net.layers:
        if isinstance(row, Conv | Dense):
            name = "" if row is net.classifier else row.name
            rows.append(replace(row, name=name, kernel_init="zeros", bias_init=0.0))
        elif not isinstance(row, Dropout):
            rows.append(replace(row, name=""))
    return rows


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
