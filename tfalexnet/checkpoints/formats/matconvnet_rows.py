"""The rows of a table for the layers of a MatConvNet network, which must be a chain of those in `ROWS`.

The number of windows is rounded down, and `pad` is one number or (top, bottom, left, right). Pooling ignores the
padding. The normalisation `param` is (size, k, alpha, beta), where alpha is not divided by the size
(vlfeat.org/matconvnet/functions).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfalexnet.checkpoints.caffe_rows import Chain
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.formats.binary import is_float, to_float32
from tfalexnet.io.terminal import escape
from tfalexnet.networks.caffe_pooling import window_count
from tfalexnet.networks.spec import Conv, Dense, Dropout, Flatten, Layer, Norm, Pad, Pool


def fields_of(value: Any) -> dict[str, Any]:
    """Return the fields of a struct as SciPy reads it, none of another value."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.flat[0]
    return {name: value[name] for name in value.dtype.names or ()} if isinstance(value, np.void) else {}


def numbers_of(value: Any) -> list[float]:
    """Return an array of numbers as a list, empty if it is none."""
    return (
        [float(number) for number in value.flat] if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else []
    )


def text_of(value: Any) -> str:
    """Return a text as SciPy reads it, empty if it is none."""
    while isinstance(value, np.ndarray) and value.size == 1:
        value = value.flat[0]
    return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class MatLayer:
    """A layer: its place in the network, from 1, and the fields of its struct."""

    number: int
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        return text_of(self.fields.get("name")) or f"layer{self.number}"

    @property
    def kind(self) -> str:
        return text_of(self.fields.get("type"))

    def __str__(self) -> str:
        return f"{escape(self.name, limit=100)} ({escape(self.kind, limit=100)})"

    def error(self, expected: str, received: Any) -> CheckpointError:
        """Return the error that the layer is not as expected."""
        return CheckpointError(f"{self}: expected {expected}; received {escape(str(received), limit=100)}")

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return kernel (height, width, in / groups, out) and bias, float32; a layer without bias adds 0."""
        parts = self.fields.get("weights", np.empty(0, object))
        if isinstance(parts, np.ndarray) and parts.dtype == object and parts.size >= 2:
            kernel, bias = parts.flat[:2]
        else:  # Before 2015.
            kernel, bias = (self.fields.get(name) for name in ("filters", "biases"))
        if not isinstance(kernel, np.ndarray) or not is_float(kernel) or not 2 <= kernel.ndim <= 4:
            raise self.error("a kernel of 4 dimensions", getattr(kernel, "shape", None))
        kernel = kernel.reshape((*kernel.shape, 1, 1)[:4], order="F")  # MATLAB omits dimensions of 1 at the end.
        bias = np.array(numbers_of(bias) or [0.0] * kernel.shape[3], np.float32)
        if bias.size != kernel.shape[3]:
            raise self.error(f"{kernel.shape[3]} biases", bias.size)
        return to_float32(kernel), bias

    def numbers(self, name: str, default: tuple[float, ...]) -> list[float]:
        """Return the numbers of a field."""
        return numbers_of(self.fields.get(name)) or list(map(float, default))

    def side(self, name: str, default: int) -> int:
        """Return the integer of a field, which must be the same for rows and columns."""
        values = set(self.numbers(name, (default,)))
        if len(values) > 1 or not max(values).is_integer():
            raise self.error(f"the same integer as `{name}` in both directions", self.numbers(name, ()))
        return int(values.pop())

    def padding(self) -> tuple[int, int]:
        """Return the padding before and behind, which must be the same for rows and columns."""
        values = self.numbers("pad", (0,))
        values = values * 4 if len(values) == 1 else values
        if len(values) != 4 or values[:2] != values[2:] or not all(pad.is_integer() and pad >= 0 for pad in values):
            raise self.error("`pad` with the same integers in both directions", values)
        return int(values[0]), int(values[1])


def read_rows(layers: list[MatLayer], shape: tuple[int, int, int]) -> tuple[Layer, ...]:
    """Return the rows of layers.

    Args:
        layers: in the order of computation.
        shape: (height, width, channels) of the pictures.

    Raises:
        CheckpointError: a layer has no row, or a field that no row states.
    """
    chain = Chain(shape, set())
    for layer in layers:
        if layer.kind not in ROWS or chain.is_finished:
            supported = f"a chain of {', '.join(kind for kind in ROWS if kind)} up to one softmax"
            raise CheckpointError(f"expected {supported}; received {layer}")
        for row in ROWS[layer.kind](chain, layer):
            chain.append(row)
    return chain.finished()


def _convolution(chain: Chain, layer: MatLayer) -> Iterator[Layer]:
    kernel, _ = layer.weights()
    height, width, channels, filters = kernel.shape
    name, stride, (pad, behind) = chain.name(layer), layer.side("stride", 1), layer.padding()
    if layer.side("dilate", 1) != 1:
        raise layer.error("`dilate` to be 1", layer.side("dilate", 1))
    if kernel.shape[:3] == chain.shape and not pad + behind:  # Fully connected.
        yield from chain.flatten()
        yield Dense(name, filters, None)
        return
    if chain.has(Flatten) or height != width or pad != behind or not channels or stride < 1:
        raise layer.error("a square kernel with the same `pad` on each side", f"{kernel.shape}, {(pad, behind)}")
    is_same = pad and stride == 1 and height == 2 * pad + 1
    if pad and not is_same:
        yield Pad(f"{name}_pad", pad)
    yield Conv(name, filters, height, stride, "same" if is_same else "valid", chain.shape[2] // channels, None)


def _pooling(chain: Chain, layer: MatLayer) -> Iterator[Layer]:
    size, stride, (pad, behind) = layer.side("pool", 0), layer.side("stride", 1), layer.padding()
    kind = {"": "max", "max": "max", "avg": "average"}.get(text_of(layer.fields.get("method")))
    if kind is None or size < 1 or stride < 1:
        raise layer.error("`method` to be max or avg, with positive sizes", text_of(layer.fields.get("method")))

    def counts(windows: Callable[[int], int]) -> list[int]:
        return [windows(side) for side in chain.shape[:2]]

    expected = counts(lambda side: (side + pad + behind - size) // stride + 1)
    if not pad and counts(lambda side: (side - size) // stride + 1) == expected:
        yield Pool(chain.name(layer), size, stride, kind)
    elif counts(lambda side: window_count(side, size, stride, pad)) == expected and (kind == "max" or not pad):
        yield Pool(chain.name(layer), size, stride, kind, "caffe", pad)
    else:
        raise layer.error("`pad` whose windows are those of Caffe", (pad, behind))


def _normalisation(chain: Chain, layer: MatLayer) -> Iterator[Layer]:
    size, k, alpha, beta = layer.numbers("param", (5, 1, 0.0001 / 5, 0.75))
    # Seven digits, so that alpha · size is the number that was divided, also in single precision.
    yield Norm(chain.name(layer), int(size), float(f"{alpha * size:.7g}"), float(f"{beta:.7g}"), float(f"{k:.7g}"))


def _activation(function: str) -> Callable[[Chain, MatLayer], Iterator[Layer]]:
    def rows(chain: Chain, layer: MatLayer) -> Iterator[Layer]:
        if any(layer.numbers("leak", (0,))):
            raise layer.error("`leak` to be 0", layer.numbers("leak", ()))
        return chain.activate(chain.name(layer), function)

    return rows


def _dropout(chain: Chain, layer: MatLayer) -> Iterator[Layer]:
    yield Dropout(chain.name(layer), layer.numbers("rate", (0.5,))[0])


def _softmax(chain: Chain, _: MatLayer) -> Iterator[Layer]:
    chain.is_finished = True
    return iter(())


ROWS: dict[str, Callable[[Chain, MatLayer], Iterator[Layer]]] = {
    "conv": _convolution,
    "pool": _pooling,
    "normalize": _normalisation,
    "lrn": _normalisation,
    "relu": _activation("relu"),
    "sigmoid": _activation("sigmoid"),
    "dropout": _dropout,
    "softmax": _softmax,
    "softmaxloss": _softmax,
}
