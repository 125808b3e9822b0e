"""Pictures in, labels out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfalexnet.checkpoints.checkpoint import read_description
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.hub.cache import locate_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import Class, imagenet_classes
from tfalexnet.images.decode import Picture, PictureError
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.inference.pipeline import as_sequence, run_network
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import load_network


class Prediction(NamedTuple):
    """One answer: class's place in the output, WordNet id where it has one, name, probability 0–1."""

    index: int
    wnid: str | None
    label: str
    score: float


def predict(
    image: Picture | Sequence[Picture],
    weights: str | os.PathLike | None = None,
    top: int = 5,
    precision: Precision = "float32",
) -> list[Prediction] | list[list[Prediction]]:
    """The `top` best classes of a picture, best first; of a list of pictures, a list of such lists.

    Args:
        image: a path, the bytes of a file, a `PIL.Image`, or a uint8 array (RGB, RGBA or grey); or
            several in a list, a tuple or an array of four dimensions.
        weights: a known name (`tfalexnet list` shows them), downloaded once, or a file; None is
            bvlc_alexnet where it is at hand, else deep_compression: the same network in a file of
            9 MB. They stay in memory, so that a second call does not load them again.
        top: how many classes; at most as many as there are.
        precision: what the network multiplies in: "float32"; "bfloat16", on new processors up to three
            times as fast with probabilities that differ by up to .02; "auto", bfloat16 on such processors.

    Raises:
        PictureError: something is not a picture; the message names it.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`; or the answers are no numbers.
    """
    pictures, several = as_sequence(image)
    found = []
    for answer in iter_predictions(pictures, weights, top, precision):
        if isinstance(answer, PictureError):
            raise answer
        found.append(answer)
    return found if several else found[0]


def iter_predictions(
    images: Iterable[Picture],
    weights: str | os.PathLike | None = None,
    top: int = 5,
    precision: Precision = "float32",
    compiled: bool = True,
) -> Iterator[list[Prediction] | PictureError]:
    """For each picture in order its best classes, or what is wrong with it; see `predict` and `inference.load`."""
    check_top(top)
    network = load_network(weights, precision=precision, compiled=compiled)
    for answer in run_network(network, images):
        yield answer if isinstance(answer, PictureError) else top_predictions(answer[0], network.classes, top)


def top_predictions(scores: np.ndarray, classes: tuple[Class, ...], top: int) -> list[Prediction]:
    """The `top` highest of one picture's scores."""
    order = np.argsort(-scores, kind="stable")[:top]
    return [Prediction(int(index), *classes[index], float(scores[index])) for index in order]


def preprocess_input(x: Any, data_format: str | None = None, weights: str | os.PathLike = "bvlc_alexnet") -> Any:
    """Pictures of the right size to inputs, as the functions of this name in `keras.applications`.

    Args:
        x: RGB (or grey) levels 0–255, uint8 or float, (…, height, width, channels); an array, a list
            of arrays or a tensor. It is not changed.
        data_format: None or "channels_last".
        weights: whose preprocessing.

    Returns:
        float32 of the same shape, in the channel order of the weights.
    """
    if data_format not in (None, "channels_last"):
        raise ValueError(f"Expected data_format='channels_last'. Received: {data_format!r}")
    preprocessing, _ = _description(weights)
    if preprocessing is None:
        raise CheckpointError(f"{os.fspath(weights)} does not say how its pictures are preprocessed.")
    x = np.asarray(x) if isinstance(x, list | tuple) else x
    if tuple(x.shape[-3:]) != preprocessing.shape:
        raise ValueError(f"Expected shape (…, *{preprocessing.shape}). Received: {tuple(x.shape)}")
    if not isinstance(x, np.ndarray):
        import tensorflow as tf

        return preprocessing.normalize(tf.cast(x, tf.float32))
    if x.dtype.kind == "f" and x.size and 0 < x.max() <= 1:
        warnings.warn(
            f"Expected grey levels 0–255; the largest here is {x.max():.3g}. Multiply pictures of 0–1 by 255.",
            stacklevel=2,
        )
    return preprocessing.normalize(x.astype(np.float32))


def decode_predictions(
    preds: Any, top: int = 5, weights: str | os.PathLike = "bvlc_alexnet"
) -> list[list[tuple[str | None, str, float]]]:
    """The best classes of each row as (WordNet id, name, score), as in `keras.applications`.

    Args:
        preds: (batch, classes), probabilities or logits.
        top: how many classes of each row.
        weights: whose classes.

    Raises:
        ValueError: the rows have another number of classes, or `top` is not positive.
    """
    check_top(top)
    _, classes = _description(weights)
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != len(classes):
        raise ValueError(
            f"Expected predictions of shape (batch, {len(classes)}), the classes of "
            f"{os.fspath(weights)!r}. Received: {preds.shape}"
        )
    return [[tuple(answer[1:]) for answer in top_predictions(row, classes, top)] for row in preds]


def check_top(top: int) -> None:
    """Raises `ValueError` where it is no number of classes."""
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise ValueError(f"Expected `top` to be a positive integer. Received: top={top!r}")


def _description(weights: str | os.PathLike) -> tuple[Preprocessing | None, tuple[Class, ...]]:
    """Preprocessing and classes; of a known name even where its file is not on this machine."""
    path = locate_weights(weights)
    if path is None:
        return REGISTRY[os.fspath(weights)].preprocessing, imagenet_classes()
    return read_description(path)
