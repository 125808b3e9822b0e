"""What was published, and how much a received probability may differ from it."""

import numpy as np
import pytest

from tfalexnet import ARCHITECTURES
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.tools.fingerprints import LOGITS_OF_CLASSES, PROBABILITIES, PUBLISHED, SURGERY_MAP
from tfalexnet.tools.mistakes import MUTANTS


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


LABELS = [
    ("sealion", ["sea lion"]),
    ("llama", ["llama"]),
    ("zebra", ["zebra"]),
    ("poodle", ["miniature poodle", "toy poodle", "Bedlington terrier", "standard poodle", "komondor"]),
    ("laska", ["weasel", "polecat", "black-footed ferret", "mink", "Arctic fox"]),
    ("cat", ["tabby", "tiger cat", "Egyptian cat", "red fox", "lynx"]),
    ("banana", ["banana", "mortar", "mixing bowl"]),
    ("dog", ["Samoyed", "wallaby", "Pomeranian", "Angora", "Arctic fox"]),
    ("cat_unify", ["tiger cat", "tabby", "Egyptian cat", "lynx", "washbasin"]),
]
SURGERY = PUBLISHED[6]


def test_the_published_table():
    published_of_classes = [published for published in PUBLISHED if published is not SURGERY]
    for published, (picture, names) in zip(published_of_classes, LABELS, strict=True):
        assert published.picture == picture
        assert [imagenet_classes()[index].label.split(",")[0] for index in published.expected] == names
        scores = list(published.expected.values())
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) <= 1 or published.measure is LOGITS_OF_CLASSES
        assert published.weights in ARCHITECTURES and {published.recipe} | set(published.mistakes) <= {None, *MUTANTS}
        alike = [name for name, wrong in published.mistakes.items() if published.agrees(wrong, published.expected)]
        assert alike == (["pool before norm"] if published.picture == "zebra" else [])


@pytest.mark.data
def test_the_published_pictures_are_read(data):
    for published in PUBLISHED:
        pictures = [*(data / "photos").glob(f"{published.picture}.*"), *(data / "real" / "pictures").glob("*.jpg")]
        pictures = [file for file in pictures if file.stem == published.picture]
        assert len(pictures) == (published.picture != "banana")
        for file in pictures:
            inputs = published.protocol(file)
            shape = ARCHITECTURES[published.weights].input_shape if published is not SURGERY else (451, 451, 3)
            assert inputs.shape == shape and inputs.dtype == np.float32 and np.isfinite(inputs).all()


# As Caffe's notebook prints it.
PRINTED_MAP = """
282 282 281 281 281 281 277 282
281 283 283 281 281 281 281 282
283 283 283 283 283 283 287 282
283 283 283 281 283 283 283 259
283 283 283 283 283 283 283 259
283 283 283 283 283 283 259 259
283 283 283 283 259 259 259 277
335 335 283 259 263 263 263 277
"""


def test_the_map_of_caffes_notebook():
    assert SURGERY.picture == "cat" and SURGERY.convolutional
    np.testing.assert_array_equal(SURGERY_MAP, np.loadtxt(PRINTED_MAP.splitlines(), int))
    logits = np.zeros((8, 8, 1000))
    np.put_along_axis(logits, SURGERY_MAP[..., None], 1.0, -1)
    for wrong, agrees in [(0, True), (2, True), (3, False)]:
        changed = logits.copy()
        changed.reshape(64, 1000)[:wrong, 999] = 2.0
        received = {0: float(SURGERY.measure.compute(changed)[0])}
        assert received == {0: (64 - wrong) / 64} and SURGERY.agrees(received, SURGERY.expected) == agrees
    transposed = {0: float(SURGERY.measure.compute(logits.swapaxes(0, 1))[0])}
    assert not SURGERY.agrees(transposed, SURGERY.expected)


def test_probabilities_are_the_softmax_of_logits():
    scipy_special = pytest.importorskip("scipy.special")
    logits = np.random.default_rng(0).normal(0, 20, 1000).astype(np.float32)
    expected = scipy_special.softmax(logits.astype(np.float64))
    np.testing.assert_allclose(PROBABILITIES.compute(logits), expected, rtol=1e-6)
    assert PROBABILITIES.label(282) == "282 tiger cat" and LOGITS_OF_CLASSES.label(282) == "logit of 282 tiger cat"
    assert LOGITS_OF_CLASSES.compute(logits) is logits


def test_a_logit_may_be_as_rough_as_a_fraction_of_it():
    unify = PUBLISHED[-1]
    for factor, agrees in [(0.86, True), (0.84, False), (1.14, True), (1.16, False)]:
        received = {index: logit * factor for index, logit in unify.expected.items()}
        assert unify.agrees(received, unify.expected, roughly=True) == agrees
        assert not unify.agrees(received, unify.expected)
