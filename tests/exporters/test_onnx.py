"""The ONNX graph is valid and states all that is needed; small errors in it would be noticed."""

import dataclasses
import json

import numpy as np
import pytest
from support.answers import keras_case
from support.exported import in_onnx, write_case
from support.nets import each_norm

from tfalexnet.exporters import onnx as exporter

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


@pytest.mark.parametrize("name", ["bvlc_alexnet", "cifar10_18pct", "krizhevsky2012", "one_weird_trick"])
def test_a_file_is_valid_and_carries_its_description(name, tmp_path):
    model = onnx.load(write_case(tmp_path / "net.onnx", name, "onnx"))
    onnx.checker.check_model(model, full_check=True)
    outputs = {node.output[0] for node in model.graph.node}
    assert {row.name for row in keras_case(name).net.layers if not row.name.startswith("drop")} <= outputs
    side = model.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in side][:2] == ["batch", 3]
    (description,) = [json.loads(entry.value) for entry in model.metadata_props if entry.key == "tfalexnet"]
    assert description["inputs"]["layout"] == "NCHW" and description["inputs"]["shape"][1] == 3
    assert description["labels"] == [f"class {i}" for i in range(10)] and description["wnids"] is None


@pytest.mark.parametrize("name", ["bvlc_alexnet", "krizhevsky2012"])
def test_split_groups_give_the_same_answers(name):
    case, answers = keras_case(name), []
    inputs = np.ascontiguousarray(case.inputs.transpose(0, 3, 1, 2))
    for split_groups in (False, True):
        model = exporter.graph(case.net, case.parameters, split_groups=split_groups)
        onnx.checker.check_model(model, full_check=True)
        groups = [a.i for node in model.graph.node for a in node.attribute if a.name == "group"]
        assert (max(groups, default=1) == 1) == split_groups
        session = onnxruntime.InferenceSession(model.SerializeToString())
        answers += session.run(None, {session.get_inputs()[0].name: inputs})
    np.testing.assert_allclose(answers[0], case.answers, atol=1e-5)
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-6)


MUTANTS = {
    "alpha is not divided": ("bvlc_alexnet", {"divide_alpha": False}),
    "alpha is divided where it should not be": ("single_tower_avgpool", {"divide_alpha": True}),
    "sums run across the towers": ("krizhevsky2012", {"groups": 1}),
    "sums run across channels": ("cifar10_18pct", {"region": "across_channels"}),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_another_normalisation_changes_the_answers(mutant):
    name, changes = MUTANTS[mutant]
    net, parameters, x, answers = keras_case(name)
    right, wrong = (exporter.graph(table, parameters) for table in (net, each_norm(net, **changes)))
    assert np.abs(in_onnx(right.SerializeToString(), x) - answers).max() < 1e-5
    assert np.abs(in_onnx(wrong.SerializeToString(), x) - answers).max() > 1e-4


def test_another_order_of_the_flattened_feature_map_changes_the_answers(monkeypatch):
    net, parameters, x, answers = keras_case("bvlc_alexnet")
    monkeypatch.setattr(exporter, "reorder_first_dense", lambda parameters, *_: parameters)
    wrong = exporter.graph(net, parameters)
    assert np.abs(in_onnx(wrong.SerializeToString(), x) - answers).max() > 1e-2


def with_attributes(graph, kind, **changes):
    """The bytes of a graph; attributes of the nodes of a kind are replaced by functions of the old values."""
    for node in graph.graph.node:
        if node.op_type == kind:
            for name, change in changes.items():
                (old,) = [entry for entry in node.attribute if entry.name == name] or [None]
                value = change(onnx.helper.get_attribute_value(old)) if old else change(None)
                if old:
                    node.attribute.remove(old)
                node.attribute.append(onnx.helper.make_attribute(name, value))
    return graph.SerializeToString()


@pytest.mark.parametrize(
    ("name", "kind", "changes"),
    [
        ("mnist_28", "MaxPool", {"pads": lambda pads: pads[2:] + pads[:2]}),
        ("cifar10_18pct", "MaxPool", {"pads": lambda pads: pads[2:] + pads[:2]}),
        ("cifar10_18pct", "AveragePool", {"count_include_pad": lambda _: 1}),
        ("cifar10_18pct", "AveragePool", {"count_include_pad": lambda _: 0}),
        ("bvlc_alexnet", "LRN", {"size": lambda size: size - 2}),
    ],
)
def test_other_borders_change_the_answers(name, kind, changes):
    net, parameters, x, answers = keras_case(name)
    wrong = with_attributes(exporter.graph(net, parameters), kind, **changes)
    assert np.abs(in_onnx(wrong, x) - answers).max() > 1e-5


def test_an_activation_without_an_operator_is_refused():
    net, parameters, *_ = keras_case("mnist_28")
    conv = next(row for row in net.layers if hasattr(row, "filters"))
    other = net.replace_layers(**{conv.name: dataclasses.replace(conv, activation="gelu")})
    message = rf"Expected the activation of {conv.name} to be one of relu, tanh.* for ONNX. Received: 'gelu'"
    with pytest.raises(ValueError, match=message):
        exporter.graph(other, parameters)
