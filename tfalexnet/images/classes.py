"""Names of classes, in the order of a network's outputs."""

from __future__ import annotations

import functools
from importlib import resources
from typing import NamedTuple


class Class(NamedTuple):
    """One class: its WordNet id where it has one, and its name."""

    wnid: str | None
    label: str


@functools.cache
def imagenet_classes() -> tuple[Class, ...]:
    """The 1000 classes of ILSVRC 2012, in the order of the sorted WordNet ids.

    Two classes are called "crane" (134, 517), so that a name alone identifies none.
    """
    return tuple(Class(wnid, label) for _, wnid, label, _ in _rows())


@functools.cache
def ilsvrc_ids() -> dict[int, int]:
    """The places of the classes in a network's output by the ids 1 to 1000 of the challenge's devkit.

    Source: data/imagenet.labels.list of pjreddie/darknet, which is in the order of the devkit.
    """
    return {int(number): int(index) for index, _, _, number in _rows()}


def _rows() -> list[list[str]]:
    text = (resources.files("tfalexnet.images") / "imagenet_classes.tsv").read_text("utf-8")
    return [line.split("\t") for line in text.splitlines()[1:]]


def classes_from_labels(labels: list[str]) -> tuple[Class, ...]:
    """Classes known by their names alone."""
    return tuple(Class(None, label) for label in labels)


def numbered_classes(count: int) -> tuple[Class, ...]:
    """Classes of which nothing is known but how many they are."""
    return classes_from_labels([f"class {index}" for index in range(count)])
