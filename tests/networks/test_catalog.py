"""The tables are the published networks: shapes, numbers of parameters, and the shapes beside their lines."""

import inspect
import math
import re

import pytest

from tfalexnet.networks import catalog
from tfalexnet.networks.build import build_model
from tfalexnet.networks.catalog import ARCHITECTURES, architectures_table, get_architecture

# Parameters of each layer, published by Caffe and torchvision, or computed by hand from the shapes of the source.
PARAMETERS = {
    "bvlc_alexnet": [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000],
    "one_weird_trick": [23_296, 307_392, 663_936, 884_992, 590_080, 37_752_832, 16_781_312, 4_097_000],
    "single_tower": [34_944, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 16_781_312, 8_194],
    "single_tower_avgpool": [34_944, 614_656, 885_120, 1_327_488, 884_992, 37_752_832, 8_390_656, 4_098],
    "d2l_fashion_mnist": [11_712, 614_656, 885_120, 1_327_488, 884_992, 26_218_496, 16_781_312, 40_970],
    "mnist_28": [640, 73_856, 295_168, 4_195_328, 1_049_600, 10_250],
    "tflearn_flowers17": [34_944, 614_656, 885_120, 1_327_488, 884_992, 67_112_960, 16_781_312, 69_649],
    "cifar10_18pct": [2_432, 25_632, 51_264, 10_250],
}
for same_shapes in ("krizhevsky2012", "bvlc_caffenet", "tf_alexnet"):
    PARAMETERS[same_shapes] = PARAMETERS["bvlc_alexnet"]

TF_ALEXNET_SHAPES = [
    *((57, 57, 96), (57, 57, 96), (28, 28, 96), (28, 28, 256), (28, 28, 256), (13, 13, 256)),
    *((13, 13, 384), (13, 13, 384), (13, 13, 256), (6, 6, 256), (9216,), (4096,), (4096,), (4096,), (4096,), (1000,)),
]


def commented_shapes(name: str) -> list[tuple[int, ...]]:
    """Read the output shapes of a table from the comments in catalog.py; a line without one keeps the last."""
    source = inspect.getsource(catalog)
    table = source[source.index(f'Architecture(\n    "{name}"') :]
    rows = table[table.index("layers=(") : table.index("\n    ),\n)")].splitlines()[1:]
    shapes = []
    for row in rows:
        comment = row.partition("# ")[2]
        shapes.append(tuple(map(int, comment.split("×"))) if comment else shapes[-1])
    return shapes


def test_the_catalog_holds_every_network_with_its_source():
    assert set(ARCHITECTURES) == set(PARAMETERS)
    assert all(net.source and net.name == name for name, net in ARCHITECTURES.items())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_model_has_the_shapes_in_the_comments_and_the_published_parameters(name):
    net = ARCHITECTURES[name]
    model = build_model(net.with_zero_kernels())
    expected = TF_ALEXNET_SHAPES if name == "tf_alexnet" else commented_shapes(name)
    assert [layer.name for layer in model.layers] == ["input", *(row.name for row in net.layers)]
    assert [layer.output.shape[1:] for layer in model.layers[1:]] == expected
    assert [layer.count_params() for layer in model.layers if layer.weights] == PARAMETERS[name]
    built = {layer.name: tuple(tuple(v.shape) for v in layer.weights) for layer in model.layers if layer.weights}
    assert built == net.parameter_shapes()


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("bvlc_alexnet", 60_965_224),  # The numbers of bvlc_alexnet.caffemodel.
        ("krizhevsky2012", 60_965_224),  # "60 million parameters" in the paper's abstract; the same shapes.
        ("one_weird_trick", 61_100_840),  # `num_params` in torchvision's AlexNet_Weights.
        ("cifar10_18pct", 89_578),
    ],
)
def test_parameter_shapes_add_up_to_the_published_total(name, total):
    shapes = ARCHITECTURES[name].parameter_shapes().values()
    assert sum(math.prod(shape) for layer in shapes for shape in layer) == total


def test_the_towers_are_those_of_the_sources():
    two = {name for name, net in ARCHITECTURES.items() if net.towers == 2}
    assert two == {"krizhevsky2012", "bvlc_alexnet", "bvlc_caffenet", "tf_alexnet"}


def test_an_architecture_is_given_by_name_or_as_a_table():
    net = ARCHITECTURES["mnist_28"]
    assert get_architecture("mnist_28") is net and get_architecture(net) is net
    with pytest.raises(ValueError, match=r"Expected `architecture` to be one of krizhevsky2012, .*Received: .*'vgg'"):
        get_architecture("vgg")


def test_the_text_table_has_a_line_for_each_network():
    lines = architectures_table().splitlines()
    assert len(lines) == len(ARCHITECTURES)
    for line, net in zip(lines, ARCHITECTURES.values(), strict=True):
        assert line.split()[0] == net.name and f"{net.classes} classes" in line and line.endswith(net.source)


@pytest.mark.parametrize(
    "name, hint",
    [
        ("alexnet", "'alexnet'; did you mean bvlc_alexnet or tf_alexnet?"),
        ("CaffeNet", "'CaffeNet'; did you mean bvlc_caffenet?"),
        ("krizhevsky_2012", "'krizhevsky_2012'; did you mean krizhevsky2012?"),
        ("", "''"),
        ("vgg16", "'vgg16'"),
        (["bvlc_alexnet"], "['bvlc_alexnet']"),
    ],
)
def test_a_misspelt_name_is_answered_with_a_known_one(name, hint):
    with pytest.raises(ValueError, match=rf"Received: architecture={re.escape(hint)}$"):
        get_architecture(name)
