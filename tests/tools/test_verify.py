"""Published outputs against those of weights; fingerprints are computed by OpenCV's Caffe importer and PyTorch."""

import importlib.util

import numpy as np
import pytest
from PIL import Image
from support.nets import each_norm, random_parameters, small
from support.opencv import opencv_softmax

from tfalexnet import ARCHITECTURES
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import imagenet_classes, numbered_classes
from tfalexnet.images.opening import PictureError
from tfalexnet.networks.catalog import BVLC_ALEXNET, BVLC_CAFFENET, TF_ALEXNET
from tfalexnet.tools.fingerprints import KRATZERT, PUBLISHED, Fingerprint
from tfalexnet.tools.mistakes import MUTANTS
from tfalexnet.tools.verification import report_table
from tfalexnet.tools.verify import verify

cv2 = pytest.importorskip("cv2")

CLASSES = 100
ALEXNET, CAFFENET, SAME = (small(net).with_classes(CLASSES) for net in (BVLC_ALEXNET, BVLC_CAFFENET, TF_ALEXNET))
UNDIVIDED = each_norm(ALEXNET, alpha=5e-4)  # Five times Caffe's, which it divides by five.
PARAMETERS = random_parameters(ALEXNET, 3)  # With this seed, rounded kernels have the same best class.


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """The small networks stand in for those of the published weights."""
    nets = {"bvlc_alexnet": ALEXNET, "bvlc_caffenet": CAFFENET}
    monkeypatch.setattr("tfalexnet.tools.verify.ARCHITECTURES", ARCHITECTURES | nets)


def write(path, parameters, net=ALEXNET):
    write_checkpoint(path, Checkpoint(parameters, ModelSpec(net, None, numbered_classes(net.classes))))
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write(tmp_path_factory.mktemp("weights") / "bvlc_alexnet.npz", PARAMETERS)


@pytest.fixture(scope="module")
def pixels(photo):
    """The input of Kratzert's notebook, computed by OpenCV."""
    image = cv2.imread(str(photo)).astype("float32")
    return cv2.resize(image, (227, 227)) - np.array((104, 117, 124), "float32")


def caffe(net, picture, parameters=PARAMETERS):
    return opencv_softmax(net, parameters, [picture])[0]


@pytest.fixture(scope="module")
def right(pixels):
    return caffe(ALEXNET, pixels)


def pytorch(parameters, picture, padding=0):
    """Return PyTorch's softmax of bvlc_alexnet.

    Padding 4 is a conv1 with SAME padding: (57 − 1)·4 + 11 − 227 = 8. Caffe would pool its output otherwise.
    """
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    tensors = {
        name: (torch.from_numpy(np.ascontiguousarray(kernel)), torch.from_numpy(bias))
        for name, (kernel, bias) in parameters.items()
    }
    x = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    with torch.no_grad():
        for name, options in {
            "conv1": {"stride": 4, "padding": padding},
            "conv2": {"padding": 2, "groups": 2},
            "conv3": {"padding": 1},
            "conv4": {"padding": 1, "groups": 2},
            "conv5": {"padding": 1, "groups": 2},
        }.items():
            kernel, bias = tensors[name]
            x = f.relu(f.conv2d(x, kernel.permute(3, 2, 0, 1), bias, **options))
            if name in ("conv1", "conv2"):
                x = f.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=1)
            if name in ("conv1", "conv2", "conv5"):
                x = f.max_pool2d(x, 3, 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for name in ("fc6", "fc7", "fc8"):
            kernel, bias = tensors[name]
            x = x @ kernel + bias
            x = x if name == "fc8" else f.relu(x)
        return f.softmax(x, 1).numpy()[0]


def best(scores):
    return {int(index): float(scores[index]) for index in np.argsort(-scores)[:3]}


def fingerprint(expected, picture="chelsea", weights="bvlc_alexnet", protocol=KRATZERT, **more):
    return Fingerprint(picture, weights, protocol, best(expected), 1e-5, "OpenCV", **more)


def changed(layers, change, parameters=PARAMETERS):
    return parameters | {name: (change(parameters[name][0]), parameters[name][1]) for name in layers}


CONVOLUTIONS = [f"conv{n}" for n in range(1, 6)]

# For each mutant of weights the change that it undoes: layers, and the change of their kernels.
UNDONE = {
    "the rows of the first dense kernel read as channel, height, width": (
        ["fc6"],
        lambda k: k.reshape(32, 6, 6, -1).transpose(1, 2, 0, 3).reshape(k.shape),
    ),
    "the rows of the first dense kernel put back to channel, height, width": (
        ["fc6"],
        lambda k: k.reshape(6, 6, 32, -1).transpose(2, 0, 1, 3).reshape(k.shape),
    ),
    "height and width of the kernels exchanged": (CONVOLUTIONS, lambda k: k.transpose(1, 0, 2, 3)),
    "the kernels turned by 180° (convolution for correlation)": (CONVOLUTIONS, lambda k: np.rot90(k, 2)),
    "square dense kernels transposed": (["fc7"], lambda k: k.T),
}
CAFFE_ROWS = UNDONE["the rows of the first dense kernel put back to channel, height, width"][1]


def noisy(kernel):
    return kernel * (1 + np.float32(1e-3) * np.random.default_rng(1).standard_normal(kernel.shape, np.float32))


def rounded(kernel):
    """Return a kernel of fifteen values, as 4 bits would hold it."""
    return (kernel / kernel.std() * 2).round().clip(-7, 7) * kernel.std() / 2


def test_every_known_mistake_is_named_and_no_other(weights, pixels, photo):
    expected = {
        "pool before norm": caffe(CAFFENET, pixels),
        "alpha undivided": caffe(UNDIVIDED, pixels),
        "the input channels reversed (RGB for BGR)": caffe(ALEXNET, pixels[..., ::-1]),
        "unknown": caffe(ALEXNET, pixels, changed([*CONVOLUTIONS, "fc7", "fc8"], noisy)),
    }
    if importlib.util.find_spec("torch"):
        expected["conv1 SAME"] = pytorch(PARAMETERS, pixels, padding=4)
        for name, (layers, change) in UNDONE.items():
            expected[name] = pytorch(changed(layers, change), pixels)
        opposites = {"norm before pool", "alpha divided", "conv1 VALID"}
        assert set(expected) - {"unknown"} == set(MUTANTS) - opposites
    report = verify(photo, weights, fingerprints=[fingerprint(scores) for scores in expected.values()])
    assert not report.passed
    for name, row in zip(expected, report.rows, strict=True):
        assert row.wrong and row.cures == (() if name == "unknown" else (name,)), name
        assert str(row) == ("unknown" if name == "unknown" else f"right with {name}")
    assert "no one known mistake explains the numbers" in report.notes[0]


def test_right_weights_pass(weights, right, photo, tmp_path):
    fingerprints = [
        fingerprint(
            right, mistakes={"pool before norm": best(right), "alpha undivided": dict.fromkeys(best(right), 1)}
        ),
        fingerprint(right, picture="llama"),
        fingerprint(right, weights="bvlc_caffenet"),
    ]
    (tmp_path / "chelsea.txt").write_text("no picture")
    Image.new("RGB", (9, 9)).save(tmp_path / "other.png")
    report = verify([tmp_path, photo], weights, fingerprints=fingerprints)
    assert report.passed and [row.right for row in report.rows] == [True, False]
    assert [str(row) for row in report.rows] == ["ok, as also with pool before norm", "no picture"]
    assert report.notes == ("Not compared: other.png; nothing is published of them here.",)
    text = report_table(report)
    index, score = next(iter(best(right).items()))
    assert f"chelsea  {index} {imagenet_classes()[index].label.split(',')[0]}" in text
    assert f"{score:.4f}" in text and "0.0000  ok" in text and text.endswith("1 of 1 answers as published.")


@pytest.mark.slow
def test_published_weights_at_full_size(npy, parameters, pixels, photo, monkeypatch):
    monkeypatch.undo()
    assert verify(photo, npy, fingerprints=[fingerprint(caffe(BVLC_ALEXNET, pixels, parameters))]).passed


def test_tf_alexnet_has_its_own_recipe(weights, photo, tmp_path):
    """Its fingerprints are weights of bvlc_alexnet, conv1 SAME, and a picture of 227×227 minus its own mean."""
    with Image.open(photo) as image:
        part = image.crop((100, 20, 327, 247))
    part.save(tmp_path / "chelsea.png")
    pixels = np.asarray(part, "float64")
    expected = pytorch(PARAMETERS, (pixels - pixels.mean()).astype("float32"), padding=4)
    recipe = next(f for f in PUBLISHED if f.picture == "poodle")
    published = [fingerprint(expected, protocol=recipe.protocol, recipe=recipe.recipe)]
    for file in (weights, write(tmp_path / "tf_alexnet.npz", PARAMETERS, SAME)):
        report = verify(tmp_path / "chelsea.png", file, fingerprints=published)
        assert report.passed and str(report.rows[0]) == "ok" and not report.notes


def test_opposites_undo_mistakes_and_leave_right_networks():
    for mistake, opposite in [
        ("pool before norm", "norm before pool"),
        ("alpha undivided", "alpha divided"),
        ("conv1 SAME", "conv1 VALID"),
    ]:
        wrong, _ = MUTANTS[mistake](BVLC_ALEXNET, {})
        assert wrong != BVLC_ALEXNET and MUTANTS[mistake](wrong, {})[0] == wrong
        assert MUTANTS[opposite](wrong, {})[0] == BVLC_ALEXNET == MUTANTS[opposite](BVLC_ALEXNET, {})[0]
    assert MUTANTS["conv1 SAME"](BVLC_ALEXNET, {})[0].layers == TF_ALEXNET.layers
    order = [row.name for row in MUTANTS["pool before norm"](BVLC_ALEXNET, {})[0].layers]
    assert order == [row.name for row in BVLC_CAFFENET.layers]


def test_weights_with_a_mistake(right, photo, tmp_path):
    """A file whose fc6 was not reordered for TensorFlow."""
    mistake = "the rows of the first dense kernel read as channel, height, width"
    file = write(tmp_path / "bvlc_alexnet.npz", changed(["fc6"], CAFFE_ROWS))
    report = verify([photo], file, fingerprints=[fingerprint(right)])
    assert not report.passed
    assert report.rows[0].cures == (mistake,)
    assert f"chelsea: right with {mistake}. That is the one thing wrong" in report.notes[0]


def test_a_network_with_a_mistake_that_was_published(weights, right, pixels, photo):
    known = {"pool before norm": caffe(CAFFENET, pixels), "alpha undivided": caffe(UNDIVIDED, pixels)}
    mistakes = {name: {index: float(scores[index]) for index in best(right)} for name, scores in known.items()}
    report = verify(photo, weights, CAFFENET, [fingerprint(right, mistakes=mistakes)])
    (row,) = report.rows
    assert row.mistakes == ("pool before norm",) and row.cures == ("norm before pool",)
    scores = ", ".join(f"{score:.4f}" for score in mistakes["pool before norm"].values())
    assert f"matches pool before norm (published {scores}); right with norm before pool" in report_table(report)


def test_weights_of_another_network(weights, pixels, photo):
    other = fingerprint(caffe(CAFFENET, pixels), weights="bvlc_caffenet")
    report = verify(photo, weights, fingerprints=[fingerprint(np.ones(CLASSES), picture="llama"), other])
    assert not report.passed and str(report.rows[0]) == "no picture"
    assert report.notes == ("chelsea: as published for bvlc_caffenet. These are its weights; read them as that.",)
    assert report_table(report).endswith("Nothing was compared.")


def test_compressed_weights_agree_roughly(right, photo, tmp_path):
    file = write(tmp_path / "bvlc_alexnet.npz", changed(["fc6", "fc7", "fc8"], rounded))
    report = verify(photo, file, fingerprints=[fingerprint(right)])
    assert report.passed and not report.rows[0].right
    assert str(report.rows[0]) == "compressed weights agree only roughly"
    (note,) = report.notes
    assert "compressed" in note and "within 0.15" in note
    assert report_table(report).endswith("0 of 1 answers as published.")


def test_other_weights_of_few_values_are_wrong(right, photo, tmp_path):
    """Compression excuses a difference, not another answer."""
    file = write(tmp_path / "bvlc_alexnet.npz", changed(["fc6"], rounded, random_parameters(ALEXNET, 99)))
    report = verify(photo, file, fingerprints=[fingerprint(right)])
    assert not report.passed and str(report.rows[0]) == "unknown"
    assert "compressed" in report.notes[0] and "Are these the published weights?" in report.notes[1]


def test_compressed_weights_with_a_mistake(right, photo, tmp_path):
    file = write(tmp_path / "bvlc_alexnet.npz", changed(["fc6"], lambda kernel: CAFFE_ROWS(rounded(kernel))))
    report = verify(photo, file, fingerprints=[fingerprint(right)])
    assert not report.passed
    assert report.rows[0].cures == ("the rows of the first dense kernel read as channel, height, width",)


def test_two_files_of_one_name(weights, right, photo, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    used, other = tmp_path / "a" / "chelsea.png", tmp_path / "b" / "chelsea.jpg"
    used.symlink_to(photo)
    Image.new("RGB", (9, 9)).save(other)
    report = verify([used.parent, used, photo, other.parent], weights, fingerprints=[fingerprint(right)])
    assert report.passed and report.rows[0].file == used
    assert report.notes == (f"Expected one file called chelsea; {used} was used, and not {other}.",)


def test_what_cannot_be_verified(weights, photo, tmp_path):
    with pytest.raises(ValueError, match="weights of bvlc_alexnet or bvlc_caffenet.*those of cifar10_18pct"):
        verify(photo, "cifar10")
    with pytest.raises(ValueError, match="Expected an architecture .* bvlc_alexnet. Received: one_weird_trick"):
        verify(photo, weights, "one_weird_trick")
    with pytest.raises(PictureError, match="none: no such file or folder"):
        verify(tmp_path / "none", weights)
    with pytest.raises(PictureError, match=r"expected 227×227 pixels, as published; received 451×300"):
        next(f for f in PUBLISHED if f.picture == "laska").protocol(photo)
    with pytest.raises(CheckpointError, match="expected a classifier to verify; the file lacks fc6, fc7, fc8"):
        verify(photo, write(tmp_path / "net.npz", {name: PARAMETERS[name] for name in CONVOLUTIONS}))
