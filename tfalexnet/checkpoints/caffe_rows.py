"""The rows of a table for the layers of a Caffe network, which must be a chain of those in `ROWS`."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tfalexnet.checkpoints.caffe_layers import CaffeLayer, last, text
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.formats.prototxt import Message
from tfalexnet.io.terminal import escape
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
    Pool,
)

FILLERS = {"xavier": "lecun_uniform", "msra": "he_normal"}  # Keras' initializers with the same variance.


class Chain:
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
        if layer.kind not in ROWS:
            supported = "Convolution, ReLU, TanH, Sigmoid, LRN, Pooling, InnerProduct, Dropout, Flatten, Softmax"
            raise CheckpointError(f"expected layers among {supported}; received {layer}")
        if self.is_finished or len(layer.tops) != 1 or len(layer.bottoms) != 1 or layer.bottoms[0] not in self.blobs:
            last = ", ".join(sorted(self.blobs))
            received = f"{layer}, which reads {', '.join(layer.bottoms) or 'nothing'} after {last}"
            raise CheckpointError(
                f"expected a chain of layers up to one Softmax; received {escape(received, limit=300)}"
            )
        for row in ROWS[layer.kind](self, layer):
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

    def activate(self, name: str, function: str) -> Iterator[Layer]:
        """Make the function the activation of the last row, or yield a row of its own."""
        last = self.rows[-1] if self.rows else None
        if isinstance(last, Conv | Dense) and last.activation is None:
            self.rows[-1] = replace(last, activation=function)
        else:
            yield Activation(name, function)

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


def _convolution(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
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


def _inner_product(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
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


def _pooling(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
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


def _lrn(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
    fields = layer.parameters("lrn_param")
    constants = {name: float(layer.number(fields, name, default)) for name, default in _LRN_DEFAULTS.items()}
    within = text(fields, "norm_region") == "WITHIN_CHANNEL"
    if within:
        constants["k"] = 1.0  # Caffe does not read it there.
    region = "within_channel" if within else "across_channels"
    yield Norm(chain.name(layer), layer.size(fields, "local_size", 5), **constants, region=region)


def _activation(function: str) -> Callable[[Chain, CaffeLayer], Iterator[Layer]]:
    def rows(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
        layer.parameters(f"{layer.kind}_param")
        yield from chain.activate(chain.name(layer), function)

    return rows


def _dropout(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
    yield Dropout(chain.name(layer), float(layer.number(layer.parameters("dropout_param"), "dropout_ratio", 0.5)))


def _flatten(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
    layer.parameters("flatten_param")
    return chain.flatten(chain.name(layer))


def _softmax(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
    layer.parameters("softmax_param")
    chain.is_finished = True
    return iter(())


def _padding(chain: Chain, layer: CaffeLayer) -> Iterator[Layer]:
    """Add the padding of a layer of 2013 to the convolution or pooling behind it."""
    chain.padding += layer.size(layer.fields, "pad", 0)
    return iter(())


ROWS: dict[str, Callable[[Chain, CaffeLayer], Iterator[Layer]]] = {
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
