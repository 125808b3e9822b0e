"""Match the layers of a file with those of a network: by name, shape and order."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, orientation
from tfalexnet.io.terminal import escape
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture, Conv, Dense, Dropout, Layer, Parameters

GUESSES = ("bvlc_alexnet", *ARCHITECTURES)  # Of networks with equal shapes, the most common one comes first.


def rename_layers(contents: Contents, renamed: Mapping[str, str], path: Path) -> Contents:
    """Return the contents with new names of layers, given by their names in the file.

    Raises:
        CheckpointError: there is no such layer, or two layers would have the same name.
    """
    unknown = ", ".join(sorted(set(renamed) - set(contents.parameters)))
    if unknown:
        known = ", ".join(map(_shown, contents.parameters))
        raise CheckpointError(f"{path}: expected the layers to rename among {known}; received {unknown}.")
    parameters = {renamed.get(name, name): arrays for name, arrays in contents.parameters.items()}
    if len(parameters) < len(contents.parameters):
        raise CheckpointError(f"{path}: two layers would have the same name after renaming.")
    return dataclasses.replace(contents, parameters=parameters)


def first_match(contents: Contents, names: Iterable[str | None]) -> Architecture | None:
    """Return the first of the known networks with these names whose shapes match, None if there is none."""
    known = (get_architecture(name) for name in names if name in ARCHITECTURES)
    return next((net for net in known if not _mismatches(contents, net)), None)


def known_network(net: Architecture) -> Architecture | None:
    """Return the network of the catalog that computes the same, with the number of classes of this one."""
    computed = _computed(net)
    known = (
        other.with_classes(net.classes) for other in ARCHITECTURES.values() if other.input_shape == net.input_shape
    )
    return next((other for other in known if _computed(other) == computed), None)


def _computed(net: Architecture) -> list[Layer]:
    """Return the rows without what does not change the result: names, initial values, dropout."""
    rows = []
    for row in net.layers:
        if isinstance(row, Conv | Dense):
            name = "" if row is net.classifier else row.name
            rows.append(dataclasses.replace(row, name=name, kernel_init="zeros", bias_init=0.0))
        elif not isinstance(row, Dropout):
            rows.append(dataclasses.replace(row, name=""))
    return rows


def guess_architecture(contents: Contents, hints: Sequence[str | None]) -> Architecture:
    """Return the first network whose shapes match: of `hints`, else of all known ones.

    If none matches, it is the first of `hints` that is known, else the most common one, for the message.
    """
    names = (*hints, *GUESSES)
    return first_match(contents, names) or next(ARCHITECTURES[name] for name in names if name in ARCHITECTURES)


def rename_by_shape(contents: Contents, net: Architecture, certain: bool) -> tuple[Contents, Architecture, list[str]]:
    """Return the contents with the names of a network's layers, where the names in the file do not fit.

    Nothing is renamed unless the file has as many layers as the network, with the same shapes. Layers of equal shape
    are taken in the order of the numbers in their names, if it is that of the file or the file has the names sorted.

    Args:
        contents: of the file.
        net: the network that was chosen or guessed.
        certain: whether it was chosen. Otherwise it, or the only known network that fits, is used.

    Returns:
        The contents, their network, and notes for the user.
    """
    if not _mismatches(contents, net):
        return contents, net, []
    if not certain:
        fitting = [other for other in ARCHITECTURES.values() if _names_by_shape(contents, other)]
        net = fitting[0] if len(fitting) == 1 else net
        if len(fitting) > 1:
            return contents, net, []
    names = _names_by_shape(contents, net)
    if names is None:
        return contents, net, []
    changed = ", ".join(f"{_shown(old)} → {new}" for old, new in names.items() if old != new)
    parameters = {new: contents.parameters[old] for old, new in names.items()}
    note = f"Layers are matched by shape and order, because their names are others: {changed}."
    return dataclasses.replace(contents, parameters=parameters), net, [note]


def _names_by_shape(contents: Contents, net: Architecture) -> dict[str, str] | None:
    """Return the network's names of layers by their names in the file, None unless shapes and order decide them."""
    shapes = {name: (kernel.shape, bias.shape) for name, (kernel, bias) in contents.parameters.items()}
    (*inputs, _), _ = net.parameter_shapes()[net.classifier.name]
    if len(shapes) != len(net.weighted):
        return None
    for classes in {bias[0] for kernel, bias in shapes.values() if kernel == (*inputs, *bias) and kernel[-1]}:
        expected = net.with_classes(classes).parameter_shapes()
        if Counter(expected.values()) != Counter(shapes.values()):
            continue
        names: dict[str, str] = {}
        for shape in dict.fromkeys(expected.values()):
            equal = [name for name in shapes if shapes[name] == shape]
            numbered = sorted(equal, key=_numbers_padded)
            if equal not in (numbered, sorted(equal)):
                return None
            names |= zip(numbered, (name for name in expected if expected[name] == shape), strict=True)
        return names
    return None


def _numbers_padded(name: str) -> str:
    """Return a key for sorting: conv.3 comes before conv.10."""
    return re.sub("[0-9]+", lambda digits: digits[0].zfill(8), name)


def match_parameters(
    contents: Contents, net: Architecture, source: str, origin: str
) -> tuple[Parameters, Architecture, list[str]]:
    """Match the layers of a file with those of a network.

    Args:
        contents: of the file.
        net: the network; the number of its classes may differ from that of the file.
        source: the file, for messages.
        origin: a sentence about the network for which the file was written, for the message of a mismatch.

    Returns:
        The weights in the order of the network, the network with their number of classes, and notes for the user.

    Raises:
        CheckpointError: layers or shapes do not match, or weights are not finite; the message shows both sides.
    """
    mismatches = _mismatches(contents, net)
    if mismatches:
        known = ARCHITECTURES.values()
        fitting = [other.name for other in known if not _mismatches(contents, other)]
        fitting = fitting or [other.name for other in known if _names_by_shape(contents, other)]
        hint = f"\nThese weights would fit: {', '.join(fitting)} (--architecture)." if fitting else ""
        unused = [f"not used: {entry}" for entry in contents.left_out]
        lines = [f"{source} does not fit {net.name}. {origin}".rstrip(), *mismatches, *unused]
        raise CheckpointError("\n  ".join(lines) + hint)
    notes = []
    parameters = dict(contents.parameters)
    classifier = _classifier(parameters, net)
    if classifier not in (None, net.classifier.name):
        parameters[net.classifier.name] = parameters.pop(classifier)
        notes.append(f"{_shown(classifier)} is used as {net.classifier.name}: no other layer matches it.")
    net = _with_classes_of(parameters, net)
    names = [row.name for row in net.weighted]
    notes += [
        f"Left out: {_shown(name)}, which is not a layer of {net.name}." for name in parameters if name not in names
    ]
    parameters = {name: parameters[name] for name in names if name in parameters}
    _check_finite(parameters, source)
    if contents.flatten == "CHW":
        parameters = reorder_first_dense(parameters, net, orientation.flatten_hwc, "CHW")
    return parameters, net, notes


def reorder_first_dense(parameters: Parameters, net: Architecture, reorder: Callable, order: str) -> Parameters:
    """Return the weights with the rows of the first fully connected kernel reordered, unless `order` is "HWC".

    Args:
        parameters: of the network.
        net: the network.
        reorder: `orientation.flatten_hwc` or `orientation.flatten_chw`.
        order: "HWC" or "CHW", of the file that is read or written.
    """
    first = next((row.name for row in net.layers if isinstance(row, Dense)), None)
    if order == "HWC" or first not in parameters:
        return parameters
    kernel, bias = parameters[first]
    return parameters | {first: (reorder(kernel, net.flattened), bias)}


def _shown(name: str) -> str:
    """Return the name of a layer of a file for messages."""
    return escape(name, limit=100)


def _check_finite(parameters: Parameters, source: str) -> None:
    for name, arrays in parameters.items():
        for part, array in zip(("kernel", "bias"), arrays, strict=True):
            count = array.size - np.count_nonzero(np.isfinite(array))
            if count:
                advice = "Get the file again, or check the training that wrote it."
                raise CheckpointError(f"{source}: {name} {part} holds {count} numbers that are not finite. {advice}")


def _classifier(parameters: Parameters, net: Architecture) -> str | None:
    """Return the layer of a file that is the classifier: by its name, or because no other layer can be.

    Networks that were trained further often rename their last layer, such as fc8 to fc8_flickr.
    """
    last = net.classifier.name
    if last in parameters:
        return last
    names = {row.name for row in net.weighted}
    (*inputs, _), _ = net.parameter_shapes()[last]
    others = {name: arrays for name, arrays in parameters.items() if name not in names}
    matching = [name for name, (kernel, bias) in others.items() if kernel.shape == (*inputs, bias.size)]
    return matching[0] if len(matching) == 1 and names - {last} <= set(parameters) else None


def _with_classes_of(parameters: Parameters, net: Architecture) -> Architecture:
    """Return the network with as many classes as the file's classifier has biases."""
    _, bias = parameters.get(net.classifier.name, (None, np.empty(0)))
    return net.with_classes(bias.size) if bias.ndim == 1 and bias.size else net


def _mismatches(contents: Contents, net: Architecture) -> list[str]:
    """Return every mismatch of weights and a network, each with what was expected and received.

    Layers that the network does not have are ignored, and the last ones of the network may be missing; a layer
    between others may not.
    """
    parameters = dict(contents.parameters)
    classifier = _classifier(parameters, net)
    if classifier:
        parameters[net.classifier.name] = parameters[classifier]
    expected = _with_classes_of(parameters, net).parameter_shapes()
    names = list(expected)
    last = max((names.index(name) for name in parameters if name in names), default=len(names) - 1)
    mismatches = [f"{name}: expected, and missing" for name in names[: last + 1] if name not in parameters]
    if mismatches:
        extra = [name for name in parameters if name not in expected and name != classifier]
        mismatches += [f"{name}: received, and not expected (--map {name}=… renames it)" for name in map(_shown, extra)]
    for name, shapes in expected.items():
        for part, shape, array in zip(("kernel", "bias"), shapes, parameters.get(name, ()), strict=False):
            if array.shape != shape:
                hint = " (transposed?)" if sorted(array.shape) == sorted(shape) else ""
                mismatches.append(f"{name} {part}: expected {shape}, received {array.shape}{hint}")
    return mismatches
