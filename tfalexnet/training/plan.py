"""What a run trains: pictures, network, weights, recipe and options, checked before it begins."""

import dataclasses
import functools
import os
import platform
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfalexnet import __version__
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec, default_preprocessing
from tfalexnet.data.colours import colours_of
from tfalexnet.data.labelled import Labelled
from tfalexnet.data.skipped import Skipped
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import classes_from_labels, numbered_classes
from tfalexnet.io.files import sha256
from tfalexnet.networks.catalog import get_architecture
from tfalexnet.networks.spec import Architecture
from tfalexnet.training.options import Options
from tfalexnet.training.recipes import Recipe

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Start:
    """The network to train, and its initial weights.

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


@dataclass
class Plan:
    """Everything that determines the weights of a run, and the input pipeline that follows from it.

    Without `strategy` all is checked that can be checked without TensorFlow, which is not imported.

    Attributes:
        training: the pictures that weights are learnt from.
        validation: the pictures on which the error is measured after each epoch.
        recipe: the hyperparameters.
        options: how the recipe is carried out.
        start: the network and its initial weights, those of `options.weights`.
        strategy: distributes each batch over replicas.
        spec: of the model to train: the network with the classes of the pictures, its preprocessing, the classes.
        has_classifier: whether the initial weights have a classifier for these classes.
        initial: the initial weights without a classifier for other classes.
        notes: what the user should know of the initial weights, each a sentence.
        skipped: collects the files that cannot be read.

    Raises:
        ValueError: pictures, network, recipe and options contradict each other.
    """

    training: Labelled
    validation: Labelled
    recipe: Recipe
    options: Options
    start: Start
    strategy: "tf.distribute.Strategy | None" = None

    def __post_init__(self) -> None:
        self._check_arguments()
        classes, checkpoint = self.training.classes, self.start.checkpoint
        net = self.start.architecture.with_classes(len(classes))
        preprocessing = (checkpoint and checkpoint.spec.preprocessing) or default_preprocessing(net)
        self.spec = ModelSpec(net, preprocessing, classes_from_labels(classes))
        self.spec.to_json()  # Raises if a model file cannot state the network.
        self.notes = checkpoint.notes if checkpoint else ()
        self.has_classifier = self._has_classifier()
        self.initial = self._initial()
        self.skipped = Skipped(self.options.strict or self.replicas > 1)
        if self.strategy is not None:
            self.training_batches(replicas=self.replicas)  # Raises if replicas cannot share a batch.

    @functools.cached_property
    def training_batches(self) -> "Callable[..., tf.data.Dataset]":
        """`tfalexnet.data.batches` of the training pictures; its keyword arguments choose the part."""
        from tfalexnet.data.batching import batches

        recipe, options, preprocessing = self.recipe, self.options, self.spec.preprocessing
        return functools.partial(
            *(batches, self.training, preprocessing, recipe.batch, recipe.augment, options.seed),
            skipped=self.skipped,
            colours=colours_of(options.colours, self.training, preprocessing),
        )

    @property
    def replicas(self) -> int:
        """The number of replicas of the model, on all machines."""
        return 1 if self.strategy is None else self.strategy.num_replicas_in_sync

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.training) // self.recipe.batch

    @property
    def class_weights(self) -> np.ndarray | None:
        """The factor of each class in the loss, float32 (classes,); None for 1. Classes without pictures have 0."""
        if self.options.class_weights is None:
            return None
        counts = np.bincount(self.training.labels, minlength=len(self.training.classes))
        mean = len(self.training) / np.count_nonzero(counts)
        return np.divide(mean, counts, out=np.zeros(len(counts)), where=counts > 0).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """Return all that is needed to repeat the run, as JSON."""
        import keras
        import tensorflow as tf

        recipe, options = dataclasses.asdict(self.recipe), dataclasses.asdict(self.options)
        weights = options["weights"]
        del options["log_interval"], options["checkpoint_minutes"]  # They do not change the weights.
        parts = {"training": self.training, "validation": self.validation}
        packages = {"tensorflow": tf, "keras": keras, "numpy": np}
        return {
            "architecture": self.spec.architecture.name,
            "classes": list(self.training.classes),
            **{name: {"pictures": len(part), "sha256": part.digest()} for name, part in parts.items()},
            "epochs": recipe.pop("epochs"),
            "recipe": recipe,
            "options": options | {"weights": None if weights is None else os.fspath(weights)},
            "weights_sha256": self.start.weights_sha256,
            "preprocessing": self.spec.preprocessing.to_dict(),
            "replicas": self.replicas,
            "versions": {"tfalexnet": __version__, "python": platform.python_version()}
            | {name: package.__version__ for name, package in packages.items()},
        }

    def _check_arguments(self) -> None:
        """Raise `ValueError` if arguments contradict each other."""
        training, options, start, batch = self.training, self.options, self.start, self.recipe.batch
        if options.devices and self.replicas > 1:
            raise ValueError("Expected `devices` for two towers or a `strategy` of several replicas. Received: both")
        for name in ("freeze_until", "new_classifier"):
            if getattr(options, name) and start.checkpoint is None:
                raise ValueError(f"Expected `weights` with `{name}`: random layers must be trained. Received: none")
        weighted = [row.name for row in start.architecture.weighted]
        if options.freeze_until not in (None, *weighted):
            raise ValueError(
                f"Expected `freeze_until` to be one of {', '.join(weighted)}. Received: {options.freeze_until!r}"
            )
        if self.replicas > 1 and not options.strict and not isinstance(training.pictures, np.ndarray):
            warnings.warn(
                "with several replicas a picture that cannot be read ends the training, as with --strict: all "
                "replicas need the same number of pictures.",
                stacklevel=3,
            )
        if batch > len(training):
            raise ValueError(
                f"Expected a batch of 1 to {len(training)}, the training pictures ({len(self.validation)} more are "
                f"for validation). Received: {batch}, which is the recipe's unless --batch-size is given"
            )

    def _has_classifier(self) -> bool:
        """Return whether the initial weights have a classifier for the classes of the pictures.

        Raises:
            ValueError: the weights have as many classes, but other ones or in another order.
        """
        classes, checkpoint = self.training.classes, self.start.checkpoint
        if checkpoint is None or checkpoint.missing or checkpoint.spec.architecture.classes != len(classes):
            return False
        if self.options.new_classifier or checkpoint.spec.classes == numbered_classes(len(classes)):
            return not self.options.new_classifier
        for name, entry in zip(classes, checkpoint.spec.classes, strict=True):
            if name not in (entry.wnid, entry.label):
                raise ValueError(
                    f"Expected the classes of {os.fspath(self.options.weights)}, as the data has the same number "
                    f"({len(classes)}): {entry.label!r}. Received: {name!r}. Rename or reorder them (--classes), or "
                    "replace the classifier (--new-classifier)."
                )
        return True

    def _initial(self) -> Checkpoint | None:
        """Return the initial weights without a classifier for other classes; add to the notes what becomes of it."""
        checkpoint, count, weights = self.start.checkpoint, len(self.training.classes), self.options.weights
        last = self.spec.architecture.classifier.name
        if checkpoint is None or last in checkpoint.missing:
            return checkpoint
        if not self.has_classifier:
            self.notes += (f"{last} of {weights} gets new weights for {count} classes, which must be trained.",)
            parameters = {layer: arrays for layer, arrays in checkpoint.parameters.items() if layer != last}
            return dataclasses.replace(checkpoint, parameters=parameters, missing=(*checkpoint.missing, last))
        if checkpoint.spec.classes == numbered_classes(count):
            self.notes += (
                f"{weights} does not name its classes; {last} is kept, as their number is that of the data. "
                "--new-classifier replaces it.",
            )
        return checkpoint
