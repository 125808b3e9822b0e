"""The folder of a run: its description, checkpoint, log and model, and lines on its progress."""

import csv
import dataclasses
import json
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.figures.training_curves import DESCRIPTION, LOG
from tfalexnet.hub.cache import RUN_MODEL
from tfalexnet.io.files import PART, atomic_write
from tfalexnet.training.events import EVENTS
from tfalexnet.training.options import Options
from tfalexnet.training.run_figures import write_figures

# The files of a run, besides TensorBoard's logs and the figures.
CHECKPOINT = "checkpoint.npz"
MODEL, BEST = RUN_MODEL, "best.weights.h5"  # After the last epoch; after that of the lowest validation error.
# Entries of the description that may differ when a run is resumed. Weights are compared by digest, not by path.
MAY_CHANGE = {"epochs", "versions", "origin", "options.weights", "options.strict", "options.early_stopping"}
# Options that are missing in the description of an older version have their defaults.
DEFAULTS = {f"options.{name}": value for name, value in dataclasses.asdict(Options()).items()}
# The flags of entries, where the flag is not --<name of the option>.
FLAGS = {
    "architecture": "--architecture",
    "replicas": "the number of replicas (--strategy)",
    "recipe.source": "--recipe",
    "recipe.batch": "--batch-size",
    "recipe.learning_rate": "--learning-rate",
    "recipe.augment": "--augment",
}
# Entries whose values say nothing to a user.
OPAQUE = {
    "training": "other training pictures",
    "validation": "other validation pictures",
    "weights_sha256": "other weights (--weights)",
    "preprocessing": "another preprocessing",
}
METRICS = ("loss", "error", "validation_loss", "validation_error")  # Of the line of an epoch.


class TrainingError(ValueError):
    """A training that cannot continue; its last checkpoint is intact."""


@dataclass
class TrainingState:
    """The progress of a training, besides the variables of model and optimizer.

    Attributes:
        epoch: number of the current epoch, from 0.
        position: pictures of it that are done.
        step: steps done in all.
        loss, wrong, seen: sums over the pictures of the current epoch: losses, top-1 errors, pictures.
        seconds: time of training, in all.
        history: a row of metrics for each complete epoch.
        unreadable: the files that could not be read, with the reasons.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    loss: float = 0.0
    wrong: float = 0.0
    seen: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> list[float]:
        """Validation error by epoch, in percent."""
        return [row["validation_error"] for row in self.history]

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, with the lowest validation error; the first of several, and 0 without a history."""
        return min(range(len(self.history)), key=self.errors.__getitem__, default=-1) + 1

    def is_stopped_early(self, patience: int | None) -> bool:
        """Return whether the validation error has not been lower for `patience` epochs; None for no early stop."""
        return patience is not None and self.epoch - self.best_epoch >= patience

    def end_epoch(self, row: dict[str, float]) -> None:
        """Append the metrics of the current epoch to the history, and start the next epoch."""
        self.history.append(row)
        self.epoch, self.position, self.loss, self.wrong, self.seen = self.epoch + 1, 0, 0.0, 0.0, 0.0


class RunFolder:
    """The folder of a run.

    Args:
        folder: its path.
        writes: whether this process writes files and reports; of several workers only one does.
    """

    def __init__(self, folder: Path, writes: bool) -> None:
        self.folder, self.writes = folder, writes

    def check(self, description: dict[str, Any]) -> int | None:
        """Return the number of epochs planned before if the folder is that of this run, None if it is new.

        The folder of another run counts as new until that run has saved a checkpoint.

        Raises:
            ValueError: the folder is that of another run, or holds other files, or `run.json` is damaged.
        """
        path = self.folder / DESCRIPTION
        if path.exists():
            current = _flatten(json.loads(json.dumps(description)))
            try:
                before = _flatten(json.loads(path.read_text("utf-8")))
                differences = _differences(before, current)
            except (AttributeError, TypeError, ValueError):
                raise ValueError(
                    f"{path}: expected the description of a training; received a damaged one. Restore it, or choose "
                    "another --output."
                ) from None
            if not differences:
                return before.get("epochs")
            if not all(file.name in (DESCRIPTION, EVENTS) or _is_partial(file) for file in self.folder.iterdir()):
                raise ValueError(
                    f"Expected {self.folder} to be the folder of this training, or new. It is that of another: "
                    f"{'; '.join(differences)}. Choose another --output, or the settings of before."
                )
        elif self.writes and self.folder.exists() and not all(map(_is_partial, self.folder.iterdir())):
            raise ValueError(f"Expected {self.folder} to be the folder of a training, or empty. It is neither.")
        return None

    def claim(self, description: dict[str, Any]) -> None:
        """Write the description, and delete files that a killed process left incomplete."""
        if self.writes:
            for partial in filter(_is_partial, self.folder.glob(".*")):
                partial.unlink()
            with atomic_write(self.folder / DESCRIPTION) as temporary:
                temporary.write_text(json.dumps(description, indent=1, ensure_ascii=False), "utf-8")

    def resume(self, model: keras.Model) -> TrainingState:
        """Set model and optimizer to the checkpoint, and return its state; without a checkpoint, a new state.

        Raises:
            ValueError: the checkpoint is damaged, or of another network.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return TrainingState()
        variables = _variables_by_name(model)
        try:
            with path.open("rb") as file, np.load(file) as archive:
                arrays = {name: archive[name] for name in variables}
                state = json.loads(archive["state"].tobytes())
            state["position"] = state.pop("place")  # The name in the file is that of version 0.1.0.
            state = TrainingState(**state)
            for name, variable in variables.items():
                if arrays[name].shape != tuple(variable.shape):
                    raise ValueError(
                        f"{variable.path}: expected {tuple(variable.shape)}, received {arrays[name].shape}"
                    )
        except (AttributeError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: expected the checkpoint of this training; received a damaged one, or one of another network "
                f"({error}). Delete it to start again, or restore it."
            ) from None
        for name, variable in variables.items():
            variable.assign(arrays[name])
        return state

    def save(self, model: keras.Model, state: TrainingState, best: Checkpoint | None = None) -> None:
        """Write the checkpoint, completely or not at all, and the log.

        Args:
            model: with the variables to save.
            state: the progress.
            best: the model, if its validation error is the lowest so far. It is written before the checkpoint: after
                a kill between them the epoch is repeated.

        Raises:
            TrainingError: a weight is not finite.
        """
        if not self.writes:
            return
        arrays = {name: np.array(variable) for name, variable in _variables_by_name(model).items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):  # A ReLU can hide it from the loss.
            raise self.divergence("weights that are not finite", state)
        if best is not None:
            write_checkpoint(self.folder / BEST, best, source="tfalexnet train")
        fields = dataclasses.asdict(state)
        fields["place"] = fields.pop("position")
        with atomic_write(self.folder / CHECKPOINT) as temporary, temporary.open("wb") as file:
            np.savez(file, state=np.frombuffer(json.dumps(fields).encode(), np.uint8), **arrays)
        self._write_log(state)

    def divergence(self, received: str, state: TrainingState) -> TrainingError:
        """Return the error for a loss or weights that are not finite."""
        older = f" The checkpoint in {self.folder} is older." if (self.folder / CHECKPOINT).exists() else ""
        return TrainingError(
            f"Expected finite loss and weights. Received: {received}, by step {state.step}. A smaller "
            f"--learning-rate may help.{older}"
        )

    def report(self, title: str, row: dict[str, float]) -> None:
        """Print a line of metrics."""
        if self.writes:
            formats = {name: "{:.1f} %" if name.endswith("error") else "{:.3f}" for name in METRICS if name in row}
            metrics = [f"{name.replace('_', ' ')} {text.format(row[name])}" for name, text in formats.items()]
            print(f"{title}: {', '.join(metrics)}", flush=True)

    def finish(self, checkpoint: Checkpoint, state: TrainingState) -> Path:
        """Write the log, the model and, with Matplotlib, the figures; return the path of the model."""
        path = self.folder / MODEL
        if self.writes:
            self._write_log(state)  # A kill between checkpoint and log may have prevented it.
            write_checkpoint(path, checkpoint, source="tfalexnet train")
            best = state.best_epoch
            if best != state.epoch and (self.folder / BEST).exists():
                error = state.errors[best - 1]
                print(
                    f"Epoch {best} is the first with the lowest validation error, {error:.1f} %: {self.folder / BEST}"
                )
            write_figures(self.folder, checkpoint.spec.architecture, state.history)
        return path

    def _write_log(self, state: TrainingState) -> None:
        if state.history:
            path = self.folder / LOG
            with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="ascii") as file:
                writer = csv.DictWriter(file, state.history[-1], restval="")
                writer.writeheader()
                writer.writerows(state.history)


def _variables_by_name(model: keras.Model) -> dict[str, Any]:
    """Return every variable of model and optimizer by a unique name."""
    variables = [*model.variables, *model.optimizer.variables]
    return {f"{i}.{variable.name}".replace("/", "."): variable for i, variable in enumerate(variables)}


def _is_partial(file: Path) -> bool:
    """Return whether a killed process left the file incomplete."""
    return file.name.startswith(".") and file.suffix == PART


def _differences(before: dict[str, Any], current: dict[str, Any]) -> list[str]:
    """Return the differences between two flat descriptions, in the terms of the command line."""
    lines = {}  # A dict, as several entries may have the same line.
    for name in before | current:
        old, new, group = before.get(name, DEFAULTS.get(name)), current.get(name), name.split(".")[0]
        if old == new or {name, group} & MAY_CHANGE:
            continue
        if group in OPAQUE:
            lines[OPAQUE[group]] = None
        elif name == "classes" and old and len(old) == len(new):
            index = next(i for i, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])
            lines[f"class {index} was {old[index]!r}, is {new[index]!r} (--classes)"] = None
        elif name == "classes":
            lines[f"the number of classes was {len(old or ())}, is {len(new)}"] = None
        elif group != "recipe" or name in FLAGS or before.get("recipe.source") == current.get("recipe.source"):
            flag = FLAGS.get(name, name.replace("options.", "--").replace("_", "-"))
            lines[f"{flag} was {_shorten(old)}, is {_shorten(new)}"] = None
    return list(lines)


def _flatten(description: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested entries as {"outer.inner": value}."""
    entries = {}
    for name, value in description.items():
        entries |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return entries


def _shorten(value: Any) -> str:
    text = value if isinstance(value, str) else "not given" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
