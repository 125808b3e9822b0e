"""Labelled pictures from folders, lists, arrays and the data sets of Keras, for training and validation."""

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfalexnet.images.classes import read_classes
from tfalexnet.images.folders import pictures_below, subfolders
from tfalexnet.io.files import read_lines

VALIDATION_NAMES = ("val", "valid", "validation", "test")
KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
VALIDATION_SHARE = 0.1  # Of each class, if the data has no pictures for validation.
VALIDATION_SEED = 2012  # Chooses these pictures.
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


def read(
    source: str | os.PathLike, classes: Sequence[str] | str | os.PathLike | None = None
) -> tuple[Labelled, Labelled]:
    """Return training and validation pictures.

    If the source has no pictures for validation, a tenth of each class is used, and at least one picture of a class of
    two or more; it is the same choice each time.

    Args:
        source: a folder with a sub-folder for each class; a folder that contains `train` and `val` (or valid,
            validation, test) with such sub-folders; a folder with the lists `train.txt` and `val.txt`, each line a
            path and a class (a name, or a number from 0) separated by a space or a tab; an `.npz` with x_train,
            y_train and x_test, y_test; or the name of a data set of Keras. Sub-folders are sorted by name, or by
            number if all names are numbers.
        classes: names of the classes in the required order, or a text file with a name on each line. Classes that are
            numbers are renamed, in the order of the numbers.

    Raises:
        ValueError: there are no pictures, or those of one class only; validation has a class without training
            pictures; or the names of the classes are others.
        OSError: something cannot be read.
    """
    path = Path(source)
    if str(source) in KERAS_DATASETS and not path.exists():
        training, validation = _read_keras(str(source))
    elif path.suffix.lower() == ".npz" and path.is_file():
        training, validation = _read_npz(path)
    elif path.is_dir():
        training, validation = _read_folder(path)
    else:
        received = "a file of another kind" if path.exists() else "there is no such file"
        raise ValueError(
            f"Expected a folder of pictures, an .npz or one of {', '.join(KERAS_DATASETS)}. Received: "
            f"{os.fspath(source)!r}; {received}."
        )
    used = np.unique(training.labels)
    if len(used) < 2:
        only = training.classes[used[0]]
        raise ValueError(f"{source}: expected pictures of at least two classes; received only {only}.")
    if validation is None:
        training, validation = _split(training, path)
    else:
        validation = _with_classes_of(training, validation, path)
    if classes is not None:
        is_file = isinstance(classes, str | os.PathLike)
        names = [label for _, label in read_classes(Path(classes))] if is_file else classes
        training, validation = rename_classes(training, names), rename_classes(validation, names)
    return training, validation


def rename_classes(data: Labelled, names: Sequence[str]) -> Labelled:
    """Return the pictures with their classes in the order of `names`, or renamed if the classes are numbers.

    The numbers from 0 without a gap may get more names than there are numbers; other numbers get as many.

    Raises:
        ValueError: these are not the names of the classes, or one of them occurs twice.
    """
    names, classes = tuple(names), data.classes
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"Expected another name for each class. Received more than once: {_first(twice)}")
    if set(names) == set(classes):
        order = np.array([names.index(name) for name in classes])
        return replace(data, labels=order[data.labels], classes=names)
    are_numbers = all(name.isdecimal() for name in classes)
    if are_numbers and (len(names) == len(classes) or classes == _number_names(len(names))[: len(classes)]):
        return replace(data, classes=names)
    other = f" or {len(classes)} names for them" if are_numbers else ""
    missing = [name for name in classes if name not in names]
    unknown = [name for name in names if name not in classes]
    raise ValueError(
        f"Expected the classes {_first(classes)} ({len(classes)}) in any order{other}. Received: {_first(names)} "
        f"({len(names)}); missing: {_first(missing) or 'none'}; unknown: {_first(unknown) or 'none'}"
    )


def from_arrays(x: np.ndarray, y: np.ndarray, classes: Sequence[str] | None = None) -> Labelled:
    """Return arrays as labelled pictures.

    Args:
        x: pictures, uint8 (n, height, width[, channels]), 1, 3 or 4 channels.
        y: integers from 0, (n,) or (n, 1).
        classes: names of the classes; None for the numbers.

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
    numbers = _names_up_to(int(y.max()), max(MOST_NUMBERS, len(x)) if classes is None else len(classes))
    return Labelled(x, y.astype(np.int64), numbers if classes is None else tuple(classes))


def _read_keras(name: str) -> tuple[Labelled, Labelled]:
    import keras

    try:
        (x, y), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a plain Exception if the download fails.
        raise OSError(
            f"{name}: expected Keras to have or download it; received: {error}. Use an .npz or a folder instead."
        ) from error
    training = from_arrays(x, y)
    return training, from_arrays(x_test, y_test, training.classes)


def _read_folder(path: Path) -> tuple[Labelled, Labelled | None]:
    """Read lists, a folder for each part, or a folder for each class."""
    if (path / "train.txt").is_file():
        training, validation = _read_list(path / "train.txt"), path / "val.txt"
        return training, _read_list(validation, len(training.classes)) if validation.is_file() else None
    if (path / "train").is_dir():
        validation = next((path / name for name in VALIDATION_NAMES if (path / name).is_dir()), None)
        return _read_class_folders(path / "train"), validation and _read_class_folders(validation)
    return _read_class_folders(path), None


def _read_class_folders(path: Path) -> Labelled:
    folders = subfolders(path)
    if not folders:
        raise ValueError(f"{path}: expected a folder of pictures for each class; received none.")
    if all(folder.name.isdecimal() for folder in folders):
        folders.sort(key=lambda folder: int(folder.name))
    files = [pictures_below(folder) for folder in folders]
    empty = [folder.name for folder, pictures in zip(folders, files, strict=True) if not pictures]
    if empty:
        raise ValueError(
            f"{path}: expected pictures (.jpg, .png, …) in the folder of each class; received none in "
            f"{', '.join(empty)}. Remove folders that are no class, or add pictures."
        )
    labels = np.repeat(np.arange(len(folders)), list(map(len, files)))
    return Labelled(list(itertools.chain(*files)), labels, tuple(folder.name for folder in folders), path)


def _read_list(path: Path, training_classes: int = 0) -> Labelled:
    """Read lines of a path, relative to the list's folder, and a class."""
    files, names = [], []
    for number, line in enumerate(read_lines(path), 1):
        if line:
            file, _, name = line.rpartition("\t" if "\t" in line else " ")
            if not file:
                raise ValueError(f"{path}, line {number}: expected a path and a class; received {line!r}")
            files.append(path.parent / file.strip())
            names.append(name.strip())
    if not files:
        raise ValueError(f"{path}: expected lines of path and class; received none.")
    if all(name.isdecimal() for name in names):
        labels = list(map(int, names))
        try:
            classes = _names_up_to(max(labels), max(MOST_NUMBERS, len(files), training_classes))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    else:
        classes = tuple(sorted(set(names)))
        indices = {name: index for index, name in enumerate(classes)}
        labels = [indices[name] for name in names]
    return Labelled(files, np.array(labels), classes, path.parent)


def _read_npz(path: Path) -> tuple[Labelled, Labelled | None]:
    try:
        with path.open("rb") as file, np.load(file) as archive:  # Without pickles, which can run any code.
            names = list(archive)
            arrays = {name: archive[name] for name in ARRAYS if name in names}
    except OSError:
        raise
    except Exception as error:  # NumPy's errors on damaged files have no common class.
        reason = f"{type(error).__name__}: {error}"[:200]
        raise ValueError(
            f"{path}: expected an .npz of plain arrays; received a damaged one, or objects ({reason})."
        ) from error
    if tuple(arrays) not in (ARRAYS, ARRAYS[:2]):
        raise ValueError(
            f"{path}: expected arrays x_train and y_train, and x_test and y_test or neither; received {_first(names)}"
        )
    try:
        training = from_arrays(arrays["x_train"], arrays["y_train"])
        if len(arrays) == 2:
            return training, None
        return training, from_arrays(arrays["x_test"], arrays["y_test"], training.classes)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _names_up_to(largest: int, limit: int) -> tuple[str, ...]:
    """Return the numbers up to the largest label as names; a wrong label must not create millions of classes."""
    if largest >= limit:
        raise ValueError(f"Expected classes numbered from 0 to {limit - 1}. Received: {largest}")
    return _number_names(largest + 1)


def _number_names(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _split(data: Labelled, path: Path) -> tuple[Labelled, Labelled]:
    """Return the training pictures and the part of each class that is used for validation."""
    generator = np.random.default_rng(VALIDATION_SEED)
    by_class = np.argsort(data.labels, kind="stable")
    is_validation = np.zeros(len(data), bool)
    for indices in np.split(by_class, np.flatnonzero(np.diff(data.labels[by_class])) + 1):
        if len(indices) > 1:
            count = max(1, round(VALIDATION_SHARE * len(indices)))
            is_validation[generator.permutation(indices)[:count]] = True
    if not is_validation.any():
        raise ValueError(f"{path}: expected pictures for validation, or two of a class; received neither.")
    return _select(data, ~is_validation), _select(data, is_validation)


def _select(data: Labelled, mask: np.ndarray) -> Labelled:
    is_array = isinstance(data.pictures, np.ndarray)
    pictures = data.pictures[mask] if is_array else list(itertools.compress(data.pictures, mask))
    return replace(data, pictures=pictures, labels=data.labels[mask])


def _with_classes_of(training: Labelled, validation: Labelled, path: Path) -> Labelled:
    """Return the validation pictures with the labels that training gives to their classes."""
    indices = {training.classes[label]: label for label in np.unique(training.labels)}
    names = {label: validation.classes[label] for label in np.unique(validation.labels)}
    unknown = [name for name in names.values() if name not in indices]
    if unknown:
        raise ValueError(
            f"{path}: expected the classes of validation among those of training; received {_first(unknown)}, of which "
            "training has no pictures."
        )
    labels = np.array([indices[names[label]] for label in validation.labels])
    return replace(validation, labels=labels, classes=training.classes)


def _first(names: Sequence[str]) -> str:
    """Return the first five names as text, for messages."""
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)
