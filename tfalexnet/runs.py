"""A training that can be stopped anywhere and goes on where it was."""

from __future__ import annotations

import dataclasses
import math
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfalexnet import __version__, checkpoints, classes, data, towers
from tfalexnet.alexnet import AlexNet
from tfalexnet.architectures import Architecture
from tfalexnet.data import Labelled, Skipped
from tfalexnet.files import sha256
from tfalexnet.logbook import Logbook, State, TrainingError
from tfalexnet.model import parameters_of
from tfalexnet.preprocessing import Preprocessing
from tfalexnet.progress import Progress
from tfalexnet.training import Recipe, kind
from tfalexnet.weights import find

VALIDATION_BATCH = 64
TOP5_CLASSES = 6  # From here on the five best are not all.


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
        precision: "float32", or "mixed_bfloat16" for products in bfloat16.
        seed: of initial weights, order, augmentation and dropout.
        strict: whether a file that cannot be read ends the training.
        log_interval: steps between two looks at loss and error.
        checkpoint_minutes: between two checkpoints within an epoch; one more follows each epoch.
        deterministic: whether every operation gives the same bits in every run, which is slower.
    """

    weights: str | os.PathLike | None = None
    freeze_until: str | None = None
    devices: tuple[str, str] | None = None
    dropout: float | None = None
    precision: str = "float32"
    seed: int = 2012
    strict: bool = False
    log_interval: int = 10
    checkpoint_minutes: float = 5.0
    deterministic: bool = False


def train(
    training: Labelled,
    validation: Labelled,
    architecture: Architecture,
    recipe: Recipe,
    output: str | os.PathLike,
    options: Options = Options(),
    strategy: tf.distribute.Strategy | None = None,
) -> Path:
    """Train, or go on with a training, and write a model that `tfalexnet.predict` takes.

    The folder holds `run.json` (what is trained, with what), `checkpoint.npz`, `log.csv`, TensorBoard's
    logs, and at the end `curve.png` and `model.weights.h5`. Called again with the same arguments it goes
    on from the checkpoint, to the same weights as without a stop; with more epochs, further.

    Args:
        training: the pictures to learn from.
        validation: those that the error is measured on after each epoch.
        architecture: the network, which gets as many classes as the pictures have.
        recipe: batch, epochs and all that belongs to learning.
        output: the folder.
        options: how.
        strategy: to spread each batch over devices or machines.

    Returns:
        The file of the model.

    Raises:
        ValueError: arguments or data that do not fit, or a folder of another training.
        TrainingError: the loss is no number any more.
        Stopped: Ctrl-C or SIGTERM; the state is saved.
        OSError: a file cannot be read or written.
    """
    if options.devices:
        towers.checked(options.devices)  # Before anything else uses TensorFlow.
    strategy = strategy or tf.distribute.get_strategy()
    net = architecture.with_classes(len(training.classes))
    process = _preprocessing(net, options.weights)
    if options.weights is not None:
        _check_classes(training.classes, options.weights)
    if options.devices and strategy.num_replicas_in_sync > 1:
        raise ValueError("Expected `devices` for two towers or a `strategy` of several replicas. Received: both")
    if options.freeze_until is not None and options.weights is None:
        raise ValueError("Expected `weights` with `freeze_until`: fresh layers must learn. Received: none")
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.precision)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        model = _model(net, options)
        recipe.compile(model)
        model.optimizer.build(model.trainable_variables)
    data.batches(
        training, process, recipe.batch, recipe.augment
    )  # What is wrong with it is said before RUN is taken.
    run = Logbook(Path(output), _chief(strategy))
    run.claim(_described(training, validation, net, recipe, options, process, strategy.num_replicas_in_sync))
    state = run.resume(model) or State()
    steps = len(training) // recipe.batch
    run.greet(state, training, validation, net, recipe)
    step, validate = functions(model, recipe, strategy)
    frozen = {v.path: np.array(v) for v in model.variables if not v.trainable and kind(v) in ("kernel", "bias")}
    skipped = Skipped(options.strict or strategy.num_replicas_in_sync > 1)
    with _stoppable() as stop, run.logs() as logs, _plain_errors(skipped):
        while state.epoch < recipe.epochs:
            batches = _distributed(strategy, training, process, recipe, options, state, skipped)
            began = saved = time.monotonic()
            pending: list[tuple[tf.Tensor, ...]] = []
            note = _note(state)
            with Progress(steps * recipe.batch, "pictures", start=state.place, note=note) as progress:
                for inputs, labels, places in batches:
                    rate = recipe.rate(state.step, steps * recipe.epochs, state.errors)
                    model.optimizer.learning_rate = rate
                    pending.append(step(inputs, labels))
                    state.step += 1
                    before, state.place = state.place, _after(strategy, places, recipe.batch)
                    if len(pending) == options.log_interval or stop:
                        _settle(pending, state, run)
                        logs.scalars(state.step, loss=state.loss / state.seen, learning_rate=rate)
                    progress.advance(state.place - before, _note(state))
                    if frozen:
                        _check_frozen(model, frozen)
                        frozen = {}
                    if stop or time.monotonic() - saved > 60 * options.checkpoint_minutes:
                        _settle(pending, state, run)
                        state.seconds += time.monotonic() - began
                        run.save(model, state)
                        began = saved = time.monotonic()
                        if stop:
                            raise Stopped(f"stopped in epoch {state.epoch + 1}; all is saved in {run.folder}")
            _settle(pending, state, run)
            if not state.seen:
                raise ValueError(f"Expected pictures that can be read. Received {len(skipped.reasons)} that cannot.")
            state.seconds += time.monotonic() - began
            row = _row(state, recipe.rate(state.step - 1, steps * recipe.epochs, state.errors))
            row |= validate(data.batches(validation, process, VALIDATION_BATCH, skipped=skipped))
            state.history.append(row)
            state.epoch, state.place, state.loss, state.wrong, state.seen = state.epoch + 1, 0, 0.0, 0.0, 0.0
            run.save(model, state)
            kernel, _ = parameters_of(model)["conv1"]
            logs.epoch(row, kernel[:, :, ::-1] if process.channels == "BGR" else kernel)
            run.tell(row, recipe.epochs)
    data.report(skipped)
    return run.finish(model, net, process, training.classes, state)


def strategy(name: str | None) -> tf.distribute.Strategy | None:
    """By name: "mirrored" spreads a batch over the GPUs of this machine, "multi-worker" over those of TF_CONFIG."""
    kinds = {
        None: lambda: None,
        "mirrored": tf.distribute.MirroredStrategy,
        "multi-worker": tf.distribute.MultiWorkerMirroredStrategy,
    }
    return kinds[name]()


def _preprocessing(net: Architecture, weights: str | os.PathLike | None) -> Preprocessing:
    """That of the weights; or, for fresh ones, that of their network."""
    process = checkpoints.describe(find(weights))[0] if weights is not None else None
    return process or data.PREPARED[net.name]


def _check_classes(names: tuple[str, ...], weights: str | os.PathLike) -> None:
    """Weights that know as many classes are those of the same classes, in the same order."""
    _, known = checkpoints.describe(find(weights))
    if len(known) != len(names) or known == classes.numbered(len(known)):
        return
    for name, entry in zip(names, known, strict=True):
        if name not in (entry.wnid, entry.label):
            raise ValueError(
                f"Expected the classes of {os.fspath(weights)}, as the data has as many ({len(names)}): "
                f"{entry.label!r}. Received: {name!r}. Rename or reorder them (--classes)."
            )


def _described(
    training: Labelled,
    validation: Labelled,
    net: Architecture,
    recipe: Recipe,
    options: Options,
    process: Preprocessing,
    replicas: int,
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
        "weights_sha256": None if options.weights is None else sha256(find(options.weights)),
        "preprocessing": process.described(),
        "replicas": replicas,
        "versions": {
            "tfalexnet": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def _model(net: Architecture, options: Options) -> keras.Model:
    model = AlexNet(
        net,
        weights=options.weights,
        classes=net.classes,
        devices=options.devices,
        classifier_activation=None,
        dropout=options.dropout,
    )
    if options.freeze_until is not None:
        names = [layer.name for layer in model.layers]
        weighted = [row.name for row in net.weighted]
        if options.freeze_until not in weighted:
            raise ValueError(
                f"Expected `freeze_until` to be one of {', '.join(weighted)}. Received: {options.freeze_until!r}"
            )
        for layer in model.layers[: names.index(options.freeze_until)]:
            layer.trainable = False
    return model


def functions(model: keras.Model, recipe: Recipe, strategy: tf.distribute.Strategy) -> tuple[Callable, Callable]:
    """A training step, and the measuring of a data set."""
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

    def validate(batches: tf.data.Dataset) -> dict[str, float]:
        sums, count = np.zeros(3), 0
        for inputs, labels, _ in batches:
            sums += [float(part) for part in measure(inputs, labels)]
            count += len(labels)
        if not count:
            raise ValueError("Expected validation pictures that can be read. Received none.")
        loss, wrong, wrong5 = sums / count
        figures = {"validation_loss": loss, "validation_error": 100 * wrong}
        return figures | ({"validation_top5_error": 100 * wrong5} if model.output_shape[-1] >= TOP5_CLASSES else {})

    return step, validate


def _distributed(
    strategy: tf.distribute.Strategy,
    training: Labelled,
    process: Preprocessing,
    recipe: Recipe,
    options: Options,
    state: State,
    skipped: Skipped,
) -> Any:
    """The rest of the running epoch, each replica's part on its device."""

    def pipeline(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        shard = (context.input_pipeline_id, context.num_input_pipelines) if context else (0, 1)
        replicas = strategy.num_replicas_in_sync // shard[1]
        return data.batches(
            training,
            process,
            recipe.batch,
            recipe.augment,
            options.seed,
            epoch=state.epoch,
            start=state.place,
            shard=shard,
            replicas=replicas,
            skipped=skipped,
        )

    if strategy.num_replicas_in_sync == 1:
        return pipeline()
    return strategy.distribute_datasets_from_function(pipeline)


def _after(strategy: tf.distribute.Strategy, places: Any, batch: int) -> int:
    """The place behind a batch, of which other workers may have the end."""
    last = max(int(part.numpy().max()) for part in strategy.experimental_local_results(places))
    return last + 1 if strategy.num_replicas_in_sync == 1 else (last // batch + 1) * batch


def _settle(pending: list[tuple[tf.Tensor, ...]], state: State, run: Logbook) -> None:
    """Add what steps have given to the sums; nothing is kept that comes after a loss of NaN."""
    for loss, wrong, seen in pending:
        if not math.isfinite(float(loss)):
            raise run.diverged(f"a loss of {float(loss)}", state)
        state.loss += float(loss)
        state.wrong += float(wrong)
        state.seen += float(seen)
    pending.clear()


def _note(state: State) -> str:
    if not state.seen:
        return f"epoch {state.epoch + 1}"
    return f"epoch {state.epoch + 1}, loss {state.loss / state.seen:.3f}, error {state.wrong / state.seen:.1%}"


def _row(state: State, rate: float) -> dict[str, float]:
    return {
        "epoch": state.epoch + 1,
        "step": state.step,
        "learning_rate": rate,
        "loss": state.loss / state.seen,
        "error": 100 * state.wrong / state.seen,
        "seconds": round(state.seconds, 1),
    }


def _check_frozen(model: keras.Model, before: dict[str, np.ndarray]) -> None:
    for variable in model.variables:
        if variable.path in before and not np.array_equal(np.array(variable), before[variable.path]):
            raise RuntimeError(f"{variable.path} is frozen and has changed.")


def _chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes: the cluster's chief, or its first worker where there is none."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    return (resolver.task_type, resolver.task_id) == (first, 0)


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """A list that the first Ctrl-C or SIGTERM fills, between two steps; the second one ends at once."""
    asked: list[int] = []

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
        yield asked
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


@contextmanager
def _plain_errors(skipped: Skipped) -> Iterator[None]:
    """What went wrong while a picture was read, or with another worker, is said plainly."""
    try:
        yield
    except tf.errors.OpError as error:
        if skipped.error is not None:
            raise skipped.error from None
        if isinstance(error, tf.errors.UnavailableError | tf.errors.AbortedError | tf.errors.DeadlineExceededError):
            raise TrainingError("Another worker is gone. Start all of them again, each with its command.") from None
        raise
