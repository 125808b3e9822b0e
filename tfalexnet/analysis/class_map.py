"""The answers of a network to each position of a photo: its fully connected layers run as convolutions."""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfalexnet.analysis.keras_model import load_model
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.hub.cache import Weights
from tfalexnet.images.classes import Class
from tfalexnet.images.decode import decode
from tfalexnet.images.opening import Picture
from tfalexnet.images.preprocessing import Box, Preprocessing
from tfalexnet.networks.spec import Conv, Pool

MOST_PIXELS = 1 << 22  # Of the resized photo; AlexNet takes about 1 GB for them.


class ClassMap(NamedTuple):
    """Probabilities by position.

    Attributes:
        probabilities: float32 (rows, columns, classes); each position is the answer to one window of the photo.
        box: top, left, bottom and right of the map in pixels of the photo: each position fills a cell around the
            centre of its window.
        window: side of a window in pixels of the photo.
        classes: the meaning of the last axis.
    """

    probabilities: np.ndarray
    box: Box
    window: float
    classes: tuple[Class, ...]


def class_map(picture: Picture, weights: Weights | None = None, size: int | None = None) -> ClassMap:
    """Return the answers of a network to the windows of a photo, as Caffe's notebook net_surgery computes them.

    The photo is resized with its proportions. A mean picture is replaced by its mean colour, as in the notebook.

    Args:
        picture: as for `tfalexnet.predict`.
        weights: as for `tfalexnet.predict`; not a network that was exported for another runtime.
        size: pixels of the shorter side after resizing, at least those of the network's input; None is twice as many.
            Larger ones give more positions, whose windows hold a smaller part of the photo.

    Raises:
        ValueError: `size` is out of its range, or the network cannot take pictures of any size.
        PictureError: the picture cannot be read.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`; CheckpointError too if an answer is NaN.
    """
    model, spec = load_model(weights, include_top="convolutional")
    preprocessing = spec.preprocessing
    size = 2 * preprocessing.crop if size is None else size
    if size < preprocessing.crop:
        raise ValueError(f"Expected `size` of at least {preprocessing.crop}, the network's input. Received: {size}")
    image = decode(picture).convert("L" if preprocessing.channels == "L" else "RGB")
    scale = size / min(image.size)
    height, width = round(image.height * scale), round(image.width * scale)
    if height * width > MOST_PIXELS:
        expected = f"at most {MOST_PIXELS} pixels after resizing"
        raise ValueError(
            f"Expected {expected}. Received: {height}×{width}; give a smaller `size`, or a part of the photo."
        )
    pixels = _normalize(_resize(image, height, width, preprocessing.antialias), preprocessing)
    probabilities = model(pixels[None])[0].numpy()
    if not np.isfinite(probabilities).all():
        raise CheckpointError(
            "Expected finite numbers. The network answers with NaN or infinity. Check how its weights were trained or "
            "converted."
        )
    rows = spec.architecture.layers
    stride = math.prod(row.stride for row in rows if isinstance(row, Conv | Pool))
    start = (preprocessing.crop - stride) / 2
    edges = (start, start, start + stride * probabilities.shape[0], start + stride * probabilities.shape[1])
    return ClassMap(probabilities, tuple(edge / scale for edge in edges), preprocessing.crop / scale, spec.classes)


def _resize(image: Image.Image, height: int, width: int, antialias: bool) -> np.ndarray:
    """Return the resized picture, float32 (height, width, channels), 0–255."""
    if antialias:
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.float32).reshape(image.height, image.width, -1)
    if antialias or pixels.shape[:2] == (height, width):
        return pixels
    import tensorflow as tf

    return tf.image.resize(pixels, (height, width), antialias=False).numpy()


def _normalize(pixels: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    mean = np.asarray(preprocessing.mean, np.float64)
    colour = tuple(mean.reshape(-1, mean.shape[-1]).mean(axis=0).tolist())
    # With crop=1 the mean has the shape (1, 1, channels), which NumPy repeats over any size.
    return dataclasses.replace(preprocessing, size=1, crop=1, mean=colour).normalize(pixels)
