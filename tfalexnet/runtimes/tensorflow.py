"""The network of a table as one function with its weights inside: the fastest form, for inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from tfalexnet.networks import spec
from tfalexnet.networks.build import LAYER_BUILDERS
from tfalexnet.networks.layer_names import PRE_ACTIVATION, PROBABILITIES, required_rows
from tfalexnet.networks.spec import Architecture, Parameters


def freeze(
    net: Architecture,
    parameters: Parameters,
    outputs: Sequence[str],
    precision: Literal["float32", "bfloat16"] = "float32",
    sliced: bool = True,
    hold: Callable[[tf.Tensor], tf.Tensor | tf.Variable] = tf.convert_to_tensor,
) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A function of preprocessed pictures that gives what these layers answer, for `tf.function`.

    Convolutions hold their kernels as constants, one a group, which TensorFlow lays out once as its
    kernels want them. The three large matrices are held outside the graph, where there is one copy of
    each; in bfloat16 transposed, so that a single picture reads them in the order of memory. In bfloat16
    too, normalisation sums, the classifier and the softmax are float32.

    Args:
        net: the table.
        parameters: kernel and bias of each layer up to the last that is asked for. They are taken out of
            it one by one, so that no second copy of the weights stays.
        outputs: names of layers as in Caffe; "fc7:pre" is what enters the activation of fc7, "prob" the
            softmax of the last layer.
        precision: of the products.
        sliced: whether normalisation may use XLA, which other runtimes lack.
        hold: what becomes of each large matrix; `tf.Variable` for a SavedModel, which keeps variables
            beside its graph.

    Returns:
        From float32 (batch, height, width, channels) to a list of float32 tensors (batch, …).
    """
    dtype = tf.as_dtype(precision)
    steps: list[tuple[str, Callable[[tf.Tensor], tf.Tensor]]] = []
    for row in required_rows(net, outputs):
        if isinstance(row, spec.Conv | spec.Dense):
            kind = tf.float32 if row is net.classifier else dtype
            product = PRODUCTS[type(row)](row, *parameters.pop(row.name), kind, hold)
            if row.activation is None:
                steps.append((row.name, product))
            else:
                steps += [(row.name + PRE_ACTIVATION, product), (row.name, keras.activations.get(row.activation))]
        else:
            layer = LAYER_BUILDERS[type(row)](row)
            if isinstance(row, spec.Norm):
                layer.sliced = sliced and layer.sliced
            steps.append((row.name, layer.call))  # Not the layer itself, which would cast to its own dtype.
    steps.append((PROBABILITIES, tf.nn.softmax))

    def network(x: tf.Tensor) -> list[tf.Tensor]:
        x, found = tf.cast(x, dtype), {}
        for name, step in steps:
            x = found[name] = step(x)
        return [tf.cast(found[name], tf.float32) for name in outputs]

    return network


def _conv(
    row: spec.Conv, kernel: np.ndarray, bias: np.ndarray, dtype: tf.DType, _: Callable
) -> Callable[[tf.Tensor], tf.Tensor]:
    pairs = list(zip(np.split(kernel, row.groups, axis=3), np.split(bias, row.groups), strict=True))

    def convolve(x: tf.Tensor) -> tf.Tensor:
        parts = [
            tf.nn.bias_add(
                tf.nn.conv2d(part, tf.constant(kernel, dtype), row.stride, row.padding.upper()),
                tf.constant(bias, dtype),
            )
            for part, (kernel, bias) in zip(tf.split(x, row.groups, axis=3), pairs, strict=True)
        ]
        return tf.concat(parts, axis=3)

    return convolve


def _dense(_: spec.Dense, kernel: np.ndarray, bias: np.ndarray, dtype: tf.DType, hold: Callable) -> Callable:
    transposed = dtype == tf.bfloat16
    matrix, shift = tf.cast(kernel, dtype), tf.constant(bias, dtype)
    if transposed:
        matrix = tf.transpose(matrix)
    matrix = hold(matrix)

    def multiply(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.bias_add(tf.matmul(tf.cast(x, dtype), matrix, transpose_b=transposed), shift)

    return multiply


PRODUCTS = {spec.Conv: _conv, spec.Dense: _dense}
