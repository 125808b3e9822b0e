"""Receptive fields equal the published ones, and are the pixels whose change changes the output of a Keras model."""

import dataclasses

import keras
import numpy as np
import pytest

from tfalexnet.analysis.receptive_field import receptive_fields
from tfalexnet.networks.build import build_model
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Architecture, Conv, Dense, Flatten, Norm, Pad, Pool


def test_published_fields_of_alexnet():
    """Of alexnet_v2, the table of Araujo et al. (2019) has 195 pixels and stride 32 at pool5."""
    fields = receptive_fields(ARCHITECTURES["one_weird_trick"])
    assert fields["pool5"][:2] == (195, 32)
    layers = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5")
    expected = [(11, 4), (19, 8), (51, 8), (67, 16), (99, 16), (131, 16), (163, 16)]
    for name in ("one_weird_trick", "krizhevsky2012"):
        assert [receptive_fields(ARCHITECTURES[name])[layer][:2] for layer in layers] == expected
    assert fields["conv1"].box(0, 1) == (-2, 2, 9, 13)  # Pad of 2.


CAFFE_POOLS = Architecture(
    "caffe_pools",
    "tests",
    (31, 26, 3),
    (
        Pad("pad1", 1),
        Conv("conv1", 2, 5, stride=2),
        Pool("pool1", 3, 2, padding="caffe", pad=1),
        Norm("norm1", 3, 1e-4, 0.75, region="within_channel"),
        Conv("conv2", 2, 4, stride=2, padding="same"),
        Flatten(),
        Dense("fc3", 2),
    ),
)


@pytest.mark.parametrize(
    "net", [ARCHITECTURES["cifar10_18pct"], ARCHITECTURES["mnist_28"], CAFFE_POOLS], ids=lambda net: net.name
)
def test_a_pixel_changes_the_positions_whose_field_it_is_in(net):
    few = {row.name: dataclasses.replace(row, filters=2) for row in net.layers if isinstance(row, Conv)}
    net = net.replace_layers(**few)
    model = build_model(net, classifier_activation=None)
    # With positive weights, a pixel that is larger than the others is the maximum of every window.
    for variable in model.variables:
        variable.assign(np.full(variable.shape, 0.1, np.float32))
    fields = receptive_fields(net)
    layers = [name for name in fields if not name.startswith("drop")]
    outputs = keras.Model(model.input, [model.get_layer(name).output for name in layers])
    base = np.ones((1, *net.input_shape), np.float32)
    height, width, _ = net.input_shape
    before = [np.asarray(output) for output in outputs(base)]
    for y, x in ((0, 0), (height // 2, width // 3), (height - 1, width - 1), (7, 12)):
        changed = base.repeat(3, axis=0)
        changed[:, y, x] = np.array([2, 50, 1000])[:, None]  # Rounding hides some changes.
        for name, old, new in zip(layers, before, outputs(changed), strict=True):
            received = (np.asarray(new) != old).any(axis=(0, 3))
            expected = np.zeros_like(received)
            for position in np.ndindex(received.shape):
                top, left, bottom, right = fields[name].box(*position)
                expected[position] = top <= y < bottom and left <= x < right
            np.testing.assert_array_equal(received, expected, err_msg=f"{name}, pixel {y}, {x}")
