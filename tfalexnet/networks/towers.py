"""The layers and the model of two towers, each on its own device, as in 2012.

Between layers the feature map of two towers is a list of two tensors, each on its device. The layers with
weights have the class names of the one-device layers, because Keras addresses weights in a file by class
name, and save kernel and bias of all towers concatenated. One weights file therefore serves both placements.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import tensorflow as tf

from tfalexnet.networks import layers, spec
from tfalexnet.networks.build import make_layers
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.devices import Towers, exchange, resolve_devices, run_on, short_name
from tfalexnet.networks.spec import Architecture


def build_towers(
    architecture: Architecture,
    devices: Sequence[str],
    include_top: bool = True,
    classifier_activation: str | Callable | None = "softmax",
    dropout: float | None = None,
) -> keras.Model:
    """Return the model of a table with one tower on each of `devices`, with fresh weights.

    The other arguments are those of `tfalexnet.networks.build.build_model`.

    Raises:
        ValueError: a device does not exist, or the number of devices is not the number of towers.
    """
    resolve_devices(devices)
    if len(devices) != architecture.towers or architecture.towers == 1:
        matching = [name for name, net in ARCHITECTURES.items() if net.towers == len(devices)]
        raise ValueError(
            f"Expected `devices` to be one per tower; {architecture.name} has {architecture.towers} "
            f"tower(s). Networks of {len(devices)} towers: {', '.join(matching) or 'none'}. "
            f"Received: devices={tuple(devices)}"
        )
    if not isinstance(architecture.classifier, spec.Dense):
        raise ValueError(f"Expected a fully connected classifier for two devices. Received: {architecture.classifier}")
    _check_division(architecture)
    x = inputs = keras.Input(architecture.input_shape, name="input")
    for row, layer in make_layers(architecture, include_top, classifier_activation, dropout):
        if isinstance(row, spec.Flatten):
            continue  # Dense flattens, after it has concatenated the towers: its kernel has the order of one device.
        if isinstance(row, spec.Conv):
            layer = Conv2D.from_layer(layer, devices, towers=len(devices))
        elif isinstance(row, spec.Dense):
            # The classifier is on the first device, as in 2012.
            towers = 1 if row is architecture.classifier else len(devices)
            layer = Dense.from_layer(layer, devices, towers=towers)
        elif isinstance(x, list):  # Before the first convolution, layers read the picture on one device.
            if _crosses_towers(row):
                layer = SeamedNormalization.from_layer(layer, devices)
            else:
                if isinstance(row, spec.Norm):
                    layer.groups = 1  # Each group is one tower.
                layer = EachTower(layer, devices=devices, name=row.name)
        x = layer(x)
    if isinstance(x, list):
        x = Join(devices=devices, name="join")(x)
    return PlacedModel(inputs, x, name=architecture.name)


def _check_division(architecture: Architecture) -> None:
    """Raise `ValueError` if a layer cannot be divided equally between the towers of a table."""
    towers, outputs = architecture.towers, architecture.output_shapes()
    first = [type(row) for row in architecture.layers].index(spec.Conv)
    for index, row in enumerate(architecture.layers[first:]):
        channels, groups = outputs[row.name][-1], getattr(row, "groups", 1)
        divides = channels % towers == 0 or row is architecture.classifier
        reach = row.size // 2 if _crosses_towers(row) else 0
        if not divides or groups not in (1, towers if index else 1) or reach > channels // towers:
            raise ValueError(
                f"{row.name} on {towers} devices: expected filters or units that are a multiple of {towers}, `groups` "
                f"of 1 or {towers} (of 1 in the first convolution), and a normalisation that reads no further than "
                f"the next tower. Received: {row}"
            )


def _crosses_towers(row: spec.Layer) -> bool:
    """Return whether a row is a normalisation over the channels of all towers."""
    return isinstance(row, spec.Norm) and row.groups == 1 and row.region == layers.ACROSS_CHANNELS


class _OnDevices(keras.layers.Layer):
    """A layer that computes on each of `devices`. Its input is a list of towers, or one tensor."""

    def __init__(self, *args: Any, devices: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.devices = resolve_devices(devices)
        self.supports_jit = False  # XLA ignores device scopes.
        self.input_spec = None

    @classmethod
    def from_layer(cls, layer: keras.layers.Layer, devices: Sequence[str], **kwargs: Any) -> Self:
        """Return the layer on `devices` with the configuration of `layer`, a layer on one device."""
        return cls.from_config(layer.get_config() | {"devices": devices} | kwargs)

    def gather(self, towers: Towers, targets: Sequence[str]) -> Towers:
        """Return the channels of all towers on each of `targets`."""
        all_channels = [(index, 0, tower.shape[-1]) for index, tower in enumerate(towers)]
        return exchange(towers, self.devices[: len(towers)], targets, [all_channels] * len(targets))

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.Operation.compute_output_spec(self, inputs)  # By tracing `call`, also where a base states shapes.

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"devices": ["/" + short_name(name) for name in self.devices]}


class _Weighted(_OnDevices):
    """A layer whose outputs are divided equally between the first `towers` devices, with their weights."""

    def __init__(self, *args: Any, towers: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.towers = towers

    def build_towers(self, kernel_shape: tuple[int, ...]) -> None:
        """Create a kernel and a bias on each device; `kernel_shape` is the shape for all towers concatenated."""
        self.kernels, self.biases = [], []
        for tower, device in enumerate(self.devices[: self.towers]):
            with tf.device(device):
                kernel = self._add("kernel", tower, kernel_shape, self.kernel_initializer, self.kernel_regularizer)
                bias = self._add("bias", tower, kernel_shape[-1:], self.bias_initializer, self.bias_regularizer)
            self.kernels.append(kernel)
            self.biases.append(bias)
        self.built = True

    def _add(
        self, name: str, tower: int, shape: tuple[int, ...], initializer: Callable, regularizer: Any
    ) -> keras.Variable:
        """Add a tower's part of a variable; `shape` is the shape for all towers concatenated."""

        def initialize_part(_: Any, dtype: Any) -> tf.Tensor:
            # An initializer returns the same values at each call, and some scale them by the whole shape.
            return tf.split(initializer(shape, dtype=dtype), self.towers, axis=-1)[tower]

        part = (*shape[:-1], shape[-1] // self.towers)
        # Keras does not cast the variable: `compute_towers` does, inside `run_on`, so that its gradient is placed too.
        return self.add_weight(part, initialize_part, name=f"{name}_{tower}", regularizer=regularizer, autocast=False)

    def compute_towers(self, compute: Callable[..., tf.Tensor], inputs: Towers) -> Towers:
        """Return `compute(input, kernel, bias)` for each tower, on its device and in the compute dtype."""

        def cast_and_compute(x: tf.Tensor, *variables: tf.Tensor) -> tf.Tensor:
            return compute(x, *(tf.cast(variable, self.compute_dtype) for variable in variables))

        towers = zip(self.devices, inputs, self.kernels, self.biases, strict=False)
        return [run_on(device, cast_and_compute, x, kernel.value, bias.value) for device, x, kernel, bias in towers]

    def save_own_variables(self, store: dict[str, Any]) -> None:
        for key, parts in {"0": self.kernels, "1": self.biases}.items():
            store[key] = tf.concat([part.numpy() for part in parts], axis=-1).numpy()

    def load_own_variables(self, store: dict[str, Any]) -> None:
        variables = {"0": self.kernels, "1": self.biases}
        for key, parts in variables.items():
            expected = (*parts[0].shape[:-1], parts[0].shape[-1] * self.towers)
            if tuple(store[key].shape) != expected:
                raise ValueError(f"Layer {self.name}: expected shape {expected}. Received: {store[key].shape}")
        for key, parts in variables.items():
            for part, values in zip(parts, tf.split(store[key][...], self.towers, axis=-1), strict=True):
                part.assign(values)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"towers": self.towers}


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class Conv2D(_Weighted, layers.Conv2D):
    """A convolution whose filters are divided between the devices.

    With one group per tower, each tower reads its own channels; with `groups=1`, it reads those of all towers.
    """

    def build(self, input_shape: Any) -> None:
        self.build_towers((*self.kernel_size, _joined_shape(input_shape)[-1] // self.groups, self.filters))

    def call(self, inputs: tf.Tensor | Towers) -> Towers:
        inputs = inputs if isinstance(inputs, list) else [inputs]
        inputs = self.gather(inputs, self.devices) if self.groups == 1 else inputs
        return self.compute_towers(self._convolve, inputs)

    def _convolve(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return self.activation(tf.nn.conv2d(x, kernel, self.strides, self.padding.upper()) + bias)


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class Dense(_Weighted, keras.layers.Dense):
    """A fully connected layer whose units are divided between the devices; each unit reads all towers."""

    def build(self, input_shape: Any) -> None:
        self.build_towers((math.prod(_joined_shape(input_shape)[1:]), self.units))

    def call(self, inputs: Towers) -> tf.Tensor | Towers:
        outputs = self.compute_towers(self._multiply, self.gather(inputs, self.devices[: self.towers]))
        if self.towers > 1:
            return outputs
        # Outside `run_on`, so that Keras' losses find the logits of a softmax, as they do on one device.
        with tf.device(self.devices[0]):
            return self.activation(outputs[0])

    def _multiply(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        y = tf.reshape(x, (-1, kernel.shape[0])) @ kernel + bias
        return self.activation(y) if self.towers > 1 else y


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class SeamedNormalization(_OnDevices, layers.LocalResponseNormalization):
    """Normalisation across the channels of all towers; only channels next to the seam are exchanged."""

    sliced = False  # XLA ignores device scopes.

    def build(self, input_shape: Any) -> None:
        self.built = True

    def call(self, inputs: Towers) -> Towers:
        reach, channels = self.size // 2, inputs[0].shape[-1]
        slices = []
        for tower in range(len(inputs)):
            neighbours = [(tower - 1, channels - reach, channels), (tower, 0, channels), (tower + 1, 0, reach)]
            slices.append([piece for piece in neighbours if 0 <= piece[0] < len(inputs)])
        widened = exchange(inputs, self.devices, self.devices, slices)

        def normalize(x: tf.Tensor, first: int) -> tf.Tensor:
            return layers.LocalResponseNormalization.call(self, x)[..., first : first + channels]

        normalized = []
        for tower, (device, x) in enumerate(zip(self.devices, widened, strict=True)):
            first = reach if tower else 0
            normalized.append(run_on(device, functools.partial(normalize, first=first), x))
        return normalized


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class EachTower(_OnDevices):
    """A layer without weights, applied to each tower separately."""

    def __init__(self, layer: keras.layers.Layer | dict, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = keras.saving.deserialize_keras_object(layer) if isinstance(layer, dict) else layer
        if isinstance(self.layer, layers.LocalResponseNormalization):
            self.layer.sliced = False  # XLA ignores device scopes.

    def build(self, input_shape: Any) -> None:
        self.layer.build(input_shape[0])
        self.built = True

    def call(self, inputs: Towers) -> Towers:
        return [run_on(device, self.layer, x) for device, x in zip(self.devices, inputs, strict=True)]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"layer": keras.saving.serialize_keras_object(self.layer)}


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class Join(_OnDevices):
    """The channels of all towers as one tensor on the first device."""

    def call(self, inputs: Towers) -> tf.Tensor:
        return self.gather(inputs, self.devices[:1])[0]


@keras.saving.register_keras_serializable(package="tfalexnet.towers")
class PlacedModel(keras.Model):
    """A functional model whose optimizer updates each variable, and keeps its state, on the variable's device."""

    def compile(self, *args: Any, **kwargs: Any) -> None:
        super().compile(*args, **kwargs)
        # Built later, inside the graph of `fit`, all variables of the optimizer would be on the first device.
        self.optimizer.build(self.trainable_variables)
        update_step = self.optimizer.update_step

        def update_on_device(gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
            with tf.device(variable.device):
                update_step(gradient, variable, learning_rate)

        self.optimizer.update_step = update_on_device
        # Keras sums gradients over replicas in an operation that would transfer all of them to the first
        # device. There is one replica here, so the identity suffices.
        self.optimizer._all_reduce_sum_gradients = list

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))


keras.saving.get_custom_objects()[PlacedModel.__name__] = PlacedModel  # Keras' old .h5 states this without the package.


def _joined_shape(shape: Any) -> tuple[int | None, ...]:
    """Return the shape of all towers concatenated. The argument is one shape or a list; so is a shape in a file."""
    shapes = shape if isinstance(shape[0], list | tuple) else [shape]
    return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
