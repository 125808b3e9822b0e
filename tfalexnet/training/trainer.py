"""`train`: pictures, a network and a recipe to a model file, in a run that can be resumed."""

import dataclasses
import os
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfalexnet.alexnet import AlexNet, model_of_checkpoint
from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.data.labelled import Labelled
from tfalexnet.data.skipped import Skipped
from tfalexnet.io.terminal import print_error
from tfalexnet.networks.build import get_parameters
from tfalexnet.networks.devices import resolve_devices
from tfalexnet.networks.spec import Architecture
from tfalexnet.training.distribute import folder_is_shared, independent_dropout, is_chief
from tfalexnet.training.loop import Trainer
from tfalexnet.training.options import Options
from tfalexnet.training.plan import Plan, read_start
from tfalexnet.training.recipes import STRETCHED, Recipe
from tfalexnet.training.run_folder import RunFolder, TrainingError, TrainingState

LOST_WORKER = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)


def train(
    training: Labelled,
    validation: Labelled,
    architecture: Architecture,
    recipe: Recipe,
    output: str | os.PathLike,
    options: Options | None = None,
    strategy: tf.distribute.Strategy | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Train, or resume a training, and write a model that `tfalexnet.predict` reads.

    The folder holds `run.json` (what is trained, with what), `checkpoint.npz`, `log.csv`, TensorBoard's
    logs in `tensorboard`, `best.weights.h5` (the model after the epoch with the lowest validation error), and at the
    end `model.weights.h5` and the figures of `run_figures`. Called again with the same arguments it resumes from the
    checkpoint, and reaches the same weights as without a stop; with more epochs it trains further. Initial weights
    with a classifier for the classes are evaluated before the first step.

    Args:
        training: the pictures that weights are learnt from.
        validation: the pictures on which the error is measured after each epoch.
        architecture: the network, which gets as many classes as the pictures have.
        recipe: the hyperparameters.
        output: the folder; the same for all workers.
        options: how the recipe is carried out; None for the defaults.
        strategy: distributes each batch over devices or machines.
        origin: further entries of `run.json`, such as the path of the pictures; they may differ when a
            run is resumed.

    Returns:
        The path of the model.

    Raises:
        ValueError: arguments or data that contradict each other, or the folder of another run.
        TrainingError: the loss is not finite, memory is too small, or another worker is gone.
        Stopped: Ctrl-C or SIGTERM, here or at another worker; the state is saved.
        OSError: a file cannot be read or written.
    """
    options = options or Options()
    plan = Plan(training, validation, recipe, options, read_start(architecture, options.weights))
    return carry_out(plan, output, strategy, origin)


def carry_out(
    plan: Plan,
    output: str | os.PathLike,
    strategy: tf.distribute.Strategy | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """Train a plan; see `train` for the other arguments, the return value and errors."""
    options, recipe = plan.options, plan.recipe
    if options.devices:
        resolve_devices(options.devices)  # Before anything else uses TensorFlow.
    origin = {"strategy": strategy and type(strategy).__name__} | dict(origin or {})
    strategy = strategy or tf.distribute.get_strategy()
    plan = dataclasses.replace(plan, strategy=strategy)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    run = RunFolder(Path(output), is_chief(strategy))
    with _translate_errors(plan.skipped):
        if not folder_is_shared(strategy, run.folder):
            raise ValueError(
                f"Expected {run.folder} to be one folder for all workers, on a disk that they share. Some workers do "
                "not see the files of the first one."
            )
        model = build_model(plan)
        description = plan.describe() | {"origin": origin}
        planned = run.check(description)
        state = run.resume(model)
        if state.epoch > recipe.epochs:
            raise ValueError(
                f"Expected at least the {state.epoch} epochs that are done in {run.folder}. Received: {recipe.epochs}"
            )
        run.claim(description)
        plan.skipped.restore(state.unreadable)
        if not state.step:
            for note in plan.notes:
                warnings.warn(note, stacklevel=2)
        if run.writes:
            _print_summary(plan, state, planned, run.folder)
        try:
            Trainer(plan, model, run, state).train()
        finally:
            for line in plan.skipped.report(len(plan.training) + len(plan.validation)).splitlines():
                print_error(line)
    return run.finish(Checkpoint(get_parameters(model), plan.spec), state)


def build_model(plan: Plan) -> keras.Model:
    """Return the network with its initial weights and its optimizer, created in the scope of the strategy."""
    net, options, checkpoint = plan.spec.architecture, plan.options, plan.initial
    settings = {"devices": options.devices, "classifier_activation": None, "dropout": options.dropout}
    keras.utils.set_random_seed(options.seed)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.precision)
    try:
        with plan.strategy.scope():
            if checkpoint is None:
                model = AlexNet(net, **settings)
            else:
                model = model_of_checkpoint(checkpoint, os.fspath(options.weights), net.classes, **settings)
            if options.freeze_until is not None:
                for layer in model.layers[: model.layers.index(model.get_layer(options.freeze_until))]:
                    layer.trainable = False
            plan.recipe.compile(model)
            model.optimizer.build(model.trainable_variables)
    finally:
        keras.config.set_dtype_policy(policy)
    if plan.replicas > 1:
        independent_dropout(model)
    return model


def _print_summary(plan: Plan, state: TrainingState, planned: int | None, folder: Path) -> None:
    """Print what is trained and where it resumes; `planned` is the number of epochs that the run was begun with."""
    recipe, net = plan.recipe, plan.spec.architecture
    training, validation = map(plan.skipped.readable, (plan.training, plan.validation))
    print(
        f"{net.name}: {training:,} pictures of {net.classes} classes, {validation:,} for validation; epochs: "
        f"{recipe.epochs:,}, steps per epoch: {plan.steps:,}, batch: {recipe.batch:,}, {recipe.optimizer}, learning "
        f"rate {recipe.learning_rate:g}"
    )
    if state.epoch == recipe.epochs:
        print(f"All epochs are done already, {folder}")
    elif state.is_stopped_early(plan.options.early_stopping):
        print(f"Stopped early already, after epoch {state.epoch}; the best was {state.best_epoch}, {folder}")
    elif state.step:
        print(f"Resuming epoch {state.epoch + 1} at picture {state.position:,}, in {folder}")
        if recipe.schedule in STRETCHED and planned not in (None, recipe.epochs):
            print(
                f"The {recipe.schedule} of the learning rate now ends with epoch {recipe.epochs}, not {planned}: the "
                "rate jumps, and the weights will differ from those of a run that was begun with this number of epochs."
            )


@contextmanager
def _translate_errors(skipped: Skipped) -> Iterator[None]:
    """Turn errors of TensorFlow about a picture, another worker or memory into messages for the user."""
    try:
        yield
    except tf.errors.OpError as error:
        # Frames hold the iterator of the data set, whose threads would block the exit of the interpreter.
        traceback.clear_frames(error.__traceback__)
        if skipped.error is not None:
            raise skipped.error from None
        if isinstance(error, LOST_WORKER):
            raise TrainingError(
                "Another worker is gone; see its messages. Start all workers again, each with its command."
            ) from None
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise TrainingError("Too little memory for a step; try a smaller --batch-size.") from None
        raise
