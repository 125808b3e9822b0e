"""Batches of labelled pictures for training, in an order that can be resumed at any picture."""

import itertools
import os
from collections.abc import Iterator
from typing import Literal

import numpy as np
import tensorflow as tf

from tfalexnet.data.augmentation import AUGMENTATIONS
from tfalexnet.data.colours import IMAGENET_COLOURS, colours_of
from tfalexnet.data.datasets import read
from tfalexnet.data.labelled import Labelled
from tfalexnet.data.preparation import prepared
from tfalexnet.data.skipped import Skipped
from tfalexnet.images.fast import load_packages
from tfalexnet.images.opening import PictureError
from tfalexnet.images.preprocessing import Preprocessing, centre_crop
from tfalexnet.networks.spec import Architecture


def from_folder(
    source: str | os.PathLike,
    architecture: str | Architecture = "bvlc_alexnet",
    batch: int = 128,
    augment: str = "paper",
    seed: int = 2012,
    part: Literal["training", "validation"] = "training",
    strict: bool = False,
    colours: str = "imagenet",
) -> tf.data.Dataset:
    """Return batches of pictures and classes for `model.fit`.

    Args:
        source: see `read`.
        architecture: the network whose input size and preprocessing are used.
        batch: pictures per batch. The last pictures of an epoch that do not fill a batch are skipped; they are
            others in each epoch.
        augment: a name of `AUGMENTATIONS`; validation pictures are never augmented.
        seed: of order and augmentation, which differ in each epoch and do not depend on the number of threads. The
            choice of validation pictures does not depend on it.
        part: "validation" for the pictures that `source` holds for it, or a tenth of each class.
        strict: whether a file that cannot be read raises an error; else it is skipped and other pictures fill its
            batch. If whole batches are missing at the end, pictures are used again.
        colours: a name of `COLOURS`: the colours of `augment="paper"`.

    Returns:
        A dataset of (inputs, labels): float32 (batch, height, width, channels), int64 (batch,). Its attribute
        `class_names` lists the classes, `skipped` maps unreadable files to the reasons.

    Raises:
        ValueError, OSError: see `read`, `batches`, `prepared` and `colours_of`.
    """
    if part not in ("training", "validation"):
        raise ValueError(f"Expected `part` to be training or validation. Received: {part!r}")
    preprocessing, (training, validation), skipped = prepared(architecture), read(source), Skipped(strict)
    if part == "validation":
        dataset = batches(validation, preprocessing, batch, seed=seed, skipped=skipped)
        steps = -(-len(validation) // batch)
    else:
        directions = colours_of(colours, training, preprocessing)
        dataset = batches(training, preprocessing, batch, augment, seed, skipped=skipped, colours=directions)
        steps = len(training) // batch
    # Keras requires the number of batches of an epoch, also if some files turn out to be unreadable.
    dataset = dataset.map(lambda inputs, labels, _: (inputs, labels)).repeat().take(steps)
    dataset.class_names, dataset.skipped = list(training.classes), skipped.reasons
    return dataset


def batches(
    data: Labelled,
    preprocessing: Preprocessing,
    batch: int,
    augment: str | None = None,
    seed: int = 2012,
    epoch: int = 0,
    start: int = 0,
    shard: tuple[int, int] = (0, 1),
    replicas: int = 1,
    skipped: Skipped | None = None,
    colours: np.ndarray = IMAGENET_COLOURS,
) -> tf.data.Dataset:
    """Return epochs of (inputs, labels, positions); each iteration over the dataset is the next epoch.

    With `augment`, all pictures are shuffled, and those that do not fill the last batch are skipped. Without, all come
    in order and are only preprocessed. Everything random depends on seed, epoch and position alone, so that an epoch
    can be resumed at any position.

    Args:
        data: the pictures.
        preprocessing: of the pictures.
        batch: pictures per batch, of all workers.
        augment: a name of `AUGMENTATIONS`; None for validation.
        seed: of order and augmentation.
        epoch: number of the first epoch.
        start: number of pictures of the first epoch to leave out: the last of a batch's `positions`, plus one.
        shard: index of this worker and number of workers; each gets its part of every batch.
        replicas: number of this worker's replicas; its part is divided into as many pieces.
        skipped: records unreadable files.
        colours: of `augment="paper"`; see `colours_of`.

    Raises:
        ValueError: the batch is not an integer, is larger than the data or cannot be divided between the replicas, or
            there is no such augmentation.
    """
    worker, workers = shard
    pieces = workers * replicas
    _check_arguments(len(data), batch, augment, pieces)
    end = len(data) // batch * batch if pieces > 1 else len(data)  # Each replica gets as many batches.
    epochs, skipped = itertools.count(epoch), skipped or Skipped()
    load_packages()

    def order() -> Iterator[tuple[np.ndarray, ...]]:
        number = next(epochs)
        generator = np.random.default_rng((seed, number))
        indices = np.arange(len(data)) if augment is None else generator.permutation(len(data))
        seeds = generator.integers(0, 1 << 31, (len(data), 2), np.int32)
        positions = np.arange(start if number == epoch else 0, end)
        positions = positions[positions % batch * workers // batch == worker]
        indices = indices[positions]
        yield positions, indices, data.labels[indices], seeds[positions]

    def load(index: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.bool_]:
        try:
            image = preprocessing.resized(data.pictures[index])
        except PictureError as error:
            skipped.add(error)
            return np.zeros(preprocessing.shape, np.float32), np.False_
        random = np.random.Generator(np.random.Philox(key=seeds.astype(np.uint64)))
        for step in AUGMENTATIONS[augment or "none"]:
            image = step(image, random, preprocessing.crop, colours)
        return preprocessing.normalize(centre_crop(image, preprocessing.crop)), np.True_

    def prepare(position: tf.Tensor, index: tf.Tensor, label: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
        inputs, is_readable = tf.numpy_function(load, [index, seeds], (tf.float32, tf.bool), stateful=False)
        return tf.ensure_shape(inputs, preprocessing.shape), label, position, is_readable

    numbers = tf.TensorSpec((None,), tf.int64)
    signature = (numbers, numbers, numbers, tf.TensorSpec((None, 2), tf.int32))
    return (
        tf.data.Dataset.from_generator(order, output_signature=signature)
        .flat_map(lambda *epoch: tf.data.Dataset.from_tensor_slices(epoch))
        .map(prepare, tf.data.AUTOTUNE, deterministic=True)
        .filter(lambda *element: element[-1])
        .map(lambda *element: element[:-1])
        .batch(batch // pieces, drop_remainder=augment is not None)
        .prefetch(4)
    )


def _check_arguments(pictures: int, batch: int, augment: str | None, pieces: int) -> None:
    if augment is not None and augment not in AUGMENTATIONS:
        raise ValueError(f"Expected `augment` to be one of {', '.join(AUGMENTATIONS)}. Received: {augment!r}")
    if not isinstance(batch, int | np.integer) or batch < 1 or (augment is not None and batch > pictures):
        raise ValueError(f"Expected `batch` to be an integer from 1 to {pictures}, all pictures. Received: {batch!r}")
    if batch % pieces:
        raise ValueError(f"Expected a batch that {pieces} replicas share evenly. Received: {batch}")
