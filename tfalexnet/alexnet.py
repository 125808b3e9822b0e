"""`AlexNet`: the Keras model of a table, on one device or two, with weights."""

import dataclasses
import operator
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import keras

from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec, matching_preprocessing
from tfalexnet.hub.cache import find_weights
from tfalexnet.hub.model_file import remember_spec
from tfalexnet.networks.build import CONVOLUTIONAL, Top, build_model, set_parameters
from tfalexnet.networks.catalog import get_architecture
from tfalexnet.networks.spec import Architecture
from tfalexnet.networks.towers import build_towers

# For arguments of keras.applications: what to write.
INSTEAD = {
    "input_shape": "The network determines it; for another give a table: "
    "AlexNet(dataclasses.replace(tfalexnet.ARCHITECTURES[NAME], input_shape=…)).",
    "input_tensor": "Call the model: AlexNet()(tensor).",
    "pooling": "Add keras.layers.GlobalAveragePooling2D()(model.output) to a model with include_top=False.",
    "name": "It is the name of the network; the `name` of a table is free.",
}


def AlexNet(
    architecture: str | Architecture | None = None,
    weights: str | os.PathLike | None = None,
    classes: SupportsIndex | None = None,
    devices: Sequence[str] | None = None,
    include_top: Top = True,
    classifier_activation: str | Callable | None = "softmax",
    dropout: float | None = None,
    **others: Any,
) -> keras.Model:
    """Return a network as a functional `keras.Model` with layers conv1 … fc8.

    Input: float32, (batch, height, width, channels) of the table, preprocessed as the weights require
    (`tfalexnet.preprocess_input`). Output: (batch, classes), or without the top the last feature map. With a
    convolutional top, height and width may be any from those of the table on, and the output is (batch, rows, columns,
    classes): an answer for each position of the table's input in the picture.

    Args:
        architecture: a name of `tfalexnet.ARCHITECTURES`, or an `Architecture` of your own; None for the network of
            the weights, or bvlc_alexnet without weights. If the weights state another network, a warning says so.
        weights: None for new weights with the initial distributions of the source; a known name
            (`tfalexnet list`), which is downloaded once; or a file in any format that `tfalexnet.convert`
            reads. Nothing is copied before all layers have been checked against the network.
        classes: number of classes, of Python or NumPy; None for that of the weights, or as published. For weights
            with another number, or without a classifier, the classifier is new and must be trained; a warning says so.
        devices: two devices, ("/GPU:0", "/GPU:1"), for the two towers of 2012. Each holds its tower's
            kernels, activations, gradients and momentum; the output of a layer of two towers is a list of
            two tensors. The format of the weights file is the same as for one device.
        include_top: whether to include the fully connected layers. "convolutional" computes them as convolutions with
            the same weights, on one device.
        classifier_activation: activation of the last layer; None returns the logits. With weights,
            "softmax" or None.
        dropout: rate of all dropout layers; None as published.
        **others: none; for those of `keras.applications` the error says what to write instead.

    Raises:
        TypeError: there is no such argument.
        ValueError: an argument is out of its range, a device does not exist, or the towers of the network
            cannot be divided between the devices; or the network cannot take pictures of any size.
        CheckpointError: the weights do not match the network; the message shows both sides.
        WeightsNotFoundError: the weights are not on this machine and cannot be downloaded; the message
            states how to get them.
    """
    for name in others:
        hint = INSTEAD.get(name, "See help(tfalexnet.AlexNet).")
        raise TypeError(f"AlexNet() got an unexpected keyword argument {name!r}. {hint}")
    if classes is not None:
        if isinstance(classes, bool) or not isinstance(classes, SupportsIndex) or classes < 1:
            raise ValueError(f"Expected `classes` to be a positive integer. Received: classes={classes!r}")
        classes = operator.index(classes)
    _check_options(dropout)
    if include_top not in (True, False, CONVOLUTIONAL):
        raise ValueError(f"Expected `include_top` True, False or {CONVOLUTIONAL!r}. Received: {include_top!r}")
    options = {"classifier_activation": classifier_activation, "dropout": dropout}
    if weights is None:
        net = get_architecture(architecture or "bvlc_alexnet")
        net = net if classes is None else net.with_classes(classes)
        return _build(ModelSpec(net, matching_preprocessing(net), ()), devices, include_top, options)
    if include_top and classifier_activation not in ("softmax", None):
        raise ValueError(
            f"Expected `classifier_activation` 'softmax' or None with `weights`. Received: {classifier_activation!r}"
        )
    checkpoint = read_checkpoint(find_weights(weights), architecture)
    for note in checkpoint.notes:
        warnings.warn(note, stacklevel=2)
    return model_of_checkpoint(checkpoint, os.fspath(weights), classes, devices, include_top, **options)


def model_of_checkpoint(
    checkpoint: Checkpoint,
    name: str,
    classes: int | None,
    devices: Sequence[str] | None,
    include_top: Top = True,
    **options: Any,
) -> keras.Model:
    """Return the model of a checkpoint.

    Args:
        checkpoint: architecture and parameters.
        name: the name of the checkpoint in messages.
        classes: as for `AlexNet`; so are all other arguments.
        devices: as for `AlexNet`.
        include_top: as for `AlexNet`.
        **options: `classifier_activation` and `dropout`.
    """
    _check_options(options.get("dropout"))
    parameters, net = checkpoint.parameters, checkpoint.spec.architecture
    if include_top and checkpoint.missing and classes is None:
        raise CheckpointError(
            f"Expected `classes` with {name!r}, which lacks {', '.join(checkpoint.missing)}: "
            "classes=N adds new ones to train, include_top=False omits them."
        )
    if include_top and classes not in (None, net.classes):
        if not checkpoint.missing:
            last = net.classifier.name
            warnings.warn(
                f"{last} of {name!r} has {net.classes} classes; for {classes} it gets new weights, which must be "
                "trained.",
                stacklevel=3,
            )
            parameters = {layer: arrays for layer, arrays in parameters.items() if layer != last}
        net = net.with_classes(classes)
    labels = checkpoint.spec.classes if net.classes == checkpoint.spec.architecture.classes else ()
    model = _build(ModelSpec(net, checkpoint.spec.preprocessing, labels), devices, include_top, options)
    if include_top == CONVOLUTIONAL:
        shapes = net.convolutional().parameter_shapes()
        parameters = {name: (kernel.reshape(shapes[name][0]), bias) for name, (kernel, bias) in parameters.items()}
    set_parameters(model, parameters)
    return model


def _check_options(dropout: float | None) -> None:
    """Raise `ValueError` if the rate of the dropout layers is out of its range."""
    if dropout is not None and not 0 <= dropout < 1:
        raise ValueError(f"Expected `dropout` in [0, 1). Received: dropout={dropout!r}")


def _build(spec: ModelSpec, devices: Sequence[str] | None, include_top: Top, options: dict[str, Any]) -> keras.Model:
    if include_top == CONVOLUTIONAL:
        if devices is not None:
            raise ValueError(f"Expected `devices` None with include_top={CONVOLUTIONAL!r}. Received: {tuple(devices)}")
        spec = dataclasses.replace(spec, architecture=spec.architecture.convolutional())
    net = spec.architecture
    if devices is None:
        model = build_model(net, include_top, **options)
    else:
        model = build_towers(net, devices, include_top, **options)
    remember_spec(model, spec)
    return model
