"""Published logits and maps of places: against PyTorch, and against what Caffe's own convolutional nets answered."""

import dataclasses

import numpy as np
import pytest
from support.caffe_truth import channels_last, read_arrays, slim
from support.nets import random_parameters, small

from tfalexnet import ARCHITECTURES
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import numbered_classes
from tfalexnet.tools.fingerprints import LOGITS_OF_CLASSES, PUBLISHED, best_classes
from tfalexnet.tools.verification import report_table
from tfalexnet.tools.verify import verify


@pytest.fixture
def stand_in(monkeypatch):
    """A function that lets a small network stand in for that of published weights."""

    def stand_in(net):
        monkeypatch.setattr("tfalexnet.tools.verify.ARCHITECTURES", ARCHITECTURES | {net.name: net})
        return net

    return stand_in


def save(path, parameters, net):
    write_checkpoint(path, Checkpoint(parameters, ModelSpec(net, None, numbered_classes(net.classes))))
    return path


def with_caffes_rows(parameters, height, width):
    """Return the parameters with the rows of fc6 in the order channel, height, width."""
    kernel, bias = parameters["fc6"]
    moved = kernel.reshape(height, width, -1, kernel.shape[-1]).transpose(2, 0, 1, 3).reshape(kernel.shape)
    return parameters | {"fc6": (moved, bias)}


@pytest.mark.data
@pytest.mark.parametrize("name", ["bvlc_alexnet", "bvlc_caffenet"])
def test_the_map_of_a_convolutional_network_is_that_of_caffe(name, data, photo, tmp_path, stand_in):
    """The picture is one that Caffe got as numbers; the slim network and its answers are Caffe's."""
    folder, net = data / "caffe" / "truth", stand_in(slim(name))
    truth = read_arrays(folder / f"{name}_convolutional_451.npz")
    picture = channels_last(truth["data"][0].astype(np.float32))
    published = dataclasses.replace(
        next(f for f in PUBLISHED if f.convolutional),
        picture="chelsea",
        weights=name,
        protocol=lambda _: picture,
        measure=best_classes(truth["prob"][0].argmax(0)),
    )
    parameters = read_checkpoint(folder / f"{name}.caffemodel", net).parameters
    report = verify(photo, save(tmp_path / "net.npz", parameters, net), net, [published])
    assert report.passed and report.rows[0].received == {0: 1.0}
    assert "best classes of 8×8 places    1.0000    1.0000" in report_table(report)
    wrong = save(tmp_path / "wrong.npz", with_caffes_rows(parameters, 6, 6), net)
    report = verify(photo, wrong, net, [published, published])  # Two answers for one picture.
    assert not report.passed and report.rows[0].received[0] < 0.9
    assert report.notes[-1].startswith("chelsea: right with")
    assert "the rows of the first dense kernel read as channel, height, width" in report.rows[0].cures


def test_logits_are_those_of_pytorch(photo, tmp_path, stand_in):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    unify = PUBLISHED[-1]
    assert unify.measure is LOGITS_OF_CLASSES
    net = stand_in(small(ARCHITECTURES["one_weird_trick"]))
    parameters = random_parameters(net, 3)
    x = torch.from_numpy(unify.protocol(photo)).permute(2, 0, 1)[None]
    tensors = {name: tuple(map(torch.from_numpy, arrays)) for name, arrays in parameters.items()}
    for name, options in {
        "conv1": {"stride": 4, "padding": 2},
        "conv2": {"padding": 2},
        **{name: {"padding": 1} for name in ("conv3", "conv4", "conv5")},
    }.items():
        kernel, bias = tensors[name]
        x = functional.relu(functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, **options))
        if name in ("conv1", "conv2", "conv5"):
            x = functional.max_pool2d(x, 3, 2)
    x = x.permute(0, 2, 3, 1).flatten(1)
    for name in ("fc6", "fc7", "fc8"):
        kernel, bias = tensors[name]
        x = x @ kernel + bias
        x = x if name == "fc8" else functional.relu(x)
    expected = {index: float(score) for index, score in enumerate(x[0].tolist())}
    published = dataclasses.replace(unify, picture="chelsea", expected=expected, tolerance=1e-4)
    report = verify(photo, save(tmp_path / "net.npz", parameters, net), fingerprints=[published])
    assert report.passed and report.rows[0].right
    assert "logit of 3 tiger shark" in report_table(report)
    wrong = save(tmp_path / "wrong.npz", with_caffes_rows(parameters, 6, 6), net)
    report = verify(photo, wrong, fingerprints=[published])
    assert not report.passed
    assert report.rows[0].cures == ("the rows of the first dense kernel read as channel, height, width",)
