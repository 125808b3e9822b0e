"""The training loop: steps, validation, checkpoints, and a stop at the same step on all workers."""

import functools
import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.data.batching import batches
from tfalexnet.figures.tiles import in_rgb
from tfalexnet.io.progress import Progress
from tfalexnet.networks.build import get_parameters
from tfalexnet.training.distribute import distribute_batches, next_position, sum_over_workers, worker_count
from tfalexnet.training.events import EventWriter
from tfalexnet.training.optimizer import variable_role
from tfalexnet.training.plan import Plan
from tfalexnet.training.run_figures import write_report
from tfalexnet.training.run_folder import RunFolder, TrainingState

VALIDATION_BATCH = 64
TOP5_CLASSES = 6  # With fewer classes the top-5 error is always 0.


class Stopped(KeyboardInterrupt):
    """A training that was asked to stop, and has saved its state.

    Attributes:
        signal: SIGINT or SIGTERM, which asked; SIGINT if another worker received it.
    """

    def __init__(self, message: str, signal: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal = signal


class Trainer:
    """Trains a model from a state to the last epoch of its recipe.

    Args:
        plan: pictures, recipe and options.
        model: compiled by the recipe, in the scope of the strategy.
        run: the folder that everything is written to.
        state: the progress so far; it is changed.
    """

    def __init__(self, plan: Plan, model: keras.Model, run: RunFolder, state: TrainingState) -> None:
        self.plan, self.model, self.run, self.state = plan, model, run, state
        self.step, self.measure = make_step_functions(model, plan.recipe.batch, plan.strategy, plan.class_weights)
        self.events = EventWriter(run.folder, run.writes)
        self.saved = time.monotonic()  # Time of the last checkpoint.
        self.answers: Counter[tuple[int, int]] = Counter()  # Of the last validation, by true class and best class.
        self.stop_signals: list[int] = []

    def train(self) -> None:
        """Train to the last epoch; initial weights with a classifier are evaluated first.

        Raises:
            Stopped, TrainingError, ValueError, OSError: see `tfalexnet.training.trainer.train`.
        """
        state, epochs = self.state, self.plan.recipe.epochs
        with _collect_stop_signals(self.stop_signals):
            if self.plan.has_classifier and not state.step:
                self.run.report("before training", self._validate())
            while state.epoch < epochs and not state.is_stopped_early(self.plan.options.early_stopping):
                self._train_epoch()
                row = self._training_metrics() | self._validate()
                state.end_epoch(row)
                is_best = state.best_epoch == state.epoch
                self._save(Checkpoint(get_parameters(self.model), self.plan.spec) if is_best else None)
                self._write_events(row)
                if self.run.writes:
                    write_report(self.run.folder, self.run.folder.name, self.plan.spec.classes, self.answers)
                self.run.report(f"epoch {state.epoch}/{epochs}", row)

    def _train_epoch(self) -> None:
        """Train on the rest of the current epoch."""
        state, batch = self.state, self.plan.recipe.batch
        pipeline = functools.partial(self.plan.training_batches, epoch=state.epoch, start=state.position)
        frozen = _frozen_arrays(self.model)
        pending: list[tuple[tf.Tensor, ...]] = []
        began = time.monotonic()
        with Progress(self.plan.steps * batch, "pictures", start=state.position, note=self._note()) as progress:
            for inputs, labels, positions in distribute_batches(self.plan.strategy, pipeline):
                self.model.optimizer.learning_rate = rate = self._rate(state.step)
                pending.append(self.step(inputs, labels))
                before, state.position = state.position, next_position(self.plan.strategy, positions, batch)
                state.step += 1
                now = time.monotonic()
                state.seconds, began = state.seconds + now - began, now
                if self._is_check_due(state.step):
                    self._add_results(pending)
                    self.events.write_scalars(state.step, loss=state.loss / state.seen, learning_rate=rate)
                    self._save_or_stop()
                progress.advance(state.position - before, self._note())
                self._report_first_unreadable(progress)
        self._add_results(pending)
        for path, array in _frozen_arrays(self.model).items():
            if not np.array_equal(array, frozen[path]):
                raise RuntimeError(f"{path} is frozen and has changed.")
        if not state.seen:
            raise ValueError(
                f"Expected at least a batch of {batch} readable training pictures. Received fewer; unreadable files: "
                f"{len(self.plan.skipped.reasons):,}"
            )

    def _validate(self) -> dict[str, float]:
        """Return loss and errors (percent) on the validation pictures; every worker measures all of them."""
        plan, sums, count = self.plan, np.zeros(3), 0
        self.answers.clear()
        validation = batches(plan.validation, plan.spec.preprocessing, VALIDATION_BATCH, skipped=plan.skipped)
        with Progress(len(plan.validation), "pictures", note="validation") as progress:
            for number, (inputs, labels, _) in enumerate(validation):
                if self._is_check_due(number):
                    self._save_or_stop()
                *parts, best = self.measure(inputs, labels)
                sums += [float(part) for part in parts]
                self.answers.update(zip(np.asarray(labels).tolist(), best.numpy().tolist(), strict=True))
                count += len(labels)
                progress.advance(len(labels), f"validation, error {sums[1] / count:.1%}")
                self._report_first_unreadable(progress)
        if not count:
            raise ValueError("Expected validation pictures that can be read. Received none.")
        loss, error, top5_error = sums / count
        metrics = {"validation_loss": loss, "validation_error": 100 * error}
        if plan.spec.architecture.classes >= TOP5_CLASSES:
            metrics["validation_top5_error"] = 100 * top5_error
        return metrics

    def _training_metrics(self) -> dict[str, float]:
        state = self.state
        return {
            "epoch": state.epoch + 1,
            "step": state.step,
            "learning_rate": self._rate(state.step - 1),
            "loss": state.loss / state.seen,
            "error": 100 * state.wrong / state.seen,
            "seconds": round(state.seconds, 1),
        }

    def _rate(self, step: int) -> float:
        return self.plan.recipe.rate(step, self.plan.steps * self.plan.recipe.epochs, self.state.errors)

    def _is_check_due(self, count: int) -> bool:
        """Return whether metrics and stop requests are read after `count` steps; the same steps on every worker."""
        stop_now = worker_count(self.plan.strategy) == 1 and bool(self.stop_signals)
        return stop_now or count % self.plan.options.log_interval == 0

    def _save(self, best: Checkpoint | None = None) -> None:
        self.state.unreadable = dict(self.plan.skipped.reasons)
        self.run.save(self.model, self.state, best)
        self.saved = time.monotonic()

    def _save_or_stop(self) -> None:
        """Save if a checkpoint is due; save and raise `Stopped` if any worker was asked to stop."""
        stop = sum_over_workers(self.plan.strategy, bool(self.stop_signals)) > 0
        if stop or time.monotonic() - self.saved > 60 * self.plan.options.checkpoint_minutes:
            self._save()
        if stop:
            sum_over_workers(self.plan.strategy, 0)  # All wait until the first worker has saved.
            saved = "all is saved" if self.run.writes else "as all workers do; the first one has saved all"
            message = f"stopped in epoch {self.state.epoch + 1}; {saved} in {self.run.folder}"
            raise Stopped(message, *self.stop_signals[:1])

    def _add_results(self, pending: list[tuple[tf.Tensor, ...]]) -> None:
        """Add the results of steps to the sums, and clear the list; raise `TrainingError` on a loss of NaN or inf."""
        for loss, wrong, seen in pending:
            if not math.isfinite(float(loss)):
                raise self.run.divergence(f"a loss of {float(loss)}", self.state)
            self.state.loss += float(loss)
            self.state.wrong += float(wrong)
            self.state.seen += float(seen)
        pending.clear()

    def _write_events(self, row: dict[str, float]) -> None:
        """Write an epoch's metrics and the filters of the first layer for TensorBoard."""
        metrics = {name: value for name, value in row.items() if name not in ("epoch", "step", "loss")}
        self.events.write_scalars(self.state.step, epoch_loss=row["loss"], **metrics)
        layer, (kernel, _) = next(iter(get_parameters(self.model).items()))
        self.events.write_filters(self.state.step, layer, in_rgb(kernel, self.plan.spec.preprocessing))

    def _report_first_unreadable(self, progress: Progress) -> None:
        """Report the first file that cannot be read at once, as the user may want to stop; the others at the end."""
        news = self.plan.skipped.news()
        if news:
            progress.say(f"tfalexnet: {news}")

    def _note(self) -> str:
        state = self.state
        metrics = f", loss {state.loss / state.seen:.3f}, error {state.wrong / state.seen:.1%}" if state.seen else ""
        return f"epoch {state.epoch + 1}{metrics}"


def make_step_functions(
    model: keras.Model, batch: int, strategy: tf.distribute.Strategy, class_weights: np.ndarray | None = None
) -> tuple[Callable, Callable]:
    """Return a training step and the evaluation of a batch; `class_weights` are factors of the loss in training.

    Returns:
        Two functions of inputs and labels. The first updates the weights, with the batch distributed over the
        replicas, and returns the sum of losses, the number of top-1 errors and the number of pictures; the second
        returns the sum of losses, the numbers of top-1 and top-5 errors, and the best classes.
    """
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits

    def replica_step(inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            losses = cross_entropy(labels, logits)
            if class_weights is not None:
                losses *= tf.gather(class_weights, labels)
            decay = tf.add_n(model.losses) if model.losses else 0.0
            # Every replica adds its share of the mean over the whole batch.
            loss = tf.reduce_sum(losses) / batch + decay / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        model.optimizer.apply(gradients, model.trainable_variables)
        wrong = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1) != labels, tf.float32))
        return tf.reduce_sum(losses), wrong, tf.cast(tf.size(labels), tf.float32)

    @tf.function
    def step(inputs: Any, labels: Any) -> tuple[tf.Tensor, ...]:
        results = strategy.run(replica_step, (inputs, labels))
        return tuple(strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None) for part in results)

    @tf.function
    def measure(inputs: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        logits = model(inputs, training=False)
        top5 = tf.math.in_top_k(labels, logits, min(5, logits.shape[1]))
        best = tf.argmax(logits, axis=1)
        wrong = tf.reduce_sum(tf.cast(best != labels, tf.int32))
        return tf.reduce_sum(cross_entropy(labels, logits)), wrong, tf.reduce_sum(tf.cast(~top5, tf.int32)), best

    return step, measure


def _frozen_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """Return the kernels and biases that are not trained, by path."""
    return {v.path: np.array(v) for v in model.variables if not v.trainable and variable_role(v) in ("kernel", "bias")}


@contextmanager
def _collect_stop_signals(received: list[int]) -> Iterator[None]:
    """Append the first SIGINT or SIGTERM to the list; a second one has its usual effect."""
    before: dict[int, Any] = {}

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    def receive(number: int, _: Any) -> None:
        received.append(number)
        restore()

    if threading.current_thread() is threading.main_thread():  # Only there can handlers be set.
        for kind in (signal.SIGINT, signal.SIGTERM):
            before[kind] = signal.signal(kind, receive)
    try:
        yield
    finally:
        restore()
