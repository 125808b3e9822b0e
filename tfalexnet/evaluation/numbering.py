"""The class of each entry of a ground-truth file, for names and for both numberings of ImageNet's classes."""

import posixpath
import re
from pathlib import Path
from typing import Literal, NamedTuple

from tfalexnet.evaluation.class_index import ClassIndex
from tfalexnet.images.classes import ilsvrc_ids, imagenet_classes

Ids = Literal["sorted", "ilsvrc"]
"""How a file numbers ImageNet's classes: from 0 in the order of the sorted WordNet ids, as the outputs of the
networks, or from 1 as the challenge's development kit. The two differ for nearly every class."""

ID_NUMBERINGS = {"sorted": "sorted WordNet ids from 0", "ilsvrc": "the devkit's own ids from 1"}

# ILSVRC2012_validation_ground_truth.txt, lines 1 to 10: ids of the development kit.
VALIDATION = "ILSVRC2012_val_{:08d}"
FIRST_TEN = dict(
    zip(map(VALIDATION.format, range(1, 11)), (490, 361, 171, 822, 297, 482, 13, 704, 599, 164), strict=True)
)

SEPARATOR = re.compile(r"[\s,]+")
WNID = re.compile(r"(?<![a-z0-9])n\d{8}(?!\d)")


class Entry(NamedTuple):
    """One line of a ground-truth file: its number, the name of a picture if it has one, and the label."""

    line: int
    name: str | None
    label: str


def class_indices(
    entries: list[Entry], class_index: ClassIndex, ids: Ids | None, truth: Path
) -> tuple[list[int], Ids | None]:
    """Return the index of each entry's class, and how ImageNet's classes are numbered (None if they are not)."""
    unknown = [entry for entry in entries if not class_index.indices(entry.label)]
    if not unknown:
        return [class_index.index(entry.label, f"{truth}, line {entry.line}") for entry in entries], None
    if not all(entry.label.isdecimal() for entry in entries):
        wrong = next((entry for entry in unknown if not entry.label.isdecimal()), unknown[0])
        raise ValueError(
            f"{truth}, line {wrong.line}: expected names of classes ({class_index.examples()}) or numbers, "
            f"the same on every line; received {wrong.label!r}."
        )
    numbers = [int(entry.label) for entry in entries]
    is_imagenet = class_index.classes == imagenet_classes()
    largest = len(class_index.classes) - 1 + is_imagenet
    for entry, number in zip(entries, numbers, strict=True):
        if number > largest:
            raise ValueError(f"{truth}, line {entry.line}: expected numbers from 0 to {largest}; received {number}.")
    if is_imagenet:
        ids = _numbering(entries, numbers, ids, truth, class_index)
        return ([ilsvrc_ids()[number] for number in numbers] if ids == "ilsvrc" else numbers), ids
    if ids is not None:
        raise ValueError(f"Expected `ids` only for the numbers of ImageNet's classes. Received: ids={ids!r}")
    return numbers, None


def _numbering(entries: list[Entry], numbers: list[int], ids: Ids | None, truth: Path, class_index: ClassIndex) -> Ids:
    """Return how ImageNet's classes are numbered. Raise `ValueError` unless all evidence supports one numbering."""
    devkit = {index: number for number, index in ilsvrc_ids().items()}
    evidence: dict[Ids, list[str]] = {"sorted": [], "ilsvrc": []}
    if ids is not None:
        evidence[ids].append(f"ids={ids!r} was asked for")
    for entry, number in zip(entries, numbers, strict=True):
        if number in (0, 1000):  # Each is used by one numbering only.
            evidence["ilsvrc" if number else "sorted"].append(f"line {entry.line} is {number}")
        index = _index_from_name(entry.name, class_index)
        if index is None:
            continue
        matching = [name for name, value in (("sorted", index), ("ilsvrc", devkit[index])) if value == number]
        if not matching:
            raise ValueError(
                f"{truth}, line {entry.line}: expected {entry.name} to be {index} ({ID_NUMBERINGS['sorted']}) or "
                f"{devkit[index]} ({ID_NUMBERINGS['ilsvrc']}); received {number}."
            )
        if len(matching) == 1:
            evidence[matching[0]].append(f"line {entry.line}, {entry.name}, is {number}")
    supported = [numbering for numbering, reasons in evidence.items() if reasons]
    if len(supported) == 1:
        return supported[0]
    choice = " or ".join(f"{text} ({numbering!r})" for numbering, text in ID_NUMBERINGS.items())
    received = "numbers that may be either. State which (ids; --truth-ids)"
    if supported:
        received = f"both: {evidence['sorted'][0]}, but {evidence['ilsvrc'][0]}"
    raise ValueError(f"{truth}: expected classes numbered by {choice}; received {received}.")


def _index_from_name(name: str, class_index: ClassIndex) -> int | None:
    """Return the class of a picture whose name shows it: the first ten of the validation set, or a WordNet id."""
    stem = name_variants(name)[-1]
    if stem in FIRST_TEN:
        return ilsvrc_ids()[FIRST_TEN[stem]]
    wnid = WNID.search(name)
    return class_index.exact.get(wnid[0], [None])[0] if wnid else None


def name_variants(name: str) -> tuple[str, ...]:
    """Return a picture's name with and without its suffix, then the same without its folder."""
    base = posixpath.basename(name)
    suffix = posixpath.splitext(base)[1]
    if SEPARATOR.search(suffix):  # "1. cat" has no suffix.
        suffix = ""
    return name, name.removesuffix(suffix), base, base.removesuffix(suffix)
