"""Caffe's `.caffemodel`: files of Caffe, of other writers and of this package."""

import numpy as np
import pytest
from support import caffe
from support.nets import small
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import AlexNet, convert
from tfalexnet.checkpoints import match
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import caffemodel, orientation, protobuf
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.training.plan import read_start


@pytest.mark.data
def test_a_file_of_caffe_is_read_as_opencv_reads_it(data):
    contents = caffemodel.read(data / "caffe" / "lenet_iter_10000.caffemodel")
    shapes = {name: (kernel.shape, bias.shape) for name, (kernel, bias) in contents.parameters.items()}
    assert shapes == {
        "conv1": ((5, 5, 1, 20), (20,)),
        "conv2": ((5, 5, 20, 50), (50,)),
        "ip1": ((800, 500), (500,)),
        "ip2": ((500, 10), (10,)),
    }
    cv2 = pytest.importorskip("cv2")
    folder = data / "caffe"
    reference = cv2.dnn.readNetFromCaffe(str(folder / "lenet.prototxt"), str(folder / "lenet_iter_10000.caffemodel"))
    for name, (kernel, bias) in contents.parameters.items():
        np.testing.assert_array_equal(orientation.channels_first(kernel), reference.getParam(name, 0))
        np.testing.assert_array_equal(bias, reference.getParam(name, 1).reshape(-1))


@pytest.mark.parametrize("layout", ["new", "old", "double", "unpacked"])
def test_every_layout_is_read(layout, tmp_path):
    (tmp_path / "net.caffemodel").write_bytes(caffe.caffemodel(PARAMETERS, NET, layout))
    assert_equal(read_checkpoint(tmp_path / "net.caffemodel", NET).parameters)


def test_opencv_reads_what_is_written(tmp_path):
    cv2 = pytest.importorskip("cv2")
    checkpoint = Checkpoint(PARAMETERS, ModelSpec(NET, None, ()))
    write_checkpoint(tmp_path / "net.caffemodel", checkpoint)
    (tmp_path / "net.prototxt").write_text(caffe.prototxt(NET))
    reference = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    picture = np.random.default_rng(0).uniform(-120, 120, (227, 227, 3)).astype("float32")
    reference.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    ours = AlexNet(NET, weights=tmp_path / "net.caffemodel")(picture[None])
    np.testing.assert_allclose(ours, reference.forward(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "name"), [(["LRN", "Pooling"], "bvlc_alexnet"), (["Pooling", "LRN"], "bvlc_caffenet")]
)
def test_the_order_of_the_layers_distinguishes_caffenet_from_alexnet(kinds, name, tmp_path, monkeypatch):
    monkeypatch.setattr(match, "get_architecture", lambda name: small(ARCHITECTURES[name]))
    weights = caffe.caffemodel(PARAMETERS, NET)
    others = b"".join(layer(b"a", kind.encode()) for kind in kinds)
    (tmp_path / "x.caffemodel").write_bytes(weights + others)
    assert caffemodel.read(tmp_path / "x.caffemodel").resembles == name
    checkpoint = read_checkpoint(tmp_path / "x.caffemodel")
    assert checkpoint.spec.architecture.name == name and not checkpoint.notes


@pytest.mark.parametrize("stated", ["layers", "name", "name of this package"])
def test_what_the_file_states_is_the_network_and_a_contradiction_is_reported(stated, tmp_path, monkeypatch):
    monkeypatch.setattr(match, "get_architecture", lambda name: small(ARCHITECTURES[name]))
    path, net = tmp_path / "x.caffemodel", small(ARCHITECTURES["bvlc_caffenet"])
    weights = caffe.caffemodel(PARAMETERS, NET)
    if stated == "layers":
        path.write_bytes(weights + layer(b"a", b"Pooling") + layer(b"b", b"LRN"))
    elif stated == "name":
        path.write_bytes(caffe.field(1, b"CaffeNet") + weights.removeprefix(caffe.field(1, b"net")))
    else:
        write_checkpoint(path, Checkpoint(PARAMETERS, ModelSpec(net, None, ())))
    contradiction = "x.caffemodel is read as bvlc_alexnet. It was written for bvlc_caffenet. The shapes agree;"
    assert AlexNet(weights=path).name == "bvlc_caffenet"
    with pytest.warns(UserWarning, match=contradiction):
        assert AlexNet(NET, weights=path).name == "bvlc_alexnet"
    _, checkpoint = convert(path, tmp_path / "x.npz", architecture=NET)
    assert checkpoint.notes[0].startswith(contradiction)
    assert read_start(NET, path).checkpoint.notes[0].startswith(contradiction)
    assert not read_start(None, path).checkpoint.notes


@pytest.mark.data
def test_a_network_whose_shapes_match_comes_before_one_whose_layers_are_listed(data):
    """Caffe's cifar10_full pools before it normalises, as CaffeNet does."""
    path = data / "real" / "cifar10_full" / "cifar10_full_iter_60000.caffemodel"
    assert caffemodel.read(path).resembles == "bvlc_caffenet"
    for requested in (None, "cifar10_18pct"):
        checkpoint = read_checkpoint(path, requested)
        assert checkpoint.spec.architecture.name == "cifar10_18pct"
        assert not any("bvlc_caffenet" in note for note in checkpoint.notes)


def layer(name: bytes, kind: bytes, *arrays: np.ndarray) -> bytes:
    blobs = b"".join(caffe.field(7, caffe.blob(array)) for array in arrays)
    return caffe.field(100, caffe.field(1, name) + caffe.field(2, kind) + blobs)


def test_other_layers_are_left_out_and_reported(tmp_path):
    short = {name: pair for name, pair in PARAMETERS.items() if name != "fc8"}
    no_bias = layer(b"fc8", b"InnerProduct", PARAMETERS["fc8"][0].T)
    norm = layer(b"bn1", b"BatchNorm", *[np.ones(3, "f4")] * 3)
    (tmp_path / "x.caffemodel").write_bytes(caffe.caffemodel(short, NET) + no_bias + norm)
    contents = caffemodel.read(tmp_path / "x.caffemodel")
    assert list(contents.parameters) == list(short)
    assert contents.left_out == (
        "fc8 (InnerProduct): one blob, no bias",
        "bn1 (BatchNorm): no convolution or inner product",
    )


def test_runs_of_numbers_are_read_in_blobs_only(tmp_path, monkeypatch):
    """Each run costs a pass over the rest of the message; a hostile layer could have a thousand of them."""
    monkeypatch.setattr(protobuf, "_run", lambda *_: pytest.fail("a run was read outside a blob"))
    number = bytes([5 << 3 | 5, 0, 0, 0, 0])  # Field 5 in four bytes, as the numbers of a blob may be stored.
    extra = caffe.field(100, caffe.field(1, b"a") + number) + number
    (tmp_path / "x.caffemodel").write_bytes(caffe.caffemodel(PARAMETERS, NET) + extra)
    assert list(caffemodel.read(tmp_path / "x.caffemodel").parameters) == list(PARAMETERS)
