"""Names of devices, computation on a device, and exchange of channels between devices.

TensorFlow places operations, not layers, and the operations of a gradient have no device by default. `run_on`
therefore computes a function and its gradient under the scope of one device. Tensors cross between devices
only in `exchange`.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Towers = list[tf.Tensor]
"""The channels of a feature map, divided between devices: one tensor per tower, each on its device."""


def resolve_devices(devices: Sequence[str]) -> tuple[str, ...]:
    """Return the full names of the given devices.

    If TensorFlow has not been used yet, logical CPU devices are created as needed: ("/CPU:0", "/CPU:1") are
    two logical devices of one processor.

    Raises:
        ValueError: `devices` are not names, or a device does not exist (TensorFlow itself would silently
            use another one). The message lists the devices that exist.
    """
    if isinstance(devices, str) or not all(isinstance(device, str) for device in devices):
        raise ValueError(f"Expected `devices` to be names such as ('/GPU:0', '/GPU:1'). Received: {devices!r}")
    _create_logical_cpus(devices)
    full_names = {short_name(device.name): device.name for device in tf.config.list_logical_devices()}
    for device in devices:
        if short_name(device) not in full_names:
            raise ValueError(
                f"Expected devices that exist: {', '.join('/' + name for name in full_names)}. "
                f"Received: {device!r}. To try two towers on one processor, use ('/CPU:0', '/CPU:1'): these logical "
                "devices can be created before TensorFlow's first use only."
            )
    return tuple(full_names[short_name(device)] for device in devices)


def _create_logical_cpus(devices: Sequence[str]) -> None:
    """Divide the processor into logical devices if only CPU devices are given and TensorFlow is not in use."""
    numbers = [short_name(device).removeprefix("CPU:") for device in devices]
    if numbers and all(number.isdecimal() for number in numbers):
        count = max(map(int, numbers)) + 1
        logical = [tf.config.LogicalDeviceConfiguration()] * count
        with contextlib.suppress(RuntimeError):  # TensorFlow is in use; its devices cannot change any more.
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)


def short_name(device: str) -> str:
    """Return the one form of the names /device:GPU:0, /gpu:0 and GPU:0: "GPU:0"."""
    return device.upper().removeprefix("/").removeprefix("DEVICE:")


def run_on(device: str, function: Callable[..., Any], *inputs: tf.Tensor) -> Any:
    """Return `function(*inputs)`, a tensor or a list of tensors, computed on `device` together with its gradient."""

    @tf.custom_gradient
    def function_with_gradient(*inputs: tf.Tensor) -> tuple[Any, Callable]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(*inputs)

        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            with tf.device(device):
                return tape.gradient(tf.nest.flatten(outputs), inputs, output_gradients=upstream)

        return outputs, gradient

    # The scope includes the call itself: custom_gradient adds an identity of all inputs and outputs.
    with tf.device(device):
        return function_with_gradient(*inputs)


Slice = tuple[int, int, int]
"""Channels of a tower: (index of the tower, first channel, end channel (exclusive))."""


def exchange(
    towers: Towers, sources: Sequence[str], targets: Sequence[str], slices: Sequence[Sequence[Slice]]
) -> Towers:
    """Return on each of `targets` the concatenation of its `slices` of the towers' channels.

    Slices are cut before they are transferred. So are their gradients, which are summed on the device of
    their tower.

    Args:
        towers: one tensor per tower.
        sources: the device of each tower.
        targets: the devices that receive channels.
        slices: for each target the slices that it receives, in their order in the result.
    """
    cut = []
    for tower, (source, x) in enumerate(zip(sources, towers, strict=True)):
        of_tower = [piece for target_slices in slices for piece in target_slices if piece[0] == tower]
        cut.append(iter(run_on(source, _slicer(of_tower), x)))
    joined = []
    for target, target_slices in zip(targets, slices, strict=True):
        parts = [next(cut[tower]) for tower, _, _ in target_slices]
        joined.append(run_on(target, lambda *parts: tf.concat(parts, axis=-1), *parts))
    return joined


def _slicer(slices: Sequence[Slice]) -> Callable[[tf.Tensor], Towers]:
    return lambda x: [x[..., start:end] for _, start, end in slices]
