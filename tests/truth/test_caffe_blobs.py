"""Every layer of both of Caffe's networks equals Caffe 1.0; networks with known mistakes do not.

The truth (caffe/truth/ of the test data) was computed by BVLC/caffe 9b891540 on CPU: two inputs through slim
versions of bvlc_alexnet and bvlc_caffenet, the output of every layer, and the weights as Caffe saved them.
"""

import h5py
import numpy as np
import pytest
from support.caffe_truth import (
    NETWORKS,
    channels_last,
    frozen_outputs,
    keras_outputs,
    load_slim,
    mutants,
    read_arrays,
    relative_difference,
    slim,
)

from tfalexnet import AlexNet
from tfalexnet.checkpoints.formats import caffemodel
from tfalexnet.networks.build import get_parameters, set_parameters

pytestmark = pytest.mark.data

BOUND = 1e-5  # Of the largest magnitude of a layer. Measured: 8e-7.
LAYERS = {
    "bvlc_alexnet": ["conv1", "norm1", "pool1", "conv2", "norm2", "pool2"],
    "bvlc_caffenet": ["conv1", "pool1", "norm1", "conv2", "pool2", "norm2"],
}
UPPER = ["conv3", "conv4", "conv5", "pool5", "fc6", "fc7", "fc8", "prob"]


@pytest.fixture(scope="module")
def truth(data) -> dict:
    """The input and the layers' outputs of each network, channels last."""
    blobs = {name: read_arrays(data / "caffe" / "truth" / f"{name}_blobs.npz") for name in NETWORKS}
    return {name: {layer: channels_last(blob) for layer, blob in of.items()} for name, of in blobs.items()}


@pytest.mark.parametrize("runtime", ["keras", "frozen"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_equals_caffe(name, runtime, data, truth):
    blobs, layers = truth[name], LAYERS[name] + UPPER
    assert set(layers) == set(blobs) - {"data"}
    model = load_slim(data, name)
    if runtime == "keras":
        outputs = keras_outputs(model, layers, blobs["data"])
    else:
        outputs = frozen_outputs(slim(name), get_parameters(model), layers, blobs["data"])
    differences = {layer: relative_difference(outputs[layer], blobs[layer]) for layer in layers}
    assert max(differences.values()) <= BOUND, differences


MUTANTS = mutants("bvlc_alexnet", slim("bvlc_alexnet"), slim("bvlc_caffenet")) | mutants(
    "bvlc_caffenet", slim("bvlc_caffenet"), slim("bvlc_alexnet")
)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_network_with_a_known_mistake_is_far_off(mutant, data, truth):
    name = mutant.split(":")[0]
    model = AlexNet(MUTANTS[mutant], classifier_activation=None)
    set_parameters(model, get_parameters(load_slim(data, name)))
    layers = ["conv2", *UPPER]  # The first layer behind normalization and pooling, in either order, and all above.
    outputs = keras_outputs(model, layers, truth[name]["data"])
    differences = {layer: relative_difference(outputs[layer], truth[name][layer]) for layer in layers}
    assert min(differences.values()) > 100 * BOUND, differences


def test_a_caffemodel_holds_the_same_numbers_as_the_hdf5_file_of_caffe(data):
    """Caffe saved the same weights in both of its formats; the other one is read with h5py."""
    path = data / "caffe" / "truth" / "bvlc_alexnet.caffemodel"
    parameters = caffemodel.read(path).parameters
    with h5py.File(f"{path}.h5") as file:
        assert list(parameters) == sorted(layer for layer, blobs in file["data"].items() if len(blobs))
        for layer, (kernel, bias) in parameters.items():
            blobs = file["data"][layer]
            axes = (2, 3, 1, 0) if kernel.ndim == 4 else (1, 0)
            np.testing.assert_array_equal(kernel, blobs["0"][()].transpose(axes))
            np.testing.assert_array_equal(bias, blobs["1"][()])
