"""Equal to Caffe, as OpenCV 4 runs it; and nets with the known mistakes must fail the same bound."""

import dataclasses

import numpy as np
import pytest
from support.caffe import caffemodel, prototxt
from support.nets import each_norm, random_parameters, small, write_npy

from tfalexnet import AlexNet, convert
from tfalexnet.checkpoints.formats.orientation import flatten_chw
from tfalexnet.images.decode import decode
from tfalexnet.images.preprocessing import BVLC, TORCHVISION
from tfalexnet.networks.build import set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES, BVLC_ALEXNET, BVLC_CAFFENET, CIFAR10_18PCT, ONE_WEIRD_TRICK
from tfalexnet.networks.spec import Norm, Pool

cv2 = pytest.importorskip("cv2")

BOUND = 1e-5  # In every entry of the softmax.


def caffe(net, parameters, inputs, layout="new") -> np.ndarray:
    """The softmax of OpenCV's Caffe importer."""
    text, model = prototxt(net).encode(), caffemodel(parameters, net, layout)
    network = cv2.dnn.readNetFromCaffe(np.frombuffer(text, np.uint8), np.frombuffer(model, np.uint8))
    rows = []
    for picture in inputs:
        network.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
        rows.append(network.forward().ravel().copy())
    return np.array(rows)


@pytest.fixture(scope="module")
def inputs(photo):
    """Four quarters of a photo, as four pictures."""
    image = decode(photo)
    width, height = image.size
    corners = [(x, y) for x in (0, width // 2) for y in (0, height // 2)]
    return np.array([BVLC(image.crop((x, y, x + width // 2, y + height // 2))) for x, y in corners])


@pytest.fixture(scope="module")
def answers(parameters, inputs):
    return caffe(BVLC_ALEXNET, parameters, inputs)


def test_converted_bvlc_alexnet_is_caffes(npy, inputs, answers, tmp_path):
    output, _ = convert(npy, tmp_path / "bvlc_alexnet.weights.h5")
    np.testing.assert_allclose(AlexNet(weights=output)(inputs), answers, rtol=0, atol=BOUND)
    assert answers.std(axis=0).max() > 1000 * BOUND  # The pictures are told apart.


def test_caffenet_is_caffes(npy, parameters, inputs):
    net = AlexNet("bvlc_caffenet", weights=npy)
    np.testing.assert_allclose(net(inputs), caffe(BVLC_CAFFENET, parameters, inputs), rtol=0, atol=BOUND)


@pytest.mark.parametrize("layout", ["new", "old"])
def test_a_caffemodel_of_either_layout_is_caffes(layout, inputs, tmp_path):
    net = small(BVLC_ALEXNET)
    parameters = random_parameters(net)
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(parameters, net, layout))
    expected = caffe(net, parameters, inputs, layout)
    ours = AlexNet(net, weights=tmp_path / "net.caffemodel")
    np.testing.assert_allclose(ours(inputs), expected, rtol=0, atol=BOUND)
    assert expected.std(axis=0).max() > 100 * BOUND
    kernel, bias = parameters["fc6"]  # Read in our order, as if it were not Caffe's.
    ours.get_layer("fc6").set_weights([flatten_chw(kernel, net.flattened), bias])
    assert np.abs(ours(inputs) - expected).max() > 10 * BOUND


MUTANTS = {
    "conv1 SAME": ARCHITECTURES["tf_alexnet"],
    "pool before norm": BVLC_CAFFENET,
    "alpha not divided": each_norm(BVLC_ALEXNET, divide_alpha=False),
    "norm inside towers": each_norm(BVLC_ALEXNET, groups=2),
    "k of the paper": each_norm(BVLC_ALEXNET, k=2.0),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_known_mistake_fails(name, npy, inputs, answers):
    assert np.abs(AlexNet(MUTANTS[name], weights=npy)(inputs) - answers).max() > 10 * BOUND


def test_wrong_pictures_fail(npy, inputs, answers):
    net = AlexNet(weights=npy)
    mean = np.array(BVLC.mean, "float32")
    swapped = (inputs + mean)[..., ::-1] - mean
    assert np.abs(net(swapped) - answers).max() > 10 * BOUND


def test_wrong_flattening_fails(parameters, inputs, answers, tmp_path):
    """fc6 read in Caffe's order, channel first, as if it had not been reordered."""
    kernel, bias = parameters["fc6"]
    kernel = kernel.reshape(6, 6, 256, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
    write_npy(tmp_path / "net.npy", parameters | {"fc6": (kernel, bias)})
    assert np.abs(AlexNet(weights=tmp_path / "net.npy")(inputs) - answers).max() > 10 * BOUND


@pytest.mark.data
def test_real_photos_are_caffes(npy, parameters, data):
    photos = sorted((data / "photos").iterdir())
    assert len(photos) == 7
    inputs = np.array([BVLC(photo) for photo in photos])
    expected = caffe(BVLC_ALEXNET, parameters, inputs)
    np.testing.assert_allclose(AlexNet(weights=npy)(inputs), expected, rtol=0, atol=BOUND)


def test_normalization_within_a_channel_is_caffes():
    """The CIFAR-10 net where every window fits: the two libraries cut windows at the border differently."""
    strong = {"norm1": 5e-3, "norm2": 5e-3}
    rows = {}
    for row in CIFAR10_18PCT.layers:
        if isinstance(row, Pool):
            rows[row.name] = dataclasses.replace(row, padding="valid")
        elif isinstance(row, Norm):
            rows[row.name] = dataclasses.replace(row, alpha=strong[row.name])
    net = dataclasses.replace(CIFAR10_18PCT.replace_layers(**rows), input_shape=(31, 31, 3))
    net = dataclasses.replace(net, layers=tuple(row for row in net.layers if row.name != "relu1"))
    parameters = random_parameters(net)
    inputs = np.random.default_rng(1).uniform(-120, 120, (2, 31, 31, 3)).astype("float32")
    ours, mutant = AlexNet(net), AlexNet(each_norm(net, divide_alpha=False))
    for model in (ours, mutant):
        set_parameters(model, parameters)
    expected = caffe(net, parameters, inputs)
    np.testing.assert_allclose(ours(inputs), expected, rtol=0, atol=BOUND)
    assert np.abs(mutant(inputs) - expected).max() > 10 * BOUND


def test_one_weird_trick_is_pytorchs(inputs):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    parameters = random_parameters(ONE_WEIRD_TRICK)
    theirs = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(6), nn.Flatten()),
        *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
        *(nn.Linear(4096, 1000), nn.Softmax(1)),
    ).eval()
    weighted = [module for module in theirs if hasattr(module, "weight")]
    ours = AlexNet("one_weird_trick")
    for module, (name, (kernel, bias)) in zip(weighted, parameters.items(), strict=True):
        ours.get_layer(name).set_weights([kernel, bias])
        if kernel.ndim == 2 and name == "fc6":
            kernel = kernel.reshape(6, 6, 256, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        module.weight.data = torch.from_numpy(np.ascontiguousarray(kernel))
        module.bias.data = torch.from_numpy(bias)
    pictures = np.array([TORCHVISION((picture + 128).clip(0, 255).astype("uint8")) for picture in inputs])
    with torch.no_grad():
        expected = theirs(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(ours(pictures), expected, rtol=0, atol=BOUND)
