"""A checkpoint survives every format: weights to the bit, the spec and the missing layers."""

import dataclasses
import json

import numpy as np
import pytest
from support.nets import random_parameters, small
from support.parameters import NET, PARAMETERS, assert_equal, few_values, special_values

from tfalexnet import CheckpointError, convert
from tfalexnet.checkpoints.checkpoint import FORMATS, Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import Contents, deep_compression, keras_h5, orientation
from tfalexnet.checkpoints.match import reorder_first_dense
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.hub.cache import SHIPPED
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.catalog import ARCHITECTURES

# How version 0.1 stored the preprocessing: the mean was an array of its own.
GREY = {"resize": "squash", "size": 28, "crop": 28, "antialias": True, "channels": "L", "scale": 1.0, "std": [1.0]}
WRITTEN = [suffix for suffix, module in FORMATS.items() if hasattr(module, "write")]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_round_trip_is_exact_to_the_bit(suffix, tmp_path):
    parameters = few_values(PARAMETERS) if suffix == ".net" else special_values(PARAMETERS)
    parameters = {name: tuple(np.ascontiguousarray(array) for array in pair) for name, pair in parameters.items()}
    checkpoint = Checkpoint(parameters, ModelSpec(NET, PREPROCESSING["bvlc_alexnet"], ()))
    write_checkpoint(tmp_path / f"net{suffix}", checkpoint)
    (tmp_path / f"net{suffix}").rename(tmp_path / "file")  # The format is recognised by the content.
    again = read_checkpoint(tmp_path / "file", NET)
    assert_equal(again.parameters, parameters)
    assert again.spec.preprocessing == checkpoint.spec.preprocessing
    assert not again.notes


@pytest.mark.parametrize("suffix", WRITTEN)
def test_only_one_format_recognises_a_file(suffix, tmp_path):
    path = tmp_path / "file"
    module = FORMATS[suffix]
    module.write(path, Contents(few_values(PARAMETERS), flatten=module.FLATTEN))
    recognised = {m for m in FORMATS.values() if m is not deep_compression and m.recognises(path)}
    if deep_compression.classes(path, NET.parameter_shapes()):
        recognised.add(deep_compression)
    assert recognised == {module}


@pytest.mark.parametrize("suffix", [s for s in WRITTEN if s not in (".npy", ".caffemodel")])
def test_the_spec_is_stored_with_the_weights(suffix, tmp_path):
    cifar10 = read_checkpoint(SHIPPED / "cifar10.weights.h5")
    compressed = Checkpoint(few_values(cifar10.parameters), cifar10.spec)
    write_checkpoint(tmp_path / f"net{suffix}", compressed, source="here")
    again = read_checkpoint(tmp_path / f"net{suffix}")
    assert again.spec == cifar10.spec
    # As text, the mean picture would take 57 kB.
    sizes = (tmp_path / f"net{suffix}").stat().st_size, (SHIPPED / "cifar10.weights.h5").stat().st_size
    assert sizes[0] < (0.35 if suffix == ".net" else 1.05) * sizes[1]


def test_published_preprocessing_is_used_for_its_own_shape_of_input_only(tmp_path):
    net = dataclasses.replace(small(ARCHITECTURES["mnist_28"]), input_shape=(32, 32, 1))
    for network, expected in ((net, None), (small(ARCHITECTURES["mnist_28"]), PREPROCESSING["mnist_28"])):
        write_checkpoint(tmp_path / "x.npz", Checkpoint(random_parameters(network), ModelSpec(network, None, ())))
        assert read_checkpoint(tmp_path / "x.npz").spec.preprocessing == expected


def test_missing_layers_at_the_end_are_reported(tmp_path):
    short = {name: PARAMETERS[name] for name in list(PARAMETERS)[:-1]}
    keras_h5.write(tmp_path / "x.weights.h5", Contents(short))
    checkpoint = read_checkpoint(tmp_path / "x.weights.h5", NET)
    assert checkpoint.missing == ("fc8",) and checkpoint.spec.classes == ()
    assert "holds conv1 … fc7 only; without fc8 it cannot classify" in checkpoint.notes[-1]
    output, _ = convert(tmp_path / "x.weights.h5", tmp_path / "y.safetensors", NET)
    assert read_checkpoint(output, NET).missing == ("fc8",)


@pytest.mark.parametrize("name", ["one_weird_trick", "single_tower", "mnist_28", "krizhevsky2012"])
def test_a_compressed_file_is_read_as_the_network_that_it_states(name, tmp_path):
    net = small(ARCHITECTURES[name])
    parameters = few_values(random_parameters(net))
    write_checkpoint(tmp_path / "x.net", Checkpoint(parameters, ModelSpec(net, None, ())))
    again = read_checkpoint(tmp_path / "x.net")
    assert again.spec.architecture == net
    assert_equal(again.parameters, parameters)


@pytest.mark.parametrize("suffix", [".net", ".npz", ".safetensors", ".weights.h5"])
def test_a_file_of_version_0_1_states_the_name_of_its_network(suffix, tmp_path):
    net = ARCHITECTURES["mnist_28"]
    parameters = few_values(random_parameters(net))
    attributes = {"architecture": "mnist_28", "preprocessing": json.dumps(GREY)}
    labels = np.frombuffer(json.dumps([f"digit {digit}" for digit in range(10)]).encode(), np.uint8)
    module = FORMATS[suffix]
    ordered = reorder_first_dense(parameters, net, orientation.flatten_chw, module.FLATTEN)
    extras = {"mean": np.array([33.0], np.float32), "labels": labels}
    module.write(tmp_path / f"x{suffix}", Contents(ordered, attributes, extras, module.FLATTEN))
    checkpoint = read_checkpoint(tmp_path / f"x{suffix}")
    assert_equal(checkpoint.parameters, parameters)
    assert checkpoint.spec.architecture == net and checkpoint.spec.classes[3].label == "digit 3"
    assert checkpoint.spec.preprocessing == Preprocessing(**GREY | {"std": (1.0,)}, mean=(33.0,))


def test_a_compressed_file_requires_all_layers(tmp_path):
    parameters = {name: arrays for name, arrays in few_values(PARAMETERS).items() if name != "fc8"}
    checkpoint = Checkpoint(parameters, ModelSpec(NET, None, ()), missing=("fc8",))
    with pytest.raises(CheckpointError, match=r"Expected weights with all layers\. .*lacks fc8"):
        write_checkpoint(tmp_path / "x.net", checkpoint)
