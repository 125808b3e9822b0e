"""Classes: their WordNet ids and names, in the order of a network's outputs."""

import functools
import re
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from tfalexnet.io.files import read_lines


class Class(NamedTuple):
    """One class: its WordNet id, or None, and its name."""

    wnid: str | None
    label: str


@functools.cache
def imagenet_classes() -> tuple[Class, ...]:
    """Return the 1000 classes of ILSVRC 2012, in the order of the sorted WordNet ids.

    A name does not identify a class: two classes are called "crane" (134, 517).
    """
    return tuple(Class(wnid, label) for _, wnid, label, _ in _rows())


@functools.cache
def ilsvrc_ids() -> dict[int, int]:
    """Return the index in `imagenet_classes()` for each id, 1 to 1000, of the challenge's development kit.

    Source: data/imagenet.labels.list of pjreddie/darknet, which is in the order of the development kit.
    """
    return {int(number): int(index) for index, _, _, number in _rows()}


def _rows() -> list[list[str]]:
    text = (resources.files("tfalexnet.images") / "imagenet_classes.tsv").read_text("utf-8")
    return [line.split("\t") for line in text.splitlines()[1:]]


def classes_from_labels(labels: list[str]) -> tuple[Class, ...]:
    """Return classes with these names and without WordNet ids."""
    return tuple(Class(None, label) for label in labels)


def numbered_classes(count: int) -> tuple[Class, ...]:
    """Return `count` classes with the names "class 0", "class 1", …"""
    return classes_from_labels([f"class {index}" for index in range(count)])


def read_classes(path: Path) -> tuple[Class, ...]:
    """Return the classes in a text file: UTF-8, a name on each line, blanks at the ends stripped.

    A WordNet id, or the number of the class from 0, may stand before the name, separated by a tab.

    Raises:
        ValueError: the file is not UTF-8, a line between two names is empty, or has other columns.
    """
    lines = read_lines(path)
    while lines and not lines[-1]:
        lines.pop()
    if not all(lines):
        raise ValueError(f"{path}, line {lines.index('') + 1}: expected the name of a class; received none.")
    return tuple(_class_of_line(line, number, path) for number, line in enumerate(lines))


def _class_of_line(line: str, number: int, path: Path) -> Class:
    *columns, label = (column.strip() for column in line.split("\t"))
    wnids = [column for column in columns if re.fullmatch(r"n\d{8}", column)]
    if columns not in ([], [str(number)], wnids[:1]):
        expected = "expected a name, or a WordNet id or the number of the class from 0, a tab and a name"
        raise ValueError(f"{path}, line {number + 1}: {expected}; received {line!r}.")
    return Class(wnids[0] if wnids else None, label)
