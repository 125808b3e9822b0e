"""Known mistakes of networks and of their weights, each with its opposite."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from tfalexnet.checkpoints.formats.orientation import flatten_chw, flatten_hwc
from tfalexnet.networks.spec import Architecture, Conv, Dense, Layer, Norm, Parameters, Pool

Layout = Callable[[np.ndarray, Layer, Architecture], np.ndarray]  # Returns the kernel itself for other layers.
Mutant = Callable[[Architecture, Parameters], tuple[Architecture, Parameters]]


def _reverse_channels(kernel: np.ndarray, row: Layer, net: Architecture) -> np.ndarray:
    return kernel[:, :, ::-1] if isinstance(row, Conv) and row is net.weighted[0] else kernel


def _reorder_rows(reorder: Callable, kernel: np.ndarray, row: Layer, net: Architecture) -> np.ndarray:
    return reorder(kernel, net.flattened) if row is first_dense(net) else kernel


def _exchange_sides(kernel: np.ndarray, row: Layer, _: Architecture) -> np.ndarray:
    return kernel.swapaxes(0, 1) if isinstance(row, Conv) else kernel


def _rotate(kernel: np.ndarray, row: Layer, _: Architecture) -> np.ndarray:
    return kernel[::-1, ::-1] if isinstance(row, Conv) else kernel


def _transpose_square(kernel: np.ndarray, row: Layer, _: Architecture) -> np.ndarray:
    return kernel.T if isinstance(row, Dense) and kernel.shape[0] == kernel.shape[1] else kernel


LAYOUTS: dict[str, Layout] = {
    "the input channels reversed (RGB for BGR)": _reverse_channels,
    "the rows of the first dense kernel read as channel, height, width": partial(_reorder_rows, flatten_hwc),
    "the rows of the first dense kernel put back to channel, height, width": partial(_reorder_rows, flatten_chw),
    "height and width of the kernels exchanged": _exchange_sides,
    "the kernels turned by 180° (convolution for correlation)": _rotate,
    "square dense kernels transposed": _transpose_square,
}


def first_dense(net: Architecture) -> Dense:
    """Return the first fully connected layer."""
    return next(row for row in net.layers if isinstance(row, Dense))


def _exchange_layers(net: Architecture, first: type, second: type) -> Architecture:
    """Exchange each layer of the first kind with a layer of the second kind that follows it."""
    rows = list(net.layers)
    for i in range(len(rows) - 1):
        if isinstance(rows[i], first) and isinstance(rows[i + 1], second):
            rows[i : i + 2] = rows[i + 1], rows[i]
    return dataclasses.replace(net, layers=tuple(rows))


def _norms(net: Architecture) -> list[Norm]:
    return [row for row in net.layers if isinstance(row, Norm)]


def _conv1(net: Architecture) -> tuple[Layer, ...]:
    return net.weighted[:1]


def _change(net: Architecture, select: Callable[[Architecture], Sequence[Layer]], **fields: Any) -> Architecture:
    return net.replace_layers(**{row.name: dataclasses.replace(row, **fields) for row in select(net)})


def _of_network(change: Callable[..., Architecture], *arguments: Any, **fields: Any) -> Mutant:
    return lambda net, parameters: (change(net, *arguments, **fields), parameters)


def _of_kernels(layout: Layout) -> Mutant:
    """Return a mutant of the weights: reversed channels of the input equal those of the first kernel."""

    def mutant(net: Architecture, parameters: Parameters) -> tuple[Architecture, Parameters]:
        return net, {
            row.name: (layout(parameters[row.name][0], row, net), parameters[row.name][1]) for row in net.weighted
        }

    return mutant


# The name is the state that a mutant produces; a network in this state is returned unchanged. A mutant that yields the
# right outputs undoes a mistake of the weights or of the table.
MUTANTS: dict[str, Mutant] = {
    "pool before norm": _of_network(_exchange_layers, Norm, Pool),
    "norm before pool": _of_network(_exchange_layers, Pool, Norm),
    "alpha undivided": _of_network(_change, _norms, divide_alpha=False),
    "alpha divided": _of_network(_change, _norms, divide_alpha=True),
    "conv1 SAME": _of_network(_change, _conv1, padding="same"),
    "conv1 VALID": _of_network(_change, _conv1, padding="valid"),
    **{name: _of_kernels(layout) for name, layout in LAYOUTS.items()},
}
