"""Convert between the named arrays of a state dict and layers.

PyTorch names a kernel `features.0.weight` and stores it channels first; TensorFlow names it `conv1.kernel` or
`conv1/weights` and stores it channels last. torchvision numbers its layers instead of naming them.
"""

import re
from collections.abc import Mapping

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents
from tfalexnet.checkpoints.formats.binary import is_float, to_float32
from tfalexnet.checkpoints.formats.orientation import channels_first, channels_last
from tfalexnet.networks.layer_names import TORCHVISION_LAYERS
from tfalexnet.networks.spec import Parameters

KERNELS_FIRST = {"weight"}  # PyTorch's name of a kernel, which is channels first.
KERNELS_LAST = {"kernel", "weights", "W"}
KERNELS = KERNELS_FIRST | KERNELS_LAST
BIASES = {"bias", "biases", "b"}
WRAPPERS = {"module", "_orig_mod"}  # Prefixes of DataParallel and torch.compile, around any part of a model.
EXTRAS = "tfalexnet."  # Prefix of the names of arrays that are extras.


def contents(arrays: Mapping[str, np.ndarray], attributes: Mapping[str, str | int] | None = None) -> Contents:
    """Return the layers and the extras among named arrays; other arrays are listed in `left_out`.

    Raises:
        CheckpointError: there are no layers, two arrays have the same role, or the orders of the axes are mixed.
    """
    extras = {name.removeprefix(EXTRAS): array for name, array in arrays.items() if name.startswith(EXTRAS)}
    layers: dict[str, dict[str, np.ndarray]] = {}
    names: dict[tuple[str, str], str] = {}
    left_out = []
    channels_first_layers = set()
    for name, array in arrays.items():
        if name.startswith(EXTRAS):
            continue
        layer, part = split_name(name)
        if part is None or not is_float(array):
            why = "neither a kernel nor a bias" if part is None else "not floats"
            left_out.append(f"{name} ({array.dtype}, {array.shape}): {why}")
            continue
        role = "bias" if part in BIASES else "kernel"
        if role in layers.setdefault(layer, {}):
            raise CheckpointError(f"two arrays are the {role} of {layer!r}")
        if part in KERNELS_FIRST:
            channels_first_layers.add(layer)
        layers[layer][role] = array
        names[layer, role] = name
    parameters: Parameters = {}
    for layer, roles in layers.items():
        kernel, bias = roles.get("kernel"), roles.get("bias")
        if kernel is None or bias is None or kernel.ndim not in (2, 4) or bias.ndim != 1:
            shapes = ", ".join(f"{names[layer, role]} {array.shape}" for role, array in roles.items())
            lacking = next((role for role in ("bias", "kernel") if role not in roles), None)
            why = f"no {lacking}" if lacking else "no kernel of 2 or 4 dimensions with a bias"
            left_out.append(f"{layer} ({shapes}): {why}")
            continue
        kernel = channels_last(kernel) if layer in channels_first_layers else kernel
        parameters[layer] = to_float32(kernel), to_float32(bias)
    if not parameters:
        received = "; ".join(left_out[:4]) or "none"
        raise CheckpointError(f"expected arrays of floats called like conv1.weight and conv1.bias; received {received}")
    channels_first_layers &= set(parameters)
    if 0 < len(channels_first_layers) < len(parameters):
        raise CheckpointError("expected either .weight (channels first) or .kernel (channels last); received both")
    flatten = "CHW" if channels_first_layers else "HWC"
    return Contents(parameters, attributes or {}, extras, flatten, left_out=tuple(left_out))


def arrays(contents: Contents) -> dict[str, np.ndarray]:
    """Return named arrays in PyTorch's order of axes. Those of one_weird_trick have torchvision's names."""
    is_torchvision = contents.attributes.get("architecture") == "one_weird_trick"
    names = {layer: module for module, layer in TORCHVISION_LAYERS.items()} if is_torchvision else {}
    named = {}
    for layer, (kernel, bias) in contents.parameters.items():
        name = names.get(layer, layer)
        named |= {f"{name}.weight": channels_first(kernel), f"{name}.bias": bias}
    return named


def split_name(name: str) -> tuple[str, str | None]:
    """Split a name into layer and part, None if it has no part; `module.features.0.weight` is the kernel of conv1."""
    names = [part for part in re.split(r"[./]", name) if part not in WRAPPERS]
    part = names.pop() if names else ""
    if not names or part not in KERNELS | BIASES:
        return name, None
    return TORCHVISION_LAYERS.get(".".join(names[-2:]), ".".join(names)), part
