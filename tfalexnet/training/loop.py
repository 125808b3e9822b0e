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
from dataclasses import dataclass, field
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


@dataclass(kw_only=True)
class Job:
    """A training under way.

    Attributes:
        net: what is trained, with as many classes as the pictures have.
        process: how pictures are prepared.
        colours: directions and strengths of the paper's augmentation, (3, 3).
        model: compiled by the recipe, in the scope of the strategy.
        run: where all is noted; `events`, for TensorBoard.
        skipped: the files that could not be read.
        known: whether the weights that it starts from know these classes already.
        step, measure: see `compiled`.
        saved: when the last checkpoint was written.
        asked: to stop, by these signals.
    """

    training: Labelled
    validation: Labelled
    net: Architecture
    process: Preprocessing
    colours: np.ndarray
    recipe: Recipe
    options: Options
    strategy: tf.distribute.Strategy
    model: keras.Model
    run: RunFolder
    skipped: Skipped
    known: bool
    step: Callable = field(init=False)
    measure: Callable = field(init=False)
    events: EventWriter = field(init=False)
    saved: float = field(init=False, default_factory=time.monotonic)
    asked: list[int] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.step, self.measure = make_step_functions(self.model, self.recipe, self.strategy)
        self.events = EventWriter(self.run.folder, self.run.writes)

    @property
    def steps(self) -> int:
        """Those of an epoch."""
        return len(self.training) // self.recipe.batch

    @property
    def alone(self) -> bool:
        """Whether no other process learns too."""
        return worker_count(self.strategy) == 1

    def rate(self, step: int, state: TrainingState) -> float:
        """The learning rate of a step."""
        return self.recipe.rate(step, self.steps * self.recipe.epochs, state.errors)

    def looks(self, count: int) -> bool:
        """Whether to look after so many steps: workers at the same ones, a lone one also when asked to stop."""
        return count % self.options.log_interval == 0 or (self.alone and bool(self.asked))

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint, of several workers the first."""
        self.run.save(self.model, state)
        self.saved = time.monotonic()


def print_summary(job: Job, state: TrainingState, epochs: int | None) -> None:
    """Say what is trained, and from where; it was to have so many epochs."""
    if not job.run.writes:
        return
    net, recipe, steps = job.net, job.recipe, _counted(job.steps, "step")
    print(
        f"{net.name}: {_counted(len(job.training), 'picture')} of {net.classes} classes, {len(job.validation):,} for "
        f"validation; {_counted(recipe.epochs, 'epoch')} of {steps} of {_counted(recipe.batch, 'picture')}, "
        f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}"
    )
    if state.epoch == recipe.epochs:
        print(f"All epochs are done already, {job.run.folder}")
    elif state.step:
        where = f"after {_counted(state.place, 'picture')} of" if state.place else "at the start of"
        print(f"Going on {where} epoch {state.epoch + 1}, in {job.run.folder}")
        if epochs is not None and recipe.stretched(epochs):
            print(recipe.stretched(epochs))


def train_epochs(job: Job, state: TrainingState) -> None:
    """Go on from a state to the last epoch of the recipe.

    Raises:
        Stopped, TrainingError, ValueError, OSError: see `tfalexnet.runs.train`.
    """
    with _stoppable(job.asked):
        if job.known and not state.step:
            job.run.tell_before(_validated(job, state))
        while state.epoch < job.recipe.epochs:
            _epoch(job, state)
            row = _row(state, job.rate(state.step - 1, state)) | _validated(job, state)
            state.history.append(row)
            state.epoch, state.place, state.loss, state.wrong, state.seen = state.epoch + 1, 0, 0.0, 0.0, 0.0
            job.save(state)
            kernel, _ = get_parameters(job.model)["conv1"]
            job.events.epoch(row, kernel[:, :, ::-1] if job.process.channels == "BGR" else kernel)
            job.run.tell(row, job.recipe.epochs)


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


def _epoch(job: Job, state: TrainingState) -> None:
    """The rest of the running epoch."""
    batch = job.recipe.batch
    pipeline = functools.partial(
        batches,
        job.training,
        job.process,
        batch,
        job.recipe.augment,
        job.options.seed,
        epoch=state.epoch,
        start=state.place,
        skipped=job.skipped,
        colours=job.colours,
    )
    frozen = _frozen(job.model)
    pending: list[tuple[tf.Tensor, ...]] = []
    began = time.monotonic()
    with Progress(job.steps * batch, "pictures", start=state.place, note=_note(state)) as progress:
        for inputs, labels, places in distribute_batches(job.strategy, pipeline):
            job.model.optimizer.learning_rate = rate = job.rate(state.step, state)
            pending.append(job.step(inputs, labels))
            before, state.place = state.place, next_position(job.strategy, places, batch)
            state.step += 1
            now = time.monotonic()
            state.seconds, began = state.seconds + now - began, now
            if job.looks(state.step):
                _settle(pending, state, job.run)
                job.events.scalars(state.step, loss=state.loss / state.seen, learning_rate=rate)
                _look(job, state)
            progress.advance(state.place - before, _note(state))
            _tell_first(job, progress)
    _settle(pending, state, job.run)
    _check_frozen(job.model, frozen)
    if not state.seen:
        raise ValueError(
            f"Expected at least a batch of {batch} readable pictures to learn from. Received fewer, and "
            f"{_counted(len(job.skipped.reasons), 'file')} that cannot be read"
        )


def _look(job: Job, state: TrainingState) -> None:
    """Save where it is time to; stop where any worker was asked to."""
    stop = sum_over_workers(job.strategy, bool(job.asked)) > 0
    if stop or time.monotonic() - job.saved > 60 * job.options.checkpoint_minutes:
        job.save(state)
    if stop:
        sum_over_workers(job.strategy, 0)  # All wait until the first has saved.
        saved = "all is saved" if job.run.writes else "as all workers do; the first one has saved all"
        raise Stopped(f"stopped in epoch {state.epoch + 1}; {saved} in {job.run.folder}")


def _validated(job: Job, state: TrainingState) -> dict[str, float]:
    """Loss and errors on the validation pictures; every worker measures all of them."""
    sums, count = np.zeros(3), 0
    validation = batches(job.validation, job.process, VALIDATION_BATCH, skipped=job.skipped)
    with Progress(len(job.validation), "pictures", note="validation") as progress:
        for number, (inputs, labels, _) in enumerate(validation):
            if job.looks(number):
                _look(job, state)
            sums += [float(part) for part in job.measure(inputs, labels)]
            count += len(labels)
            progress.advance(len(labels), f"validation, error {sums[1] / count:.1%}")
            _tell_first(job, progress)
    if not count:
        raise ValueError("Expected validation pictures that can be read. Received none.")
    loss, wrong, wrong5 = sums / count
    figures = {"validation_loss": loss, "validation_error": 100 * wrong}
    return figures | ({"validation_top5_error": 100 * wrong5} if len(job.training.classes) >= TOP5_CLASSES else {})


def _tell_first(job: Job, progress: Progress) -> None:
    """Say of the first file that cannot be read, while there is time to stop; the others are said at the end."""
    news = job.skipped.news()
    if news:
        progress.say(f"tfalexnet: {news}")


def _settle(pending: list[tuple[tf.Tensor, ...]], state: TrainingState, run: RunFolder) -> None:
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
    return {
        v.path: np.array(v) for v in model.variables if not v.trainable and variable_role(v) in ("kernel", "bias")
    }


def _check_frozen(model: keras.Model, before: dict[str, np.ndarray]) -> None:
    for variable in model.variables:
        if variable.path in before and not np.array_equal(np.array(variable), before[variable.path]):
            raise RuntimeError(f"{variable.path} is frozen and has changed.")


@contextmanager
def _stoppable(asked: list[int]) -> Iterator[None]:
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
