"""Exported files answer in their own runtimes as the same network does in Keras."""

import numpy as np
import pytest
from support.answers import keras_case
from support.exported import RUNTIMES, bvlc_for, output_path, require, write_case
from support.nets import each_norm, random_parameters, small

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.exported import describe_export
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.exporters.export import EXPORTERS, export
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import numbered_classes
from tfalexnet.networks.build import build_model, set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.runtimes.network import load_network

# A SavedModel holds the same TensorFlow function as a file for LiteRT, and OpenVINO reads the ONNX graph (see
# runtimes/test_openvino.py): for these two formats three networks suffice.
FEW = ("krizhevsky2012", "cifar10_18pct", "mnist_28")
SIMILAR = {"savedmodel", "openvino"}
CASES = [
    pytest.param(name, format, marks=[pytest.mark.slow] if format in SIMILAR and name not in FEW else [])
    for name in ARCHITECTURES
    for format in RUNTIMES
]


@pytest.mark.parametrize(("name", "format"), CASES)
def test_every_network_answers_in_every_runtime_as_in_keras(name, format, tmp_path):
    require(format)
    preprocessing = bvlc_for(ARCHITECTURES[name]) if format == "savedmodel" else None
    path = write_case(output_path(tmp_path, format), name, format, preprocessing=preprocessing)
    *_, x, answers = keras_case(name)
    assert 0.15 < answers.max() < 0.999 and answers.std() > 0.03
    for count in (1, 3):
        np.testing.assert_allclose(RUNTIMES[format](path, x[:count]), answers[:count], atol=1e-5)


HALVES = [
    (format, precision)
    for format in RUNTIMES
    for precision in EXPORTERS[format].PRECISIONS
    if precision in ("float16", "bfloat16")
]


@pytest.mark.parametrize("name", ["krizhevsky2012", "bvlc_alexnet"])
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_normalisation_with_a_fractional_k(format, name, tmp_path):
    require(format)
    net = each_norm(small(ARCHITECTURES[name]), k=1.6, alpha=0.01)
    parameters = random_parameters(net)
    model = build_model(net)
    set_parameters(model, parameters)
    x = np.random.default_rng(0).standard_normal((2, *net.input_shape), np.float32) * 50
    checkpoint = Checkpoint(parameters, ModelSpec(net, bvlc_for(net), numbered_classes(net.classes)))
    path = output_path(tmp_path, format)
    EXPORTERS[format].write(path, checkpoint, describe_export(checkpoint.spec, "float32", "NCHW"), "float32")
    np.testing.assert_allclose(RUNTIMES[format](path, x), model(x), atol=1e-5)


@pytest.mark.parametrize(("format", "precision"), HALVES)
def test_16_bits_halve_the_weights_and_change_the_answers_little(format, precision, tmp_path):
    require(format)
    preprocessing, (*_, x, answers) = bvlc_for(ARCHITECTURES["bvlc_alexnet"]), keras_case("bvlc_alexnet")
    sizes = {}
    for kind in ("float32", precision):
        path = output_path(tmp_path / kind, format)
        path.parent.mkdir(parents=True)
        write_case(path, "bvlc_alexnet", format, kind, preprocessing)
        weights = {"savedmodel": path / "variables/variables.data-00000-of-00001", "openvino": path.with_suffix(".bin")}
        sizes[kind] = weights.get(format, path).stat().st_size
    assert 0 < np.abs(RUNTIMES[format](path, x) - answers).max() < 0.05
    assert 0.4 < sizes[precision] / sizes["float32"] < 0.6


@pytest.mark.parametrize("format", [format for format in RUNTIMES if format != "savedmodel"])
def test_the_shipped_weights_answer_a_photo_alike_in_every_runtime(format, tmp_path, photo):
    require(format)
    path = export("cifar10", output_path(tmp_path, format), format)
    network = load_network(find_weights("cifar10"))
    x = network.spec.preprocessing(photo)[None]
    np.testing.assert_allclose(RUNTIMES[format](path, x), network(x)[0], atol=1e-5)


@pytest.mark.data
def test_int8_agrees_with_float32_on_99_of_100_pictures(data, tmp_path, monkeypatch):
    require("litert")
    from tfalexnet.exporters import litert
    from tfalexnet.runtimes.litert import load

    training = sorted((data / "cifar10" / "train").glob("*/*"))
    testing = sorted((data / "cifar10" / "test").glob("*/*"))[::5]
    network = load_network(find_weights("cifar10"))
    x = np.stack([network.spec.preprocessing(picture) for picture in testing])
    (answers,) = network(x)

    def agreement(path):
        *_, function = load(path, ("prob",))
        scores = np.concatenate([function(x[start : start + 100])[0] for start in range(0, len(x), 100)])
        return (scores.argmax(axis=1) == answers.argmax(axis=1)).mean()

    path = export("cifar10", tmp_path / "net.tflite", "litert", "int8", training)
    assert path.stat().st_size < 0.5 * find_weights("cifar10").stat().st_size
    assert agreement(path) > 0.985
    monkeypatch.setattr(litert, "IN_FLOAT", ())  # Normalisation in 8 bits too.
    assert agreement(export("cifar10", tmp_path / "all.tflite", "litert", "int8", training)) < 0.95
