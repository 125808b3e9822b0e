"""`Options`: how a recipe is carried out; the command line takes its flags' choices and defaults from here."""

import os
from dataclasses import dataclass

POLICIES = ("float32", "mixed_bfloat16")  # Names of dtype policies of Keras.
CLASS_WEIGHTS = ("balanced",)
STRATEGIES = ("mirrored", "multi-worker")  # See `get_strategy`.
# The names in `tfalexnet.data.COLOURS`; a test compares. The command line needs them without NumPy.
COLOUR_NAMES = ("imagenet", "own")


@dataclass(frozen=True)
class Options:
    """How a recipe is carried out.

    Attributes:
        weights: initial weights, a name of `tfalexnet list` or a file; None for random ones.
        new_classifier: whether the classifier of the initial weights is replaced by a new one. It always is if its
            number of classes is another; else the names of its classes, if the weights state them, must be those of
            the pictures.
        freeze_until: first layer that is trained; None trains all.
        devices: of the two towers; see `tfalexnet.AlexNet`.
        dropout: rate of all dropout layers; None as published.
        colours: colour statistics of the paper's augmentation, a name of `tfalexnet.data.COLOURS`.
        class_weights: "balanced" multiplies the loss of a picture by (pictures / classes) / (pictures of its class),
            so that every class has the same weight; None by 1.
        early_stopping: number of epochs without a lower validation error after which training ends; None for none.
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
    new_classifier: bool = False
    freeze_until: str | None = None
    devices: tuple[str, str] | None = None
    dropout: float | None = None
    colours: str = "imagenet"
    class_weights: str | None = None
    early_stopping: int | None = None
    precision: str = "float32"
    seed: int = 2012
    strict: bool = False
    log_interval: int = 10
    checkpoint_minutes: float = 5.0
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name, valid, expected in (
            ("precision", self.precision in POLICIES, f"one of {', '.join(POLICIES)}"),
            ("class_weights", self.class_weights in (None, *CLASS_WEIGHTS), "'balanced' or None"),
            ("early_stopping", self.early_stopping is None or self.early_stopping >= 1, "at least 1, or None"),
            ("seed", 0 <= self.seed < 1 << 32, "from 0 to 4294967295"),
            ("log_interval", self.log_interval >= 1, "at least 1"),
            ("checkpoint_minutes", self.checkpoint_minutes > 0, "positive"),
        ):
            if not valid:
                raise ValueError(f"Expected `{name}` to be {expected}. Received: {getattr(self, name)!r}")
