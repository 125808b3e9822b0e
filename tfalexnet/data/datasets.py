"""Folders, lists and arrays to pictures with their classes, for training and for validation."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfalexnet.images.classes import read_class_names
from tfalexnet.images.folders import list_pictures

VALIDATION_NAMES = ("val", "valid", "validation", "test")
KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
HELD_OUT = 0.1  # Share of each class that validates where the data names no pictures for it.
SPLIT = 2012  # Seed of their choice.
MOST_NUMBERS = 1000  # Classes that numbers may speak of where there are fewer pictures: ImageNet's.


@dataclass(frozen=True)
class Labelled:
    """Pictures and their classes.

    Attributes:
        pictures: paths of files, or a uint8 array (n, height, width[, channels]).
        labels: the place of each one's class in `classes`.
        classes: their names.
        root: the folder that the paths begin with, as it was typed.
    """

    pictures: Sequence[Path] | np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def digest(self) -> str:
        """sha256 of labels and of levels or of paths below the root, to tell one set from another."""
        state = hashlib.sha256(np.ascontiguousarray(self.labels, "<i8").tobytes())
        if isinstance(self.pictures, np.ndarray):
            state.update(np.ascontiguousarray(self.pictures).tobytes())
        else:
            names = map(str, self.pictures)
            if self.root is not None:
                # A list may name files by whole paths, also where its folder was typed otherwise.
                typed, real = (f"{root}{os.sep}" for root in (self.root, self.root.resolve()))
                names = (name.removeprefix(typed).removeprefix(real) for name in names)
            state.update("\0".join(names).encode("utf-8", "surrogateescape"))
        return state.hexdigest()


def read(
    source: str | os.PathLike, classes: Sequence[str] | str | os.PathLike | None = None
) -> tuple[Labelled, Labelled]:
    """Training and validation pictures.

    Where the source names none for validation, a tenth of each class validates, and at least one where the
    class has two: of the same source always the same pictures.

    Args:
        source: a folder with a sub-folder for each class; a folder with such folders `train` and
            `val` (or valid, validation, test); a folder with lists `train.txt` and `val.txt` of path
            and class (a name, or numbers from 0) on a line, a space or a tab between; an `.npz` with
            x_train, y_train and x_test, y_test; or the name of a data set of Keras. Sub-folders count
            in the order of their names, or of their numbers if all are numbers.
        classes: names of the classes in the order that is wanted, or a text file of them, one on a
            line. Classes that are numbers get them for names, in the order of the numbers.

    Raises:
        ValueError: no pictures, a single class, classes that training has not, or other names.
        OSError: something cannot be read.
    """
    path = Path(source)
    if str(source) in KERAS_DATASETS and not path.exists():
        training, validation = _of_keras(str(source))
    elif path.suffix.lower() == ".npz" and path.is_file():
        training, validation = _archive(path)
    elif path.is_dir():
        training, validation = _folder(path)
    else:
        received = "a file of another kind" if path.exists() else "there is no such file"
        raise ValueError(
            f"Expected a folder of pictures, an .npz or one of {', '.join(KERAS_DATASETS)}. Received: "
            f"{os.fspath(source)!r}; {received}."
        )
    used = np.unique(training.labels)
    if len(used) < 2:
        alone = training.classes[used[0]]
        raise ValueError(f"{source}: expected pictures of at least two classes; received {alone} alone.")
    if validation is None:
        training, validation = _split(training, path)
    else:
        validation = _same_classes(training, validation, path)
    if classes is not None:
        names = read_class_names(Path(classes)) if isinstance(classes, str | os.PathLike) else classes
        training, validation = rename_classes(training, names), rename_classes(validation, names)
    return training, validation


def rename_classes(data: Labelled, names: Sequence[str]) -> Labelled:
    """The pictures with their classes in the order of these names, or under them if they are numbers.

    Numbers that leave none out from 0 may have more names than they are; others have as many.

    Raises:
        ValueError: these are not the names of their classes, or one of them comes twice.
    """
    names, classes = tuple(names), data.classes
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Expected another name for each class. Received more than once: {_few(twice)}")
    if set(names) == set(classes):
        numbers = np.array([names.index(name) for name in classes])
        return replace(data, labels=numbers[data.labels], classes=names)
    numbered = all(name.isdecimal() for name in classes)
    from_zero = classes == _numbers(len(classes))
    if numbered and (len(names) == len(classes) or (from_zero and len(names) > len(classes))):
        return replace(data, classes=names)
    other = f" or {len(classes)} names for them" if numbered else ""
    missing, extra = ([n for n in one if n not in two] for one, two in ((classes, names), (names, classes)))
    raise ValueError(
        f"Expected the classes {_few(classes)} ({len(classes)}) in any order{other}. Received: {_few(names)} "
        f"({len(names)}); missing: {_few(missing) or 'none'}; unknown: {_few(extra) or 'none'}"
    )


def from_arrays(x: np.ndarray, y: np.ndarray, classes: Sequence[str] | None = None) -> Labelled:
    """Arrays as pictures: uint8 (n, height, width[, 1, 3 or 4]) and whole numbers from 0, (n,) or (n, 1).

    Raises:
        ValueError: they are something else, or there are fewer `classes`.
    """
    x, y = np.asarray(x), np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    pictures = x.dtype == np.uint8 and (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3, 4)))
    if not pictures or y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise ValueError(
            "Expected pictures of uint8, (n, height, width) with 1, 3, 4 or no channels, and n whole numbers. "
            f"Received: {x.dtype} {x.shape} and {y.dtype} {y.shape}"
        )
    if not x.size or y.min() < 0:
        raise ValueError("Expected pictures, and classes counted from 0. Received: none, or negative ones")
    count = _up_to(int(y.max()), max(MOST_NUMBERS, len(x)) if classes is None else len(classes))
    return Labelled(x, y.astype(np.int64), _numbers(count) if classes is None else tuple(classes))


def _of_keras(name: str) -> tuple[Labelled, Labelled]:
    import keras

    try:
        (x, y), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare one where the download fails.
        raise OSError(
            f"{name}: expected Keras to have or download it; it says: {error}. An .npz or a folder will do too."
        ) from error
    training = from_arrays(x, y)
    return training, from_arrays(x_test, y_test, training.classes)


def _folder(path: Path) -> tuple[Labelled, Labelled | None]:
    """Lists, parts or class folders."""
    if (path / "train.txt").is_file():
        training = _list(path / "train.txt")
        listed = (path / "val.txt").is_file()
        return training, _list(path / "val.txt", len(training.classes)) if listed else None
    if (path / "train").is_dir():
        parts = [path / name for name in VALIDATION_NAMES if (path / name).is_dir()]
        return _class_folders(path / "train"), _class_folders(parts[0]) if parts else None
    return _class_folders(path), None


def _class_folders(path: Path) -> Labelled:
    folders = [child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")]
    if not folders:
        raise ValueError(f"{path}: expected a folder of pictures for each class; received none.")
    numbered = all(folder.name.isdecimal() for folder in folders)
    folders.sort(key=lambda folder: (int(folder.name) if numbered else 0, folder.name))
    files, empty = [], []
    for label, folder in enumerate(folders):
        try:
            files += [(file, label) for file in list_pictures(folder)]
        except ValueError:
            empty.append(folder.name)
    if empty:
        raise ValueError(
            f"{path}: expected pictures (.jpg, .png, …) in the folder of each class; received none in "
            f"{', '.join(empty)}. Remove what is no class, or put pictures there."
        )
    names = tuple(folder.name for folder in folders)
    return Labelled([file for file, _ in files], np.array([label for _, label in files]), names, path)


def _list(path: Path, known: int = 0) -> Labelled:
    """Lines of a path, from the list's folder, and a class; `known` are the classes of another list."""
    entries = []
    for number, line in enumerate(map(str.strip, _lines(path)), 1):
        if line:
            name, _, label = line.rpartition("\t" if "\t" in line else " ")
            if not name:
                raise ValueError(f"{path}, line {number}: expected a path and a class; received {line!r}")
            entries.append((path.parent / name.strip(), label.strip()))
    if not entries:
        raise ValueError(f"{path}: expected lines of path and class; received none.")
    if all(label.isdecimal() for _, label in entries):
        numbers = [int(label) for _, label in entries]
        try:
            classes = _numbers(_up_to(max(numbers), max(MOST_NUMBERS, len(entries), known)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    else:
        classes = tuple(sorted({label for _, label in entries}))
        places = {name: place for place, name in enumerate(classes)}
        numbers = [places[label] for _, label in entries]
    return Labelled([file for file, _ in entries], np.array(numbers), classes, path.parent)


def _archive(path: Path) -> tuple[Labelled, Labelled | None]:
    try:
        with path.open("rb") as file, np.load(file) as archive:  # Without pickles, which could run anything.
            held = list(archive)
            arrays = {name: archive[name] for name in ARRAYS if name in held}
    except OSError:
        raise
    except Exception as error:  # A damaged file can fail in any way at all.
        reason = f"{type(error).__name__}: {error}"[:200]
        raise ValueError(
            f"{path}: expected an .npz of plain arrays; received a damaged one, or objects ({reason})."
        ) from error
    if not {"x_train", "y_train"} <= set(arrays) or len(arrays) == 3:
        raise ValueError(
            f"{path}: expected arrays x_train and y_train, and x_test and y_test or neither; received {_few(held)}"
        )
    try:
        training = from_arrays(arrays["x_train"], arrays["y_train"])
        if "x_test" not in arrays:
            return training, None
        return training, from_arrays(arrays["x_test"], arrays["y_test"], training.classes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _up_to(largest: int, most: int) -> int:
    """How many classes numbers up to the largest speak of; a stray one must not make millions."""
    if largest >= most:
        raise ValueError(f"Expected classes numbered from 0 to {most - 1}. Received: {largest}")
    return largest + 1


def _numbers(count: int) -> tuple[str, ...]:
    """Names of classes that have none."""
    return tuple(map(str, range(count)))


def _split(data: Labelled, path: Path) -> tuple[Labelled, Labelled]:
    """A part of each class for validation."""
    generator = np.random.default_rng(SPLIT)
    by_class = np.argsort(data.labels, kind="stable")
    held_out = np.zeros(len(data), bool)
    for places in np.split(by_class, np.flatnonzero(np.diff(data.labels[by_class])) + 1):
        if len(places) > 1:
            held_out[generator.permutation(places)[: max(1, round(HELD_OUT * len(places)))]] = True
    if not held_out.any():
        raise ValueError(f"{path}: expected pictures for validation, or two of a class; received neither.")
    return _chosen(data, np.flatnonzero(~held_out)), _chosen(data, np.flatnonzero(held_out))


def _chosen(data: Labelled, indices: np.ndarray) -> Labelled:
    pictures = data.pictures
    pictures = pictures[indices] if isinstance(pictures, np.ndarray) else [pictures[i] for i in indices]
    return replace(data, pictures=pictures, labels=data.labels[indices])


def _same_classes(training: Labelled, validation: Labelled, path: Path) -> Labelled:
    """The validation pictures with the numbers that training gives their classes."""
    places = {training.classes[label]: label for label in np.unique(training.labels)}
    used, labels = np.unique(validation.labels, return_inverse=True)
    names = [validation.classes[label] for label in used]
    unknown = [name for name in names if name not in places]
    if unknown:
        raise ValueError(
            f"{path}: expected the classes of validation among those of training; received {_few(unknown)}, of which "
            "training has no pictures."
        )
    return replace(validation, labels=np.array([places[name] for name in names])[labels], classes=training.classes)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8; received something else.") from None


def _few(names: Sequence[str]) -> str:
    """The first of them, for messages."""
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)
