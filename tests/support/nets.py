"""Small networks, and random weights for networks of any size."""

import dataclasses

import numpy as np

from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Architecture, Conv, Dense, Dropout, Norm


def small(net: Architecture, dropout: float | None = None) -> Architecture:
    """A network with an eighth of the filters, He's initial weights and few units."""
    changed = {}
    for row in net.layers:
        if isinstance(row, Conv):
            changed[row.name] = dataclasses.replace(row, filters=row.filters // 8, kernel_init="he_normal", bias_init=0)
        elif isinstance(row, Dense) and row is not net.classifier:
            changed[row.name] = dataclasses.replace(row, units=64, kernel_init="he_normal", bias_init=0)
        elif isinstance(row, Dense):
            changed[row.name] = dataclasses.replace(row, units=min(row.units, 10), kernel_init="glorot_uniform")
        elif isinstance(row, Dropout) and dropout is not None:
            changed[row.name] = dataclasses.replace(row, rate=dropout)
    return net.replace_layers(**changed)


def each_norm(net: Architecture, **changes) -> Architecture:
    """A network whose normalisations are changed."""
    rows = {row.name: dataclasses.replace(row, **changes) for row in net.layers if isinstance(row, Norm)}
    return net.replace_layers(**rows)


def random_parameters(net: Architecture, seed: int = 0) -> dict:
    """He-scaled kernels and small biases: activations are so large that the normalisation changes them clearly."""
    generator = np.random.default_rng(seed)
    parameters = {}
    for name, (kernel, bias) in net.parameter_shapes().items():
        deviation = np.float32(np.sqrt(2 / np.prod(kernel[:-1])))
        if name == net.classifier.name:
            deviation /= 40  # Logits of a few units, so that the softmax does not saturate.
        parameters[name] = (
            generator.standard_normal(kernel, np.float32) * deviation,
            generator.standard_normal(bias, np.float32) * np.float32(0.1),
        )
    return parameters


def write_npy(path, parameters: dict, layout: str = "tf_alexnet") -> None:
    """The layouts of bvlc_alexnet.npy and of caffe-tensorflow, by NumPy itself."""
    entries = {
        name: [kernel, bias] if layout == "tf_alexnet" else {"weights": kernel, "biases": bias}
        for name, (kernel, bias) in parameters.items()
    }
    np.save(path, np.array(entries, dtype=object), allow_pickle=True)


def nearly_equal_tables() -> list[tuple[Architecture, Architecture, str]]:
    """Pairs of tables that differ in one field of one row, and the name of that row."""
    net = small(ARCHITECTURES["krizhevsky2012"])
    changes = {"norm1": {"divide_alpha": False}, "norm2": {"groups": 1}, "conv4": {"activation": "tanh"}}
    rows = {row.name: row for row in net.layers}
    return [
        (net, net.replace_layers(**{name: dataclasses.replace(rows[name], **fields)}), name)
        for name, fields in changes.items()
    ]
