"""What a run trains: pictures, network, weights, recipe and options, checked before it begins."""

import dataclasses
import functools
import os
import platform
import warnings
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfalexnet import __version__
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec, default_preprocessing
from tfalexnet.data.batching import batches
from tfalexnet.data.colours import colours_of
from tfalexnet.data.labelled import Labelled
from tfalexnet.data.skipped import Skipped
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import classes_from_labels, numbered_classes
from tfalexnet.io.files import sha256
from tfalexnet.networks.catalog import get_architecture
from tfalexnet.networks.spec import Architecture
from tfalexnet.training.recipes import Recipe

POLICIES = ("float32", "mixed_bfloat16")  # Names of dtype policies of Keras.


@dataclass(frozen=True)
class Options:
    """How a recipe is carried out.

    Attributes:
        weights: initial weights, a name of `tfalexnet list` or a file; None for random ones. A classifier for
            another number of classes is replaced by a new one.
        freeze_until: first layer that is trained; None trains all.
        devices: of the two towers; see `tfalexnet.AlexNet`.
        dropout: rate of all dropout layers; None as published.
        colours: colour statistics of the paper's augmentation, a name of `tfalexnet.data.COLOURS`.
        precision: "float32", or "mixed_bfloat16" for products in bfloat16.
        seed: of initial weights, order, augmentation and dropout, from 0 to 2³² - 1.
        strict: whether a file that cannot be read ends the training; with several replicas it always does.
        log_interval: number of steps between two readings of the loss and of other workers' stop requests.
        checkpoint_minutes: time between two checkpoints within an epoch, which are written at the next reading;
            one more follows each epoch.
        deterministic: whether every operation returns the same bits in every run, which is slower. TensorFlow
            keeps this mode until the process ends.

    Raises:
        ValueError: a value is out of its range.
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
        for name, valid, expected in (
            ("precision", self.precision in POLICIES, f"one of {', '.join(POLICIES)}"),
            ("seed", 0 <= self.seed < 1 << 32, "from 0 to 4294967295"),
            ("log_interval", self.log_interval >= 1, "at least 1"),
            ("checkpoint_minutes", self.checkpoint_minutes > 0, "positive"),
        ):
            if not valid:
                raise ValueError(f"Expected `{name}` to be {expected}. Received: {getattr(self, name)!r}")


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

    Attributes:
        training: the pictures that weights are learnt from.
        validation: the pictures on which the error is measured after each epoch.
        recipe: the hyperparameters.
        options: how the recipe is carried out.
        strategy: distributes each batch over replicas.
        start: the network and its initial weights.
        spec: of the model to train: the network with the classes of the pictures, its preprocessing, the classes.
        has_classifier: whether the initial weights have a classifier for these classes.
        skipped: collects the files that cannot be read.
        training_batches: `tfalexnet.data.batches` of the training pictures; its keyword arguments choose the part.

    Raises:
        ValueError: pictures, network, recipe and options contradict each other.
    """

    training: Labelled
    validation: Labelled
    recipe: Recipe
    options: Options
    strategy: tf.distribute.Strategy
    start: Start

    def __post_init__(self) -> None:
        self._check_arguments()
        classes, checkpoint, recipe = self.training.classes, self.start.checkpoint, self.recipe
        net = self.start.architecture.with_classes(len(classes))
        preprocessing = (checkpoint and checkpoint.spec.preprocessing) or default_preprocessing(net)
        self.spec = ModelSpec(net, preprocessing, classes_from_labels(classes))
        self.spec.to_json()  # Raises if a model file cannot state the network.
        self.has_classifier = self._has_classifier()
        self.skipped = Skipped(self.options.strict or self.replicas > 1)
        self.training_batches = functools.partial(
            *(batches, self.training, preprocessing, recipe.batch, recipe.augment, self.options.seed),
            skipped=self.skipped,
            colours=colours_of(self.options.colours, self.training, preprocessing),
        )
        self.training_batches(replicas=self.replicas)  # Raises if replicas cannot share a batch.

    @property
    def replicas(self) -> int:
        """The number of replicas of the model, on all machines."""
        return self.strategy.num_replicas_in_sync

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.training) // self.recipe.batch

    def describe(self) -> dict[str, Any]:
        """Return all that is needed to repeat the run, as JSON."""
        recipe, options = dataclasses.asdict(self.recipe), dataclasses.asdict(self.options)
        del options["log_interval"], options["checkpoint_minutes"]  # They do not change the weights.
        weights = options["weights"]
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
        training, options, batch = self.training, self.options, self.recipe.batch
        if options.devices and self.replicas > 1:
            raise ValueError("Expected `devices` for two towers or a `strategy` of several replicas. Received: both")
        if options.freeze_until is not None and options.weights is None:
            raise ValueError("Expected `weights` with `freeze_until`: random layers must be trained. Received: none")
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
        if checkpoint.spec.classes != numbered_classes(len(classes)):
            for name, entry in zip(classes, checkpoint.spec.classes, strict=True):
                if name not in (entry.wnid, entry.label):
                    raise ValueError(
                        f"Expected the classes of {os.fspath(self.options.weights)}, as the data has the same number "
                        f"({len(classes)}): {entry.label!r}. Received: {name!r}. Rename or reorder them (--classes)."
                    )
        return True
