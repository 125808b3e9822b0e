"""Folders, lists and arrays to batches; the paper's augmentation."""

from __future__ import annotations

import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf

from tfalexnet import architectures
from tfalexnet.architectures import Architecture
from tfalexnet.checkpoints import PREPROCESSING
from tfalexnet.pictures import pictures_in
from tfalexnet.preprocessing import PictureError, Preprocessing, centre

VALIDATION_NAMES = ("val", "valid", "validation", "test")
KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
HELD_OUT = 0.1  # Share of the pictures that validate where the data names none.

# Directions and strengths of colour in ImageNet, of levels 0–1, R, G, B (facebook/fb.resnet.torch,
# datasets/imagenet.lua, after section 4.1 of the paper).
IMAGENET_COLOURS = np.float32(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * np.float32([0.2175, 0.0188, 0.0045])
COLOUR_DEVIATION = 0.1  # Of α in section 4.1.


# How the smaller networks take their pictures, where nobody's weights say it; levels 0–1 if not noted.
_LEVELS = {"antialias": True, "scale": 1 / 255}
PREPARED = PREPROCESSING | {
    "single_tower": Preprocessing("shorter side", 227, 227, channels="RGB", mean=(0.0,) * 3, **_LEVELS),
    "single_tower_avgpool": Preprocessing("shorter side", 227, 227, channels="RGB", mean=(0.0,) * 3, **_LEVELS),
    "tflearn_flowers17": Preprocessing("squash", 227, 227, channels="RGB", mean=(0.0,) * 3, **_LEVELS),
    "d2l_fashion_mnist": Preprocessing("squash", 224, 224, channels="L", mean=(0.0,), **_LEVELS),
    "mnist_28": Preprocessing("squash", 28, 28, channels="L", mean=(0.0,), **_LEVELS),
    # 0–255 minus the mean of CIFAR-10's training pictures, of each channel.
    "cifar10_18pct": Preprocessing("squash", 32, 32, antialias=True, channels="RGB", mean=(125.3, 123.0, 113.9)),
}


@dataclass(frozen=True)
class Labelled:
    """Pictures and their classes.

    Attributes:
        pictures: paths of files, or a uint8 array (n, height, width[, channels]).
        labels: the place of each one's class in `classes`.
        classes: their names.
    """

    pictures: Sequence[Path] | np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """sha256 of names (or levels) and labels, to tell one set from another."""
        state = hashlib.sha256(np.ascontiguousarray(self.labels, "<i8").tobytes())
        if isinstance(self.pictures, np.ndarray):
            state.update(np.ascontiguousarray(self.pictures).tobytes())
        else:
            state.update("\0".join(map(str, self.pictures)).encode("utf-8", "surrogateescape"))
        return state.hexdigest()


@dataclass
class Skipped:
    """The files that could not be read so far, and why; or with `strict`, the first stops all."""

    strict: bool = False
    reasons: dict[str, str] = field(default_factory=dict)
    error: PictureError | None = None

    def add(self, error: PictureError) -> None:
        """Note a file, or raise what is wrong with it: with `strict`, or where its whole folder is gone."""
        self.reasons[error.name] = error.reason
        if self.strict or not Path(error.name).parent.exists():
            self.error = error
            raise error


def from_folder(
    source: str | os.PathLike,
    architecture: str | Architecture = "bvlc_alexnet",
    batch: int = 128,
    augment: str = "paper",
    seed: int = 2012,
    part: Literal["training", "validation"] = "training",
    strict: bool = False,
) -> tf.data.Dataset:
    """Batches of pictures and classes, ready for `model.fit`.

    Args:
        source: see `read`.
        architecture: whose input size and preprocessing.
        batch: pictures a batch. Those of an epoch that fill none wait for the next epoch's order.
        augment: one of `AUGMENTATIONS`; validation is never augmented.
        seed: of order and augmentation, which differ in each epoch and do not depend on the number
            of threads.
        part: "validation" are the pictures that `source` names so, or a tenth of them.
        strict: whether a file that cannot be read ends the training; else it is left out, and another
            picture fills the batch.

    Returns:
        A dataset of (inputs, labels): float32 (batch, height, width, channels), int64 (batch,). Its
        attribute `class_names` lists the classes, `skipped` the unreadable files found so far.

    Raises:
        ValueError, OSError: see `read`.
    """
    net = architectures.find(architecture)
    training, validation = read(source)
    chosen = training if part == "training" else validation
    skipped = Skipped(strict)
    dataset = batches(
        chosen, PREPARED[net.name], batch, augment if part == "training" else None, seed, skipped=skipped
    )
    # Keras wants to know how many batches an epoch has, also where files turn out to be unreadable.
    steps = len(chosen) // batch if part == "training" else -(-len(chosen) // batch)
    dataset = dataset.map(lambda inputs, labels, _: (inputs, labels)).repeat().take(steps)
    dataset.class_names, dataset.skipped = list(chosen.classes), skipped.reasons
    return dataset


def read(source: str | os.PathLike, seed: int = 2012) -> tuple[Labelled, Labelled]:
    """Training and validation pictures.

    Args:
        source: a folder with a sub-folder for each class; a folder with such folders `train` and
            `val` (or valid, validation, test); a folder with lists `train.txt` and `val.txt` of path
            and class (a name, or numbers from 0) on a line; an `.npz` with x_train, y_train and
            x_test, y_test; or the name of a data set of Keras.
        seed: of the tenth that validates where the source names no validation pictures.

    Raises:
        ValueError: no pictures, a single class, classes that training has not.
        OSError: something cannot be read.
    """
    path = Path(source)
    if str(source) in KERAS_DATASETS and not path.exists():
        import keras

        (x, y), (x_test, y_test) = getattr(keras.datasets, str(source)).load_data()
        training, validation = from_arrays(x, y), from_arrays(x_test, y_test)
    elif path.suffix == ".npz" and path.is_file():
        training, validation = _archive(path)
    elif path.is_dir():
        training, validation = _folder(path)
    else:
        raise ValueError(
            f"Expected a folder of pictures, an .npz or one of {', '.join(KERAS_DATASETS)}. Received: "
            f"{os.fspath(source)!r}; there is no such file."
        )
    if len(training.classes) < 2:
        raise ValueError(f"{source}: expected at least two classes; received {', '.join(training.classes)} alone.")
    if validation is None:
        return _split(training, seed)
    return training, _same_classes(training, validation, path)


def called(data: Labelled, names: Sequence[str]) -> Labelled:
    """The pictures with their classes in the order of these names, or under them if they are numbers.

    Raises:
        ValueError: these are not the names of their classes.
    """
    if all(name.isdecimal() for name in data.classes) and len(names) >= len(data.classes):
        return replace(data, classes=tuple(names))
    if sorted(names) != sorted(data.classes):
        raise ValueError(
            f"Expected the classes {', '.join(data.classes)}, in any order. Received: {', '.join(names)}"
        )
    numbers = np.array([names.index(name) for name in data.classes])
    return replace(data, labels=numbers[data.labels], classes=tuple(names))


def from_arrays(x: np.ndarray, y: np.ndarray, classes: Sequence[str] | None = None) -> Labelled:
    """Arrays as pictures: uint8 (n, height, width[, channels]) and whole numbers from 0, (n,) or (n, 1)."""
    x, y = np.asarray(x), np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if x.dtype != np.uint8 or x.ndim not in (3, 4) or y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise ValueError(
            "Expected pictures of uint8, (n, height, width[, channels]), and n whole numbers. Received: "
            f"{x.dtype} {x.shape} and {y.dtype} {y.shape}"
        )
    if not len(x) or y.min() < 0:
        raise ValueError("Expected pictures, and classes counted from 0. Received: none, or negative ones")
    names = tuple(classes) if classes is not None else tuple(map(str, range(int(y.max()) + 1)))
    return Labelled(x, y.astype(np.int64), names)


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
) -> tf.data.Dataset:
    """One epoch of (inputs, labels, places): each iteration over the dataset is the next epoch.

    With `augment` the pictures are shuffled, all over all; without, they come in order and are only
    prepared. Everything random follows from seed, epoch and place, so that an epoch can be taken up
    anywhere.

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

    Raises:
        ValueError: the batch is larger than the data, or no such augmentation.
    """
    if augment is not None and augment not in AUGMENTATIONS:
        raise ValueError(f"Expected `augment` to be one of {', '.join(AUGMENTATIONS)}. Received: {augment!r}")
    if batch < 1 or (augment is not None and batch > len(data)):
        raise ValueError(f"Expected a batch of 1 to {len(data)} pictures, as many as there are. Received: {batch}")
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

    shape = (process.crop, process.crop, len(process.channels))
    steps = AUGMENTATIONS[augment] if augment else ()

    def load(index: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.bool_]:
        try:
            image = process.whole(data.pictures[index])
        except PictureError as error:
            skipped.add(error)
            return np.zeros(shape, np.float32), np.False_
        random = np.random.Generator(np.random.Philox(key=seeds.astype(np.uint64)))
        for step in steps:
            image = step(image, random, process.crop)
        return process.normalize(centre(image, process.crop)), np.True_

    def prepare(place: tf.Tensor, index: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, ...]:
        inputs, readable = tf.numpy_function(load, [index, seeds], (tf.float32, tf.bool), stateful=False)
        return tf.ensure_shape(inputs, shape), tf.gather(tf.constant(data.labels), index), place, readable

    signature = (
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((None,), tf.int64),
        tf.TensorSpec((None, 2), tf.int32),
    )
    return (
        tf.data.Dataset.from_generator(order, output_signature=signature)
        .flat_map(lambda *epoch: tf.data.Dataset.from_tensor_slices(epoch))
        .map(prepare, tf.data.AUTOTUNE, deterministic=True)
        .filter(lambda *element: element[-1])
        .map(lambda *element: element[:-1])
        .batch(batch // pieces, drop_remainder=augment is not None)
        .prefetch(4)
    )


def crop(image: np.ndarray, random: np.random.Generator, side: int) -> np.ndarray:
    """A side×side piece from anywhere in the picture, each place as likely as another."""
    top, left = (random.integers(0, length - side + 1) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def mirror(image: np.ndarray, random: np.random.Generator, _: int) -> np.ndarray:
    """The picture, or in half of the cases its mirror image."""
    return image[:, ::-1] if random.random() < 0.5 else image


def colour(image: np.ndarray, random: np.random.Generator, _: int) -> np.ndarray:
    """The picture with [p₁ p₂ p₃][α₁λ₁ α₂λ₂ α₃λ₃]ᵀ added to each pixel, α ~ N(0, .1).

    Section 4.1 of the paper: once for each picture each time it is used. p and λ are those of
    ImageNet, of levels 0–1; grey pictures are left alone.
    """
    if image.shape[2] != 3:
        return image
    alpha = random.normal(0, COLOUR_DEVIATION, 3).astype(np.float32)
    return image + 255 * (IMAGENET_COLOURS @ alpha)


def colours(pictures: np.ndarray) -> np.ndarray:
    """Directions times strengths of colour, (3, 3), a column each: p and λ of the covariance of RGB.

    Args:
        pictures: uint8, (n, height, width, 3). Levels count as 0–1.
    """
    levels = np.asarray(pictures, np.float64).reshape(-1, 3) / 255
    strengths, directions = np.linalg.eigh(np.cov(levels, rowvar=False))
    return (directions * strengths)[:, ::-1].astype(np.float32)


Augmentation = Callable[[np.ndarray, np.random.Generator, int], np.ndarray]
"""From a picture (height, width, channels), RGB or grey levels 0–255, float32, to another; the side that the
network takes is the last argument."""

AUGMENTATIONS: dict[str, tuple[Augmentation, ...]] = {
    "none": (),
    "mirror": (mirror,),
    "crop": (crop, mirror),
    "paper": (crop, mirror, colour),
}


def _folder(path: Path) -> tuple[Labelled, Labelled | None]:
    """Lists, parts or class folders."""
    if (path / "train.txt").is_file():
        return _list(path / "train.txt"), _list(path / "val.txt") if (path / "val.txt").is_file() else None
    if (path / "train").is_dir():
        parts = [path / name for name in VALIDATION_NAMES if (path / name).is_dir()]
        return _class_folders(path / "train"), _class_folders(parts[0]) if parts else None
    return _class_folders(path), None


def _class_folders(path: Path) -> Labelled:
    folders = sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not folders:
        raise ValueError(f"{path}: expected a folder of pictures for each class; received none.")
    files = [(file, label) for label, folder in enumerate(folders) for file in pictures_in(folder)]
    return Labelled(
        [file for file, _ in files], np.array([label for _, label in files]), tuple(f.name for f in folders)
    )


def _list(path: Path) -> Labelled:
    """Lines of a path, from the list's folder, and a class."""
    entries = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if line.strip():
            name, _, label = line.strip().rpartition(" ")
            if not name:
                raise ValueError(f"{path}, line {number}: expected a path and a class; received {line!r}")
            entries.append((path.parent / name.strip(), label))
    if not entries:
        raise ValueError(f"{path}: expected lines of path and class; received none.")
    if all(label.isdecimal() for _, label in entries):
        numbers = [int(label) for _, label in entries]
        classes = tuple(map(str, range(max(numbers) + 1)))
    else:
        classes = tuple(sorted({label for _, label in entries}))
        numbers = [classes.index(label) for _, label in entries]
    return Labelled([file for file, _ in entries], np.array(numbers), classes)


def _archive(path: Path) -> tuple[Labelled, Labelled | None]:
    with np.load(path) as archive:
        if not {"x_train", "y_train"} <= set(archive):
            raise ValueError(f"{path}: expected arrays x_train and y_train; received {', '.join(archive)}")
        training = from_arrays(archive["x_train"], archive["y_train"])
        if "x_test" not in archive:
            return training, None
        return training, from_arrays(archive["x_test"], archive["y_test"], training.classes)


def _split(data: Labelled, seed: int) -> tuple[Labelled, Labelled]:
    order = np.random.default_rng(seed).permutation(len(data))
    held_out = max(1, round(HELD_OUT * len(data)))
    return _chosen(data, np.sort(order[held_out:])), _chosen(data, np.sort(order[:held_out]))


def _chosen(data: Labelled, indices: np.ndarray) -> Labelled:
    pictures = data.pictures
    pictures = pictures[indices] if isinstance(pictures, np.ndarray) else [pictures[i] for i in indices]
    return replace(data, pictures=pictures, labels=data.labels[indices])


def _same_classes(training: Labelled, validation: Labelled, path: Path) -> Labelled:
    """The validation pictures with the numbers that training gives their classes."""
    unknown = [name for name in validation.classes if name not in training.classes]
    if unknown:
        raise ValueError(
            f"{path}: expected the classes of validation among those of training; received "
            f"{', '.join(unknown[:5])}{', …' * (len(unknown) > 5)}, which training has not."
        )
    if validation.labels.max() >= len(validation.classes):
        raise ValueError(f"{path}: expected {len(validation.classes)} classes; received more in validation.")
    numbers = np.array([training.classes.index(name) for name in validation.classes])
    return replace(validation, labels=numbers[validation.labels], classes=training.classes)


def report(skipped: Skipped) -> None:
    """Name the files that could not be read, on stderr."""
    for name, reason in skipped.reasons.items():
        print(f"tfalexnet: left out {name}: {reason}", file=sys.stderr)
