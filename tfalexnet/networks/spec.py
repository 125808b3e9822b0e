"""A network as data: the kinds of rows, one per kind of layer, and `Architecture`, their table."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from tfalexnet.networks.caffe_pooling import window_count
from tfalexnet.networks.row_json import LARGEST_SIZE, Normal, check_fields, error, row_from_dict, row_to_dict

KernelInit = Normal | str
"""A normal distribution, or the name of a Keras initializer."""

DEFAULT_INIT = "glorot_uniform"  # Keras' default, used where a source does not state its own.


@dataclass(frozen=True)
class Pad:
    """`size` rows and columns of zeros on each side."""

    name: str
    size: int


@dataclass(frozen=True)
class Conv:
    """A `size`×`size` convolution. With `groups`, each group of filters reads its share of the channels only."""

    name: str
    filters: int
    size: int
    stride: int = 1
    padding: Literal["valid", "same"] = "valid"
    groups: int = 1
    activation: str | None = "relu"
    kernel_init: KernelInit = DEFAULT_INIT
    bias_init: float = 0.0


@dataclass(frozen=True)
class Activation:
    """A nonlinearity that does not directly follow a kernel."""

    name: str
    function: str


@dataclass(frozen=True)
class Norm:
    """Local response normalisation: `b = a / (k + c·Σ a²)^beta`.

    The sum runs over `size` channels ("across_channels"; with `groups`, inside each group only) or
    over a `size`×`size` window ("within_channel"). With `divide_alpha`, `c` is `alpha` divided by the
    number of summed terms, as in Caffe and cuda-convnet; otherwise `c` is `alpha`, as in TensorFlow and
    the paper.
    """

    name: str
    size: int
    alpha: float
    beta: float
    k: float = 1.0
    divide_alpha: bool = True
    region: Literal["across_channels", "within_channel"] = "across_channels"
    groups: int = 1


@dataclass(frozen=True)
class Pool:
    """Pooling over `size`×`size` windows; "same" cuts windows at the border, as Keras does.

    "caffe" adds `pad` rows and columns on each side and rounds the number of windows up, so that the last one may
    reach beyond the border. The maximum is that of the numbers inside. The average is their sum divided by the size of
    the window, of which the part beyond the padding is not counted.
    """

    name: str
    size: int = 3
    stride: int = 2
    kind: Literal["max", "average"] = "max"
    padding: Literal["valid", "same", "caffe"] = "valid"
    pad: int = 0


@dataclass(frozen=True)
class Flatten:
    """(height, width, channels) to a vector of height·width·channels numbers, the channel varying fastest."""

    name: str = "flatten"


@dataclass(frozen=True)
class Dense:
    """A fully connected layer. The last layer with weights of a table is the classifier."""

    name: str
    units: int
    activation: str | None = "relu"
    kernel_init: KernelInit = DEFAULT_INIT
    bias_init: float = 0.0


@dataclass(frozen=True)
class Dropout:
    """Sets a fraction `rate` of the numbers to zero during training."""

    name: str
    rate: float = 0.5


Parameters = dict[str, tuple[np.ndarray, np.ndarray]]
"""Kernel and bias by layer, float32: kernels (height, width, in / groups, out) or (in, out)."""

Layer = Pad | Conv | Activation | Norm | Pool | Flatten | Dense | Dropout
ROW_TYPES = {kind.__name__: kind for kind in (Pad, Conv, Activation, Norm, Pool, Flatten, Dense, Dropout)}

LARGEST_COUNT = 1 << 31  # In a table from a file: parameters of a layer, and numbers in its output for one picture.


@dataclass(frozen=True)
class Architecture:
    """A network as data.

    Attributes:
        name: a short name, also the name of its Keras model.
        source: the publication or file that the table follows.
        input_shape: (height, width, channels) of a preprocessed picture.
        layers: the rows, in the order of computation. A fully connected layer at the end loses its activation: its
            outputs are the logits, and `AlexNet` adds the softmax.
    """

    name: str
    source: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        last = self.layers[-1] if self.layers else None
        if isinstance(last, Dense) and last.activation is not None:
            object.__setattr__(self, "layers", (*self.layers[:-1], dataclasses.replace(last, activation=None)))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Self:
        """Return the table that `to_dict` described. The fields may come from an untrusted file.

        Raises:
            ValueError: a field is missing, unknown or out of its range, or the layers cannot follow each
                other.
        """
        check_fields(fields, cls, "architecture")
        rows = enumerate(fields["layers"], start=1)
        layers = tuple(row_from_dict(row, ROW_TYPES, f"layer {number}") for number, row in rows)
        _check_order(layers)
        architecture = cls(fields["name"], fields["source"], tuple(fields["input_shape"]), layers)
        _check_shapes(architecture)
        return architecture

    def to_dict(self) -> dict[str, Any]:
        """Return the table in a form that JSON can store; fields of rows that equal their default are omitted.

        Raises:
            ValueError: `from_dict` would refuse the result.
        """
        layers = [row_to_dict(row) for row in self.layers]
        fields = {"name": self.name, "source": self.source, "input_shape": list(self.input_shape), "layers": layers}
        Architecture.from_dict(fields)
        return fields

    @property
    def weighted(self) -> tuple[Conv | Dense, ...]:
        """The layers that have a kernel and a bias."""
        return tuple(layer for layer in self.layers if isinstance(layer, Conv | Dense))

    @property
    def classifier(self) -> Conv | Dense:
        """The last layer with weights; it has one unit, or one filter, per class."""
        return self.weighted[-1]

    @property
    def classes(self) -> int:
        """The number of classes."""
        last = self.classifier
        return last.units if isinstance(last, Dense) else last.filters

    @property
    def towers(self) -> int:
        """The number of towers: the largest number of groups of a convolution."""
        return max(layer.groups for layer in self.layers if isinstance(layer, Conv))

    def replace_layers(self, **layers: Layer) -> Self:
        """Return the table with the layers of the given names replaced.

        Raises:
            ValueError: the table has no layer of a given name.
        """
        unknown = set(layers) - {layer.name for layer in self.layers}
        if unknown:
            raise ValueError(f"{self.name} has no layers named {sorted(unknown)}.")
        rows = tuple(layers.get(layer.name, layer) for layer in self.layers)
        return dataclasses.replace(self, layers=rows)

    def with_classes(self, classes: int) -> Self:
        """Return the table with another number of classes."""
        last = self.classifier
        count = {"units" if isinstance(last, Dense) else "filters": classes}
        return self.replace_layers(**{last.name: dataclasses.replace(last, **count)})

    def convolutional(self) -> Self:
        """Return the table with convolutions in place of the fully connected layers, for pictures of any size.

        The first reads the whole feature map that `Flatten` receives, those behind it one position. `Flatten` becomes
        the last row. Kernels have the same numbers in the same order, in the shapes of `parameter_shapes`. On a larger
        picture, each position of the result is the answer to one window of `input_shape`, up to what padding adds.

        Raises:
            ValueError: the feature map is not square, or a pooling needs to know the size of its input.
        """
        height, width, _ = self.flattened
        needing = [row.name for row in self.layers if isinstance(row, Pool) and row.padding == "caffe"]
        if height != width or needing:
            received = f"poolings as Caffe pads them, {', '.join(needing)}" if needing else f"{height}×{width}"
            expected = "a square feature map before the fully connected layers, and poolings of padding valid or same"
            raise ValueError(f"{self.name} for pictures of any size: expected {expected}. Received: {received}")
        dense = [row.name for row in self.weighted if isinstance(row, Dense)]
        rows = [row for row in self.layers if not isinstance(row, Flatten)]
        for index, row in enumerate(rows):
            if isinstance(row, Dense):
                size = height if row.name == dense[0] else 1
                fields = {"activation": row.activation, "kernel_init": row.kernel_init, "bias_init": row.bias_init}
                rows[index] = Conv(row.name, row.units, size, **fields)
        flatten = next(row for row in self.layers if isinstance(row, Flatten))
        return dataclasses.replace(self, layers=(*rows, flatten))

    def with_zero_kernels(self) -> Self:
        """Return the table with zeros as initial kernels, for a model whose weights are set afterwards.

        Drawing 61 million normal numbers takes as long as reading the weights.
        """
        rows = {row.name: dataclasses.replace(row, kernel_init="zeros") for row in self.weighted}
        return self.replace_layers(**rows)

    def output_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Return the output shape of each layer, (height, width, channels); a vector is (1, 1, length)."""
        shapes = {}
        height, width, channels = self.input_shape
        for layer in self.layers:
            match layer:
                case Pad(size=p):
                    height, width = height + 2 * p, width + 2 * p
                case Conv() | Pool():
                    height, width = (_window_count(side, layer) for side in (height, width))
                    channels = layer.filters if isinstance(layer, Conv) else channels
                case Flatten():
                    height, width, channels = 1, 1, height * width * channels
                case Dense(units=u):
                    channels = u
            shapes[layer.name] = (height, width, channels)
        return shapes

    def input_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Return the input shape of each layer, in the form of `output_shapes`."""
        outputs = self.output_shapes()
        return dict(zip(outputs, [self.input_shape, *outputs.values()], strict=False))

    def parameter_shapes(self) -> dict[str, tuple[tuple[int, ...], tuple[int]]]:
        """Return the shapes of kernel and bias by layer: kernels (h, w, in / groups, out) or (in, out)."""
        shapes: dict[str, tuple[tuple[int, ...], tuple[int]]] = {}
        inputs = self.input_shapes()
        for layer in self.weighted:
            channels = inputs[layer.name][-1]
            if isinstance(layer, Conv):
                kernel = (layer.size, layer.size, channels // layer.groups, layer.filters)
            else:
                kernel = (channels, layer.units)
            shapes[layer.name] = kernel, kernel[-1:]
        return shapes

    @property
    def flattened(self) -> tuple[int, int, int]:
        """The shape (height, width, channels) of the feature map that `Flatten` receives."""
        flatten = next(layer.name for layer in self.layers if isinstance(layer, Flatten))
        return self.input_shapes()[flatten]


def _window_count(length: int, layer: Conv | Pool) -> int:
    """Return the number of windows of a layer along a side of the given length."""
    if layer.padding == "same":
        return -(-length // layer.stride)
    if layer.padding == "caffe":
        return window_count(length, layer.size, layer.stride, layer.pad)
    return (length - layer.size) // layer.stride + 1


def _check_order(layers: tuple[Layer, ...]) -> None:
    """Raise `ValueError` if two layers have the same name, or the kinds of layers cannot follow each other."""
    names, kinds = [layer.name for layer in layers], [type(layer) for layer in layers]
    if len(set(names)) < len(names):
        raise error("architecture", "a different name for each layer", sorted(names))
    for layer in layers:
        if isinstance(layer, Conv) and layer.padding == "caffe":
            raise error(layer.name, "`padding` to be valid or same", layer.padding)
    order = [kind.__name__ for kind in kinds]
    if Conv not in kinds or kinds.count(Flatten) != 1 or kinds[-1] not in (Dense, Flatten):
        expected = "at least one Conv, exactly one Flatten, and Dense or Flatten as the last layer"
        raise error("architecture", expected, order)
    flatten = kinds.index(Flatten)
    if Dense in kinds[:flatten] or not set(kinds[flatten + 1 :]) <= {Dense, Dropout, Activation}:
        raise error("architecture", "no Dense before Flatten; Dense, Dropout and Activation only after it", order)


def _check_shapes(architecture: Architecture) -> None:
    """Raise `ValueError` if a layer cannot compute its output, or one of its arrays is too large."""
    inputs, outputs = architecture.input_shapes(), architecture.output_shapes()
    for layer in architecture.layers:
        groups, channels, shape = getattr(layer, "groups", 1), inputs[layer.name][-1], outputs[layer.name]
        if channels % groups or getattr(layer, "filters", groups) % groups:
            raise error(layer.name, f"channels and filters to be multiples of `groups` ({channels} channels)", layer)
        if isinstance(layer, Pool):
            _check_pad(layer, inputs[layer.name])
        if isinstance(layer, Flatten) and layer is architecture.layers[-1] and shape[-1] != channels:
            raise error(layer.name, "one row and column, where no Dense follows", inputs[layer.name])
        if isinstance(layer, Norm) and layer.size % 2 == 0:
            raise error(layer.name, "`size` to be odd", layer.size)
        if not all(0 < side <= LARGEST_SIZE for side in shape[:2]):
            raise error(layer.name, f"an output with sides from 1 to {LARGEST_SIZE}", shape)
        if math.prod(shape) > LARGEST_COUNT:
            raise error(layer.name, f"an output of at most {LARGEST_COUNT} numbers", shape)
    for name, (kernel, _) in architecture.parameter_shapes().items():
        if math.prod(kernel) > LARGEST_COUNT:
            raise error(name, f"a kernel of at most {LARGEST_COUNT} parameters", kernel)


def _check_pad(pool: Pool, shape: tuple[int, int, int]) -> None:
    """Raise `ValueError` if a window of a pooling would hold no number of its input, which has this shape."""
    if pool.pad >= (pool.size if pool.padding == "caffe" else 1):
        raise error(pool.name, "`pad` below `size`, and 0 unless `padding` is caffe", pool)
    if any((_window_count(side, pool) - 1) * pool.stride - pool.pad >= side for side in shape[:2]):
        raise error(pool.name, f"windows that begin inside the {shape[0]}×{shape[1]} input", pool)
