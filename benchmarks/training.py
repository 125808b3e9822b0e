"""Speed of a training step compared with PyTorch, and of the input pipeline.

    pip install torch
    python benchmarks/training.py PHOTOS

bvlc_alexnet with momentum and decay is trained on the same random pictures, implementations in turn, round by
round; a ratio is the median of the ratios of the rounds. PHOTOS is a folder with a folder for each class; its
pictures are read, cropped, mirrored and changed in colour as for training. Run nothing else at the same time.
"""

import contextlib
import dataclasses
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import torch
from absl import app, flags

from tfalexnet import data, training
from tfalexnet.alexnet import AlexNet
from tfalexnet.networks.catalog import BVLC_ALEXNET, MNIST_28
from tfalexnet.networks.spec import Conv, Dense, Dropout, Flatten, Norm, Pool
from tfalexnet.training.loop import make_step_functions
from tfalexnet.training.run_folder import RunFolder
from tfalexnet.training.trainer import train

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 5, "Rounds of each timing.", lower_bound=1)
flags.DEFINE_integer("steps", 3, "Steps per round.", lower_bound=1)
flags.DEFINE_list("batches", ["32", "128"], "Pictures per step.")


def ours(precision: str, batch: int, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    keras.config.set_dtype_policy(precision)
    model = AlexNet("bvlc_alexnet", classifier_activation=None)
    recipe = dataclasses.replace(training.PAPER, batch=batch)
    recipe.compile(model)
    model.optimizer.build(model.trainable_variables)
    step, _ = make_step_functions(model, batch, tf.distribute.get_strategy())
    inputs, labels = tf.constant(x), tf.constant(y)
    return lambda: float(step(inputs, labels)[0])


def theirs(x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """Return a step of the same network in plain PyTorch, channels last, which is faster on a CPU."""
    layers: list[torch.nn.Module] = []
    channels = 3
    for row in BVLC_ALEXNET.layers:
        match row:
            case Conv():
                padding = row.size // 2 if row.padding == "same" else 0
                layers.append(torch.nn.Conv2d(channels, row.filters, row.size, row.stride, padding, groups=row.groups))
                channels = row.filters
            case Norm():
                layers.append(torch.nn.LocalResponseNorm(row.size, row.alpha, row.beta, row.k))
            case Pool():
                layers.append(torch.nn.MaxPool2d(row.size, row.stride))
            case Flatten():
                layers.append(torch.nn.Flatten())
                channels = 9216
            case Dense():
                layers.append(torch.nn.Linear(channels, row.units))
                channels = row.units
            case Dropout():
                layers.append(torch.nn.Dropout(row.rate))
        if getattr(row, "activation", None) == "relu":
            layers.append(torch.nn.ReLU(inplace=True))
    model = torch.nn.Sequential(*layers).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9, weight_decay=5e-4)
    inputs = torch.from_numpy(x.transpose(0, 3, 1, 2)).contiguous(memory_format=torch.channels_last)
    labels = torch.from_numpy(y)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        float(loss)

    return step


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    for _ in range(FLAGS.steps):
        step()
    return (time.perf_counter() - start) / FLAGS.steps


def pipeline(folder: str) -> float:
    """Return the pictures per second that are read and augmented."""
    labelled, _ = data.read(folder)
    batches = data.batches(labelled, data.PREPARED["bvlc_alexnet"], 32, "paper")
    start = None
    count = 0
    for inputs, _, _ in batches:
        if start is None:
            start = time.perf_counter()  # The first batch waits for the threads.
            continue
        count += len(inputs)
        if count >= 3000:
            break
    return count / (time.perf_counter() - start)


def memory() -> list[float]:
    """Return MB of this process after each of 20 epochs of a small training."""
    generator = np.random.default_rng(0)
    digits = data.from_arrays(generator.integers(0, 256, (640, 28, 28), "uint8"), generator.integers(0, 10, 640))
    recipe = dataclasses.replace(training.SOURCES["mnist_28"], epochs=20)
    sizes = []
    report = RunFolder.report
    RunFolder.report = lambda *_: sizes.append(resident())
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        train(digits, digits, MNIST_28, recipe, Path(folder, "run"))
    RunFolder.report = report
    return sizes


def resident() -> float:
    """Return the resident MB of this process; requires Linux."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("expected one argument, a folder with a folder for each class")
    generator = np.random.default_rng(0)
    print(f"{FLAGS.rounds} rounds, TensorFlow {tf.__version__}, Keras {keras.__version__}, PyTorch {torch.__version__}")
    print("\n| batch | | pictures/s | × PyTorch float32 |\n|---|---|---|---|")
    fastest = 0.0
    for batch in map(int, FLAGS.batches):
        x = generator.normal(0, 60, (batch, 227, 227, 3)).astype("float32")
        y = generator.integers(0, 1000, batch)
        steps = {
            "PyTorch float32": theirs(x, y),
            "tfalexnet float32": ours("float32", batch, x, y),
            "tfalexnet mixed_bfloat16": ours("mixed_bfloat16", batch, x, y),
        }
        for step in steps.values():
            step()
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(FLAGS.rounds):
            for name, step in steps.items():
                times[name].append(seconds(step))
        for name, measured in times.items():
            ratio = statistics.median(a / b for a, b in zip(times["PyTorch float32"], measured, strict=True))
            speed = batch / statistics.median(measured)
            fastest = max(fastest, speed)
            print(f"| {batch} | {name} | {speed:.1f} | {ratio:.2f} |")
        sys.stdout.flush()
    keras.config.set_dtype_policy("float32")
    sizes = memory()
    print(f"\nMemory after epochs 2 and 20 of a training: {sizes[1]:.0f} and {sizes[-1]:.0f} MB.")
    speed = pipeline(argv[1])
    print(f"\nThe input pipeline: {speed:.0f} pictures/s, {speed / fastest:.1f} × the fastest training.")


if __name__ == "__main__":
    app.run(main)
