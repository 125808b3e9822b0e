"""Which parts of a picture the score of a class depends on: Grad-CAM, and occlusion."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np

from tfalexnet.analysis.keras_model import load_model
from tfalexnet.evaluation.class_index import find_class
from tfalexnet.hub.cache import Weights, find_weights
from tfalexnet.images.decode import decode
from tfalexnet.images.opening import Picture
from tfalexnet.images.preprocessing import Box
from tfalexnet.inference.pipeline import check_positive
from tfalexnet.networks.spec import Architecture, Conv, Flatten
from tfalexnet.runtimes.network import BATCH_SIZE, Network, load_network

GREY = 128  # Of the square that covers a part of a picture.
POSITIONS = 14  # Of the square, along each side: Grad-CAM's map of conv5 has 13.
SHARE = 0.2  # Side of the square, as a share of the side of what the network sees.


def grad_cam(
    picture: Picture, weights: Weights | None = None, class_: int | str | None = None, layer: str | None = None
) -> np.ndarray:
    """Return Grad-CAM, the parts of a feature map that raise the score of a class.

    With the activations A (height, width, channels) of the layer, and the logit y of the class, the weight of channel k
    is the mean of ∂y/∂A over all positions, and the map is max(0, Σ weight[k] · A[…, k]).

    Args:
        picture: as for `tfalexnet.predict`.
        weights: as for `tfalexnet.predict`; not a network that was exported for another runtime.
        class_: the index of a class, its WordNet id or its name; None is the best class of the picture.
        layer: a layer before the fully connected ones; None is the last convolution, as in the paper.

    Returns:
        float32 (height, width) of the layer, at least 0. It covers the part of the picture that
        `Preprocessing.seen_box` returns.

    Raises:
        ValueError: there is no such class or layer.
        PictureError: the picture cannot be read.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`.

    Source: Selvaraju et al., Grad-CAM (2017), equations 1 and 2.
    """
    import keras
    import tensorflow as tf

    model, spec = load_model(weights, classifier_activation=None)
    split = model.get_layer(map_layer(spec.architecture, layer)).output
    inputs = tf.constant(spec.preprocessing(picture)[None])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        activations, logits = keras.Model(model.input, [split, model.output])(inputs)
        index = int(tf.argmax(logits[0])) if class_ is None else find_class(class_, spec.classes)
        logit = logits[0, index]
    gradients = tape.gradient(logit, activations)
    channel_weights = tf.reduce_mean(gradients, axis=(1, 2))
    return tf.nn.relu(tf.linalg.matvec(activations, channel_weights[:, None]))[0].numpy()


def map_layer(net: Architecture, layer: str | None) -> str:
    """Return the layer of `grad_cam`: for None the last convolution before the classifier.

    Raises:
        ValueError: the network has no such layer before `Flatten`.
    """
    rows = list(itertools.takewhile(lambda row: not isinstance(row, Flatten), net.layers))
    if layer is None:
        return next(row.name for row in reversed(rows) if isinstance(row, Conv) and row is not net.classifier)
    names = [row.name for row in rows]
    if layer not in names:
        raise ValueError(
            f"Expected a layer of {net.name} with rows and columns: {', '.join(names)}. Received: {layer!r}"
        )
    return layer


def occlusion(
    picture: Picture,
    weights: Weights | None = None,
    class_: int | str | None = None,
    positions: int = POSITIONS,
    share: float = SHARE,
) -> np.ndarray:
    """Return by how much the probability of a class falls when a grey square covers a part of the picture.

    The picture is answered once for each position, by the network and the preprocessing of `tfalexnet.predict`.

    Args:
        picture: as for `tfalexnet.predict`.
        weights: as for `tfalexnet.predict`.
        class_: as for `grad_cam`.
        positions: of the square along each side. Their centres divide what the network sees of the picture equally.
        share: side of the square, as a share of the side of what the network sees.

    Returns:
        float32 (positions, positions): the probability of the class for the picture, minus that for the covered one.

    Raises:
        ValueError: there is no such class, or a number is out of its range.
        PictureError, CheckpointError, WeightsNotFoundError: as for `tfalexnet.predict`.

    Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks (2014), section 4.2.
    """
    check_positive(positions=positions)
    if not 0 < share <= 1:
        raise ValueError(f"Expected `share` in (0, 1]. Received: share={share!r}")
    network = load_network(find_weights(weights))
    pixels = np.asarray(decode(picture).convert("RGB"))
    before = _probabilities(network, [pixels])[0]
    index = int(before.argmax()) if class_ is None else find_class(class_, network.spec.classes)
    squares = covering_squares(network.spec.preprocessing.seen_box(*pixels.shape[:2]), positions, share)
    after: list[float] = []
    while square := list(itertools.islice(squares, BATCH_SIZE)):
        after += [scores[index] for scores in _probabilities(network, (cover(pixels, box) for box in square))]
    return (before[index] - np.array(after, np.float32)).reshape(positions, positions)


def _probabilities(network: Network, pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Return (pictures, classes)."""
    return network(np.stack([network.spec.preprocessing(picture) for picture in pictures]))[0]


def covering_squares(box: Box, positions: int, share: float) -> Iterator[tuple[int, int, int, int]]:
    """Yield top, left, bottom and right of the squares of `occlusion` in whole pixels, row by row."""
    top, left, bottom, right = box

    def ranges(start: float, end: float) -> list[tuple[int, int]]:
        cell, half = (end - start) / positions, share * (end - start) / 2
        centres = [start + (number + 0.5) * cell for number in range(positions)]
        return [(round(max(start, centre - half)), round(min(end, centre + half))) for centre in centres]

    for (first, last), (begin, stop) in itertools.product(ranges(top, bottom), ranges(left, right)):
        yield first, begin, last, stop


def cover(pixels: np.ndarray, square: tuple[int, int, int, int]) -> np.ndarray:
    """Return a copy of a picture in which a square is grey."""
    top, left, bottom, right = square
    covered = pixels.copy()
    covered[top:bottom, left:right] = GREY
    return covered


def scale_map(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a map at another size, float32 (height, width), interpolated bilinearly between the centres of its cells.

    Args:
        values: (rows, columns), from `grad_cam` or `occlusion`.
        height: pixels of the result, for example of the network's input.
        width: likewise.
    """
    from PIL import Image

    image = Image.fromarray(np.asarray(values, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
