"""Labelled pictures to batches for training, in an order that can be taken up anywhere."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import tensorflow as tf

from tfalexnet.checkpoints.spec import default_preprocessing
from tfalexnet.data.augmentation import AUGMENTATIONS, IMAGENET_COLOURS, principal_colours
from tfalexnet.data.datasets import Labelled, from_arrays, read
from tfalexnet.images.decode import PictureError
from tfalexnet.images.folders import check_folder_present
from tfalexnet.images.preprocessing import Preprocessing, centre_crop
from tfalexnet.networks.catalog import get_architecture
from tfalexnet.networks.spec import Architecture

__all__ = [
    "AUGMENTATIONS",
    "COLOURS",
    "Labelled",
    "Skipped",
    "batches",
    "colours_of",
    "from_arrays",
    "from_folder",
    "prepared",
    "read",
]

LISTED = 10  # Of the files that cannot be read, as many are named.
COLOUR_PICTURES = 1000  # As many tell the colours of a training set: 65 million pixels.


@dataclass
class Skipped:
    """The files that could not be read so far, and why; or with `strict`, the first stops all."""

    strict: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
    error: PictureError | NotADirectoryError | None = None
    told: bool = False

    def add(self, error: PictureError) -> None:
        """Note a file; with `strict` raise what is wrong with it, and always where its whole folder is gone."""
        try:
            check_folder_present(error.name, ())
            if self.strict:
                raise error
        except (PictureError, NotADirectoryError) as last:
            self.error = last  # Before the reason, as another thread may ask for news.
            raise
        finally:
            self.reasons[error.name] = error.reason

    def news(self) -> str:
        """Of the first file that could not be read, once; nothing if there is none, or one stopped all."""
        if self.told or not self.reasons or self.error is not None:
            return ""
        self.told = True
        name, reason = next(iter(self.reasons.items()))
        return f"left out {name}: {reason}"

    def report(self, files: int) -> str:
        """How many of so many files could not be read, and which; nothing if all could, or one stopped all."""
        if not self.reasons or self.error is not None:
            return ""
        lines = [f"left out {name}: {reason}" for name, reason in sorted(self.reasons.items())]
        more = [f"… and {len(lines) - LISTED:,} more"] * (len(lines) > LISTED)
        return "\n".join([f"{len(lines):,} of {files:,} files could not be read", *lines[:LISTED], *more])


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
    """Batches of pictures and classes, ready for `model.fit`.

    Args:
        source: see `read`.
        architecture: whose input size and preprocessing.
        batch: pictures a batch. Those of an epoch's order that fill none are left out of that epoch.
        augment: one of `AUGMENTATIONS`; validation is never augmented.
        seed: of order and augmentation, which differ in each epoch and do not depend on the number
            of threads. Which pictures validate does not depend on it.
        part: "validation" are the pictures that `source` names so, or a tenth of each class.
        strict: whether a file that cannot be read ends the training; else it is left out, and other
            pictures fill the batch; where whole batches are missing in the end, pictures come again.
        colours: whose the colours of `augment="paper"` are: one of `COLOURS`.

    Returns:
        A dataset of (inputs, labels): float32 (batch, height, width, channels), int64 (batch,). Its
        attribute `class_names` lists the classes, `skipped` the unreadable files found so far.

    Raises:
        ValueError, OSError: see `read`, `batches`, `prepared` and `colours_of`.
    """
    if part not in ("training", "validation"):
        raise ValueError(f"Expected `part` to be training or validation. Received: {part!r}")
    process, (training, validation) = prepared(architecture), read(source)
    skipped = Skipped(strict)
    if part == "validation":
        dataset = batches(validation, process, batch, seed=seed, skipped=skipped)
        steps = -(-len(validation) // batch)
    else:
        directions = colours_of(colours, training, process)
        dataset = batches(training, process, batch, augment, seed, skipped=skipped, colours=directions)
        steps = len(training) // batch
    # Keras wants to know how many batches an epoch has, also where files turn out to be unreadable.
    dataset = dataset.map(lambda inputs, labels, _: (inputs, labels)).repeat().take(steps)
    dataset.class_names, dataset.skipped = list(training.classes), skipped.reasons
    return dataset


def prepared(architecture: str | Architecture) -> Preprocessing:
    """Return the preprocessing for a network with new weights; see `default_preprocessing`.

    Raises:
        ValueError: there is no network of this name, or its input is not square, of one channel or three.
    """
    return default_preprocessing(get_architecture(architecture))


def own_colours(data: Labelled, process: Preprocessing) -> np.ndarray:
    """The `principal_colours` of a training set, of a thousand of its pictures where it has more.

    Raises:
        ValueError: the network sees no colours, or no picture can be read.
    """
    if process.channels == "L":
        raise ValueError("Expected a network that sees colours, for those of its training set. Received: a grey one")
    chosen = np.random.default_rng(0).permutation(len(data))[:COLOUR_PICTURES]
    return principal_colours(_readable(data, process, np.sort(chosen)))


def colours_of(whose: str, data: Labelled, process: Preprocessing) -> np.ndarray:
    """The colours of `augment="paper"`, (3, 3): a row of `COLOURS`, for these training pictures.

    Raises:
        ValueError: there is no such row, or see `own_colours`.
    """
    if whose not in COLOURS:
        raise ValueError(f"Expected `colours` to be one of {', '.join(COLOURS)}. Received: {whose!r}")
    return COLOURS[whose](data, process)


COLOURS: dict[str, Callable[[Labelled, Preprocessing], np.ndarray]] = {
    "imagenet": lambda _, __: IMAGENET_COLOURS,
    "own": own_colours,
}


def batches(
    data: Labelled,
    process: Preprocessing,
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
    """Epochs of (inputs, labels, places): each iteration over the dataset is the next one.

    With `augment` the pictures are shuffled, all over all, and those that fill no batch are left out of the
    epoch; without, they come in order, all, and are only prepared. Everything random follows from seed,
    epoch and place, so that an epoch can be taken up anywhere.

    Args:
        data: the pictures.
        process: how they are prepared.
        batch: pictures a batch, of all workers together.
        augment: a name of `AUGMENTATIONS`; None for validation.
        seed: of order and augmentation.
        epoch: the number of the first one.
        start: how many pictures of the first epoch to leave out; `places` of a batch, plus one.
        shard: this worker's number, and how many there are; each gets its part of every batch.
        replicas: of this worker; its part comes in so many pieces.
        skipped: where unreadable files are noted.
        colours: of the paper's augmentation; see `colours_of`.

    Raises:
        ValueError: the batch is no whole number or larger than the data, or no such augmentation.
    """
    if augment is not None and augment not in AUGMENTATIONS:
        raise ValueError(f"Expected `augment` to be one of {', '.join(AUGMENTATIONS)}. Received: {augment!r}")
    if not isinstance(batch, int | np.integer) or batch < 1 or (augment is not None and batch > len(data)):
        raise ValueError(
            f"Expected a batch of 1 to {len(data)} pictures, a whole number and no more than there are. "
            f"Received: {batch!r}"
        )
    worker, workers = shard
    pieces = workers * replicas
    if batch % pieces:
        raise ValueError(f"Expected a batch that {pieces} replicas share evenly. Received: {batch}")
    end = len(data) // batch * batch if pieces > 1 else len(data)  # Each replica has as many batches.
    skipped = Skipped() if skipped is None else skipped
    epochs = itertools.count(epoch)

    def order() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        number = next(epochs)
        generator = np.random.default_rng((seed, number))
        indices = np.arange(len(data)) if augment is None else generator.permutation(len(data))
        seeds = generator.integers(0, 1 << 31, (len(data), 2), np.int32)
        places = np.arange(start if number == epoch else 0, end)
        places = places[places % batch * workers // batch == worker]
        yield places, indices[places], seeds[places]

    steps = AUGMENTATIONS[augment] if augment else ()

    def load(index: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.bool_]:
        try:
            image = process.resized(data.pictures[index])
        except PictureError as error:
            skipped.add(error)
            return np.zeros(process.shape, np.float32), np.False_
        random = np.random.Generator(np.random.Philox(key=seeds.astype(np.uint64)))
        for step in steps:
            image = step(image, random, process.crop, colours)
        return process.normalize(centre_crop(image, process.crop)), np.True_

    def prepare(place: tf.Tensor, index: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
        inputs, readable = tf.numpy_function(load, [index, seeds], (tf.float32, tf.bool), stateful=False)
        return tf.ensure_shape(inputs, process.shape), tf.gather(tf.constant(data.labels), index), place, readable

    signature = (tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None,), tf.int64), tf.TensorSpec((None, 2), tf.int32))
    return (
        tf.data.Dataset.from_generator(order, output_signature=signature)
        .flat_map(lambda *epoch: tf.data.Dataset.from_tensor_slices(epoch))
        .map(prepare, tf.data.AUTOTUNE, deterministic=True)
        .filter(lambda *element: element[-1])
        .map(lambda *element: element[:-1])
        .batch(batch // pieces, drop_remainder=augment is not None)
        .prefetch(4)
    )


def _readable(data: Labelled, process: Preprocessing, places: np.ndarray) -> Iterator[np.ndarray]:
    """The pictures at these places, before they are cropped; those that cannot be read are left out."""
    read = 0
    for place in places:
        try:
            yield process.resized(data.pictures[place])
            read += 1
        except PictureError:
            continue
    if not read:
        raise ValueError("Expected pictures that can be read. Received none.")
