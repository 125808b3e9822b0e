"""The fully connected layers as convolutions equal Caffe 1.0 on a larger picture; with wrong kernels they do not.

The truth (caffe/truth/ of the test data) was computed by BVLC/caffe 9b891540 on CPU: a picture of 451×451 through the
slim networks, whose fully connected weights Caffe read as convolutions (its notebook net_surgery).
"""

import keras
import numpy as np
import pytest
from support.caffe_truth import NETWORKS, channels_last, load_slim, read_arrays, relative_difference

from tfalexnet.networks.build import get_parameters, set_parameters

pytestmark = pytest.mark.data

BOUND = 1e-5


@pytest.fixture(scope="module", params=NETWORKS)
def case(data, request) -> tuple[keras.Model, dict[str, np.ndarray]]:
    """The model, and Caffe's input and outputs, channels last."""
    arrays = read_arrays(data / "caffe" / "truth" / f"{request.param}_convolutional_451.npz")
    model = load_slim(data, request.param, include_top="convolutional")
    return model, {name: channels_last(array) for name, array in arrays.items()}


def probabilities(model: keras.Model, x: np.ndarray) -> np.ndarray:
    return keras.ops.softmax(model(x)).numpy()


def test_every_position_equals_caffe(case):
    model, truth = case
    pool5 = keras.Model(model.input, model.get_layer("pool5").output)
    assert relative_difference(pool5(truth["data"]).numpy(), truth["pool5"]) <= BOUND
    np.testing.assert_allclose(probabilities(model, truth["data"]), truth["prob"], atol=BOUND)


MUTANTS = {
    "height and width exchanged": lambda kernel: kernel.swapaxes(0, 1),
    "turned by 180°": lambda kernel: kernel[::-1, ::-1],
    "read as channel, height, width": lambda kernel: kernel.reshape(kernel.shape[2], *kernel.shape[:2], -1).transpose(
        1, 2, 0, 3
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_other_orders_of_the_kernel_are_far_off(mutant, case):
    model, truth = case
    parameters = get_parameters(model)
    kernel, bias = parameters["fc6"]
    set_parameters(model, {"fc6": (MUTANTS[mutant](kernel), bias)})
    difference = abs(probabilities(model, truth["data"]) - truth["prob"]).max()
    set_parameters(model, parameters)
    assert difference > 100 * BOUND
