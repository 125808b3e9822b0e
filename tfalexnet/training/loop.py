"""Epoch by epoch: learn, look, measure, save; stop when asked, all workers at the same step."""

from __future__ import annotations

import functools
import math
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfalexnet.data.batching import Labelled, Skipped, batches
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.io.progress import Progress
from tfalexnet.networks.build import get_parameters
from tfalexnet.networks.spec import Architecture
from tfalexnet.training.distribute import distribute_batches, next_position, sum_over_workers, worker_count
from tfalexnet.training.events import EventWriter
from tfalexnet.training.optimizer import variable_role
from tfalexnet.training.recipes import Recipe
from tfalexnet.training.run_folder import RunFolder, TrainingError, TrainingState

VALIDATION_BATCH = 64
TOP5_CLASSES = 6  # From here on the five best are not all.
PRECISIONS = ("float32", "mixed_bfloat16")
GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)  # Where a worker is.


class Stopped(KeyboardInterrupt):
    """A training that was asked to stop, and has saved where it was."""


@dataclass(frozen=True)
class Options:
    """How a recipe is carried out.

    Attributes:
        weights: a known name or a file to start from; a classifier that does not fit is drawn afresh.
        freeze_until: the first layer that learns; those before it stay as they are.
        devices: of the two towers; see `tfalexnet.AlexNet`.
        dropout: rate of all dropout layers; None as published.
        colours: whose the colours of the paper's augmentation are; see `tfalexnet.data.COLOURS`.
        precision: "float32", or "mixed_bfloat16" for products in bfloat16.
        seed: of initial weights, order, augmentation and dropout, from 0 to 2³² - 1.
        strict: whether a file that cannot be read ends the training; with several replicas it always does.
        log_interval: steps between two looks at loss and error, and at whether another worker was asked to stop.
        checkpoint_minutes: between two checkpoints within an epoch, written at the next look; one more follows
            each epoch.
        deterministic: whether every operation gives the same bits in every run, which is slower. TensorFlow
            keeps to it until the process ends.

    Raises:
        ValueError: one is out of its range.
    """

    weights: str | os.PathLike | None = None
    freeze_until: str | None = None
    devices: tuple[str, str] | None = None
    dropout: float | None = None
    colours: str = "imagenet"
    precision: str = "float32"
    seed: int = 2012
    strict: bool = False
    log_interval: int = 10
    checkpoint_minutes: float = 5.0
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, right, expected in (
            ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
            ("seed", 0 <= self.seed < 1 << 32, "from 0 to 4294967295"),
            ("log_interval", self.log_interval >= 1, "at least 1"),
            ("checkpoint_minutes", self.checkpoint_minutes > 0, "positive"),
        ):
            if not right:
                raise ValueError(f"Expected `{name}` to be {expected}. Received: {getattr(self, name)!r}")


@dataclass(frozen=True)
class TrainingData:
    """The pictures of a training, and how they are prepared.

    Attributes:
        training: the pictures to learn from.
        validation: the pictures on which the error is measured after each epoch.
        preprocessing: of all pictures.
        colours: principal colours of the paper's augmentation, (3, 3).
        skipped: collects the files that cannot be read.
    """

    training: Labelled
    validation: Labelled
    preprocessing: Preprocessing
    colours: np.ndarray
    skipped: Skipped


class Trainer:
    """A model with its data, its recipe and its run folder, while it is trained.

    Args:
        data: the pictures.
        net: the network, with as many classes as the pictures have.
        model: compiled by the recipe, in the scope of the strategy.
        recipe: of the training.
        options: of the training.
        strategy: distributes each batch over replicas.
        run: the folder that everything is written to.
        knows_classes: whether the initial weights have a classifier for these classes.
    """

    def __init__(
        self,
        data: TrainingData,
        net: Architecture,
        model: keras.Model,
        recipe: Recipe,
        options: Options,
        strategy: tf.distribute.Strategy,
        run: RunFolder,
        knows_classes: bool,
    ) -> None:
        self.data, self.net, self.model, self.recipe = data, net, model, recipe
        self.options, self.strategy, self.run, self.knows_classes = options, strategy, run, knows_classes
        self.step, self.measure = make_step_functions(model, recipe, strategy)
        self.events = EventWriter(run.folder, run.writes)
        self.saved = time.monotonic()  # Time of the last checkpoint.
        self.stop_signals: list[int] = []

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.data.training) // self.recipe.batch

    @property
    def is_single_worker(self) -> bool:
        """Whether no other process trains the same model."""
        return worker_count(self.strategy) == 1

    def rate(self, step: int, state: TrainingState) -> float:
        """Return the learning rate of a step."""
        return self.recipe.rate(step, self.steps * self.recipe.epochs, state.errors)

    def is_check_due(self, count: int) -> bool:
        """Return whether metrics and stop requests are checked after `count` steps; the same steps on every
        worker.
        """
        return count % self.options.log_interval == 0 or (self.is_single_worker and bool(self.stop_signals))

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint; of several workers only the first one does."""
        self.run.save(self.model, state)
        self.saved = time.monotonic()


def print_summary(trainer: Trainer, state: TrainingState, epochs: int | None) -> None:
    """Say what is trained, and from where; it was to have so many epochs."""
    if not trainer.run.writes:
        return
    net, recipe, steps = trainer.net, trainer.recipe, _counted(trainer.steps, "step")
    print(
        f"{net.name}: {_counted(len(trainer.data.training), 'picture')} of {net.classes} classes, "
        f"{len(trainer.data.validation):,} for "
        f"validation; {_counted(recipe.epochs, 'epoch')} of {steps} of {_counted(recipe.batch, 'picture')}, "
        f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}"
    )
    if state.epoch == recipe.epochs:
        print(f"All epochs are done already, {trainer.run.folder}")
    elif state.step:
        where = f"after {_counted(state.place, 'picture')} of" if state.place else "at the start of"
        print(f"Going on {where} epoch {state.epoch + 1}, in {trainer.run.folder}")
        if epochs is not None and recipe.stretched(epochs):
            print(recipe.stretched(epochs))


def train_epochs(trainer: Trainer, state: TrainingState) -> None:
    """Go on from a state to the last epoch of the recipe.

    Raises:
        Stopped, TrainingError, ValueError, OSError: see `tfalexnet.runs.train`.
    """
    with _collect_stop_signals(trainer.stop_signals):
        if trainer.knows_classes and not state.step:
            trainer.run.tell_before(_validate(trainer, state))
        while state.epoch < trainer.recipe.epochs:
            _train_epoch(trainer, state)
            row = _row(state, trainer.rate(state.step - 1, state)) | _validate(trainer, state)
            state.history.append(row)
            state.epoch, state.place, state.loss, state.wrong, state.seen = state.epoch + 1, 0, 0.0, 0.0, 0.0
            trainer.save(state)
            kernel, _ = get_parameters(trainer.model)["conv1"]
            trainer.events.epoch(row, kernel[:, :, ::-1] if trainer.data.preprocessing.channels == "BGR" else kernel)
            trainer.run.tell(row, trainer.recipe.epochs)


def make_step_functions(
    model: keras.Model, recipe: Recipe, strategy: tf.distribute.Strategy
) -> tuple[Callable, Callable]:
    """A training step, and the measuring of a batch.

    Returns:
        Two functions of inputs and labels. The first learns from them, spread over the replicas, and gives the
        sum of losses, the number of errors and that of pictures; the second the sum of losses and the numbers of
        top-1 and top-5 errors.
    """
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits

    def own(inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            losses = cross_entropy(labels, logits)
            decay = tf.add_n(model.losses) if model.losses else 0.0
            # Every replica adds its share of the mean over the whole batch.
            loss = tf.reduce_sum(losses) / recipe.batch + decay / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        model.optimizer.apply(gradients, model.trainable_variables)
        wrong = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1) != labels, tf.float32))
        return tf.reduce_sum(losses), wrong, tf.cast(tf.size(labels), tf.float32)

    @tf.function
    def step(inputs: Any, labels: Any) -> tuple[tf.Tensor, ...]:
        each = strategy.run(own, (inputs, labels))
        return tuple(strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in each)

    @tf.function
    def measure(inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits = model(inputs, training=False)
        top5 = tf.math.in_top_k(labels, logits, min(5, logits.shape[1]))
        wrong = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1) != labels, tf.int32))
        return tf.reduce_sum(cross_entropy(labels, logits)), wrong, tf.reduce_sum(tf.cast(~top5, tf.int32))

    return step, measure


def _train_epoch(trainer: Trainer, state: TrainingState) -> None:
    """The rest of the running epoch."""
    batch = trainer.recipe.batch
    pipeline = functools.partial(
        batches,
        trainer.data.training,
        trainer.data.preprocessing,
        batch,
        trainer.recipe.augment,
        trainer.options.seed,
        epoch=state.epoch,
        start=state.place,
        skipped=trainer.data.skipped,
        colours=trainer.data.colours,
    )
    frozen = _frozen(trainer.model)
    pending: list[tuple[tf.Tensor, ...]] = []
    began = time.monotonic()
    with Progress(trainer.steps * batch, "pictures", start=state.place, note=_note(state)) as progress:
        for inputs, labels, places in distribute_batches(trainer.strategy, pipeline):
            trainer.model.optimizer.learning_rate = rate = trainer.rate(state.step, state)
            pending.append(trainer.step(inputs, labels))
            before, state.place = state.place, next_position(trainer.strategy, places, batch)
            state.step += 1
            now = time.monotonic()
            state.seconds, began = state.seconds + now - began, now
            if trainer.is_check_due(state.step):
                _add_results(pending, state, trainer.run)
                trainer.events.scalars(state.step, loss=state.loss / state.seen, learning_rate=rate)
                _save_or_stop(trainer, state)
            progress.advance(state.place - before, _note(state))
            _report_first_unreadable(trainer, progress)
    _add_results(pending, state, trainer.run)
    _check_frozen(trainer.model, frozen)
    if not state.seen:
        raise ValueError(
            f"Expected at least a batch of {batch} readable pictures to learn from. Received fewer, and "
            f"{_counted(len(trainer.data.skipped.reasons), 'file')} that cannot be read"
        )


def _save_or_stop(trainer: Trainer, state: TrainingState) -> None:
    """Save where it is time to; stop where any worker was asked to."""
    stop = sum_over_workers(trainer.strategy, bool(trainer.stop_signals)) > 0
    if stop or time.monotonic() - trainer.saved > 60 * trainer.options.checkpoint_minutes:
        trainer.save(state)
    if stop:
        sum_over_workers(trainer.strategy, 0)  # All wait until the first has saved.
        saved = "all is saved" if trainer.run.writes else "as all workers do; the first one has saved all"
        raise Stopped(f"stopped in epoch {state.epoch + 1}; {saved} in {trainer.run.folder}")


def _validate(trainer: Trainer, state: TrainingState) -> dict[str, float]:
    """Loss and errors on the validation pictures; every worker measures all of them."""
    sums, count = np.zeros(3), 0
    validation = batches(
        trainer.data.validation, trainer.data.preprocessing, VALIDATION_BATCH, skipped=trainer.data.skipped
    )
    with Progress(len(trainer.data.validation), "pictures", note="validation") as progress:
        for number, (inputs, labels, _) in enumerate(validation):
            if trainer.is_check_due(number):
                _save_or_stop(trainer, state)
            sums += [float(part) for part in trainer.measure(inputs, labels)]
            count += len(labels)
            progress.advance(len(labels), f"validation, error {sums[1] / count:.1%}")
            _report_first_unreadable(trainer, progress)
    if not count:
        raise ValueError("Expected validation pictures that can be read. Received none.")
    loss, wrong, wrong5 = sums / count
    figures = {"validation_loss": loss, "validation_error": 100 * wrong}
    return figures | (
        {"validation_top5_error": 100 * wrong5} if len(trainer.data.training.classes) >= TOP5_CLASSES else {}
    )


def _report_first_unreadable(trainer: Trainer, progress: Progress) -> None:
    """Say of the first file that cannot be read, while there is time to stop; the others are said at the end."""
    news = trainer.data.skipped.news()
    if news:
        progress.say(f"tfalexnet: {news}")


def _add_results(pending: list[tuple[tf.Tensor, ...]], state: TrainingState, run: RunFolder) -> None:
    """Add what steps have given to the sums; nothing is kept that comes after a loss of NaN."""
    for loss, wrong, seen in pending:
        if not math.isfinite(float(loss)):
            raise run.diverged(f"a loss of {float(loss)}", state)
        state.loss += float(loss)
        state.wrong += float(wrong)
        state.seen += float(seen)
    pending.clear()


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _note(state: TrainingState) -> str:
    if not state.seen:
        return f"epoch {state.epoch + 1}"
    return f"epoch {state.epoch + 1}, loss {state.loss / state.seen:.3f}, error {state.wrong / state.seen:.1%}"


def _row(state: TrainingState, rate: float) -> dict[str, float]:
    return {
        "epoch": state.epoch + 1,
        "step": state.step,
        "learning_rate": rate,
        "loss": state.loss / state.seen,
        "error": 100 * state.wrong / state.seen,
        "seconds": round(state.seconds, 1),
    }


def _frozen(model: keras.Model) -> dict[str, np.ndarray]:
    """Kernels and biases that must not change, by path."""
    return {v.path: np.array(v) for v in model.variables if not v.trainable and variable_role(v) in ("kernel", "bias")}


def _check_frozen(model: keras.Model, before: dict[str, np.ndarray]) -> None:
    for variable in model.variables:
        if variable.path in before and not np.array_equal(np.array(variable), before[variable.path]):
            raise RuntimeError(f"{variable.path} is frozen and has changed.")


@contextmanager
def _collect_stop_signals(asked: list[int]) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM fill the list, between two steps; the second one ends at once."""

    def ask(number: int, _: Any) -> None:
        asked.append(number)
        for kind, handler in before.items():
            signal.signal(kind, handler)

    before = {}
    try:
        for kind in (signal.SIGINT, signal.SIGTERM):
            before[kind] = signal.signal(kind, ask)
    except ValueError:  # Not the main thread, which alone may.
        before.clear()
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def translate_errors(skipped: Skipped) -> Iterator[None]:
    """What went wrong while a picture was read, with another worker, or with memory is said plainly."""
    try:
        yield
    except tf.errors.OpError as error:
        # Frames hold the iterator, whose threads would wait for the interpreter that ends for ever.
        traceback.clear_frames(error.__traceback__)
        if skipped.error is not None:
            raise skipped.error from None
        if isinstance(error, GONE):
            raise TrainingError(
                "Another worker is gone; see what it has said. Start all of them again, each with its command."
            ) from None
        if isinstance(error, tf.errors.ResourceExhaustedError):
            raise TrainingError(
                "Expected memory for a step. There is not enough; try a smaller --batch-size."
            ) from None
        raise
