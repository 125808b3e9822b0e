"""Known mistakes of networks and of their weights, each with its opposite."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfalexnet.checkpoints.formats.orientation import flatten_chw, flatten_hwc
from tfalexnet.checkpoints.match import reorder_first_dense
from tfalexnet.networks.spec import Architecture, Layer, Norm, Parameters, Pool

# Layers may be missing; arrays that a layout does not change are returned as the same objects.
Layout = Callable[[Architecture, Parameters], Parameters]
Mutant = Callable[[Architecture, Parameters], tuple[Architecture, Parameters]]


def _of_kernels(change: Callable[[np.ndarray], np.ndarray]) -> Layout:
    return lambda _, parameters: {name: (change(kernel), bias) for name, (kernel, bias) in parameters.items()}


def _of_rows(reorder: Callable) -> Layout:
    return lambda net, parameters: reorder_first_dense(parameters, net, reorder, "CHW")


def _reverse_channels(net: Architecture, parameters: Parameters) -> Parameters:
    """Reverse the channels of the first kernel, which has the same effect as reversing those of the input."""
    first = net.weighted[0].name
    if first not in parameters:
        return parameters
    kernel, bias = parameters[first]
    return parameters | {first: (kernel[:, :, ::-1], bias)}


LAYOUTS: dict[str, Layout] = {
    "the input channels reversed (RGB for BGR)": _reverse_channels,
    "the rows of the first dense kernel read as channel, height, width": _of_rows(flatten_hwc),
    "the rows of the first dense kernel put back to channel, height, width": _of_rows(flatten_chw),
    "height and width of the kernels exchanged": _of_kernels(lambda k: k.swapaxes(0, 1) if k.ndim == 4 else k),
    "the kernels turned by 180° (convolution for correlation)": _of_kernels(
        lambda k: k[::-1, ::-1] if k.ndim == 4 else k
    ),
    "square dense kernels transposed": _of_kernels(lambda k: k.T if k.ndim == 2 and k.shape[0] == k.shape[1] else k),
}


def _exchange_layers(net: Architecture, first: type, second: type) -> Architecture:
    """Exchange each layer of the first kind with a layer of the second kind that follows it."""
    rows = list(net.layers)
    for i in range(len(rows) - 1):
        if isinstance(rows[i], first) and isinstance(rows[i + 1], second):
            rows[i : i + 2] = rows[i + 1], rows[i]
    return dataclasses.replace(net, layers=tuple(rows))


def _norms(net: Architecture) -> list[Norm]:
    return [row for row in net.layers if isinstance(row, Norm)]


def _conv1(net: Architecture) -> Sequence[Layer]:
    return net.weighted[:1]


def _change(net: Architecture, select: Callable[[Architecture], Sequence[Layer]], **fields: Any) -> Architecture:
    return net.replace_layers(**{row.name: dataclasses.replace(row, **fields) for row in select(net)})


def _of_network(change: Callable[..., Architecture], *arguments: Any, **fields: Any) -> Mutant:
    return lambda net, parameters: (change(net, *arguments, **fields), parameters)


def _of_weights(layout: Layout) -> Mutant:
    return lambda net, parameters: (net, layout(net, parameters))


# The name is the state that a mutant produces; a network in this state is returned unchanged. A mutant that yields the
# right outputs undoes a mistake of the weights or of the table.
MUTANTS: dict[str, Mutant] = {
    "pool before norm": _of_network(_exchange_layers, Norm, Pool),
    "norm before pool": _of_network(_exchange_layers, Pool, Norm),
    "alpha undivided": _of_network(_change, _norms, divide_alpha=False),
    "alpha divided": _of_network(_change, _norms, divide_alpha=True),
    "conv1 SAME": _of_network(_change, _conv1, padding="same"),
    "conv1 VALID": _of_network(_change, _conv1, padding="valid"),
    **{name: _of_weights(layout) for name, layout in LAYOUTS.items()},
}
