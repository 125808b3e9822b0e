"""The Keras model of a table, and access to its parameters."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
import numpy as np

from tfalexnet.networks import spec
from tfalexnet.networks.layer_names import PROBABILITIES
from tfalexnet.networks.layers import CaffePooling2D, Conv2D, LocalResponseNormalization
from tfalexnet.networks.spec import Architecture, Parameters

Top = bool | Literal["convolutional"]
"""Whether a model has the fully connected layers; "convolutional" has convolutions in their place."""

CONVOLUTIONAL = "convolutional"
CHANNELS_LAST = {"data_format": "channels_last"}  # Whatever the default in ~/.keras/keras.json is.


def build_model(
    architecture: Architecture,
    include_top: Top = True,
    classifier_activation: str | Callable | None = "softmax",
    dropout: float | None = None,
) -> keras.Model:
    """Return the model of a table on one device, with fresh weights.

    Args:
        architecture: the table; with a convolutional top, what its `convolutional` returns.
        include_top: if False, the model ends with the last layer before `Flatten`, or before the classifier if that is
            a convolution. If "convolutional", it takes any size of picture, and omits `Flatten`.
        classifier_activation: activation of the last layer; None returns the logits.
        dropout: rate of all dropout layers; None means the rates of the table.
    """
    shape, omitted = architecture.input_shape, ()
    if include_top == CONVOLUTIONAL:
        shape, omitted = (None, None, shape[-1]), spec.Flatten
    x = inputs = keras.Input(shape, name="input")
    for row, layer in make_layers(architecture, include_top, classifier_activation, dropout):
        if not isinstance(row, omitted):
            x = layer(x)
    return keras.Model(inputs, x, name=architecture.name)


def make_layers(
    architecture: Architecture, include_top: Top, classifier_activation: str | Callable | None, dropout: float | None
) -> Iterator[tuple[spec.Layer, keras.layers.Layer]]:
    """Yield each row that `build_model` uses, and its Keras layer; the arguments are those of `build_model`."""
    for row in architecture.layers:
        options: dict[str, Any] = {}
        if not include_top and (isinstance(row, spec.Flatten) or row is architecture.classifier):
            return
        if row is architecture.layers[-1]:
            # Under a mixed policy the logits stay in float32: a softmax in bfloat16 has three digits.
            options = {"dtype": keras.config.dtype_policy().variable_dtype}
            if isinstance(row, spec.Dense):
                options["activation"] = classifier_activation
        elif isinstance(row, spec.Dropout) and dropout is not None:
            options = {"rate": dropout}
        yield row, LAYER_BUILDERS[type(row)](row, **options)
    if not isinstance(row, spec.Dense) and classifier_activation is not None:
        activation = keras.layers.Activation(classifier_activation, name=PROBABILITIES, dtype=options["dtype"])
        yield spec.Activation(PROBABILITIES, "softmax"), activation


def _weight_arguments(row: spec.Conv | spec.Dense, **options: Any) -> dict[str, Any]:
    """Return the arguments common to layers with a kernel and a bias."""
    initializer = row.kernel_init
    if isinstance(initializer, spec.Normal):
        normal = keras.initializers.TruncatedNormal if initializer.truncated else keras.initializers.RandomNormal
        initializer = normal(stddev=initializer.stddev)
    return {
        "name": row.name,
        "activation": row.activation,
        "kernel_initializer": initializer,
        "bias_initializer": keras.initializers.Constant(row.bias_init),
    } | options


def set_parameters(model: keras.Model, parameters: Parameters) -> None:
    """Copy parameters into the layers of the same names. Their shapes must have been checked."""
    for layer in model.layers:
        if layer.weights and layer.name in parameters:
            kernel, bias = parameters[layer.name]
            layer.load_own_variables({"0": kernel, "1": bias})


def get_parameters(model: keras.Model) -> Parameters:
    """Return kernel and bias of each layer of a model on one device or two, float32, towers concatenated."""
    parameters = {}
    for layer in model.layers:
        if layer.weights:
            store: dict[str, np.ndarray] = {}
            layer.save_own_variables(store)
            parameters[layer.name] = np.asarray(store["0"], np.float32), np.asarray(store["1"], np.float32)
    return parameters


def _conv(row: spec.Conv) -> keras.layers.Layer:
    options = CHANNELS_LAST | _weight_arguments(row)
    return Conv2D(row.filters, row.size, row.stride, row.padding, groups=row.groups, **options)


def _norm(row: spec.Norm) -> keras.layers.Layer:
    return LocalResponseNormalization(**dataclasses.asdict(row))


def _pool(row: spec.Pool) -> keras.layers.Layer:
    if row.padding == "caffe":
        return CaffePooling2D(row.size, row.stride, row.pad, row.kind, name=row.name)
    pooling = keras.layers.MaxPooling2D if row.kind == "max" else keras.layers.AveragePooling2D
    return pooling(row.size, strides=row.stride, padding=row.padding, name=row.name, **CHANNELS_LAST)


LAYER_BUILDERS: dict[type, Callable[..., keras.layers.Layer]] = {
    spec.Pad: lambda row: keras.layers.ZeroPadding2D(row.size, name=row.name, **CHANNELS_LAST),
    spec.Conv: _conv,
    spec.Activation: lambda row: keras.layers.Activation(row.function, name=row.name),
    spec.Norm: _norm,
    spec.Pool: _pool,
    spec.Flatten: lambda row, **options: keras.layers.Flatten(name=row.name, **CHANNELS_LAST | options),
    spec.Dense: lambda row, **options: keras.layers.Dense(row.units, **_weight_arguments(row, **options)),
    spec.Dropout: lambda row, rate=None: keras.layers.Dropout(row.rate if rate is None else rate, name=row.name),
}
