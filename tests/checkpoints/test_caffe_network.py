"""Caffe's definitions: what is refused by its name, the input of training definitions, and files of 2013."""

import numpy as np
import pytest
from support import caffe
from support.nets import random_parameters

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.caffe_network import read_network
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import prototxt
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.tools.convert import convert

INPUT = 'input: "data" input_shape { dim: 1 dim: 3 dim: 9 dim: 9 } '
CONV = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 %s } } '
FC = 'layer { name: "f" type: "InnerProduct" bottom: "c" top: "f" inner_product_param { num_output: 5 } } '
DATA = 'layer { name: "d" type: "Data" top: "data" top: "label" transform_param { %s } } '
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "f" bottom: "label" top: "loss" } '


def read(text: str, side: int | None = None):
    return read_network(prototxt.parse(text), "net.prototxt", {}, side)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (INPUT + CONV % "kernel_h: 3 kernel_w: 5" + FC, r"c \(Convolution\): expected the same `kernel_size` in both"),
        (INPUT + CONV % "kernel_size: 3 bias_term: false" + FC, "`bias_term` to be True; received False"),
        (INPUT + CONV % "kernel_size: 3 dilation: 2" + FC, "`dilation` to be 1; received 2"),
        (INPUT + CONV % "kernel_size: 3 stride: 0" + FC, "a positive stride"),
        (INPUT + CONV % "kernel_size: 3 pad: -1" + FC, "`pad` to be an integer from 0"),
        (INPUT + CONV % "kernel_size: 12" + FC, "sides from 1"),
        (INPUT + CONV % "" + FC, "expected a number as `kernel_size`; received none"),
        (INPUT + 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "x" }', r"received bn \(BatchNorm\)"),
        (
            INPUT + CONV % "kernel_size: 3" + FC.replace('"c"', '"data"'),
            r"f \(InnerProduct\), which reads data after c",
        ),
        (INPUT + CONV % "kernel_size: 3", "one row and column, where no Dense follows"),
        (INPUT.replace("dim: 1 ", "") + CONV % "kernel_size: 3", "batch, channels, height, width"),
        (CONV % "kernel_size: 3" + FC, "an input or a layer of data; received none"),
        (DATA % "" + CONV % "kernel_size: 3" + FC, "the size of its pictures"),
        (
            INPUT + CONV % "kernel_size: 3" + FC + 'layer { name: "s" type: "Sigmoid" bottom: "f" top: "f" }',
            "expected a Softmax behind the last layer",
        ),
        ('layer: 3 input: "data" input_dim: [1, 3, 9, 9]', "expected layers with fields"),
    ],
)
def test_what_is_not_supported_is_named(text, message):
    with pytest.raises(CheckpointError, match=message):
        read(text)


def test_a_definition_for_training_states_crop_mean_and_scale():
    text = DATA % "crop_size: 9 mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5" + CONV % "kernel_size: 3"
    network = read(text + FC + LOSS)
    assert network.architecture.input_shape == (9, 9, 3)
    mean = (52.0, 58.5, 61.5)
    assert network.preprocessing == Preprocessing("squash", 9, 9, False, "BGR", mean, scale=0.5)
    network = read(DATA % 'mean_file: "mean.binaryproto"' + CONV % "kernel_size: 3" + FC + LOSS, side=20)
    assert network.architecture.input_shape == (20, 20, 3)
    assert network.preprocessing is None and "mean.binaryproto in training" in network.mean_note()


def test_layers_without_weights_may_have_names_that_keras_reserves(tmp_path):
    pool = 'layer { name: "p/3x3" type: "Pooling" bottom: "c" top: "p" pooling_param { kernel_size: 3 } } '
    (tmp_path / "net.prototxt").write_text(INPUT + CONV % "kernel_size: 3" + pool + FC.replace('"c"', '"p"'))
    parameters = random_parameters(read((tmp_path / "net.prototxt").read_text()).architecture)
    layers = {name: [*pair] for name, pair in parameters.items()}
    np.save(tmp_path / "net.npy", np.array(layers, object), allow_pickle=True)
    checkpoint = read_checkpoint(tmp_path / "net.npy", prototxt=tmp_path / "net.prototxt")
    assert [row.name for row in checkpoint.spec.architecture.layers] == ["c", "p_3x3", "flatten", "f"]


def test_weights_of_2013_are_read_with_their_definition(tmp_path):
    """Field 1 of a layer holds the layer of 2013: name 1, type 2, num_output 3, pad 7, kernelsize 8, blobs 50."""
    net = read(INPUT + CONV % "kernel_size: 3 pad: 1" + FC).architecture
    parameters = random_parameters(net)

    def number(field: int, value: int) -> bytes:
        return caffe.varint(field << 3) + caffe.varint(value)

    def layer(name: bytes, kind: bytes, bottom: bytes, own: bytes) -> bytes:
        inner = caffe.field(1, name) + caffe.field(2, kind) + own
        return caffe.field(2, caffe.field(1, inner) + caffe.field(2, bottom) + caffe.field(3, name))

    kernel, bias = parameters["c"]
    blobs = b"".join(caffe.field(50, caffe.old_blob(array)) for array in (kernel.transpose(3, 2, 0, 1), bias))
    model = layer(b"c", b"conv", b"data", number(3, 4) + number(7, 1) + number(8, 3) + blobs)
    kernel, bias = parameters["f"]
    kernel = kernel.reshape(9, 9, 4, 5).transpose(2, 0, 1, 3).reshape(-1, 5).T
    blobs = b"".join(caffe.field(50, caffe.old_blob(array)) for array in (kernel, bias))
    model += layer(b"f", b"innerproduct", b"c", number(3, 5) + blobs)
    dims = b"".join(number(4, size) for size in (1, 3, 9, 9))
    (tmp_path / "old.caffemodel").write_bytes(caffe.field(1, b"old") + model + caffe.field(3, b"data") + dims)
    checkpoint = read_checkpoint(tmp_path / "old.caffemodel")
    assert checkpoint.spec.architecture.layers == net.layers and checkpoint.spec.architecture.name == "old"
    for name, arrays in parameters.items():
        for ours, theirs in zip(checkpoint.parameters[name], arrays, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.save(tmp_path / "mean.npy", np.full((3, 12, 12), 90, "f4"))
    settings = {"mean": tmp_path / "mean.npy", "scale": 0.5, "channels": "RGB"}
    _, converted = convert(tmp_path / "old.caffemodel", tmp_path / "net.weights.h5", **settings)
    prepared = converted.spec.preprocessing
    assert (prepared.size, prepared.crop, prepared.channels, prepared.scale) == (12, 9, "RGB", 0.5)
    np.testing.assert_array_equal(prepared.mean, np.full((12, 12, 3), 45, "f4"))
    with pytest.raises(ValueError, match="Expected a crop of 9"):
        convert(tmp_path / "old.caffemodel", tmp_path / "x.weights.h5", crop=10)
    with pytest.raises(ValueError, match="`architecture` or `prototxt`"):
        read_checkpoint(tmp_path / "old.caffemodel", "bvlc_alexnet", prototxt="x")
