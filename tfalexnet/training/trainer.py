"""A training that can be stopped anywhere and goes on where it was."""

from __future__ import annotations

import dataclasses
import os
import platform
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfalexnet import __version__
from tfalexnet.alexnet import AlexNet, model_of_checkpoint
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.data.batching import Labelled, Skipped, batches, colours_of, prepared
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import classes_from_labels, numbered_classes
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.io.files import sha256
from tfalexnet.networks.build import get_parameters
from tfalexnet.networks.catalog import get_architecture
from tfalexnet.networks.devices import resolve_devices
from tfalexnet.networks.spec import Architecture
from tfalexnet.training.distribute import folder_is_shared, independent_dropout, is_chief
from tfalexnet.training.loop import Options, Trainer, TrainingData, print_summary, train_epochs, translate_errors
from tfalexnet.training.recipes import Recipe
from tfalexnet.training.run_folder import RunFolder, TrainingState


def train(
    training: Labelled,
    validation: Labelled,
    architecture: Architecture,
    recipe: Recipe,
    output: str | os.PathLike,
    options: Options | None = None,
    strategy: tf.distribute.Strategy | None = None,
    origin: Mapping[str, Any] | None = None,
    start: Start | None = None,
) -> Path:
    """Train, or go on with a training, and write a model that `tfalexnet.predict` takes.

    The folder holds `run.json` (what is trained, with what), `checkpoint.npz`, `log.csv`, TensorBoard's
    logs in `tensorboard`, and at the end `curve.png` and `model.weights.h5`. Called again with the same
    arguments it goes on from the checkpoint, to the same weights as without a stop; with more epochs,
    further. Weights that know the classes are measured before the first step.

    Args:
        training: the pictures to learn from.
        validation: those that the error is measured on after each epoch.
        architecture: the network, which gets as many classes as the pictures have.
        recipe: batch, epochs and all that belongs to learning.
        output: the folder; one for all workers.
        options: how; None for the defaults.
        strategy: to spread each batch over devices or machines.
        origin: what else `run.json` shall say, such as the path of the pictures; it may differ when a
            training goes on.
        start: from `read_start`; None reads it from the arguments.

    Returns:
        The file of the model.

    Raises:
        ValueError: arguments or data that do not fit, or a folder of another training.
        TrainingError: the loss is no number any more, memory is too small, or another worker is gone.
        learning.Stopped: Ctrl-C or SIGTERM, here or at another worker; the state is saved.
        OSError: a file cannot be read or written.
    """
    options = options or Options()
    if options.devices:
        resolve_devices(options.devices)  # Before anything else uses TensorFlow.
    origin = {"strategy": strategy and type(strategy).__name__} | dict(origin or {})
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    start = start or read_start(architecture, options.weights)
    net = architecture.with_classes(len(training.classes))
    _check(training, validation, recipe, options, replicas)
    preprocessing, knows_classes = _initial_preprocessing(net, training.classes, start, options.weights)
    # Fail before the output folder is created.
    batches(training, preprocessing, recipe.batch, recipe.augment, replicas=replicas)
    colours = colours_of(options.colours, training, preprocessing)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    run = RunFolder(Path(output), is_chief(strategy))
    skipped = Skipped(options.strict or replicas > 1)
    with _policy(options.precision), translate_errors(skipped):
        _check_folder(strategy, run.folder)
        model = _model(net, recipe, options, strategy, start)
        described = _describe_run(training, validation, net, recipe, options, preprocessing, replicas, start) | {
            "origin": origin
        }
        epochs = run.check(described)
        state = run.resume(model) or TrainingState()
        if state.epoch > recipe.epochs:
            raise ValueError(
                f"Expected at least the {state.epoch} epochs that are done in {run.folder}. Received: {recipe.epochs}"
            )
        run.claim(described)
        pictures = TrainingData(training, validation, preprocessing, colours, skipped)
        trainer = Trainer(pictures, net, model, recipe, options, strategy, run, knows_classes)
        print_summary(trainer, state, epochs)
        try:
            train_epochs(trainer, state)
        finally:
            for line in skipped.report(len(training) + len(validation)).splitlines():
                print(f"tfalexnet: {line}", file=sys.stderr)
    names = classes_from_labels(training.classes)
    return run.finish(Checkpoint(get_parameters(model), ModelSpec(net, preprocessing, names)), state)


@dataclasses.dataclass(frozen=True)
class Start:
    """The network to train, and the weights that it starts from.

    Attributes:
        architecture: the network.
        checkpoint: the initial weights; None for random ones.
        weights_sha256: digest of their file.
    """

    architecture: Architecture
    checkpoint: Checkpoint | None = None
    weights_sha256: str | None = None


def read_start(architecture: str | Architecture | None, weights: str | os.PathLike | None) -> Start:
    """Read the initial weights. The network is `architecture`, else that of the weights, else bvlc_alexnet.

    Raises:
        ValueError: there is no network of this name, or the weights match none.
        OSError: the weights cannot be read.
    """
    if weights is None:
        return Start(get_architecture(architecture or "bvlc_alexnet"))
    path = find_weights(weights)
    try:
        checkpoint = read_checkpoint(path, architecture)
    except CheckpointError as error:
        if architecture is not None:
            raise
        raise CheckpointError(
            f"{error}\nIf it is a checkpoint, add --architecture and a name of `tfalexnet list`."
        ) from None
    return Start(checkpoint.spec.architecture, checkpoint, sha256(path))


def _check(training: Labelled, validation: Labelled, recipe: Recipe, options: Options, replicas: int) -> None:
    """Say what does not go together."""
    if options.devices and replicas > 1:
        raise ValueError("Expected `devices` for two towers or a `strategy` of several replicas. Received: both")
    if options.freeze_until is not None and options.weights is None:
        raise ValueError("Expected `weights` with `freeze_until`: fresh layers must learn. Received: none")
    if replicas > 1 and not options.strict and not isinstance(training.pictures, np.ndarray):
        warnings.warn(
            "with several replicas a picture that cannot be read ends the training, as with --strict: all replicas "
            "need as many.",
            stacklevel=3,
        )
    if recipe.batch > len(training):
        raise ValueError(
            f"Expected a batch of 1 to {len(training)}, the pictures to learn from ({len(validation)} more "
            f"validate). Received: {recipe.batch}, the recipe's if no other was asked for (--batch-size)"
        )


def _check_folder(strategy: tf.distribute.Strategy, folder: Path) -> None:
    if not folder_is_shared(strategy, folder):
        raise ValueError(
            f"Expected {folder} to be one folder for all workers, on a disk that they share. What the first of them "
            "writes there, not all others see."
        )


def _initial_preprocessing(
    net: Architecture, names: tuple[str, ...], start: Start, weights: str | os.PathLike | None
) -> tuple[Preprocessing, bool]:
    """Return the preprocessing, and whether the weights have a classifier for these classes.

    Weights with as many classes must have the same classes in the same order.
    """
    if start.checkpoint is None:
        return prepared(net), False
    spec = start.checkpoint.spec
    knows_classes = not start.checkpoint.missing and spec.architecture.classes == len(names)
    if knows_classes and spec.classes != numbered_classes(len(names)):
        for name, entry in zip(names, spec.classes, strict=True):
            if name not in (entry.wnid, entry.label):
                raise ValueError(
                    f"Expected the classes of {os.fspath(weights)}, as the data has as many ({len(names)}): "
                    f"{entry.label!r}. Received: {name!r}. Rename or reorder them (--classes)."
                )
    return spec.preprocessing or prepared(net), knows_classes


def _describe_run(
    training: Labelled,
    validation: Labelled,
    net: Architecture,
    recipe: Recipe,
    options: Options,
    preprocessing: Preprocessing,
    replicas: int,
    start: Start,
) -> dict[str, Any]:
    """All that is needed to repeat a run."""
    return {
        "architecture": net.name,
        "classes": list(training.classes),
        "training": {"pictures": len(training), "sha256": training.digest()},
        "validation": {"pictures": len(validation), "sha256": validation.digest()},
        "recipe": {k: v for k, v in dataclasses.asdict(recipe).items() if k != "epochs"},
        "epochs": recipe.epochs,
        "options": {
            name: os.fspath(value) if isinstance(value, os.PathLike) else value
            for name, value in dataclasses.asdict(options).items()
            if name not in ("log_interval", "checkpoint_minutes")
        },
        "weights_sha256": start.weights_sha256,
        "preprocessing": preprocessing.to_dict(),
        "replicas": replicas,
        "versions": {
            "tfalexnet": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _model(
    net: Architecture, recipe: Recipe, options: Options, strategy: tf.distribute.Strategy, start: Start
) -> keras.Model:
    """Return the network and its optimizer, created in the scope of the strategy."""
    keras.utils.set_random_seed(options.seed)
    with strategy.scope():
        if start.checkpoint is None:
            model = AlexNet(net, devices=options.devices, classifier_activation=None, dropout=options.dropout)
        else:
            for note in start.checkpoint.notes:
                warnings.warn(note, stacklevel=3)
            model = model_of_checkpoint(
                start.checkpoint,
                os.fspath(options.weights),
                net.classes,
                options.devices,
                classifier_activation=None,
                dropout=options.dropout,
            )
        _freeze(model, net, options.freeze_until)
        recipe.compile(model)
        model.optimizer.build(model.trainable_variables)
    if strategy.num_replicas_in_sync > 1:
        independent_dropout(model)
    return model


def _freeze(model: keras.Model, net: Architecture, until: str | None) -> None:
    """Keep the layers before this one as they are."""
    if until is not None:
        names = [layer.name for layer in model.layers]
        weighted = [row.name for row in net.weighted]
        if until not in weighted:
            raise ValueError(f"Expected `freeze_until` to be one of {', '.join(weighted)}. Received: {until!r}")
        for layer in model.layers[: names.index(until)]:
            layer.trainable = False


@contextmanager
def _policy(name: str) -> Iterator[None]:
    """Keras' policy of precision, until the block ends."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
