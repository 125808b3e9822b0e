"""`predict`: pictures to labels; `transform`: pictures to inputs; and the two functions of `keras.applications`."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import published_preprocessing
from tfalexnet.hub.cache import default_weights, find_weights, locate_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import Class, imagenet_classes
from tfalexnet.images.opening import MAX_PIXELS, Picture, PictureError
from tfalexnet.images.preprocessing import Preprocessing, with_protocol
from tfalexnet.inference.pipeline import as_sequence, check_positive, require_readable, run_network
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import load_network
from tfalexnet.runtimes.selection import AUTO


class Prediction(NamedTuple):
    """One class of an answer: its index in the output, WordNet id if it has one, name, and probability 0–1."""

    index: int
    wnid: str | None
    label: str
    score: float


def predict(
    image: Picture | Sequence[Picture],
    weights: str | os.PathLike | None = None,
    top: int = 5,
    precision: Precision = "float32",
    max_pixels: int = MAX_PIXELS,
    engine: str = AUTO,
) -> list[Prediction] | list[list[Prediction]]:
    """Return the `top` best classes of a picture, best first; for several pictures a list of such lists.

    Args:
        image: a path, the bytes of a file, a `PIL.Image`, or a uint8 array (RGB, RGBA or grey); or several in a list,
            a tuple, a generator or an array of four dimensions.
        weights: a name (`tfalexnet list`), downloaded once; a file; the folder of a training; or a model of
            `tfalexnet.AlexNet`, whose present weights are used. None is bvlc_alexnet if its file exists, else
            deep_compression: the same network in a file of 9 MB. The network stays in memory for the next call, except
            that of a model, which each call saves.
        top: number of classes; at most as many as there are.
        precision: of the products: "float32"; "bfloat16", up to three times as fast on new processors, with
            probabilities that differ by up to .02; "auto", which is bfloat16 on these processors; "int8", for which
            `tfalexnet.export` wrote the weights for OpenVINO in 8 bits.
        max_pixels: a picture of more pixels is refused; the default is 120 million, which take about 1 GB.
        engine: which library computes: "tensorflow", "openvino", "litert" for a `.tflite`, or "auto", which is OpenVINO
            where it is installed (pip install 'tfalexnet[fast]') and the processor is x86 or Arm, else TensorFlow. An
            exported file is computed by the engine that it was exported for. Probabilities differ by less than 1e-5.

    Raises:
        PictureError: a picture cannot be read; the message names it.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`; or an output is not finite.
    """
    pictures, is_sequence = as_sequence(image)
    predictions = require_readable(
        iter_predictions(pictures, weights, top, precision, max_pixels=max_pixels, engine=engine)
    )
    return predictions if is_sequence else predictions[0]


def iter_predictions(
    images: Iterable[Picture],
    weights: str | os.PathLike | None = None,
    top: int = 5,
    precision: Precision = "float32",
    compiled: bool = True,
    max_pixels: int = MAX_PIXELS,
    engine: str = AUTO,
) -> Iterator[list[Prediction] | PictureError]:
    """Yield the best classes of each picture, in order, or the error of one that cannot be read.

    See `predict`, and `load_network` for `compiled`.
    """
    check_positive(top=top, max_pixels=max_pixels)
    network = load_network(find_weights(weights), precision=precision, compiled=compiled, engine=engine)
    for outputs in run_network(network, images, max_pixels=max_pixels):
        is_error = isinstance(outputs, PictureError)
        yield outputs if is_error else top_predictions(outputs[0], network.spec.classes, top)


def top_predictions(scores: np.ndarray, classes: tuple[Class, ...], top: int) -> list[Prediction]:
    """Return the `top` highest of one picture's scores; of equal scores the lower index comes first."""
    order = np.argsort(-scores, kind="stable")[:top]
    return [Prediction(int(index), *classes[index], float(scores[index])) for index in order]


def transform(
    weights: str | os.PathLike | None = None, resize: str | None = None, crop: str | None = None
) -> Preprocessing:
    """Return the function from a picture to the input of a network.

    Called with a picture, as `tfalexnet.predict` takes it, it returns float32 (height, width, channels), which
    `tfalexnet.features(…, preprocessed=True)` and the Keras model of these weights take. `repr` describes it.

    Args:
        weights: as for `tfalexnet.predict`; named ones need not be on this machine.
        resize: another way to resize; see `tfalexnet.features`.
        crop: another way to crop; see `tfalexnet.features`.

    Raises:
        ValueError: there is no such protocol.
        CheckpointError: the weights do not state how their pictures are preprocessed.
        WeightsNotFoundError: see `tfalexnet.AlexNet`.
    """
    weights = default_weights() if weights is None else weights
    preprocessing, _ = _preprocessing_and_classes(weights)
    if preprocessing is None:
        raise CheckpointError(f"{os.fspath(weights)} does not state how its pictures are preprocessed.")
    return with_protocol(preprocessing, resize, crop)


def preprocess_input(x: Any, data_format: str | None = None, weights: str | os.PathLike = "bvlc_alexnet") -> Any:
    """Turn pictures of the right size into inputs, as the functions of this name in `keras.applications`.

    Args:
        x: RGB (or grey) levels 0–255, uint8 or float, (…, height, width, channels); an array, a list of arrays or a
            tensor. It is not changed.
        data_format: None or "channels_last".
        weights: the weights whose preprocessing is used.

    Returns:
        float32 of the same shape, in the channel order of the weights.
    """
    if data_format not in (None, "channels_last"):
        raise ValueError(f"Expected data_format='channels_last'. Received: {data_format!r}")
    preprocessing = transform(weights)
    x = np.asarray(x) if isinstance(x, list | tuple) else x
    if tuple(x.shape[-3:]) != preprocessing.shape:
        raise ValueError(f"Expected shape (…, *{preprocessing.shape}). Received: {tuple(x.shape)}")
    if not isinstance(x, np.ndarray):
        import keras

        return preprocessing.normalize(keras.ops.cast(x, "float32"))  # Also of a symbolic `keras.Input`.
    if x.dtype.kind == "f" and x.size and 0 < x.max() <= 1:
        warnings.warn(
            f"Expected grey levels 0–255; the largest here is {x.max():.3g}. Multiply pictures of 0–1 by 255.",
            stacklevel=2,
        )
    return preprocessing.normalize(x.astype(np.float32))


def decode_predictions(
    preds: Any, top: int = 5, weights: str | os.PathLike = "bvlc_alexnet"
) -> list[list[tuple[str | None, str, float]]]:
    """Return the best classes of each row as (WordNet id, name, score), as in `keras.applications`.

    Args:
        preds: (batch, classes), probabilities or logits.
        top: number of classes for each row.
        weights: the weights whose classes are used.

    Raises:
        ValueError: the rows have another number of classes, or `top` is not positive.
    """
    check_positive(top=top)
    _, classes = _preprocessing_and_classes(weights)
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != len(classes):
        raise ValueError(
            f"Expected predictions of shape (batch, {len(classes)}), the classes of "
            f"{os.fspath(weights)!r}. Received: {preds.shape}"
        )
    return [[tuple(prediction[1:]) for prediction in top_predictions(row, classes, top)] for row in preds]


def _preprocessing_and_classes(weights: str | os.PathLike) -> tuple[Preprocessing | None, tuple[Class, ...]]:
    """Return both for weights, for named ones even if their file is not on this machine."""
    path = locate_weights(weights)
    if path is None:
        return published_preprocessing(REGISTRY[os.fspath(weights)].architecture), imagenet_classes()
    spec = read_spec(path)
    return spec.preprocessing, spec.classes
