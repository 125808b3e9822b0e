"""Layers of a file against those of a network: extra, renamed and missing ones."""

import dataclasses
import re

import numpy as np
import pytest
from support.nets import random_parameters, small
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints import match
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import Contents, keras_h5
from tfalexnet.networks.catalog import ARCHITECTURES, D2L_FASHION_MNIST, MNIST_28, SINGLE_TOWER_AVGPOOL
from tfalexnet.networks.spec import Architecture, Conv, Dense, Flatten


def test_extra_and_renamed_layers(tmp_path):
    extended = PARAMETERS | {"fc9": (np.ones((10, 3), "f4"), np.ones(3, "f4"))}
    keras_h5.write(tmp_path / "x.weights.h5", Contents(extended))
    checkpoint = read_checkpoint(tmp_path / "x.weights.h5", NET)
    assert_equal(checkpoint.parameters)
    assert checkpoint.notes == ("Left out: fc9, which is not a layer of bvlc_alexnet.",)

    other = {"first" if name == "conv1" else name: arrays for name, arrays in PARAMETERS.items()}
    other["scenes"] = other.pop("fc8")
    more = other | {"fc9": (np.ones((10, 3), "f4"), np.ones(3, "f4"))}  # More layers than the network has.
    keras_h5.write(tmp_path / "x.weights.h5", Contents(more))
    with pytest.raises(CheckpointError, match="first: received, and not expected .--map first=… renames it"):
        read_checkpoint(tmp_path / "x.weights.h5", NET)
    keras_h5.write(tmp_path / "x.weights.h5", Contents(other))
    checkpoint = read_checkpoint(tmp_path / "x.weights.h5", NET, {"first": "conv1"})
    assert_equal(checkpoint.parameters)
    assert checkpoint.notes == ("scenes is used as fc8: no other layer matches it.",)
    with pytest.raises(CheckpointError, match="expected the layers to rename among first, .*received nothing"):
        read_checkpoint(tmp_path / "x.weights.h5", NET, {"nothing": "conv1"})
    with pytest.raises(CheckpointError, match="same name after renaming"):
        read_checkpoint(tmp_path / "x.weights.h5", NET, {"first": "conv2"})


def test_names_of_layers_cannot_draw_lines_of_their_own(tmp_path):
    hostile = "x\x1b[2J\nsha256    0000 (verified)" + "y" * 200
    keras_h5.write(tmp_path / "x.weights.h5", Contents(PARAMETERS | {hostile: PARAMETERS["fc8"]}))
    (note,) = read_checkpoint(tmp_path / "x.weights.h5", NET).notes
    assert note.isprintable() and "x\\x1b[2J\\nsha256" in note and len(note) < 200
    assert Contents(PARAMETERS, left_out=("a\x1b\nb",)).left_out == ("a\\x1b\\nb",)


def test_a_missing_layer_before_others_is_refused(tmp_path):
    holed = {name: arrays for name, arrays in PARAMETERS.items() if name != "conv3"}
    keras_h5.write(tmp_path / "x.weights.h5", Contents(holed))
    with pytest.raises(CheckpointError, match="conv3: expected, and missing"):
        read_checkpoint(tmp_path / "x.weights.h5", NET)


def sources_module(net: Architecture):
    """The modules of the scripts from which two networks come: of one for cats and dogs, and of d2l.ai."""
    from torch import nn

    conv, dense = ([row for row in net.weighted if isinstance(row, kind)] for kind in (Conv, Dense))
    pool = nn.AvgPool2d if net.name == "single_tower_avgpool" else nn.MaxPool2d
    (a, b, c, d, e), channels = (row.filters for row in conv), net.input_shape[-1]
    height, width, _ = net.flattened
    x, y, z = (row.units for row in dense)
    fc = [nn.Linear(height * width * e, x), nn.ReLU(), nn.Dropout(), nn.Linear(x, y), nn.ReLU(), nn.Dropout()]
    fc.append(nn.Linear(y, z))
    if net.name == "d2l_fashion_mnist":
        body = [nn.Conv2d(channels, a, 11, 4), nn.ReLU(), pool(3, 2), nn.Conv2d(a, b, 5, padding=2), nn.ReLU()]
        body += [pool(3, 2), nn.Conv2d(b, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, d, 3, padding=1), nn.ReLU()]
        body += [nn.Conv2d(d, e, 3, padding=1), nn.ReLU(), pool(3, 2)]
        stages = [("conv", nn.Sequential(*body)), ("flat", nn.Flatten()), ("fc", nn.Sequential(*fc))]
    else:
        convs = [nn.Conv2d(channels, a, 11, 4), nn.Conv2d(a, b, 5, padding=2), nn.Conv2d(b, c, 3, padding=1)]
        convs += [nn.Conv2d(c, d, 3, padding=1), nn.Conv2d(d, e, 3, padding=1)]
        norm = nn.LocalResponseNorm(11, 11 * 0.001 / 9, 0.75)  # Which PyTorch divides by 11.
        behind = {1: [pool(3, 2), norm], 2: [pool(3, 2), norm], 5: [pool(3, 2)]}
        stages = [(f"conv{n}", nn.Sequential(each, nn.ReLU(), *behind.get(n, []))) for n, each in enumerate(convs, 1)]
        stages += [("flat", nn.Flatten()), ("lostlayer", nn.Sequential(*fc))]
    module = nn.Sequential()
    for name, stage in stages:
        module.add_module(name, stage)
    return module.eval()


NAMES = {
    D2L_FASHION_MNIST: "conv.0 → conv1, conv.3 → conv2, .*conv.10 → conv5, fc.0 → fc6, fc.3 → fc7, fc.6 → fc8",
    SINGLE_TOWER_AVGPOOL: "conv1.0 → conv1, .*lostlayer.0 → fc6, lostlayer.3 → fc7, lostlayer.6 → fc8",
}


@pytest.mark.parametrize("net", NAMES, ids=lambda net: net.name)
def test_state_dicts_of_the_sources_answer_as_in_pytorch(net, tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(3)
    little = small(net)
    module = sources_module(little)
    torch.save(module.state_dict(), tmp_path / "x.pkl")
    checkpoint = read_checkpoint(tmp_path / "x.pkl", little)
    (note,) = [note for note in checkpoint.notes if "→" in note]
    assert re.search(NAMES[net], note)
    pictures = np.random.default_rng(0).normal(0, 1, (2, *net.input_shape)).astype("f4")
    with torch.no_grad():
        expected = module(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())).softmax(1).numpy()
    with pytest.warns(UserWarning, match="→"):
        model = AlexNet(checkpoint.spec.architecture, weights=tmp_path / "x.pkl")
    np.testing.assert_allclose(model(pictures), expected, rtol=0, atol=1e-6)


def renamed(net: Architecture, order=lambda names: names) -> Contents:
    parameters = random_parameters(net)
    return Contents({f"layer.{name}": parameters[name] for name in order(list(parameters))})


def test_the_only_network_that_fits_by_shape_is_found():
    """In any order, because all shapes differ."""
    for order in (list, reversed, sorted):
        contents, net, (note,) = match.rename_by_shape(renamed(MNIST_28, order), ARCHITECTURES["bvlc_alexnet"], False)
        assert net is MNIST_28 and "layer.conv1 → conv1" in note
        assert_equal(contents.parameters, random_parameters(MNIST_28))


def test_several_networks_that_fit_by_shape_are_listed():
    zeros = {
        f"layer.{name}": (np.zeros(kernel, "f4"), np.zeros(bias, "f4"))
        for name, (kernel, bias) in ARCHITECTURES["bvlc_caffenet"].parameter_shapes().items()
    }
    with pytest.raises(
        CheckpointError, match="would fit: krizhevsky2012, bvlc_alexnet, bvlc_caffenet, tf_alexnet .--a"
    ):
        match.match_parameters(Contents(zeros), ARCHITECTURES["bvlc_alexnet"], "x", "")
    contents, net, notes = match.rename_by_shape(Contents(zeros), ARCHITECTURES["bvlc_caffenet"], True)
    assert list(contents.parameters) == list(net.parameter_shapes()) and notes


EQUAL = Architecture(
    "equal",
    "Three layers of equal shape.",
    (4, 4, 2),
    (Conv("conv1", 2, 3), Flatten(), *(Dense(f"fc{number}", 8) for number in range(2, 5)), Dense("fc5", 8, None)),
)


@pytest.mark.parametrize(
    "names",
    [("c", "d.2", "d.9", "d.10", "d.11"), ("c", "d.10", "d.11", "d.2", "d.9"), ("b", "a.1", "a.2", "a.3", "a.4")],
)
def test_layers_of_equal_shape_are_taken_in_the_order_of_their_numbers(names):
    parameters = random_parameters(EQUAL)
    numbered = dict(zip(sorted(names[1:], key=lambda name: int(name[2:])), list(parameters)[1:], strict=True))
    numbered[names[0]] = "conv1"
    contents, _, _ = match.rename_by_shape(Contents({name: parameters[numbered[name]] for name in names}), EQUAL, True)
    assert_equal(contents.parameters, parameters)
    for name, (kernel, _) in contents.parameters.items():
        assert kernel is parameters[name][0]


def test_layers_of_equal_shape_in_an_order_that_contradicts_their_numbers_are_refused():
    parameters = dict(zip(("c", "d.2", "d.9", "d.1", "d.3"), random_parameters(EQUAL).values(), strict=True))
    assert match.rename_by_shape(Contents(parameters), EQUAL, True)[2] == []
    other = dataclasses.replace(EQUAL.layers[-1], units=7)
    assert match.rename_by_shape(Contents(parameters), EQUAL.replace_layers(fc5=other), True)[2] == []
