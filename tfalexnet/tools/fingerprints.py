"""Outputs of published weights for known pictures, as their sources print them."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tfalexnet.images.decode import decode
from tfalexnet.images.opening import Picture, PictureError
from tfalexnet.images.preprocessing import ILSVRC_MEAN_BGR, Preprocessing

Probabilities = Mapping[int, float]  # Some entries of the softmax, by the index of their class.

# Sources print four digits (± 5e-5) or three (± 5e-4). The rest of the tolerances is for differences outside the
# network: decoders of JPEG differ by up to 3 grey levels, and so do resizers that round. The nearest known mistake that
# a picture distinguishes differs by 0.04.
FOUR_DIGITS = 5e-4
THREE_DIGITS = 2e-3

# Deep Compression prunes, rounds and trains further: as many pictures are right as with BVLC's weights (57.07 % and
# 57.1 %), but with other probabilities. Nobody published those; this is the tolerance for them.
ROUGHLY = 0.15


@dataclass(frozen=True)
class Fingerprint:
    """Published outputs for one picture.

    Attributes:
        picture: its file's name without the suffix.
        weights: the architecture with whose published weights they were computed.
        protocol: from the picture to the input, (height, width, channels), float32.
        expected: the published probabilities.
        tolerance: largest difference of each probability for an equal network.
        source: the publication.
        recipe: the mutant of the architecture with which they were computed; None is the architecture itself.
        mistakes: published outputs of networks with a known mistake, for the same classes.
    """

    picture: str
    weights: str
    protocol: Callable[[Picture], np.ndarray]
    expected: Probabilities
    tolerance: float
    source: str
    recipe: str | None = None
    mistakes: Mapping[str, Probabilities] = field(default_factory=dict)

    def agrees(self, received: Probabilities, expected: Probabilities, roughly: bool = False) -> bool:
        """Return whether the probabilities are equal within the tolerance.

        With `roughly`: whether the best class is the same, and its probability equal within `ROUGHLY`.
        """
        if roughly:
            best = max(expected, key=expected.get)
            return max(received, key=received.get) == best and abs(received[best] - expected[best]) <= ROUGHLY
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


def _tf_alexnet(picture: str, expected: Probabilities) -> Fingerprint:
    source = "M. Guerzhoy, www.cs.toronto.edu/~guerzhoy/tf_alexnet, whose conv1 is SAME"
    return Fingerprint(picture, "bvlc_alexnet", _minus_own_mean, expected, THREE_DIGITS, source, recipe="conv1 SAME")


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
)
