"""Comparison of architectures and checkpoints that differ in one known thing."""

import dataclasses
import math

import numpy as np
import pytest
from support.caffe import caffemodel
from support.nets import each_norm, random_parameters, small

from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import classes_from_labels
from tfalexnet.images.preprocessing import BVLC
from tfalexnet.networks.catalog import (
    ARCHITECTURES,
    BVLC_ALEXNET,
    BVLC_CAFFENET,
    CIFAR10_18PCT,
    ONE_WEIRD_TRICK,
    TF_ALEXNET,
)
from tfalexnet.tools.compare import LayerDifference, comparison_table, diff

PREPROCESSING = dataclasses.replace(BVLC, size=32, crop=32)
CLASSES = classes_from_labels([f"class {n}" for n in range(10)])


def changed(comparison):
    return {row.layer: row for row in comparison.rows if row.status != "same"}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_equals_itself(name):
    comparison = diff(name, name)
    assert comparison.same and not changed(comparison) and comparison_table(comparison).endswith("Nothing differs.")
    total = sum(math.prod(s) for shapes in ARCHITECTURES[name].parameter_shapes().values() for s in shapes)
    assert sum(row.parameters[0] or 0 for row in comparison.rows) == total
    assert f"{total:,}" in comparison_table(comparison)


def test_layers_in_another_order():
    comparison = diff("bvlc_alexnet", BVLC_CAFFENET)
    assert not comparison.same
    moved = [(row.layer, row.outputs) for row in comparison.rows if row.status == "moved"]
    assert moved == [
        ("pool1", (None, (27, 27, 96))),
        ("pool1", ((27, 27, 96), None)),
        ("pool2", (None, (13, 13, 256))),
        ("pool2", ((13, 13, 256), None)),
    ]
    order = [row.layer for row in comparison.rows][1:6]
    assert order == ["conv1", "pool1", "norm1", "pool1", "conv2"]
    text = comparison_table(comparison)
    assert "moved: here in A" in text and "moved: here in B" in text and text.endswith("They differ.")
    assert changed(comparison)["fc6"].fields == {"bias_init": (0.1, 1)}


def test_fields_that_differ_are_named():
    assert changed(diff("bvlc_alexnet", "tf_alexnet"))["conv1"].fields == {"padding": ("valid", "same")}
    assert "changed: padding valid → same" in comparison_table(diff(BVLC_ALEXNET, TF_ALEXNET))
    (conv1,) = changed(diff(BVLC_ALEXNET, TF_ALEXNET)).values()
    assert conv1.outputs == ((55, 55, 96), (57, 57, 96)) and conv1.parameters == (34944, 34944)
    rows = changed(diff(BVLC_ALEXNET, each_norm(BVLC_ALEXNET, k=2.0, alpha=5e-4)))
    assert {name: row.fields for name, row in rows.items()} == {
        name: {"alpha": (1e-4, 5e-4), "k": (1.0, 2.0)} for name in ("norm1", "norm2")
    }
    rows = changed(diff(BVLC_ALEXNET, BVLC_ALEXNET.with_classes(17)))
    assert {name: row.fields for name, row in rows.items()} == {"fc8": {"units": (1000, 17)}}
    assert rows["fc8"].parameters == (4_097_000, 69_649)
    other = dataclasses.replace(CIFAR10_18PCT, input_shape=(40, 40, 3))
    assert changed(diff(CIFAR10_18PCT, other))["input"].outputs == ((32, 32, 3), (40, 40, 3))
    kinds = CIFAR10_18PCT.replace_layers(norm1=dataclasses.replace(CIFAR10_18PCT.layers[2], name="norm1"))
    assert changed(diff(CIFAR10_18PCT, kinds))["norm1"].fields == {"kind": ("Norm", "Activation")}


def test_layers_of_one_side():
    rows = changed(diff("one_weird_trick", "bvlc_alexnet"))
    assert rows["pad1"].status == "only in A" and rows["norm1"].status == "only in B"
    assert rows["norm1"].outputs == (None, (55, 55, 96)) and rows["conv2"].fields["groups"] == (1, 2)
    assert "only in A" in comparison_table(diff(ONE_WEIRD_TRICK, BVLC_ALEXNET))


@pytest.fixture
def parameters():
    return random_parameters(CIFAR10_18PCT)


@pytest.fixture
def write(tmp_path):
    """A file of the CIFAR-10 net with all that belongs to it."""

    def write(name, parameters, preprocessing=PREPROCESSING, classes=CLASSES, net=CIFAR10_18PCT):
        path = tmp_path / name
        write_checkpoint(path, Checkpoint(parameters, ModelSpec(net, preprocessing, classes)))
        return path

    return write


def replaced(parameters, layer, change):
    return parameters | {layer: (np.ascontiguousarray(change(parameters[layer][0])), parameters[layer][1])}


def rows_of(comparison):
    return {(row.layer, row.part): row for row in comparison.rows}


def test_equal_checkpoints_in_two_formats(write, parameters):
    comparison = diff(write("a.weights.h5", parameters), write("b.npz", parameters))
    assert comparison.same and all(row.identical and row.largest == 0 and row.relative == 0 for row in comparison.rows)
    assert [row.layer for row in comparison.rows[::2]] == ["conv1", "conv2", "conv3", "fc4"]
    assert "identical" in comparison_table(comparison) and comparison_table(comparison).endswith("Nothing differs.")


def test_numbers_are_those_of_the_definition(write, parameters):
    noise = np.random.default_rng(1).standard_normal(parameters["conv2"][0].shape, np.float32)
    comparison = diff(
        write("a.npz", parameters), write("b.npz", replaced(parameters, "conv2", lambda k: k + noise / 10))
    )
    row = rows_of(comparison)["conv2", "kernel"]
    a, b = (x.astype(np.float64) for x in (parameters["conv2"][0], parameters["conv2"][0] + noise / 10))
    assert row.largest == pytest.approx(np.abs(a - b).max())
    assert row.relative == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a))
    assert row.cosine == pytest.approx((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))
    assert not row.identical and row.hint is None and str(row) == "differs"
    assert not comparison.same and [r for r in comparison.rows if not r.identical] == [row]
    assert f"{row.relative:.3g}" in comparison_table(comparison) and f"{row.cosine:.6f}" in comparison_table(comparison)


def test_arrays_are_compared_bit_by_bit(write, parameters):
    next_numbers = replaced(parameters, "fc4", lambda k: np.nextafter(k, np.float32(9)))
    comparison = diff(write("a.npz", parameters), write("b.npz", next_numbers))
    row = rows_of(comparison)["fc4", "kernel"]
    assert not row.identical and 0 < row.largest < 1e-7 and row.hint is None and not comparison.same
    zero = replaced(parameters, "fc4", np.zeros_like)
    minus = replaced(parameters, "fc4", lambda k: -np.zeros_like(k))
    row = rows_of(diff(write("zero.npz", zero), write("minus.npz", minus)))["fc4", "kernel"]
    assert (row.identical, row.largest, row.relative, row.cosine) == (False, 0, 0, None)
    row = rows_of(diff(write("zero.npz", zero), write("a.npz", parameters)))["fc4", "kernel"]
    assert row.relative == math.inf and row.cosine is None


@pytest.mark.parametrize(
    ("layer", "change", "hint"),
    [
        ("conv1", lambda k: k[:, :, ::-1], "input channels reversed (RGB for BGR)"),
        ("conv3", lambda k: k.transpose(1, 0, 2, 3), "height and width of the kernels exchanged"),
        ("conv2", lambda k: np.rot90(k, 2), "turned by 180°"),
        (
            "fc4",
            lambda k: k.reshape(4, 4, 64, 10).transpose(2, 0, 1, 3).reshape(1024, 10),
            "read as channel, height, width",
        ),
        (
            "fc4",
            lambda k: k.reshape(64, 4, 4, 10).transpose(1, 2, 0, 3).reshape(1024, 10),
            "put back to channel, height, width",
        ),
    ],
)
@pytest.mark.parametrize("rounded", [False, True])
def test_the_same_kernel_in_another_layout(layer, change, hint, rounded, write, parameters):
    other = replaced(parameters, layer, lambda k: change(k).astype(np.float16 if rounded else None))
    comparison = diff(write("a.npz", parameters), write("b.npz", other))
    assert not comparison.same and hint in rows_of(comparison)[layer, "kernel"].hint
    assert f"equals A with {rows_of(comparison)[layer, 'kernel'].hint}" in comparison_table(comparison)
    assert all(row.identical for row in comparison.rows if (row.layer, row.part) != (layer, "kernel"))


def test_a_square_kernel_transposed(tmp_path):
    net = small(BVLC_ALEXNET)
    parameters = random_parameters(net)
    other = replaced(parameters, "fc7", np.transpose)
    for name, each in (("a.npz", parameters), ("b.npz", other)):
        write_checkpoint(tmp_path / name, Checkpoint(each, ModelSpec(net, BVLC, CLASSES)))
    comparison = diff(tmp_path / "a.npz", tmp_path / "b.npz", net)
    assert rows_of(comparison)["fc7", "kernel"].hint == "square dense kernels transposed"


def test_the_layout_of_a_caffemodel_is_no_difference(write, parameters, tmp_path):
    (tmp_path / "b.caffemodel").write_bytes(caffemodel(parameters, CIFAR10_18PCT))
    comparison = diff(
        write("a.npz", parameters, classes=classes_from_labels(str(n) for n in range(10))), tmp_path / "b.caffemodel"
    )
    assert all(row.identical for row in comparison.rows)
    assert any("cifar10_18pct is used, the first whose shapes match" in note for note in comparison.notes)
    assert comparison.differences[0] == "Preprocessing: resize squash in A, shorter side in B."
    assert not comparison.same and "Note: b.caffemodel" in comparison_table(comparison)


def test_other_classes_preprocessing_and_networks(write, parameters):
    a = write("a.weights.h5", parameters)
    classes = classes_from_labels(["class 0", "cat", *(f"class {n}" for n in range(2, 10))])
    preprocessing = dataclasses.replace(PREPROCESSING, channels="RGB", mean=np.zeros((32, 32, 3), np.float32))
    comparison = diff(a, write("b.weights.h5", parameters, preprocessing, classes))
    assert comparison.differences == (
        "Preprocessing: channels BGR in A, RGB in B.",
        "Preprocessing: mean 104.007, 116.669, 122.679 in A, a picture of 32×32×3 in B.",
        "Classes: 1 of 10 have other names; 1 is 'class 1' in A, 'cat' in B.",
    )
    assert not comparison.same and all(row.identical for row in comparison.rows)
    assert comparison.differences[0] in comparison_table(comparison)

    fewer = CIFAR10_18PCT.with_classes(3)
    comparison = diff(a, write("c.weights.h5", random_parameters(fewer), classes=CLASSES[:3], net=fewer))
    row = rows_of(comparison)["fc4", "kernel"]
    assert row.shapes == ((1024, 10), (1024, 3)) and row.largest is None and str(row) == "another shape"
    assert "Classes: 10 in A, 3 in B." in comparison.differences
    assert any("fc4 changed: units 10 → 3" in sentence for sentence in comparison.differences)

    headless = {name: parameters[name] for name in ("conv1", "conv2", "conv3")}
    np.savez(
        a.with_name("d.npz"),
        **{f"{n}/kernel": k for n, (k, _) in headless.items()},
        **{f"{n}/bias": b for n, (_, b) in headless.items()},
    )
    comparison = diff(a, a.with_name("d.npz"), "cifar10_18pct")
    assert str(rows_of(comparison)["fc4", "bias"]) == "only in A"
    assert "Classes: 10 in A, none in B." in comparison.differences
    assert not comparison.same and "–" in comparison_table(comparison)


def test_preprocessing_that_only_one_file_states(write, parameters):
    net = dataclasses.replace(CIFAR10_18PCT, name="other")  # Without published preprocessing.
    files = write("a.npz", parameters, None, net=net), write("b.npz", parameters, net=net)
    assert diff(*files).differences == ("Preprocessing: unknown in A only.",)
    assert diff(*reversed(files)).differences == ("Preprocessing: unknown in B only.",)
    assert diff(files[0], files[0]).same


def test_networks_that_checkpoints_were_written_for(tmp_path):
    """Order of layers counts; initial weights, which the files have replaced, do not."""
    for net in (small(BVLC_ALEXNET), small(BVLC_CAFFENET)):
        checkpoint = Checkpoint(random_parameters(net), ModelSpec(net, BVLC, CLASSES))
        write_checkpoint(tmp_path / f"{net.name}.npz", checkpoint)
    comparison = diff(tmp_path / "bvlc_alexnet.npz", tmp_path / "bvlc_caffenet.npz")
    (difference,) = comparison.differences
    assert difference.startswith("Networks: bvlc_alexnet in A, bvlc_caffenet in B: pool1 moved: here in B")
    assert "bias_init" not in difference and not comparison.same and all(row.identical for row in comparison.rows)


def test_a_name_is_an_architecture_unless_weights_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert isinstance(diff("bvlc_alexnet", "bvlc_caffenet").rows[0], LayerDifference)
    for seed, net in enumerate((small(BVLC_ALEXNET), small(BVLC_CAFFENET))):
        checkpoint = Checkpoint(random_parameters(net, seed), ModelSpec(net, BVLC, CLASSES))
        write_checkpoint(tmp_path / f"{net.name}.weights.h5", checkpoint)
    comparison = diff("bvlc_alexnet", "bvlc_caffenet", weights=True)
    assert comparison.names == ("bvlc_alexnet", "bvlc_caffenet") and not comparison.same
    assert abs(rows_of(comparison)["fc6", "kernel"].cosine) < 0.01
    assert diff("cifar10", "cifar10").same


@pytest.mark.parametrize("pair", [("tf_alexnet", "cifar10"), ("cifar10", BVLC_ALEXNET), ("cifar10", "mnist_28")])
def test_an_architecture_with_a_checkpoint(pair):
    with pytest.raises(
        ValueError, match="Expected two architectures, or two checkpoints.*Received: .*, which is an architecture only"
    ):
        diff(*pair)
