"""Names of outputs: Caffe's and torchvision's, and the rows that an output requires."""

import pytest
from support.nets import random_parameters, small

from tfalexnet.networks.catalog import BVLC_ALEXNET, ONE_WEIRD_TRICK
from tfalexnet.networks.layer_names import TORCHVISION_OUTPUTS, required_rows, resolve_layer


@pytest.mark.parametrize("name", ["conv1", "conv1:pre", "pool5", "fc7:pre", "fc8", "prob"])
def test_names_of_caffe_are_the_same_in_every_network(name):
    assert resolve_layer(BVLC_ALEXNET, name) == resolve_layer(ONE_WEIRD_TRICK, name) == name


def test_names_of_torchvision_belong_to_its_network_only():
    assert resolve_layer(ONE_WEIRD_TRICK, "classifier.4") == "fc7:pre"
    with pytest.raises(
        ValueError, match=r"Expected layers of bvlc_alexnet: conv1, .*, prob\. Received: 'classifier.4'"
    ):
        resolve_layer(BVLC_ALEXNET, "classifier.4")


def test_a_layer_without_activation_has_one_name():
    with pytest.raises(ValueError, match="Received: 'fc8:pre'"):
        resolve_layer(BVLC_ALEXNET, "fc8:pre")


def test_names_of_torchvision_are_those_of_its_modules():
    torch = pytest.importorskip("torch")
    from support.pytorch import torch_module

    net = small(ONE_WEIRD_TRICK)
    # A convolution or a product is the input of the ReLU that follows; torchvision's names count all modules.
    pre_activations = [row.name + ":pre" for row in net.weighted[:-1]] + ["fc8"]
    names = {
        torch.nn.Conv2d: iter(pre_activations[:5]),
        torch.nn.Linear: iter(pre_activations[5:]),
        torch.nn.ReLU: iter(row.name for row in net.weighted),
        torch.nn.MaxPool2d: iter(["pool1", "pool2", "pool5"]),
    }
    modules = torch_module(net, random_parameters(net)).named_modules()
    expected = {name: next(names[type(module)]) for name, module in modules if type(module) in names}
    groups = {"features": "pool5", "avgpool": "pool5", "classifier": "fc8"}
    assert expected | groups == TORCHVISION_OUTPUTS


@pytest.mark.parametrize(("outputs", "last"), [(["conv1:pre"], "conv1"), (["fc7", "pool2"], "fc7"), (["prob"], "fc8")])
def test_the_rows_up_to_the_last_output_are_required(outputs, last):
    rows = required_rows(BVLC_ALEXNET, outputs)
    assert rows == BVLC_ALEXNET.layers[: len(rows)] and rows[-1].name == last
