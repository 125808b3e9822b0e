"""Names of a network's outputs: Caffe's, and torchvision's for `one_weird_trick`."""

from __future__ import annotations

from collections.abc import Sequence

from tfalexnet.networks.spec import Architecture, Layer

PROBABILITIES = "prob"  # Caffe's name of the softmax of the last layer.
PRE_ACTIVATION = ":pre"  # "fc7" is the output of the ReLU, "fc7:pre" its input.

# torchvision's names for one_weird_trick: indices in its two sequences, where the ReLU is a layer of its own.
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
# The modules that have a kernel: those whose output a ReLU receives, and the last.
TORCHVISION_LAYERS = {
    module: layer.removesuffix(PRE_ACTIVATION)
    for module, layer in TORCHVISION_OUTPUTS.items()
    if layer.endswith(PRE_ACTIVATION) or module == "classifier.6"
}


def resolve_layer(net: Architecture, layer: str) -> str:
    """Return Caffe's name of a layer's output.

    Raises:
        ValueError: the network has no such layer. The message lists its layers.
    """
    torchvision = TORCHVISION_OUTPUTS if net.name == "one_weird_trick" else {}
    pre_activations = [row.name + PRE_ACTIVATION for row in net.weighted if row.activation]
    names = [*(row.name for row in net.layers), *pre_activations, PROBABILITIES, *torchvision]
    if layer not in names:
        raise ValueError(f"Expected layers of {net.name}: {', '.join(names)}. Received: {layer!r}")
    return torchvision.get(layer, layer)


def required_rows(net: Architecture, outputs: Sequence[str]) -> tuple[Layer, ...]:
    """Return the rows of a table up to the last one that an output requires. Outputs have Caffe's names."""
    if PROBABILITIES in outputs:
        return net.layers
    names = [row.name for row in net.layers]
    return net.layers[: max(names.index(name.removesuffix(PRE_ACTIVATION)) for name in outputs) + 1]
