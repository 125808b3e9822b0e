"""A training that can be stopped anywhere and goes on where it was, and the folder that keeps it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfalexnet import __version__, checkpoints, classes, data, figures
from tfalexnet.alexnet import AlexNet
from tfalexnet.architectures import Architecture
from tfalexnet.data import Labelled, Skipped
from tfalexnet.files import replacing, sha256
from tfalexnet.model import parameters_of
from tfalexnet.preprocessing import Preprocessing
from tfalexnet.progress import Progress
from tfalexnet.training import Recipe
from tfalexnet.weights import find

# What a run's folder holds, besides TensorBoard's logs.
DESCRIPTION, CHECKPOINT, LOG, MODEL, CURVE = "run.json", "checkpoint.npz", "log.csv", "model.weights.h5", "curve.png"
MAY_CHANGE = ("epochs", "versions")  # Of the description, when a run goes on.
VALIDATION_BATCH = 64
TOP5_CLASSES = 6  # From here on the five best are not all.


class TrainingError(ValueError):
    """A training that cannot go on; its last checkpoint is kept."""


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


@dataclass
class State:
    """Where a training is, beside the variables of model and optimizer.

    Attributes:
        epoch: the number of the running epoch, from 0.
        place: how many pictures of it are done.
        step: steps done in all.
        loss, wrong, seen: sums over the pictures of the running epoch.
        seconds: of training, in all.
        history: a row for each epoch that is done.
    """

    epoch: int = 0
    place: int = 0
    step: int = 0
    loss: float = 0.0
    wrong: float = 0.0
    seen: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def errors(self) -> list[float]:
        """Validation error by epoch."""
        return [row["validation_error"] for row in self.history]


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
    strategy = strategy or tf.distribute.get_strategy()
    net = architecture.with_classes(len(training.classes))
    process = _preprocessing(net, options.weights)
    if options.weights is not None:
        _check_classes(training.classes, options.weights)
    run = _Run(Path(output), _chief(strategy))
    run.claim(_described(training, validation, net, recipe, options, process, strategy.num_replicas_in_sync))
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.precision)
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    with strategy.scope():
        model = _model(net, options)
        recipe.compile(model)
        model.optimizer.build(model.trainable_variables)
    state = run.resume(model) or State()
    steps = len(training) // recipe.batch
    run.greet(state, training, validation, net, recipe)
    step, validate = functions(model, recipe, strategy)
    frozen = {v.path: np.array(v) for v in model.variables if not v.trainable and v.path.endswith(("kernel", "bias"))}
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
            logs.epoch(row, model)
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


def _settle(pending: list[tuple[tf.Tensor, ...]], state: State, run: _Run) -> None:
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
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_type or (resolver.task_type, resolver.task_id) in FIRST


FIRST = (("chief", 0), ("worker", 0))


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


class _Run:
    """The folder of a run; of several workers the first one writes."""

    def __init__(self, folder: Path, writes: bool) -> None:
        self.folder, self.writes = folder, writes

    def claim(self, described: dict[str, Any]) -> None:
        """Note what is trained, or see that it is what was noted."""
        described = json.loads(json.dumps(described))
        path = self.folder / DESCRIPTION
        if path.exists():
            before = _flat(json.loads(path.read_text("utf-8")))
            differing = [
                f"{name} was {_short(before.get(name))}, is {_short(value)}"
                for name, value in _flat(described).items()
                if before.get(name) != value and name.split(".")[0] not in MAY_CHANGE
            ]
            if differing:
                raise ValueError(
                    f"Expected {self.folder} to be the folder of this training, or new. It is that of another: "
                    f"{'; '.join(differing)}. Choose another output."
                )
        elif self.writes and self.folder.exists() and any(self.folder.iterdir()):
            raise ValueError(f"Expected {self.folder} to be the folder of a training, or empty. It is neither.")
        if self.writes:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(described, indent=1, ensure_ascii=False), "utf-8")

    def greet(
        self, state: State, training: Labelled, validation: Labelled, net: Architecture, recipe: Recipe
    ) -> None:
        """Say what is trained, and from where."""
        if self.writes:
            print(
                f"{net.name}: {len(training):,} pictures of {net.classes} classes, {len(validation):,} for "
                f"validation; {recipe.epochs} epochs of {len(training) // recipe.batch} steps of {recipe.batch} "
                f"pictures, {recipe.optimizer}, learning rate {recipe.learning_rate:g}"
            )
            if state.step:
                print(f"Going on in epoch {state.epoch + 1} after {state.place:,} pictures of it, {self.folder}")

    def resume(self, model: keras.Model) -> State | None:
        """Bring model and optimizer where the checkpoint is; None where there is none."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return None
        with np.load(path) as archive:
            for name, variable in _variables(model).items():
                variable.assign(archive[name])
            return State(**json.loads(archive["state"].tobytes()))

    def save(self, model: keras.Model, state: State) -> None:
        """Write the checkpoint, whole or not at all, and the log of the epochs that it knows."""
        if not self.writes:
            return
        arrays = {name: np.array(variable) for name, variable in _variables(model).items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):  # A ReLU can hide it from the loss.
            raise self.diverged("weights that are none", state)
        text = json.dumps(dataclasses.asdict(state)).encode()
        with replacing(self.folder / CHECKPOINT) as temporary, temporary.open("wb") as file:
            np.savez(file, state=np.frombuffer(text, np.uint8), **arrays)
        if state.history:
            with replacing(self.folder / LOG) as temporary, temporary.open("w", newline="", encoding="ascii") as file:
                writer = csv.DictWriter(file, state.history[-1], restval="")
                writer.writeheader()
                writer.writerows(state.history)

    def diverged(self, received: str, state: State) -> TrainingError:
        """What to say of a training that has left the numbers behind."""
        kept = f" The checkpoint in {self.folder} is of before." if (self.folder / CHECKPOINT).exists() else ""
        return TrainingError(
            f"Expected loss and weights to be numbers. Received: {received}, by step {state.step}. A smaller "
            f"--learning-rate may help.{kept}"
        )

    @contextmanager
    def logs(self) -> Iterator[_Logs]:
        """TensorBoard's."""
        writer = tf.summary.create_file_writer(str(self.folder)) if self.writes else tf.summary.create_noop_writer()
        with writer.as_default():
            yield _Logs()

    def tell(self, row: dict[str, float], epochs: int) -> None:
        """A line for an epoch."""
        if self.writes:
            print(
                f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, error {row['error']:.1f} %, validation loss "
                f"{row['validation_loss']:.3f}, validation error {row['validation_error']:.1f} %",
                flush=True,
            )

    def finish(
        self,
        model: keras.Model,
        net: Architecture,
        process: Preprocessing,
        names: tuple[str, ...],
        state: State,
    ) -> Path:
        """Write the model and the curve."""
        path = self.folder / MODEL
        if self.writes:
            parameters = parameters_of(model)
            checkpoint = checkpoints.Checkpoint(parameters, net, process, classes.named(names))
            checkpoints.write(path, checkpoint, source="tfalexnet train")
            try:
                figures.curve(state.history, net.name, self.folder / CURVE)
            except ModuleNotFoundError as error:
                print(error)
        return path


class _Logs:
    """TensorBoard's summaries, in the plain form that needs no package of its own."""

    def scalars(self, step: int, **values: float) -> None:
        for name, value in values.items():
            _summary(name, tf.constant(value, tf.float32), step, "scalars")

    def epoch(self, row: dict[str, float], model: keras.Model) -> None:
        """The row's figures and the filters of the first convolution."""
        step = int(row["step"])
        self.scalars(step, **{name: value for name, value in row.items() if name not in ("epoch", "step")})
        kernel, _ = parameters_of(model)["conv1"]
        sheet = figures.filters(kernel)
        height, width = sheet.shape[:2]
        png = tf.io.encode_png(sheet)
        _summary("conv1", tf.stack([tf.as_string(width), tf.as_string(height), png]), step, "images")


def _summary(name: str, value: tf.Tensor, step: int, plugin: str) -> None:
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = plugin
    tf.summary.write(name, value, step, metadata)


def _variables(model: keras.Model) -> dict[str, Any]:
    """Every variable of model and optimizer, by a name of its own."""
    found = [*model.variables, *model.optimizer.variables]
    return {f"{i}.{variable.name}".replace("/", "."): variable for i, variable in enumerate(found)}


def _flat(description: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in description.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
