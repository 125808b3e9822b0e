"""Every network is a table, beside its source.

One line is one layer, in the order in which a picture passes them; the comment on the line is the
shape that leaves it, H×W×C. Variants differ as data: `dataclasses.replace` makes a new one.

Common sources, cited below by their short names:

- *paper*: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural
  Networks", NIPS 2012.
- *code*: the source released by the Computer History Museum, repository
  computerhistory/AlexNet-Source-Code.
- *Caffe*: repository BVLC/caffe, folder models/.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Normal:
    """Initial weights drawn from N(0, stddev); `truncated` redraws beyond two stddev."""

    stddev: float
    truncated: bool = False


# What a source does not say is left at Keras' own default.
KernelInit = Normal | str
DEFAULT_INIT = "glorot_uniform"


@dataclass(frozen=True)
class Pad:
    """Zeros around the picture, `size` on each side."""

    name: str
    size: int


@dataclass(frozen=True)
class Conv:
    """A `size`×`size` convolution; with `groups`, filters see only their share of the channels."""

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
    over a `size`×`size` window ("within_channel"). `c` is `alpha` divided by the number of summed
    terms where `divide_alpha`, else `alpha` itself: Caffe and cuda-convnet divide, TensorFlow and
    the paper do not.
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
    """Pooling over `size`×`size` windows; "same" cuts windows at the border, as Keras does."""

    name: str
    size: int = 3
    stride: int = 2
    kind: Literal["max", "average"] = "max"
    padding: Literal["valid", "same"] = "valid"


@dataclass(frozen=True)
class Flatten:
    """(H, W, C) to H·W·C numbers, the channel running fastest."""

    name: str = "flatten"


@dataclass(frozen=True)
class Dense:
    """A fully connected layer. The last one of a table is the classifier."""

    name: str
    units: int
    activation: str | None = "relu"
    kernel_init: KernelInit = DEFAULT_INIT
    bias_init: float = 0.0


@dataclass(frozen=True)
class Dropout:
    """Zeroes a share `rate` of the numbers while training."""

    name: str
    rate: float = 0.5


Parameters = dict[str, tuple[np.ndarray, np.ndarray]]
"""Kernel and bias by layer, float32: kernels (height, width, in / groups, out) or (in, out)."""

Layer = Pad | Conv | Activation | Norm | Pool | Flatten | Dense | Dropout


@dataclass(frozen=True)
class Architecture:
    """A network as data: where it comes from, what goes in, which layers follow."""

    name: str
    source: str
    input_shape: tuple[int, int, int]
    layers: tuple[Layer, ...]

    @property
    def weighted(self) -> tuple[Conv | Dense, ...]:
        """The layers that hold a kernel and a bias."""
        return tuple(layer for layer in self.layers if isinstance(layer, Conv | Dense))

    @property
    def classifier(self) -> Dense:
        """The last fully connected layer; its units are the classes."""
        return [layer for layer in self.layers if isinstance(layer, Dense)][-1]

    @property
    def classes(self) -> int:
        """How many classes the network was published with."""
        return self.classifier.units

    @property
    def towers(self) -> int:
        """How many towers the network falls into: the groups of its convolutions."""
        return max(layer.groups for layer in self.layers if isinstance(layer, Conv))

    def replace_layers(self, **layers: Layer) -> Architecture:
        """The table with the layers of the given names replaced."""
        unknown = set(layers) - {layer.name for layer in self.layers}
        if unknown:
            raise ValueError(f"{self.name} has no layers named {sorted(unknown)}.")
        rows = tuple(layers.get(layer.name, layer) for layer in self.layers)
        return dataclasses.replace(self, layers=rows)

    def with_classes(self, classes: int) -> Architecture:
        """The table with another number of classes."""
        last = dataclasses.replace(self.classifier, units=classes)
        return self.replace_layers(**{last.name: last})

    def with_zero_kernels(self) -> Architecture:
        """The table with zeros for initial weights, for a model that is filled at once.

        Drawing 61 million normal numbers takes as long as reading the weights.
        """
        return self.replace_layers(
            **{row.name: dataclasses.replace(row, kernel_init="zeros") for row in self.weighted}
        )

    def output_shapes(self) -> dict[str, tuple[int, int, int]]:
        """What leaves each layer, (height, width, channels); a vector is (1, 1, numbers)."""
        shapes = {}
        height, width, channels = self.input_shape
        for layer in self.layers:
            match layer:
                case Pad(size=p):
                    height, width = height + 2 * p, width + 2 * p
                case Conv() | Pool():
                    height, width = (_windows(n, layer) for n in (height, width))
                    channels = layer.filters if isinstance(layer, Conv) else channels
                case Flatten():
                    height, width, channels = 1, 1, height * width * channels
                case Dense(units=u):
                    channels = u
            shapes[layer.name] = (height, width, channels)
        return shapes

    def input_shapes(self) -> dict[str, tuple[int, int, int]]:
        """What enters each layer."""
        outputs = self.output_shapes()
        return dict(zip(outputs, [self.input_shape, *outputs.values()], strict=False))

    def parameter_shapes(self) -> dict[str, tuple[tuple[int, ...], tuple[int]]]:
        """Shapes of kernel and bias by layer: kernels (h, w, in/groups, out) or (in, out)."""
        shapes: dict[str, tuple[tuple[int, ...], tuple[int]]] = {}
        inputs = self.input_shapes()
        for layer in self.weighted:
            channels = inputs[layer.name][-1]
            match layer:
                case Conv(size=s, filters=f):
                    shapes[layer.name] = (s, s, channels // layer.groups, f), (f,)
                case Dense(units=u):
                    shapes[layer.name] = (channels, u), (u,)
        return shapes

    @property
    def flattened(self) -> tuple[int, int, int]:
        """The feature map that is flattened, (height, width, channels)."""
        flatten = next(layer for layer in self.layers if isinstance(layer, Flatten))
        return self.input_shapes()[flatten.name]


def _windows(length: int, layer: Conv | Pool) -> int:
    """How many windows of a layer fit along one side."""
    if layer.padding == "same":
        return -(-length // layer.stride)
    return (length - layer.size) // layer.stride + 1
