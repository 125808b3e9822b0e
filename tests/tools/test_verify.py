"""Fingerprints taken by OpenCV's Caffe importer, PyTorch and NumPy; every known mistake must be named."""

import importlib.util

import numpy as np
import pytest
from PIL import Image
from support.caffe import caffemodel, prototxt
from support.nets import each_norm, random_parameters, write_npy

from tfalexnet import ARCHITECTURES
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.images.decode import PictureError
from tfalexnet.networks.catalog import BVLC_ALEXNET, BVLC_CAFFENET, TF_ALEXNET
from tfalexnet.tools.fingerprints import KRATZERT, PUBLISHED, Fingerprint
from tfalexnet.tools.verify import MUTANTS, report_table, verify

cv2 = pytest.importorskip("cv2")

UNDIVIDED = each_norm(BVLC_ALEXNET, alpha=5e-4)  # Five times Caffe's, which it divides by five.


@pytest.fixture(scope="module")
def model(parameters):
    return caffemodel(parameters, BVLC_ALEXNET)


@pytest.fixture(scope="module")
def pixels(photo):
    """The notebook's input by OpenCV alone."""
    image = cv2.imread(str(photo)).astype("float32")
    return cv2.resize(image, (227, 227)) - np.array((104, 117, 124), "float32")


def caffe(net, model, picture):
    """The softmax of OpenCV's Caffe importer."""
    text = prototxt(net).encode()
    network = cv2.dnn.readNetFromCaffe(np.frombuffer(text, np.uint8), np.frombuffer(model, np.uint8))
    network.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    return network.forward().ravel().copy()


def pytorch(parameters, picture, padding=0):
    """The softmax of PyTorch; padding 4 is a conv1 SAME, (57 − 1)·4 + 11 − 227 = 8, which Caffe pools otherwise."""
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


def relaid(parameters, layers, change):
    return parameters | {name: (change(parameters[name][0]), parameters[name][1]) for name in layers}


CONVOLUTIONS = [f"conv{n}" for n in range(1, 6)]

# Other weights in the right network: what changed in them, which is what puts the old ones right.
RELAID = {
    "the rows of the first dense kernel read as channel, height, width": (
        ["fc6"],
        lambda k: k.reshape(256, 6, 6, -1).transpose(1, 2, 0, 3).reshape(k.shape),
    ),
    "the rows of the first dense kernel put back to channel, height, width": (
        ["fc6"],
        lambda k: k.reshape(6, 6, 256, -1).transpose(2, 0, 1, 3).reshape(k.shape),
    ),
    "height and width of the kernels exchanged": (CONVOLUTIONS, lambda k: k.transpose(1, 0, 2, 3)),
    "the kernels turned by 180° (convolution for correlation)": (CONVOLUTIONS, lambda k: np.rot90(k, 2)),
    "square dense kernels transposed": (["fc7"], lambda k: k.T),
    "noise": (
        [*CONVOLUTIONS, "fc7", "fc8"],
        lambda k: k * (1 + np.float32(1e-3) * np.random.default_rng(1).standard_normal(k.shape, np.float32)),
    ),
}


def test_every_known_mistake_is_named_and_no_other(npy, parameters, model, pixels, photo):
    expected = {
        "pool before norm": caffe(BVLC_CAFFENET, model, pixels),
        "alpha undivided": caffe(UNDIVIDED, model, pixels),
        "the input channels reversed (RGB for BGR)": caffe(BVLC_ALEXNET, model, pixels[..., ::-1]),
    }
    if importlib.util.find_spec("torch"):
        expected["conv1 SAME"] = pytorch(parameters, pixels, padding=4)
        for name, (layers, change) in RELAID.items():
            expected[name] = pytorch(relaid(parameters, layers, change), pixels)
        opposites = {"norm before pool", "alpha divided", "conv1 VALID"}
        assert set(expected) - {"noise"} == set(MUTANTS) - opposites
    report = verify(photo, npy, fingerprints=[fingerprint(scores) for scores in expected.values()])
    assert not report.passed
    for name, row in zip(expected, report.rows, strict=True):
        assert row.wrong and row.cures == (() if name == "noise" else (name,)), name
        assert str(row) == ("unknown" if name == "noise" else f"right with {name}")
    assert "no one known mistake explains the numbers" in report.notes[0]


def test_right_weights_pass(npy, model, pixels, photo, tmp_path):
    right = caffe(BVLC_ALEXNET, model, pixels)
    fingerprints = [
        fingerprint(
            right, mistakes={"pool before norm": best(right), "alpha undivided": dict.fromkeys(best(right), 1)}
        ),
        fingerprint(right, picture="llama"),
        fingerprint(right, weights="bvlc_caffenet"),
    ]
    (tmp_path / "chelsea.txt").write_text("no picture")
    Image.new("RGB", (9, 9)).save(tmp_path / "other.png")
    report = verify([tmp_path, photo], npy, fingerprints=fingerprints)
    assert report.passed and [row.right for row in report.rows] == [True, False]
    assert [str(row) for row in report.rows] == ["ok, as also with pool before norm", "no picture"]
    assert report.notes == ("Not compared: other.png; nothing is published of them here.",)
    text = report_table(report)
    index, score = next(iter(best(right).items()))
    assert f"chelsea  {index} {imagenet_classes()[index].label.split(',')[0]}" in text
    assert f"{score:.4f}" in text and "0.0000  ok" in text and text.endswith("1 of 1 pictures as published.")


def test_tf_alexnets_own_recipe(npy, parameters, photo, tmp_path):
    """Weights of bvlc_alexnet, conv1 SAME, a picture of 227×227 minus its own mean."""
    with Image.open(photo) as image:
        image.crop((100, 20, 327, 247)).save(tmp_path / "chelsea.png")
        levels = np.asarray(image.crop((100, 20, 327, 247)), "float64")
    own = pytorch(parameters, (levels - levels.mean()).astype("float32"), padding=4)
    recipe = next(f for f in PUBLISHED if f.picture == "poodle")
    published = [fingerprint(own, protocol=recipe.protocol, recipe=recipe.recipe)]
    (tmp_path / "tf_alexnet.npy").symlink_to(npy)
    for file in (npy, tmp_path / "tf_alexnet.npy"):  # Whose weights are bvlc_alexnet's.
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


def test_weights_with_a_mistake(parameters, model, pixels, photo, tmp_path):
    """A file whose fc6 was never put into the order of TensorFlow."""
    mistake = "the rows of the first dense kernel read as channel, height, width"
    _, caffes = RELAID["the rows of the first dense kernel put back to channel, height, width"]
    write_npy(tmp_path / "bvlc_alexnet.npy", relaid(parameters, ["fc6"], caffes))
    right = fingerprint(caffe(BVLC_ALEXNET, model, pixels))
    report = verify([photo], tmp_path / "bvlc_alexnet.npy", fingerprints=[right])
    assert not report.passed
    assert report.rows[0].cures == (mistake,)
    assert f"chelsea: right with {mistake}. That is the one thing wrong" in report.notes[0]


@pytest.mark.slow
def test_a_network_with_a_mistake_that_was_published(npy, model, pixels, photo):
    known = {
        "pool before norm": caffe(BVLC_CAFFENET, model, pixels),
        "alpha undivided": caffe(UNDIVIDED, model, pixels),
    }
    right = caffe(BVLC_ALEXNET, model, pixels)
    mistakes = {name: {index: float(scores[index]) for index in best(right)} for name, scores in known.items()}
    report = verify(photo, npy, "bvlc_caffenet", [fingerprint(right, mistakes=mistakes)])
    (row,) = report.rows
    assert row.mistakes == ("pool before norm",) and row.cures == ("norm before pool",)
    scores = ", ".join(f"{score:.4f}" for score in mistakes["pool before norm"].values())
    assert f"matches pool before norm (published {scores}); right with norm before pool" in report_table(report)


def test_weights_of_another_network(npy, model, pixels, photo):
    theirs = fingerprint(caffe(BVLC_CAFFENET, model, pixels), weights="bvlc_caffenet")
    report = verify(photo, npy, fingerprints=[fingerprint(np.ones(1000), picture="llama"), theirs])
    assert not report.passed and str(report.rows[0]) == "no picture"
    assert report.notes == ("chelsea: as published for bvlc_caffenet. These are its weights; read them as that.",)
    assert report_table(report).endswith("Nothing was compared.")


def few(kernel):
    """Rounded to fifteen values, as 4 bits would."""
    return (kernel / kernel.std() * 2).round().clip(-7, 7) * kernel.std() / 2


def test_compressed_weights_agree_roughly(parameters, model, pixels, photo, tmp_path):
    write_npy(tmp_path / "bvlc_alexnet.npy", relaid(parameters, ["fc6", "fc7", "fc8"], few))
    right = fingerprint(caffe(BVLC_ALEXNET, model, pixels))
    report = verify(photo, tmp_path / "bvlc_alexnet.npy", fingerprints=[right])
    assert report.passed and not report.rows[0].right
    assert str(report.rows[0]) == "compressed weights agree only roughly"
    (note,) = report.notes
    assert "compressed" in note and "within 0.15" in note
    assert report_table(report).endswith("0 of 1 pictures as published.")


@pytest.mark.slow
def test_other_weights_of_few_values_are_wrong(model, pixels, photo, tmp_path):
    """Compression excuses a difference, not another answer."""
    write_npy(tmp_path / "bvlc_alexnet.npy", relaid(random_parameters(BVLC_ALEXNET, 1), ["fc6"], few))
    right = fingerprint(caffe(BVLC_ALEXNET, model, pixels))
    report = verify(photo, tmp_path / "bvlc_alexnet.npy", fingerprints=[right])
    assert not report.passed and str(report.rows[0]) == "unknown"
    assert "compressed" in report.notes[0] and "Are these the published weights?" in report.notes[1]


@pytest.mark.slow
def test_compressed_weights_with_a_mistake(parameters, model, pixels, photo, tmp_path):
    _, caffes = RELAID["the rows of the first dense kernel put back to channel, height, width"]
    write_npy(tmp_path / "bvlc_alexnet.npy", relaid(parameters, ["fc6"], lambda k: caffes(few(k))))
    right = fingerprint(caffe(BVLC_ALEXNET, model, pixels))
    report = verify(photo, tmp_path / "bvlc_alexnet.npy", fingerprints=[right])
    assert not report.passed
    assert report.rows[0].cures == ("the rows of the first dense kernel read as channel, height, width",)


@pytest.mark.parametrize(
    ("received", "roughly"),
    [
        ({150: 0.84}, True),
        ({150: 0.83}, False),
        ({150: 0.99}, True),
        ({150: 0.45, 7: 0.5}, False),
        ({150: 0.0011, 7: 0.9}, False),
    ],
)
def test_how_rough_compressed_weights_may_be(received, roughly):
    sealion = PUBLISHED[0]
    assert sealion.agrees(received, sealion.expected, roughly=True) == roughly
    assert not sealion.agrees(received, sealion.expected)


def test_compressed_weights_need_the_best_class():
    """Within the room for its probability another class may be best."""
    laska = next(f for f in PUBLISHED if f.picture == "laska")
    assert laska.agrees(laska.expected, laska.expected, roughly=True)
    assert not laska.agrees(dict(laska.expected) | {7: 0.34}, laska.expected, roughly=True)


def test_two_files_of_one_name(npy, model, pixels, photo, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    used, other = tmp_path / "a" / "chelsea.png", tmp_path / "b" / "chelsea.jpg"
    used.symlink_to(photo)
    Image.new("RGB", (9, 9)).save(other)
    right = fingerprint(caffe(BVLC_ALEXNET, model, pixels))
    report = verify([used.parent, used, photo, other.parent], npy, fingerprints=[right])
    assert report.passed and report.rows[0].file == used
    assert report.notes == (f"Expected one file called chelsea; {used} was used, and not {other}.",)


def test_what_cannot_be_verified(npy, parameters, photo, tmp_path):
    with pytest.raises(ValueError, match="weights of bvlc_alexnet or bvlc_caffenet.*those of cifar10_18pct"):
        verify(photo, "cifar10")
    with pytest.raises(ValueError, match="Expected an architecture .* bvlc_alexnet. Received: one_weird_trick"):
        verify(photo, npy, "one_weird_trick")
    with pytest.raises(PictureError, match="none: no such file or folder"):
        verify(tmp_path / "none", npy)
    with pytest.raises(PictureError, match=r"expected 227×227 pixels, as published; received 451×300"):
        next(f for f in PUBLISHED if f.picture == "laska").protocol(photo)
    write_npy(tmp_path / "bvlc_alexnet.npy", {name: parameters[name] for name in CONVOLUTIONS})
    with pytest.raises(CheckpointError, match="expected a classifier to verify; the file lacks fc6, fc7, fc8"):
        verify(photo, tmp_path / "bvlc_alexnet.npy")


LABELS = {
    "sealion": ["sea lion"],
    "llama": ["llama"],
    "zebra": ["zebra"],
    "poodle": ["miniature poodle", "toy poodle", "Bedlington terrier", "standard poodle", "komondor"],
    "laska": ["weasel", "polecat", "black-footed ferret", "mink", "Arctic fox"],
    "cat": ["tabby", "tiger cat", "Egyptian cat", "red fox", "lynx"],
}


def test_the_published_table():
    assert [f.picture for f in PUBLISHED] == list(LABELS)
    for published in PUBLISHED:
        labels = [imagenet_classes()[index].label.split(",")[0] for index in published.expected]
        assert labels == LABELS[published.picture]
        scores = list(published.expected.values())
        assert scores == sorted(scores, reverse=True) and sum(scores) <= 1
        assert published.weights in ARCHITECTURES and {published.recipe} | set(published.mistakes) <= {None, *MUTANTS}
        alike = [name for name, wrong in published.mistakes.items() if published.agrees(wrong, published.expected)]
        assert alike == (["pool before norm"] if published.picture == "zebra" else [])


@pytest.mark.data
def test_the_published_pictures_are_read(data):
    for published in PUBLISHED:
        (file,) = (data / "photos").glob(f"{published.picture}.*")
        inputs = published.protocol(file)
        assert inputs.shape == (227, 227, 3) and inputs.dtype == np.float32 and np.isfinite(inputs).all()
