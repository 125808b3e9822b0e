"""The recipes: the paper's, a line for each sentence, Caffe's, the sources' own, a fine-tuner's."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="tfalexnet")
class Momentum(keras.optimizers.SGD):
    """Keras' SGD, v ← momentum·v − ε·g; w ← w + v, with another ε for biases.

    Args:
        learning_rate: ε.
        momentum: 0 is plain gradient descent.
        bias_rate: what ε of biases is multiplied with; Caffe's lr_mult.
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
    """Whether it is a kernel or a bias, as Keras' variable or TensorFlow's, whole or the share of a tower."""
    return variable.name.split(":")[0].split("/")[-1].split("_")[0]
