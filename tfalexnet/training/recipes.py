"""The recipes: the paper's, a line for each sentence, Caffe's, the sources' own, a fine-tuner's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import keras

from tfalexnet.data.augmentation import AUGMENTATIONS
from tfalexnet.training.optimizer import Momentum, variable_role

PATIENCE = 5  # Epochs without a better validation error after which it "stopped improving".
DROPS = 3  # "Reduced three times prior to termination."

Schedule = Callable[[int, int, Sequence[float]], float]
"""What ε is multiplied with at a step, of so many in all, after epochs with these validation errors."""


def _constant(_: int, __: int, ___: Sequence[float]) -> float:
    return 1.0


def _plateau(_: int, __: int, errors: Sequence[float]) -> float:
    """A tenth each time the validation error stopped improving, three times at most."""
    if any(map(math.isnan, errors)):
        raise ValueError("Expected validation data, whose error the schedule 'plateau' follows. Received none.")
    best, waited, drops = math.inf, 0, 0
    for error in errors:
        best, waited = (error, 0) if error < best else (best, waited + 1)
        if waited == PATIENCE and drops < DROPS:
            drops, waited = drops + 1, 0
    return 0.1**drops


def _step(step: int, _: int, __: Sequence[float]) -> float:
    """A tenth every 100,000 steps (Caffe: stepsize 100000, gamma .1)."""
    return 0.1 ** (step // 100_000)


def _cosine(step: int, steps: int, _: Sequence[float]) -> float:
    """Up in the first twentieth of the steps, then down a cosine."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _after(*epochs: int) -> Schedule:
    """A tenth after each of these numbers of epochs."""
    return lambda _, __, errors: 0.1 ** sum(len(errors) >= epoch for epoch in epochs)


SCHEDULES: dict[str, Schedule] = {
    "constant": _constant,
    "plateau": _plateau,
    "step": _step,
    "cosine": _cosine,
    "after 120 and 130 epochs": _after(120, 130),
}
STRETCHED = ("cosine",)  # These end with the last epoch, however many there are.

_EXPECTED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "optimizer": ("momentum or adam", lambda value: value in ("momentum", "adam")),
    "learning_rate": ("a positive number", lambda value: 0 < value < math.inf),
    "batch": ("a whole number from 1", lambda value: isinstance(value, int) and value >= 1),
    "epochs": ("a whole number from 1", lambda value: isinstance(value, int) and value >= 1),
    "schedule": (f"one of {', '.join(SCHEDULES)}", lambda value: value in SCHEDULES),
    "momentum": ("a number from 0 to below 1", lambda value: 0 <= value < 1),
    "decay": ("a number from 0", lambda value: 0 <= value < math.inf),
    "decays": ("numbers from 0", lambda value: all(0 <= decay < math.inf for decay in value.values())),
    "bias_rate": ("a number from 0", lambda value: 0 <= value < math.inf),
    "augment": (f"one of {', '.join(AUGMENTATIONS)}", lambda value: value in AUGMENTATIONS),
}


@dataclass(frozen=True)
class Recipe:
    """How weights are learnt.

    Attributes:
        source: where it is written down.
        optimizer: "momentum" is v ← momentum·v − decay·ε·w − ε·g; w ← w + v, without momentum plain
            gradient descent; "adam" is Keras' Adam.
        learning_rate: ε.
        batch: pictures a step.
        epochs: passes through the pictures.
        schedule: what ε is multiplied with; see `SCHEDULES`. A cosine ends with the last epoch: a training
            that goes on with more of them takes up the longer one, whose rate is higher there.
        momentum: of the optimizer "momentum".
        decay: of kernels; it passes through the momentum, as a term decay/2·‖kernel‖² of the loss.
        decays: that of layers which have another one.
        bias_rate: what ε of biases is multiplied with.
        augment: how training pictures are varied; see `tfalexnet.data.AUGMENTATIONS`.
    """

    source: str
    optimizer: Literal["momentum", "adam"]
    learning_rate: float
    batch: int
    epochs: int
    schedule: str = "constant"
    momentum: float = 0.0
    decay: float = 0.0
    bias_rate: float = 1.0
    augment: str = "none"
    decays: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name, (expected, right) in _EXPECTED.items():
            value = getattr(self, name)
            try:
                fits = right(value)
            except (AttributeError, TypeError):
                fits = False
            if not fits:
                raise ValueError(f"Expected `{name}` to be {expected}. Received: {value!r}")

    def rate(self, step: int, steps: int, errors: Sequence[float]) -> float:
        """ε of a step, of so many in all, after epochs with these validation errors."""
        return self.learning_rate * SCHEDULES[self.schedule](step, steps, errors)

    def compile(self, model: keras.Model) -> None:
        """Give the model optimizer, decay, loss and accuracy, for `model.fit` or `train`.

        The model gives probabilities or, with classifier_activation=None, logits.

        Raises:
            ValueError: it has no layer of a name in `decays`.
        """
        unknown = set(self.decays) - {layer.name for layer in model.layers}
        if unknown:
            raise ValueError(f"Expected a model with the layers of `decays`. It has no {', '.join(sorted(unknown))}.")
        for variable in model.trainable_variables:
            if variable_role(variable) == "kernel":
                decay = self.decays.get(variable.path.split("/")[-2], self.decay)
                variable.regularizer = keras.regularizers.L2(decay / 2) if decay else None
        if self.optimizer == "adam":
            optimizer = keras.optimizers.Adam(self.learning_rate)
        else:
            optimizer = Momentum(self.learning_rate, self.momentum, bias_rate=self.bias_rate)
        activation = getattr(model.layers[-1], "activation", None)
        logits = activation in (None, keras.activations.linear)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=logits), metrics=["accuracy"])

    def callback(self, steps: int) -> keras.callbacks.Callback:
        """The schedule for `model.fit` of so many steps in all; it wants validation data for "plateau"."""
        return _Schedule(self, steps)

    def stretched(self, epochs: int) -> str:
        """What is to be said where a training of so many epochs goes on by this recipe, or nothing."""
        if self.schedule not in STRETCHED or epochs == self.epochs:
            return ""
        return (
            f"The {self.schedule} of the learning rate now ends with epoch {self.epochs}, not {epochs}: the rate "
            "jumps, and the weights will not be those of a training that began so."
        )


# NIPS 2012, section 5. "We trained our models using stochastic gradient descent with a batch size of
# 128 examples, momentum of 0.9, and weight decay of 0.0005. … We used an equal learning rate for all
# layers … divide the learning rate by 10 when the validation error rate stopped improving … was
# initialized at 0.01 and reduced three times … roughly 90 cycles." The initial weights ("zero-mean
# Gaussian with standard deviation 0.01", biases 1 or 0) and dropout .5 are in the tables. Biases do
# not decay, in the code that made the numbers.
PAPER = Recipe(
    "Krizhevsky et al., NIPS 2012, section 5",
    "momentum",
    learning_rate=0.01,
    batch=128,
    epochs=90,
    schedule="plateau",
    momentum=0.9,
    decay=5e-4,
    augment="paper",
)

# Caffe's solver.prototxt and train_val.prototxt of bvlc_alexnet: 450,000 iterations of 256 pictures
# are 90 epochs of ImageNet; bias: lr_mult 2, decay_mult 0.
CAFFE = Recipe(
    "BVLC/caffe, models/bvlc_alexnet, solver.prototxt",
    "momentum",
    learning_rate=0.01,
    batch=256,
    epochs=90,
    schedule="step",
    momentum=0.9,
    decay=5e-4,
    bias_rate=2.0,
    augment="crop",
)

# Pretrained layers keep what they know if they learn slowly and start slowly.
FINE_TUNE = Recipe(
    "this package",
    "momentum",
    learning_rate=1e-3,
    batch=32,
    epochs=10,
    schedule="cosine",
    momentum=0.9,
    decay=5e-4,
    augment="crop",
)

RECIPES = {"paper": PAPER, "caffe": CAFFE, "fine-tune": FINE_TUNE}

# Networks that forget at FINE_TUNE's rate. This one takes levels up to 255 as they are; from the shipped weights,
# fc4 alone learning, 1e-3 brought 18 % of errors to 49 %, 1e-5 left 17-19 %.
FINE_TUNE_RATES = {"cifar10_18pct": 1e-5}

# What the sources of the smaller tables say of their training; the tables name them.
SOURCES = {
    "krizhevsky2012": PAPER,
    "bvlc_alexnet": CAFFE,
    "bvlc_caffenet": dataclasses.replace(CAFFE, source="BVLC/caffe, models/bvlc_reference_caffenet, solver.prototxt"),
    "tf_alexnet": CAFFE,
    "one_weird_trick": PAPER,
    "single_tower": Recipe("cats against dogs in one tower", "adam", 1e-3, batch=32, epochs=10),
    "single_tower_avgpool": Recipe("cats against dogs, average pooling", "momentum", 1e-3, batch=32, epochs=10),
    "d2l_fashion_mnist": Recipe("Dive into Deep Learning, section 8.1", "momentum", 0.01, batch=128, epochs=10),
    "mnist_28": Recipe("TensorFlow tutorial", "adam", 1e-3, batch=64, epochs=10),
    "tflearn_flowers17": Recipe("tflearn, alexnet.py", "momentum", 1e-3, batch=64, epochs=1000, momentum=0.9),
    # "Reduce all learning rates by factor of 10 after 120 epochs. Then another factor of 10 after 10 more
    # epochs." epsW .001, epsB .002; wc .004, of the last layer 1.
    "cifar10_18pct": Recipe(
        "cuda-convnet, layers-cifar/layer-params-18pct.cfg",
        "momentum",
        learning_rate=1e-3,
        batch=128,
        epochs=140,
        schedule="after 120 and 130 epochs",
        momentum=0.9,
        decay=0.004,
        decays={"fc4": 1.0},
        bias_rate=2.0,
    ),
}


def paper() -> Recipe:
    """The recipe of 2012."""
    return PAPER


def recipe(name: str | None, architecture: str, pretrained: bool = False, **asked: Any) -> Recipe:
    """A recipe by name.

    Args:
        name: a row of `RECIPES`; "source", that of the network's source; None is "fine-tune" for
            pretrained weights, else "source", or "paper" for a network that `SOURCES` does not know.
            "fine-tune" has another rate for the networks in `FINE_TUNE_RATES`.
        architecture: the network's name.
        pretrained: whether the weights are.
        **asked: what to change of it, such as epochs=10; None leaves it.

    Raises:
        ValueError: there is no such recipe, or a value cannot be.
    """
    gentle = dataclasses.replace(FINE_TUNE, learning_rate=FINE_TUNE_RATES.get(architecture, FINE_TUNE.learning_rate))
    known = ({"source": SOURCES[architecture]} if architecture in SOURCES else {}) | RECIPES | {"fine-tune": gentle}
    if name is None:
        name = "fine-tune" if pretrained else next(iter(known))
    if name not in known:
        raise ValueError(f"Expected `recipe` to be one of {', '.join(known)}. Received: {name!r}")
    return dataclasses.replace(known[name], **{field: value for field, value in asked.items() if value is not None})


class _Schedule(keras.callbacks.Callback):
    def __init__(self, recipe: Recipe, steps: int) -> None:
        super().__init__()
        self.recipe, self.steps, self.step, self.errors = recipe, steps, 0, []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.optimizer.learning_rate = self.recipe.rate(self.step, self.steps, self.errors)
        self.step += 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.errors.append(1 - (logs or {}).get("val_accuracy", math.nan))
