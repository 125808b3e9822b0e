"""Engine TensorFlow: compiles the network of a checkpoint into one function with constant weights."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from tfalexnet.networks import spec
from tfalexnet.networks.build import LAYER_BUILDERS
from tfalexnet.networks.layer_names import PRE_ACTIVATION, PROBABILITIES, required_rows
from tfalexnet.networks.spec import Architecture, Parameters
from tfalexnet.runtimes.engine import ALIGNMENT, Compiled, require_first_process

PACKAGES = ("tensorflow", "keras")
LIBRARY = "TensorFlow"


def compile_network(
    net: Architecture,
    parameters: Parameters,
    outputs: Sequence[str],
    precision: Literal["float32", "bfloat16"] = "float32",
    compiled: bool = True,
) -> Compiled:
    """Compile the network of a table up to the last of `outputs`. See `freeze`; `parameters` is emptied.

    Raises:
        RuntimeError: this process was forked from one that has called this function; also raised by the result.
    """
    require_first_process(LIBRARY)
    # keras.Model.predict costs tens of milliseconds a call; a function with one signature costs the network only.
    signature = [tf.TensorSpec((None, *net.input_shape), tf.float32)]
    frozen = freeze(net, parameters, outputs, precision, compiled)
    function = tf.function(frozen, input_signature=signature).get_concrete_function()
    del frozen  # It holds the mapped file, which the graph no longer needs.

    def compute(inputs: np.ndarray) -> list[Any]:
        require_first_process(LIBRARY)
        return function(_as_tensor(inputs))

    return precision, compute


def freeze(
    net: Architecture,
    parameters: Parameters,
    outputs: Sequence[str],
    precision: Literal["float32", "bfloat16"] = "float32",
    sliced: bool = True,
    hold: Callable[[tf.Tensor], tf.Tensor | tf.Variable] = tf.convert_to_tensor,
) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Return a function of preprocessed pictures, for `tf.function`, that computes these layers.

    The kernel of each group of a convolution is a constant, which TensorFlow converts once to the memory layout of
    its kernels. The matrices of dense layers stay outside the graph, so that there is one copy of each. In bfloat16
    they are transposed, so that the product with a single picture reads them in memory order; the sums of the
    normalisation, the classifier and the softmax are computed in float32.

    Args:
        net: the table.
        parameters: kernel and bias of each layer up to the last of `outputs`. Layers are removed from it one by one,
            so that no second copy of the weights stays in memory.
        outputs: names of layers as in Caffe; "fc7:pre" is the input of the activation of fc7, "prob" the softmax.
        precision: of the products.
        sliced: whether the normalisation may use XLA, which other runtimes lack.
        hold: turns each matrix into what the function keeps; `tf.Variable` for a SavedModel, which stores variables
            beside its graph.

    Returns:
        A function from float32 (batch, height, width, channels) to a list of float32 tensors (batch, …).
    """
    dtype = tf.as_dtype(precision)
    steps: list[tuple[str, Callable[[tf.Tensor], tf.Tensor]]] = []
    for row in required_rows(net, outputs):
        if isinstance(row, spec.Conv | spec.Dense):
            product_dtype = tf.float32 if row is net.classifier else dtype
            product = PRODUCTS[type(row)](row, *parameters.pop(row.name), product_dtype, hold)
            if row.activation is None:
                steps.append((row.name, product))
            else:
                steps += [(row.name + PRE_ACTIVATION, product), (row.name, keras.activations.get(row.activation))]
        else:
            layer = LAYER_BUILDERS[type(row)](row)
            if isinstance(row, spec.Norm):
                layer.sliced = sliced and layer.sliced
            steps.append((row.name, layer.call))  # Not the layer, which would cast to its own dtype.
    steps.append((PROBABILITIES, tf.nn.softmax))

    def network(x: tf.Tensor) -> list[tf.Tensor]:
        x, values = tf.cast(x, dtype), {}
        for name, step in steps:
            x = values[name] = step(x)
        return [tf.cast(values[name], tf.float32) for name in outputs]

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
            for part, (kernel, bias) in zip(tf.split(tf.cast(x, dtype), row.groups, axis=3), pairs, strict=True)
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


def _as_tensor(inputs: np.ndarray) -> Any:
    """Return the array as a tensor, in the same memory if that is `aligned_memory`, else as a copy."""
    if inputs.ctypes.data % ALIGNMENT or not inputs.flags.carray or not inputs.size:
        return tf.constant(inputs)
    return tf.experimental.dlpack.from_dlpack(inputs.__dlpack__())
