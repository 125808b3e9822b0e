"""One loop turns a table into a keras.Model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from tfalexnet.networks import spec
from tfalexnet.networks.layers import Conv2D, LocalResponseNormalization
from tfalexnet.networks.spec import Architecture, Parameters


def build_model(
    architecture: Architecture,
    include_top: bool = True,
    classifier_activation: str | Callable | None = "softmax",
    dropout: float | None = None,
) -> keras.Model:
    """The network of a table on one device, with fresh weights.

    Args:
        architecture: the table.
        include_top: without it, the model ends with the last layer before `Flatten`.
        classifier_activation: activation of the last layer; None gives the logits.
        dropout: rate of every dropout layer; None keeps the table's.
    """
    x = inputs = keras.Input(architecture.input_shape, name="input")
    for row in rows_below_top(architecture, include_top):
        x = make_layer(row, architecture, classifier_activation, dropout)(x)
    return keras.Model(inputs, x, name=architecture.name)


def rows_below_top(architecture: Architecture, include_top: bool) -> tuple[spec.Layer, ...]:
    """The rows of a table, or those before its classifier begins."""
    if include_top:
        return architecture.layers
    top = [type(row) for row in architecture.layers].index(spec.Flatten)
    return architecture.layers[:top]


def make_layer(
    row: spec.Layer,
    architecture: Architecture,
    classifier_activation: str | Callable | None,
    dropout: float | None,
) -> keras.layers.Layer:
    """The layer that a row describes."""
    options: dict[str, Any] = {}
    if row is architecture.classifier:
        # Under a mixed policy the logits stay in float32: a softmax of bfloat16 has three digits.
        options = {
            "activation": classifier_activation,
            "dtype": keras.config.dtype_policy().variable_dtype,
        }
    elif isinstance(row, spec.Dropout) and dropout is not None:
        options = {"rate": dropout}
    return LAYER_BUILDERS[type(row)](row, **options)


def weight_arguments(row: spec.Conv | spec.Dense, **options: Any) -> dict[str, Any]:
    """The arguments that every layer with a kernel and a bias takes."""
    initializer = row.kernel_init
    if isinstance(initializer, spec.Normal):
        kind = "TruncatedNormal" if initializer.truncated else "RandomNormal"
        initializer = getattr(keras.initializers, kind)(stddev=initializer.stddev)
    return {
        "name": row.name,
        "activation": row.activation,
        "kernel_initializer": initializer,
        "bias_initializer": keras.initializers.Constant(row.bias_init),
    } | options


def set_parameters(model: keras.Model, parameters: Parameters) -> None:
    """Copy checked weights into the layers of a model that bear their names."""
    for layer in model.layers:
        if layer.weights and layer.name in parameters:
            kernel, bias = parameters[layer.name]
            layer.load_own_variables({"0": kernel, "1": bias})


def get_parameters(model: keras.Model) -> Parameters:
    """The weights of a model, also of one on two devices, in the canonical form."""
    parameters = {}
    for layer in model.layers:
        if layer.weights:
            store: dict[str, np.ndarray] = {}
            layer.save_own_variables(store)
            parameters[layer.name] = np.asarray(store["0"], np.float32), np.asarray(store["1"], np.float32)
    return parameters


def _conv(row: spec.Conv) -> keras.layers.Layer:
    return Conv2D(
        row.filters,
        row.size,
        strides=row.stride,
        padding=row.padding,
        groups=row.groups,
        **weight_arguments(row),
    )


def _norm(row: spec.Norm) -> keras.layers.Layer:
    return LocalResponseNormalization(
        row.size,
        row.alpha,
        row.beta,
        row.k,
        divide_alpha=row.divide_alpha,
        region=row.region,
        groups=row.groups,
        name=row.name,
    )


def _pool(row: spec.Pool) -> keras.layers.Layer:
    pooling = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}
    return pooling[row.kind](row.size, strides=row.stride, padding=row.padding, name=row.name)


LAYER_BUILDERS: dict[type, Callable[..., keras.layers.Layer]] = {
    spec.Pad: lambda row: keras.layers.ZeroPadding2D(row.size, name=row.name),
    spec.Conv: _conv,
    spec.Activation: lambda row: keras.layers.Activation(row.function, name=row.name),
    spec.Norm: _norm,
    spec.Pool: _pool,
    spec.Flatten: lambda row: keras.layers.Flatten(name=row.name),
    spec.Dense: lambda row, **options: keras.layers.Dense(row.units, **weight_arguments(row, **options)),
    spec.Dropout: lambda row, rate=None: keras.layers.Dropout(row.rate if rate is None else rate, name=row.name),
}
