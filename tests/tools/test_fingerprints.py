"""What was published, and how much a received probability may differ from it."""

import numpy as np
import pytest

from tfalexnet import ARCHITECTURES
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.tools.fingerprints import PUBLISHED
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
