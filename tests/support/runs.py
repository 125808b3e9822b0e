"""Small trainings: a network of three layers, pictures of bars, and comparisons of run folders."""

import csv
import dataclasses
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.nets import random_parameters
from tfalexnet import data, training
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.networks.catalog import MNIST_28
from tfalexnet.networks.spec import Conv, Dense, Dropout, Flatten, Pool
from tfalexnet.training import loop, trainer
from tfalexnet.training.options import Options

NET = dataclasses.replace(
    MNIST_28,
    layers=(
        Conv("conv1", 8, 3, stride=2, padding="same", kernel_init="he_normal"),
        Pool("pool1", size=2, padding="same"),
        Dropout("drop1", 0.2),
        Flatten(),
        Dense("fc2", 32, kernel_init="he_normal"),
        Dense("fc3", 10, activation=None, kernel_init="glorot_uniform"),
    ),
)
RECIPE = dataclasses.replace(training.SOURCES["mnist_28"], learning_rate=3e-3, batch=16, epochs=2)


def bars(count: int, seed: int = 0) -> data.Labelled:
    """Return noise with a vertical bar, a horizontal bar or none: three classes."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    pictures = generator.integers(0, 80, (count, 28, 28), "uint8")
    for picture, label in zip(pictures, labels, strict=True):
        if label < 2:
            (picture if label else picture.T)[10:18] += 120
    return data.Labelled(pictures, labels, ("down", "across", "none"))


def write_folders(folder: Path, count: int) -> None:
    """Write two class folders, a and b, of `count` pictures each."""
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i, picture in enumerate(bars(count).pictures):
            Image.fromarray(picture).save(folder / name / f"{i}.png")


def write_archive(path: Path, count: int, validation: bool = True) -> None:
    """Write an .npz that `tfalexnet train` reads."""
    parts = {"train": bars(count)} | ({"test": bars(40, 1)} if validation else {})
    np.savez(
        path,
        **{f"x_{name}": part.pictures for name, part in parts.items()},
        **{f"y_{name}": part.labels for name, part in parts.items()},
    )


def write_weights(path: Path) -> dict:
    """Write random weights of `NET`, with its table, and return them."""
    parameters = random_parameters(NET)
    write_checkpoint(path, Checkpoint(parameters, ModelSpec(NET, PREPROCESSING["mnist_28"], ())))
    return parameters


def train(folder: Path, epochs: int = 2, recipe=RECIPE, strategy=None, origin=None, pictures=None, **options) -> Path:
    """Train `NET` on 64 pictures, or on the pair `pictures`; `options` are those of `Options`."""
    recipe = dataclasses.replace(recipe, epochs=epochs)
    parts = pictures or (bars(64), bars(40, 1))
    return trainer.train(*parts, NET, recipe, folder, Options(**options), strategy, origin)


def checkpoint_arrays(folder: Path) -> dict[str, np.ndarray]:
    """Return the variables in the checkpoint of a run."""
    with np.load(folder / "checkpoint.npz") as archive:
        return {name: archive[name] for name in archive if name != "state"}


def read_log(folder: Path) -> list[dict[str, str]]:
    """Return the log of a run without the seconds."""
    with (folder / "log.csv").open() as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_same_checkpoints(first: Path, second: Path) -> None:
    """Compare the checkpoints of two runs bit by bit."""
    one, two = checkpoint_arrays(first), checkpoint_arrays(second)
    assert set(one) == set(two)
    for name, array in one.items():
        np.testing.assert_array_equal(array, two[name])


def interrupt_at(function: str, count: int, monkeypatch: pytest.MonkeyPatch, number: int = signal.SIGINT) -> None:
    """Send a signal, Ctrl-C's by default, at the `count`-th call of the "training" or "validation" step."""
    make_step_functions, calls = loop.make_step_functions, []

    def interrupting(step):
        def called(*batch):
            calls.append(1)
            if len(calls) == count:
                os.kill(os.getpid(), number)
            return step(*batch)

        return called

    def patched(*arguments):
        steps = dict(zip(("training", "validation"), make_step_functions(*arguments), strict=True))
        return tuple((steps | {function: interrupting(steps[function])}).values())

    monkeypatch.setattr(loop, "make_step_functions", patched)
    monkeypatch.setattr(loop, "VALIDATION_BATCH", 8)
