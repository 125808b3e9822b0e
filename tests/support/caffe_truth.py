"""Slim tables, order of axes and outputs of each layer, for the tests against numbers that Caffe computed."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfalexnet import ARCHITECTURES, AlexNet, Architecture
from tfalexnet.networks.spec import Conv, Dense, Norm

NETWORKS = ("bvlc_alexnet", "bvlc_caffenet")


def slim(name: str) -> Architecture:
    """Return the table that Caffe ran: an eighth of the filters, 128 units, 10 classes."""
    network = ARCHITECTURES[name]
    rows = {}
    for row in network.layers:
        if isinstance(row, Conv):
            rows[row.name] = dataclasses.replace(row, filters=row.filters // 8)
        elif isinstance(row, Dense):
            rows[row.name] = dataclasses.replace(row, units=10 if row is network.classifier else 128)
    return network.replace_layers(**rows)


def with_norms(network: Architecture, **changes) -> Architecture:
    """Return the table with these fields changed in every normalization."""
    rows = {row.name: dataclasses.replace(row, **changes) for row in network.layers if isinstance(row, Norm)}
    return network.replace_layers(**rows)


def mutants(name: str, network: Architecture, other: Architecture) -> dict[str, Architecture]:
    """Return networks with the known mistakes; `other` has normalization and pooling in the other order."""
    return {
        f"{name}: alpha not divided by size": with_norms(network, divide_alpha=False),
        f"{name}: k 2": with_norms(network, k=2.0),
        f"{name}: normalization inside towers": with_norms(network, groups=2),
        f"{name}: normalization and pooling swapped": other,
    }


def load_slim(folder: Path, name: str, **options) -> keras.Model:
    """Return the slim network with logits as output and the weights of the file that Caffe wrote."""
    weights = folder / "caffe" / "truth" / f"{name}.caffemodel"
    return AlexNet(slim(name), weights=weights, classifier_activation=None, **options)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return every array of an .npz."""
    with np.load(path) as arrays:
        return dict(arrays)


def channels_last(blob: np.ndarray) -> np.ndarray:
    """Return (C, H, W) as (H, W, C), or (N, C, H, W) as (N, H, W, C); vectors stay as they are."""
    return np.moveaxis(blob, -3, -1) if blob.ndim > 2 else blob


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest difference, divided by the largest magnitude of the truth."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def keras_outputs(model: keras.Model, layers: list[str], x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of these layers; "prob" is the softmax of the model's output, which gives logits."""
    tensors = {layer: model.output if layer == "prob" else model.get_layer(layer).output for layer in layers}
    outputs = keras.Model(model.input, tensors)(x)
    return {name: (tf.nn.softmax(output) if name == "prob" else output).numpy() for name, output in outputs.items()}


def frozen_outputs(network: Architecture, parameters: dict, layers: list[str], x: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of these layers from the TensorFlow runtime, in float32."""
    from tfalexnet.runtimes.tensorflow import freeze

    function = tf.function(freeze(network, dict(parameters), layers))
    return {name: output.numpy() for name, output in zip(layers, function(tf.constant(x)), strict=True)}
