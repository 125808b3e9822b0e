"""Labelled pictures from a list of paths and classes."""

from pathlib import Path

import numpy as np

from tfalexnet.data.labelled import MOST_NUMBERS, Labelled, number_classes
from tfalexnet.images.folders import is_picture
from tfalexnet.io.files import read_lines


def read_list(path: Path, training_classes: int = 0) -> Labelled:
    """Return the pictures of a list, whose lines are a path and a class, separated by a space or a tab.

    Paths are relative to the list's folder or, if the first picture is not there, to the working directory. A class is
    a name, or a number; see `number_classes`. A first line that names no picture is a header.

    Args:
        path: the list, UTF-8.
        training_classes: number of classes of the training pictures; numbers may denote as many.

    Raises:
        ValueError: a line has no class, there are no lines, or a number is too large.
    """
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line]
    files, names = [], []
    for number, line in lines:
        file, _, name = line.rpartition("\t" if "\t" in line else " ")
        if not file:
            raise ValueError(f"{path}, line {number}: expected a path and a class; received {line!r}")
        files.append(Path(file.strip()))
        names.append(name.strip())
    if len(files) > 1 and not is_picture(files[0].name) and is_picture(files[1].name):
        del files[0], names[0]
    if not files:
        raise ValueError(f"{path}: expected lines of path and class; received none.")
    is_elsewhere = not (path.parent / files[0]).exists() and files[0].exists()
    root = Path.cwd() if is_elsewhere else path.parent
    if all(name.isdecimal() for name in names):
        try:
            labels, classes = number_classes(list(map(int, names)), max(MOST_NUMBERS, len(files), training_classes))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    else:
        classes, labels = np.unique(names, return_inverse=True)
    return Labelled([root / file for file in files], labels, tuple(map(str, classes)), path.parent)
