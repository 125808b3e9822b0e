"""Fully connected layers as convolutions, so that a network answers at each place of a larger picture."""

import dataclasses

from tfalexnet.networks.spec import Architecture, Conv, Dense, Flatten, Layer, Parameters


def as_convolutions(net: Architecture, side: int) -> Architecture:
    """Return the table with an input of side×side pixels and convolutions in place of its fully connected layers.

    The first fully connected layer covers the whole feature map that `Flatten` receives, h×h×c, and becomes a
    convolution of h×h; those after it become convolutions of 1×1. The output is (rows, columns, classes): at each
    place that of the network for the part of the picture which this place sees, but for padding and normalisation
    at its border.

    Args:
        net: a table with square feature maps.
        side: pixels of the input, at least those of the table's.

    Raises:
        ValueError: the feature map is not square, or the input is smaller than that of the table.
    """
    height, width, channels = net.input_shape
    if side < max(height, width):
        raise ValueError(f"Expected an input of at least {max(height, width)} pixels a side. Received: {side}")
    rows, columns, _ = net.flattened
    if rows != columns:
        raise ValueError(f"Expected a square feature map before Flatten. Received: {rows}×{columns}")
    layers: list[Layer] = []
    window = rows
    for layer in net.layers:
        if isinstance(layer, Dense):
            fields = {name: getattr(layer, name) for name in ("name", "activation", "kernel_init", "bias_init")}
            layers.append(Conv(filters=layer.units, size=window, **fields))
            window = 1
        elif not isinstance(layer, Flatten):
            layers.append(layer)
    return dataclasses.replace(net, input_shape=(side, side, channels), layers=tuple(layers))


def convolution_parameters(net: Architecture, parameters: Parameters) -> Parameters:
    """Return the parameters of `as_convolutions(net)`: kernels (in, out) become (h, h, c, out), without a copy."""
    shape = net.flattened
    changed = {}
    for layer in net.weighted:
        if isinstance(layer, Dense):
            kernel, bias = parameters[layer.name]
            changed[layer.name] = kernel.reshape(*shape, layer.units), bias
            shape = (1, 1, layer.units)
    return parameters | changed
