"""Small networks whose answers are known: computed by Keras from the same table."""

import functools
from typing import NamedTuple

import numpy as np

from support.nets import random_parameters, small
from tfalexnet.networks.build import build_model, set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Architecture


class Case(NamedTuple):
    """A table, its parameters, inputs, and Keras' probabilities for them."""

    net: Architecture
    parameters: dict
    inputs: np.ndarray
    answers: np.ndarray


@functools.cache
def keras_case(name: str, count: int = 3) -> Case:
    """A small network of the given name, and inputs. The deviation of the logits is 2, so that errors change answers.

    Do not change its arrays; they are shared.
    """
    net = small(ARCHITECTURES[name])
    parameters, last = random_parameters(net), net.classifier.name
    inputs = np.random.default_rng(0).standard_normal((count, *net.input_shape), np.float32) * 50
    model = build_model(net)
    for _ in range(2):
        set_parameters(model, parameters)
        answers = model(inputs).numpy()
        kernel, bias = parameters[last]
        parameters[last] = kernel * np.float32(2 / np.log(answers).std()), bias
    parameters[last] = kernel, bias
    return Case(net, parameters, inputs, answers)
