"""What Keras lacks for the recipes: a rate for biases, decay per layer, schedules by error."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfalexnet")
class Momentum(keras.optimizers.SGD):
    """Keras' SGD, v ← momentum·v − ε·g; w ← w + v, with another ε for biases.

    Args:
        learning_rate: ε.
        momentum: 0 is plain gradient descent.
        bias_rate: factor of ε for biases; Caffe's lr_mult.
    """

    def __init__(self, learning_rate: float = 0.01, momentum: float = 0.0, bias_rate: float = 1.0, **kwargs) -> None:
        super().__init__(learning_rate, momentum, **kwargs)
        self.bias_rate = bias_rate

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = learning_rate * self.bias_rate if variable_role(variable) == "bias" else learning_rate
        super().update_step(gradient, variable, rate)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"bias_rate": self.bias_rate}


def variable_role(variable: Any) -> str:
    """Return "kernel" or "bias" for a variable of Keras or TensorFlow, of a layer or of one tower of it."""
    return variable.name.split(":")[0].split("/")[-1].split("_")[0]


def set_decay(model: keras.Model, decay: float, decays: Mapping[str, float]) -> None:
    """Add decay/2·‖kernel‖² of each kernel to the loss; 0 removes an earlier term. Biases have no decay.

    Args:
        model: the model; its kernels are changed.
        decay: of the layers that are not in `decays`.
        decays: decay by layer.

    Raises:
        ValueError: the model lacks a layer of `decays`.
    """
    unknown = set(decays) - {layer.name for layer in model.layers}
    if unknown:
        raise ValueError(f"Expected a model with the layers of `decays`. It has no {', '.join(sorted(unknown))}.")
    for variable in model.trainable_variables:
        if variable_role(variable) == "kernel":
            own = decays.get(variable.path.split("/")[-2], decay)
            variable.regularizer = keras.regularizers.L2(own / 2) if own else None


def compile_classifier(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile a model that returns probabilities or logits with cross-entropy as loss and accuracy as metric."""
    activation = getattr(model.layers[-1], "activation", None)
    logits = activation in (None, keras.activations.linear)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=logits), metrics=["accuracy"])


class ScheduleCallback(keras.callbacks.Callback):
    """Sets the learning rate before each step of `model.fit`.

    Args:
        rate: returns the learning rate; its arguments are those of `Recipe.rate`.
        steps: number of steps of all epochs.
    """

    def __init__(self, rate: Callable[[int, int, Sequence[float]], float], steps: int) -> None:
        super().__init__()
        self.rate, self.steps, self.step, self.errors = rate, steps, 0, []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.optimizer.learning_rate = self.rate(self.step, self.steps, self.errors)
        self.step += 1

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.errors.append(1 - (logs or {}).get("val_accuracy", math.nan))
