"""The folder of a run: what is trained with what, where it is, how it went, what came out."""

from __future__ import annotations

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
from tfalexnet.figures.curves import curve
from tfalexnet.io.files import atomic_write
from tfalexnet.training.events import EVENTS

# What a run's folder holds, besides TensorBoard's logs.
DESCRIPTION, CHECKPOINT, LOG, MODEL, CURVE = "run.json", "checkpoint.npz", "log.csv", "model.weights.h5", "curve.png"
# Of the description, when a run goes on. What weights hold is compared, not where they lie.
MAY_CHANGE = {"epochs", "versions", "origin", "options.weights", "options.strict"}
# What a user calls the description's entries, where that is not --<name of the option>; what has no value to show.
FLAGS = {
    "architecture": "--architecture",
    "replicas": "the number of replicas (--strategy)",
    "recipe.source": "--recipe",
    "recipe.batch": "--batch-size",
    "recipe.learning_rate": "--learning-rate",
    "recipe.augment": "--augment",
}
OTHER = {
    "training": "other pictures to learn from",
    "validation": "other pictures for validation",
    "weights_sha256": "other weights (--weights)",
    "preprocessing": "pictures prepared otherwise",
}


class TrainingError(ValueError):
    """A training that cannot go on; its last checkpoint is kept."""


@dataclass
class TrainingState:
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


class RunFolder:
    """The folder of a run; of several workers the first one writes."""

    def __init__(self, folder: Path, writes: bool) -> None:
        self.folder, self.writes = folder, writes

    def check(self, described: dict[str, Any]) -> int | None:
        """See that the folder is new, or that of this training; of that, how many epochs it was to have.

        Another training that has saved nothing yet leaves it new: a first try with a wrong flag costs no name.
        """
        path = self.folder / DESCRIPTION
        if path.exists():
            now = _flat(json.loads(json.dumps(described)))
            try:
                before = _flat(json.loads(path.read_text("utf-8")))
                differing = _differences(before, now)
            except (AttributeError, TypeError, ValueError):
                raise ValueError(
                    f"{path}: expected the description of a training; received a damaged one. Bring it back, or "
                    "choose another --output."
                ) from None
            if not differing:
                return before.get("epochs")
            if not all(map(_unlearnt, self.folder.iterdir())):
                raise ValueError(
                    f"Expected {self.folder} to be the folder of this training, or new. It is that of another: "
                    f"{'; '.join(differing)}. Choose another --output, or what it was."
                )
        elif self.writes and self.folder.exists() and not all(map(_left, self.folder.iterdir())):
            raise ValueError(f"Expected {self.folder} to be the folder of a training, or empty. It is neither.")
        return None

    def claim(self, described: dict[str, Any]) -> None:
        """Note what is trained."""
        if self.writes:
            for left in filter(_left, self.folder.glob(".*")):
                left.unlink()
            with atomic_write(self.folder / DESCRIPTION) as temporary:
                temporary.write_text(json.dumps(described, indent=1, ensure_ascii=False), "utf-8")

    def resume(self, model: keras.Model) -> TrainingState | None:
        """Bring model and optimizer where the checkpoint is; None where there is none."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return None
        try:
            with path.open("rb") as file, np.load(file) as archive:
                arrays = {name: archive[name] for name in _variables(model)}
                state = TrainingState(**json.loads(archive["state"].tobytes()))
        except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: expected the checkpoint of this training; received a damaged one ({error}). Delete it to "
                "begin anew, or bring it back."
            ) from None
        for name, variable in _variables(model).items():
            if arrays[name].shape != tuple(variable.shape):
                raise ValueError(
                    f"{path}: expected {variable.path} of shape {tuple(variable.shape)}; received "
                    f"{arrays[name].shape}. It is of another network; choose another output."
                )
        for name, variable in _variables(model).items():
            variable.assign(arrays[name])
        return state

    def save(self, model: keras.Model, state: TrainingState) -> None:
        """Write the checkpoint, whole or not at all, and the log of the epochs that it knows."""
        if not self.writes:
            return
        arrays = {name: np.array(variable) for name, variable in _variables(model).items()}
        if not all(np.isfinite(array).all() for array in arrays.values()):  # A ReLU can hide it from the loss.
            raise self.diverged("weights that are none", state)
        text = json.dumps(dataclasses.asdict(state)).encode()
        with atomic_write(self.folder / CHECKPOINT) as temporary, temporary.open("wb") as file:
            np.savez(file, state=np.frombuffer(text, np.uint8), **arrays)
        self.tabulate(state)

    def tabulate(self, state: TrainingState) -> None:
        """Write the log of the epochs that are done."""
        if state.history:
            with (
                atomic_write(self.folder / LOG) as temporary,
                temporary.open("w", newline="", encoding="ascii") as file,
            ):
                writer = csv.DictWriter(file, state.history[-1], restval="")
                writer.writeheader()
                writer.writerows(state.history)

    def diverged(self, received: str, state: TrainingState) -> TrainingError:
        """What to say of a training that has left the numbers behind."""
        kept = f" The checkpoint in {self.folder} is of before." if (self.folder / CHECKPOINT).exists() else ""
        return TrainingError(
            f"Expected loss and weights to be numbers. Received: {received}, by step {state.step}. A smaller "
            f"--learning-rate may help.{kept}"
        )

    def tell_before(self, row: dict[str, float]) -> None:
        """A line for the weights that a training starts from."""
        if self.writes:
            print(
                f"before training: validation loss {row['validation_loss']:.3f}, validation error "
                f"{row['validation_error']:.1f} %",
                flush=True,
            )

    def tell(self, row: dict[str, float], epochs: int) -> None:
        """A line for an epoch."""
        if self.writes:
            print(
                f"epoch {row['epoch']}/{epochs}: loss {row['loss']:.3f}, error {row['error']:.1f} %, validation loss "
                f"{row['validation_loss']:.3f}, validation error {row['validation_error']:.1f} %",
                flush=True,
            )

    def finish(self, checkpoint: Checkpoint, state: TrainingState) -> Path:
        """Write the model and the curve."""
        path = self.folder / MODEL
        if self.writes:
            self.tabulate(state)
            write_checkpoint(path, checkpoint, source="tfalexnet train")
            try:
                curve(state.history, checkpoint.spec.architecture.name, self.folder / CURVE)
            except ModuleNotFoundError as error:
                print(error)
        return path


def _variables(model: keras.Model) -> dict[str, Any]:
    """Every variable of model and optimizer, by a name of its own."""
    found = [*model.variables, *model.optimizer.variables]
    return {f"{i}.{variable.name}".replace("/", "."): variable for i, variable in enumerate(found)}


def _left(file: Path) -> bool:
    """Whether it is what a kill has left, half written."""
    return file.name.startswith(".") and file.suffix == ".part"


def _unlearnt(file: Path) -> bool:
    """Whether a training makes it before its first checkpoint."""
    return file.name in (DESCRIPTION, EVENTS) or _left(file)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two flat descriptions, as a user says it."""
    found = {}
    for name in before | now:
        old, new, group = before.get(name), now.get(name), name.split(".")[0]
        if old == new or {name, group} & MAY_CHANGE:
            continue
        if group in OTHER:
            found[OTHER[group]] = None
        elif name == "classes" and old and len(old) == len(new):
            place = next(i for i, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1])
            found[f"class {place} was {old[place]!r}, is {new[place]!r} (--classes)"] = None
        elif name == "classes":
            found[f"the number of classes was {len(old or ())}, is {len(new)}"] = None
        elif group != "recipe" or name in FLAGS or before.get("recipe.source") == now.get("recipe.source"):
            flag = FLAGS.get(name, name.replace("options.", "--").replace("_", "-"))
            found[f"{flag} was {_short(old)}, is {_short(new)}"] = None
    return list(found)


def _flat(description: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found = {}
    for name, value in description.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else "not given" if value is None else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
