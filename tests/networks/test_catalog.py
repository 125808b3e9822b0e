"""The tables are the published networks: shapes, parameters, and the comments beside them."""

import inspect
import re

import keras
import numpy as np
import pytest
from support.nets import small

from tfalexnet import AlexNet
from tfalexnet.networks import catalog
from tfalexnet.networks.catalog import ARCHITECTURES

# Published: Caffe's layers; torchvision's 61,100,840; the others by hand from the sources' shapes.
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
for same in ("krizhevsky2012", "bvlc_caffenet", "tf_alexnet"):
    PARAMETERS[same] = PARAMETERS["bvlc_alexnet"]

TF_ALEXNET_SHAPES = {
    "conv1": (57, 57, 96), "norm1": (57, 57, 96), "pool1": (28, 28, 96), "conv2": (28, 28, 256),
    "norm2": (28, 28, 256), "pool2": (13, 13, 256), "conv3": (13, 13, 384), "conv4": (13, 13, 384),
    "conv5": (13, 13, 256), "pool5": (6, 6, 256), "flatten": (9216,), "fc6": (4096,), "drop6": (4096,),
    "fc7": (4096,), "drop7": (4096,), "fc8": (1000,),
}  # fmt: skip


def commented_shapes() -> dict[str, list[tuple[int, ...]]]:
    """The shapes in the comments of architectures.py, line by line; a line without one keeps the last."""
    source = inspect.getsource(catalog)
    tables = re.split(r"\n\w+ = Architecture\(\n    ", source)[1:]
    shapes = {}
    for text in tables:
        name = re.match(r'"(\w+)"', text)[1]
        rows, last = [], tuple(map(int, re.search(r"input_shape=\((.*?)\)", text)[1].split(",")))
        for line in text[text.index("layers=(") : text.index("\n    ),\n)")].splitlines()[1:]:
            comment = line.partition("# ")[2]
            last = tuple(map(int, comment.split("×"))) if comment else last
            rows.append(last)
        shapes[name] = rows
    return shapes


def test_every_network_of_the_list_is_there():
    assert set(ARCHITECTURES) == set(PARAMETERS)
    assert all(net.source for net in ARCHITECTURES.values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_output_shapes_and_parameters(name):
    model = AlexNet(name)
    net = ARCHITECTURES[name]
    shapes = {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers[1:]}
    expected = (
        TF_ALEXNET_SHAPES
        if name == "tf_alexnet"
        else dict(zip([row.name for row in net.layers], commented_shapes()[name], strict=True))
    )
    assert shapes == expected
    assert [layer.count_params() for layer in model.layers if layer.weights] == PARAMETERS[name]
    built = {layer.name: tuple(tuple(v.shape) for v in layer.weights) for layer in model.layers if layer.weights}
    assert built == net.parameter_shapes()


def test_published_totals():
    assert sum(PARAMETERS["krizhevsky2012"]) == 60_965_224
    assert sum(PARAMETERS["one_weird_trick"]) == 61_100_840


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_keras_file_gives_the_same_model(name, tmp_path):
    model = AlexNet(small(ARCHITECTURES[name]))
    picture = np.random.default_rng(0).uniform(-100, 100, (2, *model.input_shape[1:])).astype("float32")
    model.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again(picture), model(picture))
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


def test_keras_conventions():
    net = small(ARCHITECTURES["bvlc_alexnet"])
    assert AlexNet(net, include_top=False).output_shape == (None, 6, 6, 32)
    assert AlexNet(net, classes=7).output_shape == (None, 7)
    assert AlexNet(net, classifier_activation=None).layers[-1].activation is keras.activations.linear
    assert {layer.rate for layer in AlexNet(net, dropout=0.25).layers if "drop" in layer.name} == {0.25}


@pytest.mark.parametrize(
    "options", [{"architecture": "vgg"}, {"classes": 0}, {"classes": 2.5}, {"dropout": 1}, {"dropout": -0.1}]
)
def test_wrong_arguments_say_what_is_right(options):
    with pytest.raises(ValueError, match="Expected .*Received"):
        AlexNet(**options)


def test_mixed_precision_keeps_the_answer_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = AlexNet(small(ARCHITECTURES["bvlc_alexnet"]))
        answer = model(np.ones((1, 227, 227, 3), "float32"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert answer.dtype == "float32"
    assert model.get_layer("conv1").compute_dtype == "bfloat16"
