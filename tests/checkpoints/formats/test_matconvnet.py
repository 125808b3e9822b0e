"""Networks of MatConvNet, against its equations in NumPy; and files that are refused."""

import numpy as np
import pytest
from support.nets import small
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints import match
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import matconvnet
from tfalexnet.images.classes import Class
from tfalexnet.io import packages
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.tools.convert import convert

pytest.importorskip("scipy")
from support import matconvnet as files

MEAN = np.random.default_rng(1).uniform(90, 130, (25, 25, 3)).astype("f4")
NORMALIZATION = {"imageSize": np.array([[25.0, 25, 3]]), "averageImage": MEAN, "keepAspect": 0.0}
NORMALIZATION |= {"border": np.array([[4.0, 4]]), "interpolation": "bilinear"}
CLASSES = {
    "name": [f"n0000000{number}" for number in range(5)],
    "description": ["tench, Tinca tinca", "café", "a", "b", "c"],
}


@pytest.fixture
def picture():
    return np.random.default_rng(2).uniform(-2, 2, (25, 25, 3)).astype("f4")


@pytest.mark.parametrize("spelling", ["old", "new", "net"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_network_answers_as_matconvnets_equations(spelling, packed, picture, tmp_path):
    layers = files.small_layers()
    files.write(tmp_path / "x.mat", layers, spelling, NORMALIZATION, CLASSES, do_compression=packed)
    checkpoint = read_checkpoint(tmp_path / "x.mat")
    assert checkpoint.spec.classes == tuple(map(Class, CLASSES["name"], CLASSES["description"]))
    prepared = checkpoint.spec.preprocessing
    assert (prepared.resize, prepared.size, prepared.crop, prepared.channels) == ("squash", 29, 25, "RGB")
    np.testing.assert_array_equal(prepared.mean, MEAN)
    assert checkpoint.notes == () and checkpoint.spec.architecture.name == "x"
    expected = files.answer(layers, picture)
    np.testing.assert_allclose(AlexNet(weights=tmp_path / "x.mat")(picture[None])[0], expected, rtol=0, atol=1e-6)
    assert 0.25 < expected.max() < 0.999  # Neither uniform nor saturated, so that a mistake shows.


@pytest.mark.parametrize("mutant", ["flattened by rows first", "alpha divided", "padding before"])
def test_the_comparison_finds_mistakes(mutant, picture, tmp_path):
    layers = files.small_layers()
    files.write(tmp_path / "x.mat", layers, "new", NORMALIZATION, CLASSES)
    if mutant == "flattened by rows first":
        kernel, bias = layers[7]["weights"]
        layers[7]["weights"] = [kernel.transpose(1, 0, 2, 3), bias]
    elif mutant == "alpha divided":
        layers[2]["param"][2] /= 5
    else:
        layers[3]["pad"] = [1, 0, 1, 0]
    answer = AlexNet(weights=tmp_path / "x.mat")(picture[None])[0]
    assert np.abs(answer - files.answer(layers, picture)).max() > 1e-3


@pytest.mark.parametrize("name", ["bvlc_alexnet", "bvlc_caffenet"])
def test_the_networks_of_caffe_are_recognised(name, tmp_path, monkeypatch):
    networks = {name: small(net) for name, net in ARCHITECTURES.items()}
    networks[name] = networks[name].with_classes(NET.classes)
    monkeypatch.setattr(match, "ARCHITECTURES", networks)
    layers = files.layers_of(networks[name], PARAMETERS)
    size = {"imageSize": np.array([[227.0, 227, 3]]), "averageImage": np.array([[[123.0, 117, 104]]], "f4")}
    files.write(tmp_path / "alex.mat", layers, "new", size | {"interpolation": "bicubic"}, {})
    checkpoint = read_checkpoint(tmp_path / "alex.mat")
    assert checkpoint.spec.architecture == networks[name]
    assert checkpoint.spec.preprocessing.mean.tolist() == [123, 117, 104]
    assert checkpoint.notes == (
        "Pictures are resized bilinearly, in MatConvNet bicubically: its answers differ a little.",
    )
    kernel, bias = PARAMETERS["conv1"]
    assert_equal(checkpoint.parameters, PARAMETERS | {"conv1": (kernel[:, :, ::-1], bias)})


def test_a_converted_file_answers_the_same(picture, tmp_path):
    files.write(tmp_path / "x.mat", files.small_layers(), "new", NORMALIZATION, CLASSES)
    path, converted = convert(tmp_path / "x.mat", tmp_path / "x.weights.h5")
    again = read_checkpoint(path)
    assert again.spec == converted.spec
    answers = [AlexNet(weights=tmp_path / name)(picture[None]) for name in ("x.mat", "x.weights.h5")]
    np.testing.assert_array_equal(*answers)


def test_what_a_file_does_not_state(tmp_path):
    files.write(tmp_path / "x.mat", files.small_layers(), "new", {"imageSize": np.array([[25.0, 25, 3]])}, {})
    checkpoint = read_checkpoint(tmp_path / "x.mat")
    assert [label for _, label in checkpoint.spec.classes][:2] == ["class 0", "class 1"]
    assert checkpoint.spec.preprocessing.resize == "shorter side" and not any(checkpoint.spec.preprocessing.mean)
    assert "does not hold the mean of the pictures: give it with --mean" in checkpoint.notes[0]


def changed(at: int, **fields: object) -> list[dict]:
    layers = files.small_layers()
    layers[at] |= fields
    return layers


REFUSED = {
    r"expected a chain of conv, .* up to one softmax; received bn \(bnorm\)": changed(1, type="bnorm", name="bn"),
    r"received pool1 \(pool\)": [*files.small_layers(), files.small_layers()[3]],
    r"relu1 \(relu\): expected `leak` to be 0; received \[0.1\]": changed(1, leak=[0.1]),
    r"conv1 \(conv\): expected a square kernel with the same `pad`": changed(0, pad=[0, 1, 0, 1]),
    r"conv1 \(conv\): expected the same integer as `stride`": changed(0, stride=[2, 1]),
    r"pool1 \(pool\): expected `pad` with the same integers": changed(3, pad=[0, 1, 0, 0]),
    r"pool1 \(pool\): expected `pad` whose windows": changed(3, pad=[0, 9, 0, 9]),
    r"pool2 \(pool\): expected `pad` whose windows": changed(6, pad=[1, 1, 1, 1]),
    r"pool2 \(pool\): expected `method` to be max or avg": changed(6, method="min"),
    r"conv2 \(conv\): expected 12 biases; received 3": changed(
        4, weights=[files.small_layers()[4]["weights"][0], np.ones((1, 3), "f4")]
    ),
    "norm1: expected `size` to be odd": changed(2, param=[4, 2, 0.02, 0.75]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_other_layers_are_refused_by_name(message, tmp_path):
    files.write(tmp_path / "x.mat", REFUSED[message], "new", NORMALIZATION, CLASSES)
    with pytest.raises(CheckpointError, match=rf"x\.mat: .*{message}"):
        read_checkpoint(tmp_path / "x.mat")


def test_other_mat_files_are_refused(tmp_path, monkeypatch):
    files.scipy.io.savemat(tmp_path / "x.mat", {"a": np.ones(3)})
    with pytest.raises(CheckpointError, match=r"expected the layers of a MatConvNet network; .* numpy\.savez"):
        read_checkpoint(tmp_path / "x.mat")
    files.write(tmp_path / "x.mat", files.small_layers(), "new", {}, {})
    with pytest.raises(CheckpointError, match=r"expected the size of pictures in meta\.normalization\.imageSize"):
        read_checkpoint(tmp_path / "x.mat")
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"not installed: pip install 'tfalexnet\[mat\]'"):
        matconvnet.read(tmp_path / "x.mat")
