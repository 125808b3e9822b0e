"""What a file holds against what a network needs: which network, which layers, in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, orientation
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture, Dense, Parameters

GUESSES = ("bvlc_alexnet", *ARCHITECTURES)  # Networks of equal shapes in the order of their fame.


def rename_layers(contents: Contents, renamed: Mapping[str, str], path: Path) -> Contents:
    """The contents with layers called otherwise.

    Raises:
        CheckpointError: a layer is not there, or two would have one name.
    """
    unknown = set(renamed) - set(contents.parameters)
    if unknown:
        raise CheckpointError(
            f"{path}: expected the layers to rename among {', '.join(contents.parameters)}; "
            f"received {', '.join(sorted(unknown))}."
        )
    parameters = {renamed.get(name, name): arrays for name, arrays in contents.parameters.items()}
    if len(parameters) < len(contents.parameters):
        raise CheckpointError(f"{path}: two layers would have the same name after renaming.")
    return dataclasses.replace(contents, parameters=parameters)


def named_architecture(contents: Contents, path: Path) -> Architecture | None:
    """The network that a file says, resembles or is named after."""
    names = (contents.attributes.get("architecture"), contents.resembles, path.name.split(".")[0])
    return next((get_architecture(str(name)) for name in names if name in ARCHITECTURES), None)


def guess_architecture(contents: Contents) -> Architecture:
    """The first network that weights fit, or the most usual one."""
    guesses = [get_architecture(name) for name in GUESSES]
    return next((net for net in guesses if not _problems(contents, net)), guesses[0])


def match_parameters(
    contents: Contents, net: Architecture, source: str, belongs: str
) -> tuple[Parameters, Architecture, list[str]]:
    """The weights in the order of the network, the network with their number of classes, notes.

    Raises:
        CheckpointError: they do not fit, or are no numbers; the message shows both sides.
    """
    problems = _problems(contents, net)
    if problems:
        fitting = [other.name for other in ARCHITECTURES.values() if not _problems(contents, other)]
        hint = f"\nThese weights would fit: {', '.join(fitting)}." if fitting else ""
        unused = [f"not used: {entry}" for entry in contents.left_out]
        lines = "\n  ".join([f"{source} does not fit {net.name}. {belongs}".rstrip(), *problems, *unused])
        raise CheckpointError(f"{lines}{hint}")
    classifier = _classifier(contents.parameters, net)
    parameters = {net.classifier.name if n == classifier else n: a for n, a in contents.parameters.items()}
    notes = []
    if classifier not in (None, net.classifier.name):
        notes.append(f"{classifier} is taken for {net.classifier.name}: nothing else could be.")
    net = _sized(net, parameters)
    known = [row.name for row in net.weighted]
    notes += [f"Left out: {name}, a layer that {net.name} has not." for name in parameters if name not in known]
    parameters = {name: parameters[name] for name in known if name in parameters}
    for name, arrays in parameters.items():
        for part, array in zip(("kernel", "bias"), arrays, strict=True):
            if not np.isfinite(array).all():
                count = array.size - int(np.isfinite(array).sum())
                raise CheckpointError(
                    f"{source}: {name} {part} holds {count} numbers that are not finite (NaN or "
                    "infinity). Get the file anew, or look into the training that made it."
                )
    if contents.flatten == "CHW":
        parameters = reorder_first_dense(parameters, net, orientation.flatten_hwc, "CHW")
    return parameters, net, notes


def reorder_first_dense(parameters: Parameters, net: Architecture, reorder: Any, order: str) -> Parameters:
    """The weights with the rows of the first fully connected kernel in another order."""
    first = next(row.name for row in net.layers if isinstance(row, Dense))
    if order == "HWC" or first not in parameters:
        return parameters
    kernel, bias = parameters[first]
    return parameters | {first: (reorder(kernel, net.flattened), bias)}


def _classifier(parameters: Parameters, net: Architecture) -> str | None:
    """The layer of a file that is the classifier: by its name, or because nothing else can be.

    Fine-tuned networks often rename their last layer: fc8_flickr is fc8.
    """
    last = net.classifier.name
    if last in parameters:
        return last
    known = {row.name for row in net.weighted}
    (width, _), _ = net.parameter_shapes()[last]
    fitting = [
        name for name, (kernel, bias) in parameters.items() if name not in known and kernel.shape == (width, bias.size)
    ]
    return fitting[0] if len(fitting) == 1 and known - {last} <= set(parameters) else None


def _sized(net: Architecture, parameters: Parameters) -> Architecture:
    """The network with as many classes as its classifier has biases."""
    _, bias = parameters.get(net.classifier.name, (None, np.empty(0)))
    return net.with_classes(bias.size) if bias.ndim == 1 and bias.size else net


def _problems(contents: Contents, net: Architecture) -> list[str]:
    """Every way in which weights do not fit a network: expected and received.

    Layers that the network has not are left out, and its last ones may be missing; a hole may not.
    """
    parameters = dict(contents.parameters)
    classifier = _classifier(parameters, net)
    if classifier:
        parameters[net.classifier.name] = parameters[classifier]
    expected = _sized(net, parameters).parameter_shapes()
    names = list(expected)
    last = max((names.index(name) for name in parameters if name in names), default=len(names) - 1)
    problems = [f"{name}: expected, and missing" for name in names[: last + 1] if name not in parameters]
    if problems:
        extra = [name for name in parameters if name not in expected and name != classifier]
        problems += [f"{name}: received, and not expected (--map {name}=… renames it)" for name in extra]
    for name, shapes in expected.items():
        for part, want, array in zip(("kernel", "bias"), shapes, parameters.get(name, ()), strict=False):
            if array.shape != want:
                hint = " (transposed?)" if sorted(array.shape) == sorted(want) else ""
                problems.append(f"{name} {part}: expected {want}, received {array.shape}{hint}")
    return problems
