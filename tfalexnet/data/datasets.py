"""Labelled pictures from folders, lists, arrays and the data sets of Keras, for training and validation."""

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfalexnet.data.labelled import MOST_NUMBERS, Labelled, first_of, from_arrays, rename_classes
from tfalexnet.data.lists import read_list
from tfalexnet.data.parts import check_are_classes, find_parts
from tfalexnet.images.classes import read_classes
from tfalexnet.images.folders import pictures_below, subfolders, warn_left_out

KERAS_DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100")
LIST = ".txt"  # Suffix of lists.
VALIDATION_SHARE = 0.1  # Of each class, if the data has no pictures for validation.
VALIDATION_SEED = 2012  # Chooses these pictures.


def read(
    source: str | os.PathLike, classes: Sequence[str] | str | os.PathLike | None = None
) -> tuple[Labelled, Labelled]:
    """Return training and validation pictures.

    If the source has no pictures for validation, a tenth of each class is used, and at least one picture of a class of
    two or more; it is the same choice each time.

    Args:
        source: a folder with a sub-folder for each class; a folder that contains `train` and `val` with such
            sub-folders; a folder with the lists `train.txt` and `val.txt` (see `read_list`); an `.npz` with x_train,
            y_train and x_val, y_val; or the name of a data set of Keras. Sub-folders are sorted by name, or by number
            if all names are numbers. `val` may also be called valid, validation or test; upper and lower case are the
            same.
        classes: names of the classes in the required order, or a text file with a name on each line. Classes that are
            numbers are renamed, in the order of the numbers.

    Raises:
        ValueError: there are no pictures, or those of one class only; folders are named as parts of a data set, such
            as training_set; validation has a class without training
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
        inner = training.root and training.root / only
        hint = f" Give {inner}, if its folders are the classes." if inner and inner.is_dir() else ""
        raise ValueError(f"{source}: expected pictures of at least two classes; received only {only}.{hint}")
    if validation is None:
        training, validation = _split(training, path)
    else:
        validation = _with_classes_of(training, validation, path)
    if classes is not None:
        is_file = isinstance(classes, str | os.PathLike)
        names = [label for _, label in read_classes(Path(classes))] if is_file else classes
        training, validation = rename_classes(training, names), rename_classes(validation, names)
    return training, validation


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
    lists = {file.stem: file for file in path.iterdir() if file.suffix.lower() == LIST and file.is_file()}
    training, validation = find_parts(lists, path)
    if training is not None:
        read_training = read_list(lists[training])
        return read_training, validation and read_list(lists[validation], len(read_training.classes))
    training, validation = find_parts([folder.name for folder in subfolders(path)], path)
    if training is not None:
        if validation and not subfolders(path / validation):
            raise ValueError(
                f"{path / validation}: expected a folder of pictures for each class; received none. Give "
                f"{path / training} to use a tenth of each class for validation."
            )
        return _read_class_folders(path / training), validation and _read_class_folders(path / validation)
    return _read_class_folders(path), None


def _read_class_folders(path: Path) -> Labelled:
    folders = subfolders(path)
    if not folders:
        raise ValueError(f"{path}: expected a folder of pictures for each class; received none.")
    check_are_classes(folders)
    if all(folder.name.isdecimal() for folder in folders):
        folders.sort(key=lambda folder: int(folder.name))
    left_out: Counter[str] = Counter()
    files = [pictures_below(folder, left_out) for folder in folders]
    warn_left_out(path, left_out)
    empty = [folder.name for folder, pictures in zip(folders, files, strict=True) if not pictures]
    if empty:
        raise ValueError(
            f"{path}: expected pictures (.jpg, .png, …) in the folder of each class; received none in "
            f"{', '.join(empty)}. Remove folders that are no class, or add pictures."
        )
    labels = np.repeat(np.arange(len(folders)), list(map(len, files)))
    return Labelled(list(itertools.chain(*files)), labels, tuple(folder.name for folder in folders), path)


def _read_npz(path: Path) -> tuple[Labelled, Labelled | None]:
    try:
        with path.open("rb") as file, np.load(file) as archive:  # Without pickles, which can run any code.
            names = {name.casefold(): name for name in archive}
            parts = find_parts({name[2:] for name in names if name.startswith(("x_", "y_"))}, path)
            needed = [f"{axis}_{part}" for part in parts if part for axis in "xy"]
            arrays = [archive[names[name]] for name in needed if name in names]
    except OSError:
        raise
    except Exception as error:  # NumPy's errors on damaged files have no common class.
        reason = f"{type(error).__name__}: {error}"[:200]
        raise ValueError(
            f"{path}: expected an .npz of plain arrays; received a damaged one, or objects ({reason})."
        ) from error
    if not arrays or len(arrays) < len(needed):
        raise ValueError(
            f"{path}: expected arrays x_train and y_train, and x_val and y_val, or x_test and y_test or neither; "
            f"received {first_of(list(names.values()))}"
        )
    try:
        training = from_arrays(*arrays[:2])
        limit = max(MOST_NUMBERS, len(training.classes))
        return training, from_arrays(*arrays[2:], limit=limit) if len(arrays) > 2 else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


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
            f"{path}: expected the classes of validation among those of training; received {first_of(unknown)}, of "
            "which training has no pictures."
        )
    labels = np.array([indices[names[label]] for label in validation.labels])
    return replace(validation, labels=labels, classes=training.classes)
