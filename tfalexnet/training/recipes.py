"""The recipes: the paper's, a line for each sentence, Caffe's, the sources', and fine-tuning."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

PATIENCE = 5  # Epochs without a lower validation error after which it "stopped improving".
DROPS = 3  # "Reduced three times prior to termination."
# The names in `tfalexnet.data.AUGMENTATIONS`; a test compares. The command line needs them without NumPy.
AUGMENTATION_NAMES = ("none", "mirror", "crop", "paper")

Schedule = Callable[[int, int, Sequence[float]], float]
"""From the number of a step, the number of all steps and the validation error of each past epoch to the factor of ε."""


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


def _cosine(step: int, steps: int, _: Sequence[float]) -> float:
    """Linear warm-up in the first twentieth of the steps, then a cosine from 1 to 0."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


SCHEDULES: dict[str, Schedule] = {
    "constant": lambda *_: 1.0,
    "plateau": _plateau,
    "step": lambda step, *_: 0.1 ** (step // 100_000),  # Caffe: stepsize 100000, gamma .1.
    "cosine": _cosine,
    "after 120 and 130 epochs": lambda _, __, errors: 0.1 ** sum(len(errors) >= epoch for epoch in (120, 130)),
}
STRETCHED = ("cosine",)  # Schedules that depend on the number of all steps.


def _is_augmentation(name: Any) -> bool:
    if name in AUGMENTATION_NAMES:
        return True
    from tfalexnet.data.augmentation import AUGMENTATIONS

    return name in AUGMENTATIONS


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
    "augment": (f"one of {', '.join(AUGMENTATION_NAMES)}", _is_augmentation),
}


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of a training.

    Attributes:
        source: the publication or file that states them.
        optimizer: "momentum" is v ← momentum·v − decay·ε·w − ε·g; w ← w + v, with momentum 0 plain
            gradient descent; "adam" is Keras' Adam.
        learning_rate: ε.
        batch: pictures per step.
        epochs: passes through the pictures.
        schedule: factor of ε by step, a name of `SCHEDULES`. "cosine" ends with the last epoch: a run that is
            resumed with more epochs continues on the longer cosine, whose rate is higher at that step.
        momentum: of the optimizer "momentum".
        decay: weight decay of kernels; it passes through the momentum, as a term decay/2·‖kernel‖² of the loss.
        decays: weight decay by layer, for layers that differ.
        bias_rate: factor of ε for biases.
        augment: augmentation of training pictures, a name of `tfalexnet.data.AUGMENTATIONS`.

    Raises:
        ValueError: a value is out of its range.
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
        for name, (expected, is_valid) in _EXPECTED.items():
            value = getattr(self, name)
            try:
                valid = is_valid(value)
            except (AttributeError, TypeError):
                valid = False
            if not valid:
                raise ValueError(f"Expected `{name}` to be {expected}. Received: {value!r}")

    def rate(self, step: int, steps: int, errors: Sequence[float]) -> float:
        """Return ε of a step, from 0, out of `steps`, after epochs with these validation errors."""
        return self.learning_rate * SCHEDULES[self.schedule](step, steps, errors)

    def compile(self, model: "keras.Model") -> None:
        """Set optimizer, decay, loss and accuracy of a model, for `model.fit` or `train`.

        The model returns probabilities or, with classifier_activation=None, logits.

        Raises:
            ValueError: the model lacks a layer of `decays`.
        """
        from keras.optimizers import Adam

        from tfalexnet.training.optimizer import Momentum, compile_classifier, set_decay

        set_decay(model, self.decay, self.decays)
        momentum = self.optimizer == "momentum"
        optimizer = (
            Momentum(self.learning_rate, self.momentum, self.bias_rate) if momentum else Adam(self.learning_rate)
        )
        compile_classifier(model, optimizer)

    def callback(self, steps: int) -> "keras.callbacks.Callback":
        """Return the schedule for `model.fit` of so many steps in all; "plateau" requires validation data."""
        from tfalexnet.training.optimizer import ScheduleCallback

        return ScheduleCallback(self.rate, steps)


# NIPS 2012, section 5. "We trained our models using stochastic gradient descent with a batch size of
# 128 examples, momentum of 0.9, and weight decay of 0.0005. … We used an equal learning rate for all
# layers … divide the learning rate by 10 when the validation error rate stopped improving … was
# initialized at 0.01 and reduced three times … roughly 90 cycles." The initial weights ("zero-mean
# Gaussian with standard deviation 0.01", biases 1 or 0) and dropout .5 are in the tables. Biases have
# no decay in cuda-convnet, the program that trained the network.
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

# Caffe's solver.prototxt and train_val.prototxt of bvlc_alexnet: base_lr, momentum and weight_decay are the paper's;
# 450,000 iterations of 256 pictures are 90 epochs of ImageNet; bias: lr_mult 2, decay_mult 0.
_CAFFE = "BVLC/caffe, models/bvlc_alexnet, solver.prototxt"
CAFFE = dataclasses.replace(PAPER, source=_CAFFE, batch=256, schedule="step", bias_rate=2.0, augment="crop")

# A low rate with warm-up keeps what pretrained layers have learnt.
FINE_TUNE = Recipe(
    "this package", "momentum", 1e-3, batch=32, epochs=10, schedule="cosine", momentum=0.9, decay=5e-4, augment="crop"
)

RECIPES = {"paper": PAPER, "caffe": CAFFE, "fine-tune": FINE_TUNE}
RECIPE_NAMES = ("source", *RECIPES)  # "source" is that of the network, in `SOURCES`.

# Networks whose pretrained weights FINE_TUNE's rate destroys. cifar10_18pct takes levels up to 255, unscaled; from the
# shipped weights, with fc4 alone trained, 1e-3 raised 18 % of errors to 49 %; 1e-5 kept 17-19 %.
FINE_TUNE_RATES = {"cifar10_18pct": 1e-5}

# The recipes that the sources of the networks state; the tables of the networks name the sources.
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
    """Return the recipe of 2012."""
    return PAPER


def recipe(name: str | None, architecture: str, pretrained: bool = False, **changes: Any) -> Recipe:
    """Return a recipe by name.

    Args:
        name: a name of `RECIPES`; "source" for that of the network's source; None for "fine-tune" with
            pretrained weights, else for "source", or "paper" if the network is not in `SOURCES`.
            "fine-tune" has another rate for the networks in `FINE_TUNE_RATES`.
        architecture: the network's name.
        pretrained: whether training starts from pretrained weights.
        **changes: fields to replace, such as epochs=10; None leaves a field as it is.

    Raises:
        ValueError: there is no such recipe, or a value is out of its range.
    """
    rate = FINE_TUNE_RATES.get(architecture, FINE_TUNE.learning_rate)
    source = {"source": SOURCES[architecture]} if architecture in SOURCES else {}
    recipes = source | RECIPES | {"fine-tune": dataclasses.replace(FINE_TUNE, learning_rate=rate)}
    if name is None:
        name = "fine-tune" if pretrained else next(iter(recipes))
    if name not in recipes:
        raise ValueError(f"Expected `recipe` to be one of {', '.join(recipes)}. Received: {name!r}")
    return dataclasses.replace(recipes[name], **{name: value for name, value in changes.items() if value is not None})
