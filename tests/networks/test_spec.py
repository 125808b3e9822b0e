"""Tables of networks: variants, and their JSON form, which may come from a damaged or hostile file."""

import copy
import dataclasses
import json
import math
import re

import numpy as np
import pytest
from support.nets import each_norm, small

from tfalexnet import AlexNet
from tfalexnet.networks.catalog import ARCHITECTURES, BVLC_ALEXNET, CIFAR10_18PCT
from tfalexnet.networks.spec import Activation, Architecture, Conv, Dense, Dropout, Flatten, Norm, Normal, Pad, Pool

EVERY_FIELD = Architecture(
    "every field",
    "",
    (40, 30, 2),
    (
        Pad("pad1", 2),
        Conv("conv1", 8, 5, 2, "same", 2, None, Normal(0.02, truncated=True), -0.5),
        Activation("elu1", "elu"),
        Norm("norm1", 3, 1e-4, 0.5, 2.0, False, "within_channel", 2),
        Pool("pool1", 2, 1, "average", "same"),
        Conv("conv2", 4, 3, kernel_init=Normal(0.1), activation="sigmoid"),
        Flatten("flat"),
        Dropout("drop3", 0.0),
        Dense("fc3", 7, "tanh", "he_normal", 0.1),
        Dense("fc4", 3, None, Normal(0.1), 1),
    ),
)
CONVOLUTIONAL = Architecture(
    "convolutional",
    "",
    (14, 14, 3),
    (
        Pad("pad1", 1),
        Conv("conv1", 8, 3, 2),
        Pool("pool1", padding="caffe", pad=1),
        Dropout("drop1"),
        Conv("conv2", 5, 1),
        Pool("pool2", 4, 4, "average", "caffe"),
        Flatten(),
    ),
)
CHANGED = {
    "convolutional": CONVOLUTIONAL,
    "small": small(BVLC_ALEXNET),
    "changed norms": each_norm(BVLC_ALEXNET, groups=2, alpha=1 / 3),
    "other classes": BVLC_ALEXNET.with_classes(7),
    "zero kernels": BVLC_ALEXNET.with_zero_kernels(),
    "other input": dataclasses.replace(CIFAR10_18PCT, input_shape=(31, 33, 3)),
    "every field": EVERY_FIELD,
}


def test_layers_are_replaced_by_name():
    conv1 = dataclasses.replace(BVLC_ALEXNET.layers[0], padding="same")
    changed = BVLC_ALEXNET.replace_layers(conv1=conv1)
    assert changed.layers == (conv1, *BVLC_ALEXNET.layers[1:])
    with pytest.raises(ValueError, match=r"bvlc_alexnet has no layers named \['conv9'\]"):
        BVLC_ALEXNET.replace_layers(conv9=conv1)


def test_another_number_of_classes_changes_the_classifier_only():
    changed = BVLC_ALEXNET.with_classes(7)
    assert changed.classes == changed.classifier.units == 7
    assert changed.layers[:-1] == BVLC_ALEXNET.layers[:-1]


def test_the_feature_map_that_flatten_receives():
    assert BVLC_ALEXNET.flattened == (6, 6, 256)
    assert EVERY_FIELD.flattened == EVERY_FIELD.input_shapes()["flat"] == EVERY_FIELD.output_shapes()["conv2"]


@pytest.mark.parametrize("name", [*ARCHITECTURES, *CHANGED])
def test_an_architecture_is_restored_exactly_from_json(name):
    net = (ARCHITECTURES | CHANGED)[name]
    fields = json.loads(json.dumps(net.to_dict(), allow_nan=False))
    assert Architecture.from_dict(fields) == net
    assert Architecture.from_dict(fields).to_dict() == fields


def test_the_json_form_omits_defaults():
    fields = EVERY_FIELD.to_dict()
    assert set(fields) == {"name", "source", "input_shape", "layers"}
    assert fields["input_shape"] == [40, 30, 2]
    assert fields["layers"][1] == {
        "type": "Conv",
        "name": "conv1",
        "filters": 8,
        "size": 5,
        "stride": 2,
        "padding": "same",
        "groups": 2,
        "activation": None,
        "kernel_init": {"truncated_normal": 0.02},
        "bias_init": -0.5,
    }
    assert fields["layers"][5] == {
        "type": "Conv",
        "name": "conv2",
        "filters": 4,
        "size": 3,
        "activation": "sigmoid",
        "kernel_init": {"normal": 0.1},
    }
    assert BVLC_ALEXNET.to_dict()["layers"][2] == {"type": "Pool", "name": "pool1"}
    assert BVLC_ALEXNET.to_dict()["layers"][10] == {"type": "Flatten"}


def test_keras_builds_a_table_with_every_field():
    model = AlexNet(Architecture.from_dict(EVERY_FIELD.to_dict()))
    assert [layer.name for layer in model.layers[1:]] == [row.name for row in EVERY_FIELD.layers]
    shapes = {name: shape if shape[:2] != (1, 1) else shape[2:] for name, shape in EVERY_FIELD.output_shapes().items()}
    assert {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers[1:]} == shapes


def test_the_classifier_has_no_activation_of_its_own():
    """`AlexNet` replaces it by the softmax; every other use of the table must compute the same."""
    rows = Conv("conv1", 4, 3), Flatten(), Dense("fc", 5, activation="relu"), Dense("fc2", 3)
    net = Architecture("own", "", (8, 8, 3), rows)
    assert net.classifier == Dense("fc2", 3, activation=None) and net.layers[:-1] == rows[:-1]
    assert Architecture.from_dict(net.to_dict()) == net


def test_a_convolution_may_be_the_classifier():
    assert CONVOLUTIONAL.classifier.name == "conv2" and CONVOLUTIONAL.with_classes(7).classes == 7
    logits = AlexNet(CONVOLUTIONAL, classes=7, classifier_activation=None)
    assert logits.output.shape == (None, 7) and logits.layers[-1].name == "flatten"
    x = np.random.default_rng(0).normal(size=(2, 14, 14, 3)).astype("float32")
    probabilities = AlexNet(CONVOLUTIONAL, dropout=0)
    probabilities.set_weights(weights := AlexNet(CONVOLUTIONAL).get_weights())
    np.testing.assert_allclose(probabilities(x).numpy().sum(1), 1, rtol=1e-6)
    features = AlexNet(CONVOLUTIONAL, include_top=False)
    features.set_weights(weights[:2])
    assert features.layers[-1].name == "drop1" and features(x).shape == (2, 4, 4, 8)


def test_a_table_for_pictures_of_any_size_has_the_same_numbers_of_parameters():
    net = BVLC_ALEXNET.convolutional()
    shapes = {name: kernel for name, (kernel, _) in net.parameter_shapes().items()}
    assert [shapes[name] for name in ("fc6", "fc7", "fc8")] == [
        (6, 6, 256, 4096),
        (1, 1, 4096, 4096),
        (1, 1, 4096, 1000),
    ]
    assert net.output_shapes()["flatten"] == (1, 1, 1000) and Architecture.from_dict(net.to_dict()) == net
    assert net.convolutional() == net


@pytest.mark.parametrize(
    ("net", "received"),
    [
        (dataclasses.replace(BVLC_ALEXNET, input_shape=(227, 300, 3)), "6×8"),
        (CONVOLUTIONAL, "poolings as Caffe pads them, pool1, pool2"),
    ],
)
def test_a_table_that_needs_its_size_is_refused_for_pictures_of_any_size(net, received):
    with pytest.raises(ValueError, match=f"for pictures of any size: expected .*Received: {received}"):
        net.convolutional()


def test_a_table_that_could_not_be_read_is_not_written():
    with pytest.raises(ValueError, match=r"conv1.*multiples of `groups`"):
        BVLC_ALEXNET.replace_layers(conv1=dataclasses.replace(BVLC_ALEXNET.layers[0], groups=2)).to_dict()
    with pytest.raises(ValueError, match=r"layer 1: expected `filters` to be an integer"):
        BVLC_ALEXNET.replace_layers(conv1=dataclasses.replace(BVLC_ALEXNET.layers[0], filters=96.0)).to_dict()
    with pytest.raises(ValueError, match=r"layer 3: expected a layer whose `type`.*; received .*Other"):
        Other = dataclasses.make_dataclass("Other", ["name"])
        BVLC_ALEXNET.replace_layers(pool1=Other("pool1")).to_dict()


LAYERS = [
    {"type": "Pad", "name": "pad1", "size": 1},
    {"type": "Conv", "name": "conv1", "filters": 4, "size": 3},
    {"type": "Activation", "name": "relu1", "function": "relu"},
    {"type": "Norm", "name": "norm1", "size": 3, "alpha": 1e-4, "beta": 0.75},
    {"type": "Pool", "name": "pool1"},
    {"type": "Flatten"},
    {"type": "Dropout", "name": "drop2"},
    {"type": "Dense", "name": "fc2", "units": 3},
]
PAD, CONV, ACTIVATION, NORM, POOL, FLATTEN, DROPOUT, DENSE = range(8)
FIELDS = {"name": "net", "source": "test", "input_shape": [9, 9, 2], "layers": LAYERS}


def test_the_table_that_the_tests_below_damage_is_valid():
    assert Architecture.from_dict(FIELDS).output_shapes()["pool1"] == (4, 4, 4)


def refused(fields, message):
    with pytest.raises(ValueError, match=rf"expected .*{message}.*; received ") as caught:
        Architecture.from_dict(fields)
    assert len(str(caught.value)) < 800 and str(caught.value).isprintable()


@pytest.mark.parametrize("fields", [None, 3, "net", [], [FIELDS], {}, {"name": "net"}, FIELDS | {"__class__": "x"}])
def test_values_that_are_not_a_table_are_refused(fields):
    refused(fields, "the fields name, source, input_shape, layers")


HUGE = 10**400
NAMES = ["", "a\nb", "a\x00", "\x1b[31m", "a" * 201, "\ud800", "a/b", "../a", "a:pre", "input", "prob", None, 3, ["a"]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("name", value) for value in NAMES),
        *(("source", value) for value in ("a\nb", "a" * 201, None, 3, {})),
        *(("input_shape", value) for value in (None, 9, "9x9", [], [9, 9], [9, 9, 2, 1], {"0": 9})),
        *(("input_shape", [9, value, 2]) for value in (0, -1, 9.0, True, "9", None, 1 << 17, HUGE, math.nan)),
        *(("layers", value) for value in (None, 3, "Conv", {}, LAYERS * 33)),
    ],
)
def test_a_wrong_value_of_the_table_is_refused(name, value):
    refused(FIELDS | {name: value}, f"`{name}`")


@pytest.mark.parametrize(
    "row", [None, 3, "Conv", [], {}, {"type": "Conv2D"}, {"type": "__class__"}, {"type": ["Conv"]}]
)
def test_a_layer_of_unknown_type_is_refused(row):
    refused(FIELDS | {"layers": [*LAYERS[:-1], row, LAYERS[-1]]}, "`type` is one of Pad, Conv")


NUMBERS = ["1", None, True, [1], {}, math.nan, math.inf, -math.inf, HUGE, 1e31]
INTEGERS = [0, -1, 1.0, 1 << 17, *NUMBERS]
POSITIVE = [0, -0.1, *NUMBERS]
INITIALIZERS = ["lambda: 0", "Normal", "__class__", "keras.initializers.Zeros", 3, None, [], {}, ["zeros"]]
INITIALIZERS += [{"normal": 0.1, "truncated_normal": 0.1}, {"uniform": 0.1}, {"class_name": "Zeros", "config": {}}]
INITIALIZERS += [{"normal": value} for value in POSITIVE]
WRONG = [
    *((layer, "name", value) for layer in (PAD, CONV, FLATTEN, DENSE) for value in NAMES),
    *((layer, "size", value) for layer in (PAD, CONV, NORM, POOL) for value in INTEGERS),
    *((layer, "stride", value) for layer in (CONV, POOL) for value in INTEGERS),
    *((layer, "groups", value) for layer in (CONV, NORM) for value in INTEGERS),
    *((CONV, "filters", value) for value in INTEGERS),
    *((DENSE, "units", value) for value in INTEGERS),
    *((NORM, field, value) for field in ("alpha", "beta", "k") for value in POSITIVE),
    *((NORM, "divide_alpha", value) for value in (0, 1, "true", None, [])),
    *((NORM, "region", value) for value in ("everywhere", "ACROSS_CHANNELS", None, 1, [])),
    *((layer, "padding", value) for layer in (CONV, POOL) for value in ("full", "SAME", None, 1, [], 2)),
    (CONV, "padding", "caffe"),
    *((POOL, "pad", value) for value in (-1, 0.0, False, 1 << 17, *NUMBERS)),
    *((POOL, "kind", value) for value in ("sum", None, [], {})),
    *((layer, "activation", value) for layer in (CONV, DENSE) for value in ("os.system", "glu", "", 1, False, [], {})),
    *((ACTIVATION, "function", value) for value in ("os.system", None, [], {})),
    *((layer, "kernel_init", value) for layer in (CONV, DENSE) for value in INITIALIZERS),
    *((layer, "bias_init", value) for layer in (CONV, DENSE) for value in NUMBERS),
    *((DROPOUT, "rate", value) for value in (-0.1, 1, 1.5, *NUMBERS)),
]


@pytest.mark.parametrize(("layer", "field", "value"), WRONG)
def test_a_wrong_value_of_a_layer_is_refused(layer, field, value):
    fields = copy.deepcopy(FIELDS)
    fields["layers"][layer][field] = value
    refused(fields, f"`{field}` to be")


@pytest.mark.parametrize(
    ("layer", "field"), [(number, field) for number, row in enumerate(LAYERS) for field in row if field != "type"]
)
def test_a_missing_field_of_a_layer_is_refused(layer, field):
    fields = copy.deepcopy(FIELDS)
    del fields["layers"][layer][field]
    refused(fields, rf"the fields .*{field}")


@pytest.mark.parametrize("layer", range(len(LAYERS)))
@pytest.mark.parametrize("field", ["rates", "__init__", "trainable", ""])
def test_an_unknown_field_of_a_layer_is_refused(layer, field):
    fields = copy.deepcopy(FIELDS)
    fields["layers"][layer][field] = 1
    refused(fields, "the fields ")


def rows(*order):
    """The layers in another order, those that repeat with other names."""
    return [LAYERS[layer] | {"name": f"row{number}"} for number, layer in enumerate(order)]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one Conv"),
        (rows(FLATTEN, DENSE), "at least one Conv"),
        (rows(CONV, DENSE), "exactly one Flatten"),
        (rows(CONV, FLATTEN, FLATTEN, DENSE), "exactly one Flatten"),
        (rows(CONV, FLATTEN), "one row and column, where no Dense follows"),
        (rows(CONV, FLATTEN, DENSE, DROPOUT), "Dense or Flatten as the last layer"),
        (rows(CONV, DENSE, FLATTEN, DENSE), "no Dense before Flatten"),
        (rows(FLATTEN, CONV, DENSE), "Dropout and Activation only after it"),
        (rows(CONV, FLATTEN, POOL, DENSE), "Dropout and Activation only after it"),
        ([*LAYERS[:3], LAYERS[1], *LAYERS[3:]], "a different name for each layer"),
    ],
)
def test_layers_that_cannot_follow_each_other_are_refused(layers, message):
    refused(FIELDS | {"layers": layers}, message)


def with_row(layer, **values):
    fields = copy.deepcopy(FIELDS)
    fields["layers"][layer] |= values
    return fields


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (with_row(CONV, size=12), "sides from 1"),
        (with_row(POOL, size=10), "sides from 1"),
        (FIELDS | {"input_shape": [1, 9, 2]}, "sides from 1"),
        (with_row(PAD, size=40_000), "sides from 1"),
        (with_row(CONV, groups=3), "multiples of `groups`"),
        (with_row(CONV, filters=5, groups=2), "multiples of `groups`"),
        (with_row(NORM, groups=3), "multiples of `groups`"),
        (with_row(NORM, size=4), "`size` to be odd"),
        (with_row(POOL, pad=1), "`pad` below `size`, and 0 unless `padding` is caffe"),
        (with_row(POOL, padding="caffe", pad=3), "`pad` below `size`"),
        (with_row(POOL, padding="caffe", size=1, stride=7), "windows that begin inside"),
        (FIELDS | {"input_shape": [60_000, 60_000, 2]}, "an output of at most 2147483648 numbers"),
        (with_row(PAD, size=20_000), "an output of at most 2147483648 numbers"),
        (with_row(CONV, filters=60_000, size=3, padding="same") | {"input_shape": [1, 1, 60_000]}, "a kernel of at"),
    ],
)
def test_impossible_shapes_are_refused(fields, message):
    refused(fields, message)


def test_messages_state_both_sides_and_shorten_what_was_received():
    with pytest.raises(ValueError) as caught:
        Architecture.from_dict(with_row(CONV, activation="S" * 10**6))
    assert re.fullmatch(
        r"layer 2: expected `activation` to be one of None, relu, .*; received 'SSS+\.\.\.S+'", str(caught.value)
    )
