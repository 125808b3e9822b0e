"""The real kernels of CaffeNet give the activations that Caffe itself gave for a photo of a cat.

The truth (real/caffenet/ of the test data, from JunnanShan/AlexNet-FPGA-implementation, commit f2de6421): BVLC's
kernels of conv1 and conv2, and the output of each layer from the input to pool5, (C, H, W). The kernels of conv3 to
conv5 are not in it, so that norm2 is the last layer that can be computed.
"""

import dataclasses

import numpy as np
import pytest
from support.caffe_truth import channels_last, frozen_outputs, keras_outputs, mutants, read_arrays, relative_difference

from tfalexnet import ARCHITECTURES, AlexNet
from tfalexnet.images.preprocessing import ILSVRC_MEAN_BGR, Preprocessing
from tfalexnet.networks.build import set_parameters

pytestmark = pytest.mark.data

BOUND = 1e-5  # Of the largest magnitude of a layer, up to 1520. Measured: 7e-6.
LAYERS = ["conv1", "pool1", "norm1", "conv2", "pool2", "norm2"]
CAFFENET = ARCHITECTURES["bvlc_caffenet"]


@pytest.fixture(scope="module")
def truth(data) -> dict:
    return read_arrays(data / "real" / "caffenet" / "cat_activations.npz")


def real_parameters(truth: dict) -> dict:
    """Return conv1 and conv2 as this package orders them."""
    return {layer: (truth[f"{layer}_w"].transpose(2, 3, 1, 0), truth[f"{layer}_b"]) for layer in ("conv1", "conv2")}


@pytest.mark.parametrize("runtime", ["keras", "frozen"])
def test_every_layer_equals_caffe(runtime, truth):
    x = channels_last(truth["data"])[None]
    if runtime == "keras":
        model = AlexNet(CAFFENET, include_top=False)
        set_parameters(model, real_parameters(truth))
        outputs = keras_outputs(model, LAYERS, x)
    else:
        outputs = frozen_outputs(CAFFENET, real_parameters(truth), LAYERS, x)
    differences = {layer: relative_difference(outputs[layer][0], channels_last(truth[layer])) for layer in LAYERS}
    assert max(differences.values()) <= BOUND, differences


MUTANTS = mutants("bvlc_caffenet", CAFFENET, ARCHITECTURES["bvlc_alexnet"])


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_network_with_a_known_mistake_is_far_off(mutant, truth):
    model = AlexNet(MUTANTS[mutant], include_top=False)
    set_parameters(model, real_parameters(truth))
    ours = keras_outputs(model, ["conv2"], channels_last(truth["data"])[None])["conv2"][0]
    assert relative_difference(ours, channels_last(truth["conv2"])) > 1000 * BOUND


# The photo is Caffe's own example, examples/images/cat.jpg, resized straight to 227 pixels as in Caffe's notebook.
# Its levels in the published input are 225/255 of those in the file; the rest is this package's preprocessing.
NOTEBOOK = Preprocessing("squash", 227, 227, antialias=False, channels="BGR", scale=225 / 255, mean=ILSVRC_MEAN_BGR)


def input_difference(preprocessing: Preprocessing, data, truth) -> np.ndarray:
    return np.abs(preprocessing(data / "photos" / "cat.jpg") - channels_last(truth["data"]))


def test_preprocessing_gives_the_input_of_caffe(data, truth):
    difference = input_difference(NOTEBOOK, data, truth)
    # Decoders of JPEG round a few values in 100,000 to the next level.
    assert np.quantile(difference, 0.999) < 1e-3
    assert difference.max() < 1


@pytest.mark.parametrize(
    "change",
    [{"antialias": True}, {"channels": "RGB"}, {"size": 256}, {"mean": (104.0, 117.0, 124.0)}, {"scale": 1.0}],
    ids=lambda change: next(iter(change)),
)
def test_other_preprocessing_is_far_off(change, data, truth):
    difference = input_difference(dataclasses.replace(NOTEBOOK, **change), data, truth)
    assert np.quantile(difference, 0.999) > 0.5
