"""Which pixels of the input a number in a feature map depends on, from the table of a network."""

import itertools
from typing import NamedTuple

from tfalexnet.networks.spec import Architecture, Conv, Flatten, Layer, Norm, Pad, Pool


class ReceptiveField(NamedTuple):
    """The pixels of the input that the numbers at the positions of a feature map depend on.

    Attributes:
        size: pixels along each side.
        stride: pixels between the fields of two neighbouring positions.
        top: the first row of the field of position 0; negative where padding is read.
        left: likewise its first column.
    """

    size: int
    stride: int
    top: int
    left: int

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return top, left, bottom and right of the field of a position, in pixels of the input; bottom, right are
        the first outside. Parts of it may be padding, outside the input.
        """
        top, left = self.top + row * self.stride, self.left + column * self.stride
        return top, left, top + self.size, left + self.size


def receptive_fields(architecture: Architecture) -> dict[str, ReceptiveField]:
    """Return the receptive field of each layer before `Flatten`; a normalisation within channels has a window too.

    With windows of k pixels and stride s, a layer's field is (k - 1)·j larger than that of its input, where j is the
    product of the strides before it, and begins `padding`·j pixels earlier.

    Source: Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.
    """
    field, fields = ReceptiveField(1, 1, 0, 0), {}
    inputs, outputs = architecture.input_shapes(), architecture.output_shapes()
    for row in itertools.takewhile(lambda row: not isinstance(row, Flatten), architecture.layers):
        size, stride = _window(row)
        sides = zip(inputs[row.name][:2], outputs[row.name][:2], strict=True)
        up, left = (_padding(row, before, after) for before, after in sides)
        jump = field.stride
        field = ReceptiveField(
            field.size + (size - 1) * jump, jump * stride, field.top - up * jump, field.left - left * jump
        )
        fields[row.name] = field
    return fields


def _window(row: Layer) -> tuple[int, int]:
    """Return the size and stride of the windows of a layer."""
    match row:
        case Conv() | Pool():
            return row.size, row.stride
        case Norm(region="within_channel"):
            return row.size, 1
    return 1, 1


def _padding(row: Layer, before: int, after: int) -> int:
    """Return the pixels that a layer adds above a side of `before` pixels, of which it computes `after` numbers."""
    match row:
        case Pad():
            return row.size
        case Conv(padding="same") | Pool(padding="same"):
            return max((after - 1) * row.stride + row.size - before, 0) // 2
        case Pool(padding="caffe"):
            return row.pad
        case Norm(region="within_channel"):
            return row.size // 2
    return 0
