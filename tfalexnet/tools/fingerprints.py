"""Outputs of published weights for known pictures, as their sources print them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tfalexnet.images.classes import imagenet_classes
from tfalexnet.images.decode import decode
from tfalexnet.images.opening import Picture, PictureError
from tfalexnet.images.preprocessing import ILSVRC_MEAN_BGR, TORCHVISION, Preprocessing

Answers = Mapping[int, float]  # Some numbers of an answer by index: probabilities or logits by that of their class.

# Sources print four digits (± 5e-5) or three (± 5e-4). The rest of the tolerances is for differences outside the
# network: decoders of JPEG differ by up to 3 grey levels, and so do resizers that round. The nearest known mistake that
# a picture distinguishes differs by 0.04.
FOUR_DIGITS = 5e-4
THREE_DIGITS = 2e-3
# Logits of 16 to 24. A probability of a half that differs by 5e-3 has such a logit.
LOGITS = 2e-2
# Two places of 64, where two classes are almost equal.
PLACES = 2 / 64

# Deep Compression prunes, rounds and trains further: as many pictures are right as with BVLC's weights (57.07 % and
# 57.1 %), but with other probabilities. Nobody published those; this is the tolerance for them.
ROUGHLY = 0.15


def _softmax(logits: np.ndarray) -> np.ndarray:
    scores = np.exp(logits.astype(np.float64) - logits.max())
    return scores / scores.sum()


def _label(index: int) -> str:
    return f"{index} {imagenet_classes()[index].label.split(',')[0]}"


@dataclass(frozen=True)
class Measure:
    """What a source publishes of a network's answer.

    Attributes:
        compute: from the logits, (classes,) or (rows, columns, classes), to a vector of such numbers.
        label: the meaning of one of them, by its index.
    """

    compute: Callable[[np.ndarray], np.ndarray]
    label: Callable[[int], str]


PROBABILITIES = Measure(_softmax, _label)
LOGITS_OF_CLASSES = Measure(lambda logits: logits, lambda index: f"logit of {_label(index)}")


def best_classes(published: np.ndarray) -> Measure:
    """Return the share of places, (rows, columns), whose best class is the published one; its only index is 0."""
    rows, columns = published.shape
    return Measure(
        lambda logits: np.mean(logits.argmax(-1) == published, keepdims=True).reshape(1),
        lambda _: f"best classes of {rows}×{columns} places",
    )


@dataclass(frozen=True)
class Fingerprint:
    """Published outputs for one picture.

    Attributes:
        picture: its file's name without the suffix.
        weights: the architecture with whose published weights they were computed.
        protocol: from the picture to the input, (height, width, channels), float32.
        expected: the published numbers.
        tolerance: largest difference of each number for an equal network.
        source: the publication.
        recipe: the mutant of the architecture with which they were computed; None is the architecture itself.
        mistakes: published outputs of networks with a known mistake, for the same classes.
        measure: what the numbers are.
        convolutional: whether the fully connected layers run as convolutions, on an input of any size.
    """

    picture: str
    weights: str
    protocol: Callable[[Picture], np.ndarray]
    expected: Answers
    tolerance: float
    source: str
    recipe: str | None = None
    mistakes: Mapping[str, Answers] = field(default_factory=dict)
    measure: Measure = PROBABILITIES
    convolutional: bool = False

    def agrees(self, received: Answers, expected: Answers, roughly: bool = False) -> bool:
        """Return whether the numbers are equal within the tolerance.

        With `roughly`: whether the best class is the same, and its number equal within `ROUGHLY`; a logit, within
        this fraction of it.
        """
        if roughly:
            best = max(expected, key=expected.get)
            room = ROUGHLY * max(1.0, abs(expected[best]))
            return max(received, key=received.get) == best and abs(received[best] - expected[best]) <= room
        return all(abs(received[index] - score) <= self.tolerance for index, score in expected.items())


def _minus_own_mean(picture: Picture) -> np.ndarray:
    """Return the input of tf_alexnet: RGB minus the mean of all numbers of the picture."""
    pixels = np.asarray(decode(picture).convert("RGB"), np.float32)
    if pixels.shape != (227, 227, 3):
        size = f"{pixels.shape[1]}×{pixels.shape[0]}"
        raise PictureError(os.fspath(picture), f"expected 227×227 pixels, as published; received {size}")
    return pixels - pixels.mean()


# OpenCV resizes to 227×227 without a crop. Caffe's Transformer resizes in the same way, with the exact mean.
KRATZERT = Preprocessing("squash", 227, 227, antialias=False, channels="BGR", mean=(104.0, 117.0, 124.0))
CAFFE_NOTEBOOK = replace(KRATZERT, mean=ILSVRC_MEAN_BGR)
CAFFE_SURGERY = replace(CAFFE_NOTEBOOK, size=451, crop=451)
OPENVINO = replace(KRATZERT, mean=(104.0, 117.0, 123.0))


def _kratzert(picture: str, index: int, right: float, pool_first: float, undivided: float) -> Fingerprint:
    return Fingerprint(
        picture,
        "bvlc_alexnet",
        KRATZERT,
        {index: right},
        FOUR_DIGITS,
        "kratzert/finetune_alexnet_with_tensorflow, validate_alexnet_on_imagenet.ipynb",
        mistakes={"pool before norm": {index: pool_first}, "alpha undivided": {index: undivided}},
    )


def _tf_alexnet(picture: str, expected: Answers) -> Fingerprint:
    source = "M. Guerzhoy, www.cs.toronto.edu/~guerzhoy/tf_alexnet, whose conv1 is SAME"
    return Fingerprint(picture, "bvlc_alexnet", _minus_own_mean, expected, THREE_DIGITS, source, recipe="conv1 SAME")


# The best class of each of 8×8 places.
SURGERY_MAP = np.array(
    [
        [282, 282, 281, 281, 281, 281, 277, 282],
        [281, 283, 283, 281, 281, 281, 281, 282],
        [283, 283, 283, 283, 283, 283, 287, 282],
        [283, 283, 283, 281, 283, 283, 283, 259],
        [283, 283, 283, 283, 283, 283, 283, 259],
        [283, 283, 283, 283, 283, 283, 259, 259],
        [283, 283, 283, 283, 259, 259, 259, 277],
        [335, 335, 283, 259, 263, 263, 263, 277],
    ]
)

# Classes by index: their names are not unique.
PUBLISHED = (
    _kratzert("sealion", 150, 0.9834, pool_first=0.9392, undivided=0.3423),
    _kratzert("llama", 355, 0.9984, pool_first=0.8966, undivided=0.3659),
    _kratzert("zebra", 340, 1.0000, pool_first=0.9999, undivided=0.6496),
    _tf_alexnet("poodle", {266: 0.389, 265: 0.223, 181: 0.173, 267: 0.150, 228: 0.026}),
    _tf_alexnet("laska", {356: 0.331, 358: 0.280, 359: 0.210, 357: 0.081, 279: 0.027}),
    Fingerprint(
        "cat",
        "bvlc_caffenet",
        CAFFE_NOTEBOOK,
        {281: 0.3124, 282: 0.2380, 285: 0.1239, 277: 0.1008, 287: 0.0710},
        FOUR_DIGITS,
        "BVLC/caffe, examples/00-classification.ipynb",
    ),
    Fingerprint(
        "cat",
        "bvlc_caffenet",
        CAFFE_SURGERY,
        {0: 1.0},
        PLACES,
        "BVLC/caffe, examples/net_surgery.ipynb",
        measure=best_classes(SURGERY_MAP),
        convolutional=True,
    ),
    Fingerprint(
        "banana",
        "bvlc_alexnet",
        OPENVINO,
        {954: 0.97076, 666: 0.02168, 659: 0.00326},
        FOUR_DIGITS,
        "OpenVINO, banana.jpg of its samples",
    ),
    Fingerprint(
        "dog",
        "one_weird_trick",
        TORCHVISION,
        {258: 0.72452, 104: 0.13930, 259: 0.05877, 332: 0.02283, 279: 0.01246},
        FOUR_DIGITS,
        "pytorch/hub, images/dog.jpg with torchvision's transforms",
    ),
    Fingerprint(
        "cat_unify",
        "one_weird_trick",
        TORCHVISION,
        {282: 23.5786, 281: 22.7920, 285: 20.9175, 287: 19.4976, 896: 16.1023},
        LOGITS,
        "cat_unify.jpg with torchvision's transforms",
        measure=LOGITS_OF_CLASSES,
    ),
)
