"""The network on two devices, as in 2012: each holds one tower.

A tensor of two towers is a list of two tensors, each on its device. Every layer here enters its
device's scope where it computes, since TensorFlow places operations, not layers; and takes its
gradient under the same scope, since a gradient's operations otherwise carry no device at all. Towers
exchange data in `exchange` and nowhere else.

The layers with weights carry the names of the layers they stand for, because Keras addresses weights
in a file by class name; they store and load their towers joined. So one file serves both placements.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfalexnet.networks import layers, spec
from tfalexnet.networks.build import LAYER_BUILDERS, make_layer, rows_below_top
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.devices import Towers, _short, exchange, resolve_devices, run_on
from tfalexnet.networks.spec import Architecture


def build_towers(
    architecture: Architecture,
    devices: Sequence[str],
    include_top: bool = True,
    classifier_activation: str | Callable | None = "softmax",
    dropout: float | None = None,
) -> keras.Model:
    """The network of a table with its towers on `devices`, with fresh weights.

    Raises:
        ValueError: a device does not exist, or their number is not that of the towers.
    """
    resolve_devices(devices)
    if len(devices) != architecture.towers or architecture.towers == 1:
        able = [name for name, net in ARCHITECTURES.items() if net.towers == len(devices)]
        raise ValueError(
            f"Expected `devices` to be one per tower; {architecture.name} has {architecture.towers} "
            f"tower(s). Networks of {len(devices)} towers: {', '.join(able) or 'none'}. "
            f"Received: devices={tuple(devices)}"
        )
    x = inputs = keras.Input(architecture.input_shape, name="input")
    for row in rows_below_top(architecture, include_top):
        if isinstance(row, spec.Flatten):
            continue  # Dense joins the towers' channels first, or its kernel's rows would not fit.
        layer = make_layer(row, architecture, classifier_activation, dropout)
        if isinstance(row, spec.Conv):
            x = Conv2D.of(layer, devices, towers=len(devices))(x)
        elif isinstance(row, spec.Dense):
            # The classifier lives on the first device, as in 2012.
            x = Dense.of(layer, devices, towers=1 if row is architecture.classifier else len(devices))(x)
        elif isinstance(row, spec.Norm) and row.groups == 1:
            x = SeamedNormalization.of(layer, devices)(x)
        else:
            if isinstance(row, spec.Norm):  # A group is a tower.
                layer = LAYER_BUILDERS[spec.Norm](dataclasses.replace(row, groups=1))
            x = EachTower(layer, devices=devices, name=row.name)(x)
    if isinstance(x, list):
        x = Join(devices=devices, name="join")(x)
    return PlacedModel(inputs, x, name=architecture.name)


class _Placed(keras.layers.Layer):
    """A layer with a share on each of `devices`. Its inputs are a list of towers, or one tensor."""

    def __init__(self, *args: Any, devices: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.devices = resolve_devices(devices)
        # XLA compiles across device scopes as if they were not there.
        self.supports_jit = False
        self.input_spec = None

    @classmethod
    def of(cls, layer: keras.layers.Layer, devices: Sequence[str], **kwargs: Any) -> _Placed:
        """The layer that does on `devices` what `layer` does on one."""
        return cls.from_config(layer.get_config() | {"devices": devices} | kwargs)

    def gather(self, towers: Towers, devices: Sequence[str]) -> Towers:
        """All channels of all towers, on each of `devices`."""
        whole = [(source, 0, tower.shape[-1]) for source, tower in enumerate(towers)]
        return exchange(towers, self.devices[: len(towers)], devices, [whole] * len(devices))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"devices": ["/" + _short(name) for name in self.devices]}


class _Weighted(_Placed):
    """A layer whose outputs are dealt out to the first `towers` devices, each with its variables."""

    def __init__(self, *args: Any, towers: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.towers = towers

    def build_towers(self, kernel_shape: tuple[int, ...]) -> None:
        """A kernel and a bias on each device; `kernel_shape` is that of all towers together."""
        share = kernel_shape[-1] // self.towers
        self.kernels, self.biases = [], []
        for tower, device in enumerate(self.devices[: self.towers]):
            with tf.device(device):
                # Cast inside `on`, not by Keras on the way there, so that the gradient of the cast
                # is placed too.
                self.kernels.append(
                    self.add_weight(
                        (*kernel_shape[:-1], share),
                        self.kernel_initializer,
                        name=f"kernel_{tower}",
                        regularizer=self.kernel_regularizer,
                        autocast=False,
                    )
                )
                self.biases.append(
                    self.add_weight(
                        (share,),
                        self.bias_initializer,
                        name=f"bias_{tower}",
                        regularizer=self.bias_regularizer,
                        autocast=False,
                    )
                )
        self.built = True

    def each(self, compute: Callable[..., tf.Tensor], inputs: Towers) -> Towers:
        """`compute(input, kernel, bias)` of every tower on its device."""
        shares = zip(self.devices, inputs, self.kernels, self.biases, strict=False)
        return [run_on(device, compute, x, kernel.value, bias.value) for device, x, kernel, bias in shares]

    def cast(self, *variables: tf.Tensor) -> list[tf.Tensor]:
        return [tf.cast(variable, self.compute_dtype) for variable in variables]

    def save_own_variables(self, store: dict[str, Any]) -> None:
        for key, shares in {"0": self.kernels, "1": self.biases}.items():
            store[key] = tf.concat([share.numpy() for share in shares], axis=-1).numpy()

    def load_own_variables(self, store: dict[str, Any]) -> None:
        for key, shares in {"0": self.kernels, "1": self.biases}.items():
            expected = (*shares[0].shape[:-1], shares[0].shape[-1] * self.towers)
            if tuple(store[key].shape) != expected:
                raise ValueError(f"Layer {self.name}: expected shape {expected}. Received: {store[key].shape}")
        for key, shares in {"0": self.kernels, "1": self.biases}.items():
            for share, part in zip(shares, tf.split(store[key][...], self.towers, axis=-1), strict=True):
                share.assign(part)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"towers": self.towers}


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class Conv2D(_Weighted, layers.Conv2D):
    """A convolution whose filters are dealt out to the devices.

    With as many groups as towers, each reads its own; in one group, each reads all.
    """

    def build(self, input_shape: Any) -> None:
        channels = sum(shape[-1] for shape in _shapes(input_shape))
        self.build_towers((*self.kernel_size, channels // self.groups, self.filters))

    def call(self, inputs: tf.Tensor | Towers) -> Towers:
        inputs = _listed(inputs)
        if self.groups == 1:
            inputs = self.gather(inputs, self.devices)
        return self.each(self._compute, inputs)

    def _compute(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        kernel, bias = self.cast(kernel, bias)
        y = tf.nn.conv2d(x, kernel, self.strides, self.padding.upper()) + bias
        return self.activation(y)

    def compute_output_shape(self, input_shape: Any) -> list[tuple[int | None, ...]]:
        whole = super().compute_output_shape(_shapes(input_shape)[0])
        return [(*whole[:-1], self.filters // self.towers)] * self.towers


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class Dense(_Weighted, keras.layers.Dense):
    """A fully connected layer whose units are dealt out to the devices; each reads all towers."""

    def build(self, input_shape: Any) -> None:
        shapes = _shapes(input_shape)
        places = tf.TensorShape(shapes[0][1:-1]).num_elements()
        self.build_towers((places * sum(shape[-1] for shape in shapes), self.units))

    def call(self, inputs: Towers) -> tf.Tensor | Towers:
        outputs = self.each(self._compute, self.gather(inputs, self.devices[: self.towers]))
        if self.towers > 1:
            return outputs
        with tf.device(self.devices[0]):
            # Out here Keras' losses find the logits of a softmax, as they do on one device.
            return self.activation(outputs[0])

    def _compute(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        kernel, bias = self.cast(kernel, bias)
        y = tf.reshape(x, (-1, kernel.shape[0])) @ kernel + bias
        return self.activation(y) if self.towers > 1 else y

    def compute_output_shape(self, input_shape: Any) -> Any:
        share = (_shapes(input_shape)[0][0], self.units // self.towers)
        return [share] * self.towers if self.towers > 1 else share


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class SeamedNormalization(_Placed, layers.LocalResponseNormalization):
    """Normalisation across the channels of all towers: only those next to the seam cross over."""

    sliced = False  # XLA chooses devices of its own.

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Towers) -> Towers:
        reach, last = self.size // 2, len(inputs) - 1
        pieces = []
        for tower, x in enumerate(inputs):
            channels = x.shape[-1]
            before = [(tower - 1, channels - reach, channels)] if tower else []
            after = [(tower + 1, 0, reach)] if tower < last else []
            pieces.append([*before, (tower, 0, channels), *after])
        widened = exchange(inputs, self.devices, self.devices, pieces)
        normalized = []
        for tower, (device, x, own) in enumerate(zip(self.devices, widened, inputs, strict=True)):
            start = reach if tower else 0

            def normalize(x: tf.Tensor, start: int = start, count: int = own.shape[-1]) -> tf.Tensor:
                y = layers.LocalResponseNormalization.call(self, x)
                return y[..., start : start + count]

            normalized.append(run_on(device, normalize, x))
        return normalized


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class EachTower(_Placed):
    """A layer without weights, on every tower for itself."""

    def __init__(self, layer: keras.layers.Layer | dict, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = keras.saving.deserialize_keras_object(layer) if isinstance(layer, dict) else layer
        if isinstance(self.layer, layers.LocalResponseNormalization):
            self.layer.sliced = False  # XLA chooses devices of its own.

    def build(self, input_shape: Any) -> None:
        self.layer.build(input_shape[0])
        self.built = True

    def call(self, inputs: Towers) -> Towers:
        return [run_on(device, self.layer, x) for device, x in zip(self.devices, inputs, strict=True)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return [self.layer.compute_output_shape(shape) for shape in input_shape]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"layer": keras.saving.serialize_keras_object(self.layer)}


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class Join(_Placed):
    """All towers as one tensor on the first device."""

    def call(self, inputs: Towers) -> tf.Tensor:
        return self.gather(inputs, self.devices[:1])[0]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[0][:-1], sum(shape[-1] for shape in input_shape))


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class PlacedModel(keras.Model):
    """A functional model whose optimizer keeps its state, and computes, where each variable is."""

    def compile(self, *args: Any, **kwargs: Any) -> None:
        super().compile(*args, **kwargs)
        # Built later, inside fit's graph, every slot would land on the first device.
        self.optimizer.build(self.trainable_variables)
        update_step = self.optimizer.update_step

        def placed(gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
            with tf.device(variable.device):
                update_step(gradient, variable, learning_rate)

        self.optimizer.update_step = placed
        # Keras sums gradients over replicas, of which there is one here, in an operation that would
        # bring all of them to the first device.
        self.optimizer._all_reduce_sum_gradients = list

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))


def _listed(inputs: tf.Tensor | Towers) -> Towers:
    """One tensor as a list of one tower."""
    return inputs if isinstance(inputs, list) else [inputs]


def _shapes(shape: Any) -> list[tuple[int | None, ...]]:
    """The shapes of all towers; a single shape may be a list too, when it comes from a file."""
    several = isinstance(shape[0], list | tuple)
    return [tuple(one) for one in (shape if several else [shape])]
