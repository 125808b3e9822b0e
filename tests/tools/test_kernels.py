"""Published kernels are recognised by their sums, and others are not, whatever their file is called."""

import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
from support.caffe_truth import read_arrays
from support.nets import random_parameters, small, write_npy

from tfalexnet import ARCHITECTURES
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub.digest import Digest
from tfalexnet.hub.registry import REGISTRY, Source
from tfalexnet.images.classes import imagenet_classes, numbered_classes
from tfalexnet.tools.convert import describe_checkpoint
from tfalexnet.tools.fingerprints import Fingerprint
from tfalexnet.tools.kernels import PUBLISHED_KERNELS, Statistics, claimed_weights, compare_sums, identify_kernels
from tfalexnet.tools.verify import verify

NET = small(ARCHITECTURES["bvlc_caffenet"]).with_classes(1000)
ALEXNET = small(ARCHITECTURES["bvlc_alexnet"]).with_classes(1000)
PARAMETERS = random_parameters(NET, 3)
ANOTHER_ORDER = "the kernel of conv1 has the published sum, but another order: it begins with .*, published"
RIGHT = "the published kernels of bvlc_caffenet, by their sums"


def statistics(layer: str, part: int) -> Statistics:
    """The numbers of an array, by NumPy's definitions, of the kernel in Caffe's order."""
    array = PARAMETERS[layer][part].astype(np.float64)
    array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    deviation = np.sqrt(np.mean((array - array.mean()) ** 2))
    return Statistics(layer, part, array.sum(), deviation, tuple(array.ravel()[:3]))


@pytest.fixture(autouse=True)
def small_kernels(monkeypatch):
    """The kernels of a small network stand in for the published ones."""
    known = tuple(statistics(item.layer, item.part) for item in PUBLISHED_KERNELS["bvlc_caffenet"])
    monkeypatch.setitem(PUBLISHED_KERNELS, "bvlc_caffenet", known)


def save(path, parameters=PARAMETERS, net=NET, classes=None, **attributes):
    spec = ModelSpec(net, None, imagenet_classes() if classes is None else classes)
    write_checkpoint(path, Checkpoint(parameters, spec), **attributes)
    return path


def changed(layer, change, part=0):
    arrays = list(PARAMETERS[layer])
    arrays[part] = change(arrays[part])
    return PARAMETERS | {layer: tuple(arrays)}


def noisy(array):
    return array * (1 + np.float32(0.05) * np.random.default_rng(1).standard_normal(array.shape, np.float32))


def found(path):
    return compare_sums(path, read_checkpoint(path))


def test_the_published_kernels_are_recognised_under_any_name(tmp_path):
    for name in ("caffenet.weights.h5", "mine.weights.h5"):
        path = save(tmp_path / name)
        assert found(path) == identify_kernels(path, read_checkpoint(path)) == RIGHT
        assert f"kernels   {RIGHT}\n" in describe_checkpoint(path)


def test_half_precision_does_not_change_them(tmp_path):
    half = {name: tuple(a.astype(np.float16).astype(np.float32) for a in both) for name, both in PARAMETERS.items()}
    assert found(save(tmp_path / "mine.weights.h5", half)) == RIGHT


def test_the_kernels_of_another_network_are_named(tmp_path):
    path = save(tmp_path / "bvlc_alexnet.weights.h5", net=ALEXNET)
    assert found(path) == f"{RIGHT}, read as bvlc_alexnet; state --architecture bvlc_caffenet"


# Parameters of a file that claims the published kernels, and what it is told.
MUTANTS = {
    "other weights": (random_parameters(NET, 4), "the kernel of conv1 has the sum .*, published"),
    "trained further": (changed("conv2", noisy), "the kernel of conv2 has the "),
    "a bias of conv5": (changed("conv5", noisy, 1), "the bias of conv5 has the "),
    "a factor": (changed("conv1", lambda k: k * np.float32(1.02)), "the kernel of conv1 has the "),
    "numbers with this sum": (
        changed("conv2", lambda k: np.full_like(k, k.mean(dtype=np.float64))),
        "the kernel of conv2 has the standard deviation .*, published",
    ),
    "R, G, B": (
        changed("conv1", lambda k: k[:, :, ::-1]),
        "the kernel of conv1 has the published sum, but another order",
    ),
    "rows and columns": (
        changed("conv1", lambda k: k.swapaxes(0, 1)),
        "conv1 has the published sum, but another order",
    ),
    "turned": (changed("conv1", lambda k: np.rot90(k, 2)), "conv1 has the published sum, but another order"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_other_kernels_that_claim_to_be_published_are_named(mutant, tmp_path):
    parameters, expected = MUTANTS[mutant]
    path = save(tmp_path / "caffenet.weights.h5", parameters)
    note = found(path)
    assert note == identify_kernels(path, read_checkpoint(path))
    assert note.startswith("not the published kernels of bvlc_caffenet: ")
    assert re.search(expected, note)
    assert f"kernels   {note}\n" in describe_checkpoint(path)


def test_layers_that_are_not_published_are_not_compared(tmp_path):
    assert found(save(tmp_path / "caffenet.weights.h5", changed("fc7", noisy))) == RIGHT


@pytest.mark.parametrize(
    ("name", "net", "classes", "attributes", "claim"),
    [
        ("bvlc_reference_caffenet.weights.h5", ALEXNET, None, {}, "bvlc_caffenet"),
        ("caffenet-12.weights.h5", ALEXNET, None, {}, "bvlc_caffenet"),
        ("bvlcalexnet-12.weights.h5", ALEXNET, None, {}, "bvlc_alexnet"),
        ("BVLC AlexNet.weights.h5", ALEXNET, None, {}, "bvlc_alexnet"),
        ("mine.weights.h5", ALEXNET, None, {"source": "bvlc_alexnet.npy"}, "bvlc_alexnet"),
        ("mine.weights.h5", NET, None, {}, "bvlc_caffenet"),
        ("mine.weights.h5", ALEXNET, None, {}, None),
        ("my.caffemodel.weights.h5", ALEXNET, None, {}, None),
        ("caffenet.weights.h5", NET.with_classes(205), numbered_classes(205), {}, None),
    ],
)
def test_what_a_file_claims(name, net, classes, attributes, claim, tmp_path):
    parameters = random_parameters(net, 9)
    path = save(tmp_path / name, parameters, net, classes, **attributes)
    checkpoint = read_checkpoint(path)
    assert claimed_weights(path, checkpoint) == claim
    note = identify_kernels(path, checkpoint)
    if claim == "bvlc_caffenet":
        assert note.startswith("not the published kernels")
    elif claim is None:
        assert note is None and "kernels" not in describe_checkpoint(path).split("layer")[0]
    elif "source" not in attributes:
        assert note.startswith("unknown; nobody published sums of those of bvlc_alexnet")


def test_without_published_sums_the_hash_decides(tmp_path, monkeypatch):
    """The file of BVLC's other network, under a name of the user, and what was converted from it."""
    net = small(ARCHITECTURES["bvlc_alexnet"])
    write_npy(tmp_path / "mine.npy", random_parameters(net, 5))
    digest = Digest("sha256", hashlib.sha256((tmp_path / "mine.npy").read_bytes()).hexdigest())
    source = Source(("https://example.org/x.npy",), digest)
    monkeypatch.setitem(REGISTRY, "bvlc_alexnet", dataclasses.replace(REGISTRY["bvlc_alexnet"], sources=(source,)))

    def note(path):
        return identify_kernels(path, read_checkpoint(path, net))

    assert note(tmp_path / "mine.npy") == "the published kernels of bvlc_alexnet, by the hash of the file"
    converted = save(
        tmp_path / "mine.weights.h5",
        random_parameters(net, 5),
        net,
        numbered_classes(10),
        source="x.npy",
        source_sha256=digest.hexadecimal,
    )
    assert note(converted) == "the published kernels of bvlc_alexnet, by the source that the file states"
    write_npy(tmp_path / "other.npy", random_parameters(net, 6))
    assert note(tmp_path / "other.npy") is None


def test_verify_compares_the_sums_too(photo, tmp_path, monkeypatch):
    monkeypatch.setattr("tfalexnet.tools.verify.ARCHITECTURES", ARCHITECTURES | {"bvlc_caffenet": NET})
    published = Fingerprint("none", "bvlc_caffenet", lambda _: None, {0: 1.0}, 1e-3, "nobody")
    report = verify(photo, save(tmp_path / "mine.weights.h5"), fingerprints=[published])
    assert f"Kernels: {RIGHT}." in report.notes
    report = verify(photo, save(tmp_path / "other.weights.h5", changed("conv2", noisy)), fingerprints=[published])
    assert report.notes[0].startswith("Kernels: not the published kernels of bvlc_caffenet: the kernel of conv2")


@pytest.fixture
def real_table(monkeypatch):
    """The published numbers themselves."""
    monkeypatch.undo()


@pytest.mark.data
@pytest.mark.usefixtures("real_table")
def test_the_real_kernels_of_caffenet(data, tmp_path):
    """BVLC's own conv1 and conv2, and the biases of conv1 to conv5."""
    truth = read_arrays(data / "real" / "caffenet" / "cat_activations.npz")
    net = ARCHITECTURES["bvlc_caffenet"]
    parameters = {}
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
        kernel = (
            truth[f"{name}_w"].transpose(2, 3, 1, 0) if f"{name}_w" in truth else np.zeros((3, 3, 1, 1), np.float32)
        )
        parameters[name] = kernel, truth[f"{name}_b"]
    spec = ModelSpec(net, None, ())
    path = tmp_path / "caffenet.npz"
    path.touch()
    assert compare_sums(path, Checkpoint(parameters, spec)) == RIGHT
    half = {name: tuple(a.astype(np.float16).astype(np.float32) for a in both) for name, both in parameters.items()}
    assert compare_sums(path, Checkpoint(half, spec)) == RIGHT
    for layer, part, change in [
        ("conv1", 0, lambda k: k[:, :, ::-1]),
        ("conv1", 0, lambda k: k.swapaxes(0, 1)),
        ("conv2", 0, noisy),
        ("conv4", 1, lambda b: b[::-1]),
        ("conv5", 1, noisy),
    ]:
        arrays = list(parameters[layer])
        arrays[part] = change(arrays[part])
        note = compare_sums(path, Checkpoint(parameters | {layer: tuple(arrays)}, spec))
        assert note.startswith(f"not the published kernels of bvlc_caffenet: the {('kernel', 'bias')[part]} of {layer}")


@pytest.mark.data
@pytest.mark.usefixtures("real_table")
def test_the_table_is_what_was_published(data):
    published = json.loads((data / "real" / "caffenet" / "statistics.json").read_text())
    table = PUBLISHED_KERNELS["bvlc_caffenet"]
    assert [f"{'wb'[item.part]}{item.layer[-1]}" for item in table] == ["w1", "b1", "w2", "b2", "b3", "b4", "b5"]
    for item in table:
        numbers = published[f"{'wb'[item.part]}{item.layer[-1]}"]
        np.testing.assert_allclose((item.total, item.deviation), (numbers["sum"], numbers["std"]), rtol=1e-6)
