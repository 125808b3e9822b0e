"""Weights for the tests of file formats, and the comparison to the bit."""

import numpy as np

from support.nets import random_parameters, small
from tfalexnet.networks.catalog import BVLC_ALEXNET

NET = small(BVLC_ALEXNET)
PARAMETERS = random_parameters(NET)


def assert_equal(read: dict, expected: dict = PARAMETERS) -> None:
    """The same layers in float32, every array equal to the bit."""
    assert set(read) == set(expected)
    for name, arrays in expected.items():
        for array, reference in zip(read[name], arrays, strict=True):
            assert array.dtype == np.float32 and array.shape == reference.shape
            bits = (np.ascontiguousarray(numbers).view("u4") for numbers in (array, reference))
            np.testing.assert_array_equal(*bits)


def few_values(parameters: dict) -> dict:
    """Kernels of few numbers, half of them 0, as compression leaves them."""
    return {
        name: ((np.round(kernel / np.abs(kernel).max() * 6) * np.float32(0.3)), bias)
        for name, (kernel, bias) in parameters.items()
    }


def special_values(parameters: dict) -> dict:
    """Numbers that arithmetic would change: a negative zero, a subnormal number, a large one."""
    kernel, bias = (array.copy() for array in parameters["fc6"])
    kernel[:2, 0], kernel[2, 0] = (-0.0, 1e-42), 3e38
    bias[0] = -0.0
    return parameters | {"fc6": (kernel, bias)}
