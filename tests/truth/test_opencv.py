"""Outputs equal those of Caffe as OpenCV 4 runs it, and networks with a known mistake fail the same bound."""

import dataclasses

import numpy as np
import pytest
from support.caffe import caffemodel
from support.nets import each_norm, random_parameters, small
from support.opencv import opencv_softmax

from tfalexnet import AlexNet, convert
from tfalexnet.checkpoints.formats.orientation import flatten_chw
from tfalexnet.images.decode import decode
from tfalexnet.images.preprocessing import BVLC, TORCHVISION
from tfalexnet.networks.build import set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES, BVLC_ALEXNET, BVLC_CAFFENET, CIFAR10_18PCT, ONE_WEIRD_TRICK
from tfalexnet.networks.spec import Norm, Pool

pytest.importorskip("cv2")

BOUND = 1e-5  # In every entry of the softmax.
NET = small(BVLC_ALEXNET)
PARAMETERS = random_parameters(NET)


@pytest.fixture(scope="module")
def inputs(photo):
    """Four quarters of a photo, as four pictures."""
    image = decode(photo)
    width, height = image.size
    corners = [(x, y) for x in (0, width // 2) for y in (0, height // 2)]
    return np.array([BVLC(image.crop((x, y, x + width // 2, y + height // 2))) for x, y in corners])


@pytest.fixture(scope="module")
def expected(inputs):
    return opencv_softmax(NET, PARAMETERS, inputs)


def outputs(net, inputs, parameters=PARAMETERS):
    model = AlexNet(net)
    set_parameters(model, parameters)
    return model(inputs).numpy()


@pytest.mark.slow
def test_bvlc_alexnet_at_full_size_converted_from_npy(npy, parameters, inputs, tmp_path):
    output, _ = convert(npy, tmp_path / "bvlc_alexnet.weights.h5")
    expected = opencv_softmax(BVLC_ALEXNET, parameters, inputs)
    np.testing.assert_allclose(AlexNet(weights=output)(inputs), expected, rtol=0, atol=BOUND)
    assert expected.std(axis=0).max() > 1000 * BOUND  # The pictures differ.


def test_caffenet(inputs):
    net = small(BVLC_CAFFENET)
    expected = opencv_softmax(net, PARAMETERS, inputs)
    np.testing.assert_allclose(outputs(net, inputs), expected, rtol=0, atol=BOUND)


@pytest.mark.parametrize("layout", ["new", "old"])
def test_a_caffemodel_of_either_layout(layout, inputs, expected, tmp_path):
    (tmp_path / "net.caffemodel").write_bytes(caffemodel(PARAMETERS, NET, layout))
    np.testing.assert_allclose(opencv_softmax(NET, PARAMETERS, inputs, layout), expected, rtol=0, atol=1e-7)
    model = AlexNet(NET, weights=tmp_path / "net.caffemodel")
    np.testing.assert_allclose(model(inputs), expected, rtol=0, atol=BOUND)
    assert expected.std(axis=0).max() > 100 * BOUND


MUTANTS = {
    "conv1 SAME": small(ARCHITECTURES["tf_alexnet"]),
    "pool before norm": small(BVLC_CAFFENET),
    "alpha not divided": each_norm(NET, divide_alpha=False),
    "norm inside towers": each_norm(NET, groups=2),
    "k of the paper": each_norm(NET, k=2.0),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_known_mistake_fails(name, inputs, expected):
    assert np.abs(outputs(MUTANTS[name], inputs) - expected).max() > 10 * BOUND


def test_channels_in_the_wrong_order_fail(inputs, expected):
    mean = np.array(BVLC.mean, "float32")
    swapped = (inputs + mean)[..., ::-1] - mean
    assert np.abs(outputs(NET, swapped) - expected).max() > 10 * BOUND


@pytest.mark.parametrize(
    "reorder",
    [
        lambda kernel: flatten_chw(kernel, NET.flattened),
        lambda kernel: kernel.reshape(32, 6, 6, -1).transpose(1, 2, 0, 3).reshape(kernel.shape),
    ],
)
def test_rows_of_fc6_in_the_wrong_order_fail(reorder, inputs, expected):
    """Rows put into Caffe's order, channel first, or put out of it once too often."""
    kernel, bias = PARAMETERS["fc6"]
    wrong = PARAMETERS | {"fc6": (reorder(kernel), bias)}
    assert np.abs(outputs(NET, inputs, wrong) - expected).max() > 10 * BOUND


@pytest.mark.data
def test_real_photos(data):
    photos = sorted((data / "photos").iterdir())
    assert len(photos) == 7
    inputs = np.array([BVLC(photo) for photo in photos])
    expected = opencv_softmax(NET, PARAMETERS, inputs)
    np.testing.assert_allclose(outputs(NET, inputs), expected, rtol=0, atol=BOUND)


def test_normalization_within_a_channel():
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
    expected = opencv_softmax(net, parameters, inputs)
    np.testing.assert_allclose(outputs(net, inputs, parameters), expected, rtol=0, atol=BOUND)
    mutant = each_norm(net, divide_alpha=False)
    assert np.abs(outputs(mutant, inputs, parameters) - expected).max() > 10 * BOUND


def test_one_weird_trick_in_pytorch(inputs):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    net = small(ONE_WEIRD_TRICK)  # An eighth of the published filters.
    parameters = random_parameters(net)
    reference = nn.Sequential(
        *(nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(8, 24, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(24, 48, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(48, 32, 3, 1, 1), nn.ReLU()),
        *(nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(6), nn.Flatten()),
        *(nn.Dropout(), nn.Linear(1152, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 64), nn.ReLU()),
        *(nn.Linear(64, 10), nn.Softmax(1)),
    ).eval()
    weighted = [module for module in reference if hasattr(module, "weight")]
    for module, (name, (kernel, bias)) in zip(weighted, parameters.items(), strict=True):
        if kernel.ndim == 2 and name == "fc6":
            kernel = kernel.reshape(6, 6, 32, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        module.weight.data = torch.from_numpy(np.ascontiguousarray(kernel))
        module.bias.data = torch.from_numpy(bias)
    pictures = np.array([TORCHVISION((picture + 128).clip(0, 255).astype("uint8")) for picture in inputs])
    with torch.no_grad():
        expected = reference(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(outputs(net, pictures, parameters), expected, rtol=0, atol=BOUND)
