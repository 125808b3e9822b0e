"""The network on two devices, as in 2012: each holds one tower.

A tensor of two towers is a list of two tensors, each on its device. Every layer here enters its
device's scope where it computes, since TensorFlow places operations, not layers; and takes its
gradient under the same scope, since a gradient's operations otherwise carry no device at all. Towers
exchange data in `exchange` and nowhere else.

The layers with weights carry the names of the layers they stand for, because Keras addresses weights
in a file by class name; they store and load their towers joined. So one file serves both placements.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Towers = list[tf.Tensor]


def resolve_devices(devices: Sequence[str]) -> tuple[str, ...]:
    """The full names of devices that exist.

    Before TensorFlow's first use /CPU:1 can be had too: a second logical device of the processor.

    Raises:
        ValueError: one does not; the message lists those that do. TensorFlow would silently take
            another.
    """
    if isinstance(devices, str) or not all(isinstance(device, str) for device in devices):
        raise ValueError(f"Expected `devices` to be names such as ('/GPU:0', '/GPU:1'). Received: {devices!r}")
    _stand_in(devices)
    exist = {_short(device.name): device.name for device in tf.config.list_logical_devices()}
    for device in devices:
        if _short(device) not in exist:
            raise ValueError(
                f"Expected devices that exist: {', '.join('/' + name for name in exist)}. "
                f"Received: {device!r}. For study ('/CPU:0', '/CPU:1') serve, two logical devices of one processor, "
                "before TensorFlow's first use."
            )
    return tuple(exist[_short(device)] for device in devices)


def _stand_in(devices: Sequence[str]) -> None:
    """As many logical devices of the processor as are asked for, if it is not too late."""
    numbers = [_short(device).removeprefix("CPU:") for device in devices]
    if all(number.isdecimal() for number in numbers):
        count = max(map(int, numbers)) + 1
        logical = [tf.config.LogicalDeviceConfiguration()] * count
        with contextlib.suppress(RuntimeError):  # TensorFlow is in use: there are those that there are.
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)


def _short(device: str) -> str:
    """/device:GPU:0, /gpu:0 and GPU:0 are one."""
    return device.upper().removeprefix("/").removeprefix("DEVICE:")


def run_on(device: str, function: Callable[..., Any], *inputs: tf.Tensor) -> Any:
    """`function(*inputs)`, with its operations and those of its gradient on `device`.

    The result is a tensor, or a list of tensors.
    """

    @tf.custom_gradient
    def placed(*inputs: tf.Tensor) -> tuple[Any, Callable]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = function(*inputs)

        def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
            with tf.device(device):
                return tape.gradient(tf.nest.flatten(outputs), inputs, output_gradients=upstream)

        return outputs, gradient

    # Around the call too: custom_gradient adds an identity of all inputs and outputs.
    with tf.device(device):
        return placed(*inputs)


# Channels of a tower: (which tower, first channel, past the last channel).
Piece = tuple[int, int, int]


def exchange(
    towers: Towers, homes: Sequence[str], devices: Sequence[str], pieces: Sequence[Sequence[Piece]]
) -> Towers:
    """For each of `devices` the concatenation of its `pieces` of channels of the towers.

    `homes` are the devices where the towers live. Pieces are cut before they cross, and so are their
    gradients, which are added up where their tower lives.
    """
    cuts = []
    for tower, (home, x) in enumerate(zip(homes, towers, strict=True)):
        wanted = [piece for device_pieces in pieces for piece in device_pieces if piece[0] == tower]
        cuts.append(iter(run_on(home, _cut(wanted), x)))
    received = []
    for device, device_pieces in zip(devices, pieces, strict=True):
        arriving = [next(cuts[tower]) for tower, _, _ in device_pieces]
        received.append(run_on(device, lambda *parts: tf.concat(parts, axis=-1), *arriving))
    return received


def _cut(pieces: Sequence[Piece]) -> Callable[[tf.Tensor], Towers]:
    return lambda x: [x[..., start:stop] for _, start, stop in pieces]
