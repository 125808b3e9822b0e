"""Deep Compression's `.net`, against the loop of its published decoder."""

import numpy as np
import pytest
from support.nets import random_parameters
from support.parameters import NET, PARAMETERS, assert_equal, few_values

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.formats import Contents, deep_compression, orientation
from tfalexnet.networks.catalog import ARCHITECTURES

SHAPES = NET.parameter_shapes()


def decoded(data: bytes, shapes: dict) -> dict:
    """The published decoder's loop, number by number."""
    counts = np.frombuffer(data, "<u4", len(shapes)).tolist()
    position = 4 * len(shapes)
    parameters = {}

    def take(count: int, kind: str) -> np.ndarray:
        nonlocal position
        array = np.frombuffer(data, kind, count, position)
        position += array.nbytes
        return array

    for (name, (kernel, bias)), count in zip(shapes.items(), counts, strict=True):
        bits = 8 if len(kernel) == 4 else 4
        codebook, biases = take(2**bits, "<f4"), take(bias[0], "<f4")
        codes, gaps = take((count - 1) // (8 // bits) + 1, "u1"), take((count - 1) // 2 + 1, "u1")
        flat = np.full(np.prod(kernel), codebook[0])
        index = -1
        for i in range(count):
            index += (gaps[i // 2] >> 4 * (i % 2) & 15).item() + 1
            flat[index] = codebook[codes[i] if bits == 8 else codes[i // 2] >> 4 * (i % 2) & 15]
        order = (3, 2, 0, 1) if len(kernel) == 4 else (1, 0)
        parameters[name] = orientation.channels_last(flat.reshape([kernel[axis] for axis in order])), biases
    return parameters


def test_files_are_those_of_the_published_decoder(tmp_path):
    generator = np.random.default_rng(0)
    shapes = {"conv1": ((3, 3, 2, 5), (5,)), "conv2": ((1, 1, 5, 7), (7,)), "fc8": ((70, 9), (9,))}
    for density in (0, 0.01, 0.3, 1):
        parameters = {}
        for name, (kernel, bias) in shapes.items():
            values = generator.normal(size=10).astype("f4")
            nonzero = generator.random(kernel) < density
            parameters[name] = (np.where(nonzero, generator.choice(values, kernel), np.float32(0)), np.ones(bias, "f4"))
        deep_compression.write(tmp_path / "x.net", Contents(parameters, flatten="CHW"))
        assert_equal(decoded((tmp_path / "x.net").read_bytes(), shapes), parameters)
        assert_equal(deep_compression.read(tmp_path / "x.net", shapes).parameters, parameters)


def test_a_codebook_need_not_begin_with_zero(tmp_path):
    shapes = {"fc8": ((4, 1), (1,))}
    codebook = np.arange(16, dtype="<f4") + 0.5
    data = np.array([2], "<u4").tobytes() + codebook.tobytes() + np.ones(1, "<f4").tobytes()
    data += bytes([3 | 4 << 4]) + bytes([1 | 0 << 4])  # Codes 3 and 4, after 1 and 0 others.
    (tmp_path / "x.net").write_bytes(data)
    kernel, _ = deep_compression.read(tmp_path / "x.net", shapes).parameters["fc8"]
    assert kernel.ravel().tolist() == [0.5, 3.5, 4.5, 0.5]
    assert_equal(decoded(data, shapes), deep_compression.read(tmp_path / "x.net", shapes).parameters)


def test_a_kernel_of_too_many_values_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="conv1: expected at most 255 different numbers.*tfalexnet compress"):
        deep_compression.write(tmp_path / "x.net", Contents(PARAMETERS, flatten="CHW"))
    assert not (tmp_path / "x.net").exists()


@pytest.mark.parametrize("classes", [1, 10, 365])
@pytest.mark.parametrize("described", [True, False])
def test_the_number_of_classes_follows_from_the_size(classes, described, tmp_path):
    net = NET.with_classes(classes)
    parameters = few_values(random_parameters(net))
    attributes = {"architecture": "bvlc_alexnet"} if described else {}
    deep_compression.write(tmp_path / "x.net", Contents(parameters, attributes, flatten="CHW"))
    assert deep_compression.classes(tmp_path / "x.net", SHAPES) == classes
    assert not deep_compression.classes(tmp_path / "x.net", ARCHITECTURES["mnist_28"].parameter_shapes())


def test_a_last_layer_of_zeros_is_accepted(tmp_path):
    zeros = {name: (np.zeros(kernel, "f4"), np.ones(bias, "f4")) for name, (kernel, bias) in SHAPES.items()}
    deep_compression.write(tmp_path / "x.net", Contents(zeros, flatten="CHW"))
    assert deep_compression.classes(tmp_path / "x.net", SHAPES) == 10
