"""Arrays with names, as state dicts have them, to layers and back.

`features.0.weight` is how PyTorch calls a kernel, channels first; `conv1.kernel` or `conv1/weights`
is how TensorFlow does, channels last. torchvision numbers its layers instead of naming them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from tfalexnet.checkpoints.formats import FLOATS, CheckpointError, Contents
from tfalexnet.checkpoints.formats.orientation import channels_first, channels_last
from tfalexnet.networks.spec import Parameters

# torchvision, models/alexnet.py: places in its two sequences.
TORCHVISION = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3",
    "features.8": "conv4",
    "features.10": "conv5",
    "classifier.1": "fc6",
    "classifier.4": "fc7",
    "classifier.6": "fc8",
}
KERNELS_FIRST = {"weight"}  # PyTorch's word, and PyTorch's order.
KERNELS_LAST = {"kernel", "weights", "W"}
BIASES = {"bias", "biases", "b"}
EXTRAS = "tfalexnet."  # With what the names of arrays begin that travel with the weights.


def contents(
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, str | int] | None = None,
) -> Contents:
    """The layers that named arrays make up, and extras; what belongs to neither is left out, and said."""
    extras = {name.removeprefix(EXTRAS): array for name, array in arrays.items() if name.startswith(EXTRAS)}
    parts: dict[str, dict[str, np.ndarray]] = {}
    left_out = []
    first = set()
    for name, array in arrays.items():
        if name.startswith(EXTRAS):
            continue
        layer, part = _split(name)
        if part is None or array.dtype.str[1:] not in FLOATS:
            why = "neither a kernel nor a bias" if part is None else "not floats"
            left_out.append(f"{name} ({array.dtype}, {array.shape}): {why}")
            continue
        kind = "bias" if part in BIASES else "kernel"
        if kind in parts.setdefault(layer, {}):
            raise CheckpointError(f"two arrays are the {kind} of {layer!r}")
        if part in KERNELS_FIRST:
            first.add(layer)
        parts[layer][kind] = array
    parameters: Parameters = {}
    for layer, pair in parts.items():
        kernel, bias = pair.get("kernel"), pair.get("bias")
        if kernel is None or bias is None or kernel.ndim not in (2, 4) or bias.ndim != 1:
            shapes = ", ".join(f"{kind} {array.shape}" for kind, array in pair.items())
            left_out.append(f"{layer} ({shapes}): no kernel of two or four sides with a bias")
            continue
        kernel = channels_last(kernel) if layer in first else kernel
        parameters[layer] = kernel.astype(np.float32, copy=False), bias.astype(np.float32, copy=False)
    if not parameters:
        raise CheckpointError(
            "expected arrays called like conv1.weight and conv1.bias; "
            f"received {', '.join(sorted(arrays)[:8]) or 'none'}"
        )
    first &= set(parameters)
    if 0 < len(first) < len(parameters):
        raise CheckpointError("expected either .weight (channels first) or .kernel (channels last); received both")
    flatten = "CHW" if first else "HWC"
    return Contents(parameters, attributes or {}, extras, flatten, left_out=tuple(left_out))


def arrays(contents: Contents) -> dict[str, np.ndarray]:
    """Named arrays in PyTorch's order, under torchvision's names where the network is its own."""
    torchvision = contents.attributes.get("architecture") == "one_weird_trick"
    names = {ours: theirs for theirs, ours in TORCHVISION.items()} if torchvision else {}
    found = {}
    for layer, (kernel, bias) in contents.parameters.items():
        name = names.get(layer, layer)
        found[f"{name}.weight"] = channels_first(kernel)
        found[f"{name}.bias"] = bias
    return found


def _split(name: str) -> tuple[str, str | None]:
    """Layer and part: `module.features.0.weight`, as DataParallel says, is conv1's kernel."""
    words = [word for word in re.split(r"[./]", name) if word != "module"]
    part = words.pop() if words else ""
    if not words or part not in KERNELS_FIRST | KERNELS_LAST | BIASES:
        return name, None
    layer = ".".join(words)
    return TORCHVISION.get(".".join(words[-2:]), layer), part
