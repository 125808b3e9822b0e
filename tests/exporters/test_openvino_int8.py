"""Weights in 8 bits for OpenVINO: they agree with float32, and `precision="int8"` finds them."""

import numpy as np
import pytest
from support.patterns import gradient
from support.weights import write_small

from tfalexnet import export, predict
from tfalexnet.hub.cache import find_weights
from tfalexnet.io.files import sha256
from tfalexnet.runtimes import network as network_module
from tfalexnet.runtimes.network import load_network


@pytest.fixture(scope="module")
def pictures():
    return [gradient(40 + i, 32)[:, ::-1] if i % 2 else gradient(32, 40 + 3 * i) for i in range(12)]


@pytest.fixture
def weights(tmp_path):
    pytest.importorskip("nncf")
    path = tmp_path / "net.weights.h5"
    path.write_bytes(find_weights("cifar10").read_bytes())
    return path


def test_int8_is_found_beside_the_weights_and_close_to_float32(weights, pictures):
    with pytest.raises(ValueError, match=r"net\.int8\.xml, .* in 8 bits. Received: none. Write it: tfalexnet"):
        predict(pictures, weights=weights, precision="int8")
    output = export(weights, weights.with_name("net.int8.xml"), "openvino", "int8", pictures)
    assert output.with_suffix(".bin").stat().st_size < 0.5 * weights.stat().st_size
    network = load_network(weights, precision="int8")
    assert (network.precision, network.engine, network.path) == ("int8", "openvino", output)
    x = np.stack([network.spec.preprocessing(picture) for picture in pictures])
    difference = np.abs(network(x)[0] - load_network(weights)(x)[0]).max()
    assert 0 < difference < 0.1
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="which was written from other weights"):
        load_network(weights, precision="int8")


def test_every_convolution_has_a_kernel_in_8_bits(tmp_path, pictures):
    """OpenVINO folds the kernels of plain convolutions only, and computes grouped ones in floats."""
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    weights = write_small(tmp_path / "net.weights.h5", "bvlc_alexnet")
    model = openvino.Core().read_model(export(weights, tmp_path / "net.int8.xml", "openvino", "int8", pictures))
    kernels = []
    for operation in model.get_ops():
        assert operation.get_type_name() != "GroupConvolution"
        if operation.get_type_name() == "Convolution":
            source = operation
            while source.get_type_name() != "Constant":
                source = source.input_value(source is operation).get_node()
            kernels.append(source.get_element_type().to_string())
    assert kernels == ["i8"] * 8  # Three of the layers have two groups.


@pytest.mark.slow
def test_int8_agrees_with_float32_on_98_5_of_100_pictures(data, weights):
    training = sorted((data / "cifar10" / "train").glob("*/*"))
    testing = sorted((data / "cifar10" / "test").glob("*/*"))[::5]
    export(weights, weights.with_name("net.int8.xml"), "openvino", "int8", training)
    answers = [predict(testing, weights=weights, top=1, precision=precision) for precision in ("float32", "int8")]
    same = np.mean([a[0].index == b[0].index for a, b in zip(*answers, strict=True)])
    assert 0.985 <= same < 1


def test_a_file_in_float_is_not_taken_for_one_in_8_bits(tmp_path):
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    output = export("cifar10", tmp_path / "net.xml", "openvino")
    products = "(float32|bfloat16)"  # It depends on the processor.
    message = rf"Expected weights in 8 bits. Received: .*net\.xml, whose products are {products}"
    with pytest.raises(ValueError, match=message):
        load_network(output, precision="int8")


def test_the_weights_are_hashed_once(weights, pictures, monkeypatch):
    hashed = []
    monkeypatch.setattr(network_module, "sha256", lambda path: hashed.append(path) or sha256(path))
    export(weights, weights.with_name("net.int8.xml"), "openvino", "int8", pictures)
    for _ in range(3):
        load_network(weights, precision="int8")
    assert hashed == [weights]
