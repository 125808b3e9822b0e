"""What the numbers of a network are called: as in Caffe, or as in torchvision."""

from __future__ import annotations

from collections.abc import Sequence

from tfalexnet.networks.spec import Architecture, Layer

PROBABILITIES = "prob"  # Caffe's name for the softmax behind the last layer.
PRE_ACTIVATION = ":pre"  # fc7 is what leaves the ReLU, fc7:pre what enters it.

# torchvision's names for one_weird_trick: places in its two sequences, kernel and ReLU apart.
TORCHVISION_OUTPUTS = {
    "features.0": "conv1:pre",
    "features.1": "conv1",
    "features.2": "pool1",
    "features.3": "conv2:pre",
    "features.4": "conv2",
    "features.5": "pool2",
    "features.6": "conv3:pre",
    "features.7": "conv3",
    "features.8": "conv4:pre",
    "features.9": "conv4",
    "features.10": "conv5:pre",
    "features.11": "conv5",
    "features.12": "pool5",
    "features": "pool5",
    "avgpool": "pool5",
    "classifier.1": "fc6:pre",
    "classifier.2": "fc6",
    "classifier.4": "fc7:pre",
    "classifier.5": "fc7",
    "classifier.6": "fc8",
    "classifier": "fc8",
}


def resolve_layer(net: Architecture, layer: str) -> str:
    """The name, in Caffe's way, of what a layer answers.

    Raises:
        ValueError: the network has no such layer.
    """
    known = TORCHVISION_OUTPUTS if net.name == "one_weird_trick" else {}
    rows = {row.name: getattr(row, "activation", None) for row in net.layers}
    names = [
        *rows,
        *(f"{row}{PRE_ACTIVATION}" for row, activation in rows.items() if activation),
        PROBABILITIES,
        *known,
    ]
    if layer not in names:
        raise ValueError(f"Expected layers of {net.name}: {', '.join(names)}. Received: {layer!r}")
    return known.get(layer, layer)


def required_rows(net: Architecture, outputs: Sequence[str]) -> tuple[Layer, ...]:
    """The rows of a table up to the last that any of these needs."""
    if PROBABILITIES in outputs:
        return net.layers
    names = [row.name for row in net.layers]
    return net.layers[: max(names.index(name.removesuffix(PRE_ACTIVATION)) for name in outputs) + 1]
