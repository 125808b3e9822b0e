"""Names of a network's outputs: Caffe's, and torchvision's for `one_weird_trick`."""

import itertools
from collections.abc import Collection, Sequence

from tfalexnet.networks.spec import Architecture, Dropout, Flatten, Layer, Pad

PROBABILITIES = "prob"  # Caffe's name of the softmax of the last layer.
ALL = "all"  # The outputs of all layers that compute something, and the probabilities.
PRE_ACTIVATION = ":pre"  # "fc7" is the output of the ReLU, "fc7:pre" its input.

# torchvision's names for one_weird_trick: indices in its two sequences, where the ReLU is a layer of its own.
_FEATURES = (
    *("conv1:pre", "conv1", "pool1", "conv2:pre", "conv2", "pool2"),
    *("conv3:pre", "conv3", "conv4:pre", "conv4", "conv5:pre", "conv5", "pool5"),
)
_CLASSIFIER = {1: "fc6:pre", 2: "fc6", 4: "fc7:pre", 5: "fc7", 6: "fc8"}  # 0 and 3 are dropout.
TORCHVISION_OUTPUTS = {
    **{f"features.{index}": output for index, output in enumerate(_FEATURES)},
    **dict.fromkeys(("features", "avgpool"), "pool5"),
    **{f"classifier.{index}": output for index, output in _CLASSIFIER.items()},
    "classifier": "fc8",
}
# The modules that have weights.
TORCHVISION_LAYERS = {
    module: output.removesuffix(PRE_ACTIVATION)
    for module, output in TORCHVISION_OUTPUTS.items()
    if output.endswith(PRE_ACTIVATION) or module == "classifier.6"
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


def all_outputs(net: Architecture, missing: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names that `ALL` stands for: no padding, flattening or dropout, which changes nothing here.

    Args:
        net: the table.
        missing: layers without weights; the names end before the first of them.
    """
    rows = tuple(itertools.takewhile(lambda row: row.name not in missing, net.layers))
    names = tuple(row.name for row in rows if not isinstance(row, Pad | Flatten | Dropout))
    return names if missing else (*names, PROBABILITIES)


def required_rows(net: Architecture, outputs: Sequence[str]) -> tuple[Layer, ...]:
    """Return the rows of a table up to the last one that an output requires. Outputs have Caffe's names."""
    if PROBABILITIES in outputs:
        return net.layers
    names = [row.name for row in net.layers]
    return net.layers[: max(names.index(name.removesuffix(PRE_ACTIVATION)) for name in outputs) + 1]
