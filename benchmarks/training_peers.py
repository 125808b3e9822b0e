"""A training step of bvlc_alexnet in each implementation, with momentum, decay and dropout."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from peers import OURS, torch_layers
from workers import Tasks

from tfalexnet.networks import spec
from tfalexnet.networks.catalog import BVLC_ALEXNET as NET

RATE, MOMENTUM, DECAY = 1e-3, 0.9, 5e-4

Step = Callable[[], float]
"""A step on always the same pictures; it returns the loss."""


class Peer(NamedTuple):
    """An implementation: its precision, its package, and the function that makes a step of pictures and labels."""

    precision: str
    package: str
    make: Callable[[np.ndarray, np.ndarray], Step]


def this_package(x: np.ndarray, y: np.ndarray, precision: str = "float32") -> Step:
    """The step of `tfalexnet train`."""
    import dataclasses

    import keras
    import tensorflow as tf

    from tfalexnet import training
    from tfalexnet.alexnet import AlexNet
    from tfalexnet.training.loop import make_step_functions

    keras.config.set_dtype_policy(precision)
    model = AlexNet(NET.name, classifier_activation=None)
    dataclasses.replace(training.PAPER, batch=len(x), learning_rate=RATE).compile(model)
    model.optimizer.build(model.trainable_variables)
    step, _ = make_step_functions(model, len(x), tf.distribute.get_strategy())
    inputs, labels = tf.constant(x), tf.constant(y)
    return lambda: float(step(inputs, labels)[0]) / len(x)


def pytorch(x: np.ndarray, y: np.ndarray, precision: str = "float32", compiled: bool = False) -> Step:
    """Channels last, the faster layout on a CPU, with automatic mixed precision for bfloat16."""
    import torch
    from torch import nn

    module = nn.Sequential(*torch_layers().values()).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(module.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)
    network = torch.compile(module, dynamic=False) if compiled else module
    inputs = torch.from_numpy(x.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(y)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            logits = network(inputs)
        loss = nn.functional.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def keras_on_jax(x: np.ndarray, y: np.ndarray, precision: str = "float32") -> Step:
    """Keras' layers, with normalisation from its operations, and `train_on_batch`."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    keras.config.set_dtype_policy(precision)
    layers: list[Any] = []
    for row in NET.layers:
        match row:
            case spec.Conv(filters=filters, size=size, stride=stride, padding=padding, groups=groups):
                layers.append(
                    keras.layers.Conv2D(filters, size, stride, padding, groups=groups, activation=row.activation)
                )
            case spec.Norm():
                layers.append(keras.layers.Lambda(functools.partial(_normalize, row=row, ops=keras.ops)))
            case spec.Pool():
                layers.append(keras.layers.MaxPooling2D(row.size, row.stride))
            case spec.Flatten():
                layers.append(keras.layers.Flatten())
            case spec.Dense():
                layers.append(keras.layers.Dense(row.units, row.activation))
            case spec.Dropout():
                layers.append(keras.layers.Dropout(row.rate))
    model = keras.Sequential([keras.Input(NET.input_shape), *layers])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE, MOMENTUM, weight_decay=DECAY), loss)
    return lambda: float(model.train_on_batch(x, y))


def _normalize(x: Any, row: spec.Norm, ops: Any) -> Any:
    a = ops.cast(x, "float32")
    half = row.size // 2
    squares = ops.pad(ops.square(a), [(0, 0)] * 3 + [(half, half)])
    sums = sum(squares[..., start : start + a.shape[-1]] for start in range(row.size))
    return ops.cast(a * ops.power(row.k + row.alpha / row.size * sums, -row.beta), x.dtype)


PEERS = {
    OURS["float32"]: Peer("float32", "tfalexnet", this_package),
    "PyTorch": Peer("float32", "torch", pytorch),
    "PyTorch, compiled": Peer("float32", "torch", functools.partial(pytorch, compiled=True)),
    "Keras on JAX": Peer("float32", "jax", keras_on_jax),
    OURS["bfloat16"]: Peer("bfloat16", "tfalexnet", functools.partial(this_package, precision="mixed_bfloat16")),
    "PyTorch, bfloat16": Peer("bfloat16", "torch", functools.partial(pytorch, precision="bfloat16")),
    "PyTorch, compiled, bfloat16": Peer(
        "bfloat16", "torch", functools.partial(pytorch, precision="bfloat16", compiled=True)
    ),
    "Keras on JAX, bfloat16": Peer("bfloat16", "jax", functools.partial(keras_on_jax, precision="mixed_bfloat16")),
}


def tasks(name: str, batch: int) -> Tasks:
    """Return the tasks of a worker with one implementation: the mean seconds of some steps."""
    generator = np.random.default_rng(0)
    x = generator.normal(0, 60, (batch, *NET.input_shape)).astype("float32")
    step = PEERS[name].make(x, generator.integers(0, NET.classes, batch))
    losses = [step(), step()]  # Some peers compile again in the second step.
    if not np.isfinite(losses).all():
        raise ValueError(f"a loss of {losses}")

    def seconds(steps: int) -> float:
        step()  # Wakes the threads; the other processes have used the caches meanwhile.
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps

    return {"seconds": seconds}
