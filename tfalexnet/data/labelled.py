"""`Labelled`: pictures and their classes, from arrays, and other names or another order of the classes."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

MOST_NUMBERS = 1000  # Classes that numbers may denote if there are fewer pictures: ImageNet's.


@dataclass(frozen=True)
class Labelled:
    """Pictures and their classes.

    Attributes:
        pictures: paths of files, or a uint8 array (n, height, width[, channels]).
        labels: the index in `classes` of each picture's class.
        classes: the names of the classes.
        root: the folder that the paths begin with, as the user gave it.
    """

    pictures: Sequence[Path] | np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """Return the sha256 of the labels and of the pixels, or of the paths relative to the root."""
        state = hashlib.sha256(np.ascontiguousarray(self.labels, "<i8").tobytes())
        if isinstance(self.pictures, np.ndarray):
            state.update(np.ascontiguousarray(self.pictures).tobytes())
        else:
            names = map(str, self.pictures)
            if self.root is not None:
                # A list may contain absolute paths, even if the user gave its folder in another form.
                given, real = (f"{root}{os.sep}" for root in (self.root, self.root.resolve()))
                names = (name.removeprefix(given).removeprefix(real) for name in names)
            state.update("\0".join(names).encode("utf-8", "surrogateescape"))
        return state.hexdigest()


def rename_classes(data: Labelled, names: Sequence[str]) -> Labelled:
    """Return the pictures with their classes in the order of `names`, or renamed if the classes are numbers.

    The numbers from 0 without a gap may get more names than there are numbers; other numbers get as many.

    Raises:
        ValueError: these are not the names of the classes, or one of them occurs twice.
    """
    names, classes = tuple(names), data.classes
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Expected another name for each class. Received more than once: {first_of(twice)}")
    if set(names) == set(classes):
        order = np.array([names.index(name) for name in classes])
        return replace(data, labels=order[data.labels], classes=names)
    are_numbers = all(name.isdecimal() for name in classes)
    from_zero = classes == tuple(map(str, range(len(classes))))
    if are_numbers and (len(names) == len(classes) or (from_zero and len(names) > len(classes))):
        return replace(data, classes=names)
    other = f" or {len(classes)} names for them" if are_numbers else ""
    missing = [name for name in classes if name not in names]
    unknown = [name for name in names if name not in classes]
    raise ValueError(
        f"Expected the classes {first_of(classes)} ({len(classes)}) in any order{other}. Received: {first_of(names)} "
        f"({len(names)}); missing: {first_of(missing) or 'none'}; unknown: {first_of(unknown) or 'none'}"
    )


def from_arrays(
    x: np.ndarray, y: np.ndarray, classes: Sequence[str] | None = None, limit: int = MOST_NUMBERS
) -> Labelled:
    """Return arrays as labelled pictures.

    Args:
        x: pictures, uint8 (n, height, width[, channels]), 1, 3 or 4 channels.
        y: integers, (n,) or (n, 1): indices in `classes`, or numbers of classes; see `number_classes`.
        classes: names of the classes; None for the numbers.
        limit: largest number of classes that numbers may denote, unless there are more pictures.

    Raises:
        ValueError: the arrays are of another kind, or there are fewer `classes`.
    """
    x, y = np.asarray(x), np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    are_pictures = x.dtype == np.uint8 and (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3, 4)))
    if not are_pictures or y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise ValueError(
            "Expected pictures of uint8, (n, height, width) with 1, 3, 4 or no channels, and n integers. "
            f"Received: {x.dtype} {x.shape} and {y.dtype} {y.shape}"
        )
    if not x.size or y.min() < 0:
        raise ValueError("Expected pictures, and classes counted from 0. Received: none, or negative ones")
    if classes is None:
        return Labelled(x, *number_classes(y, max(limit, len(x))))
    if y.max() >= len(classes):
        raise ValueError(f"Expected classes numbered from 0 to {len(classes) - 1}. Received: {y.max()}")
    return Labelled(x, y.astype(np.int64), tuple(classes))


def number_classes(numbers: Sequence[int] | np.ndarray, limit: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return labels, int64, and the names of classes that are numbers: all numbers up to the largest.

    They are counted from 1 if the smallest is 1, else from 0.

    Args:
        numbers: the number of each picture's class.
        limit: largest number of classes, as a wrong number must not create millions of them.

    Raises:
        ValueError: there are more classes.
    """
    largest, first = int(max(numbers)), int(min(numbers) == 1)
    if largest - first >= limit:
        raise ValueError(f"Expected classes numbered from {first} to {limit - 1 + first}. Received: {largest}")
    return np.array(numbers, np.int64) - first, tuple(map(str, range(first, largest + 1)))


def first_of(names: Sequence[str]) -> str:
    """Return the first five names as text, for messages."""
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)
