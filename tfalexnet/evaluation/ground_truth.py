"""The class of each picture of a folder, from its sub-folder or from a ground-truth file."""

import os
import posixpath
import re
from collections import Counter
from pathlib import Path
from typing import Literal, NamedTuple

from tfalexnet.images.classes import Class, ilsvrc_ids, imagenet_classes
from tfalexnet.images.folders import (
    is_picture,
    list_pictures,
    pictures_below,
    require_folder,
    subfolders,
    warn_left_out,
)
from tfalexnet.io.files import read_lines

Ids = Literal["sorted", "ilsvrc"]
"""How a file numbers ImageNet's classes: from 0 in the order of the sorted WordNet ids, as the outputs of the
networks, or from 1 as the challenge's development kit. The two differ for nearly every class."""

ID_NUMBERINGS = {"sorted": "sorted WordNet ids from 0", "ilsvrc": "the devkit's own ids from 1"}

# ILSVRC2012_validation_ground_truth.txt, lines 1 to 10: ids of the development kit.
VALIDATION = "ILSVRC2012_val_{:08d}"
FIRST_TEN = dict(
    zip(map(VALIDATION.format, range(1, 11)), (490, 361, 171, 822, 297, 482, 13, 704, 599, 164), strict=True)
)

LINE = re.compile(r"(?:(.*[^\s,])[\s,]+)?([^\s,]+)")  # [name, separator] label: the label is the last word.
SEPARATOR = re.compile(r"[\s,]+")
TAB = re.compile(r"[\s,]*\t[\s,]*")
KAGGLE_HEADER = "ImageId,PredictionString"  # LOC_val_solution.csv: a name, then one or more of WordNet id and box.
KAGGLE = re.compile(r"([^,]+),(n\d{8})(?:\s.*)?")
WNID = re.compile(r"(?<![a-z0-9])n\d{8}(?!\d)")


class GroundTruth(NamedTuple):
    """The labels that a ground-truth file gives to the pictures of a folder.

    Attributes:
        pictures: every picture and the index of its class.
        ids: how the file numbers ImageNet's classes; None if it does not.
        unused: number of labels of pictures that are not in the folder.
    """

    pictures: list[tuple[Path, int]]
    ids: Ids | None = None
    unused: int = 0


class Entry(NamedTuple):
    """One line of a ground-truth file: its number, the name of a picture if it has one, and the label."""

    line: int
    name: str | None
    label: str


class ClassIndex:
    """The indices of classes by WordNet id or name.

    If no class has exactly the given name, case is ignored, and underscores count as spaces.
    """

    def __init__(self, classes: tuple[Class, ...]) -> None:
        self.classes = classes
        self.exact: dict[str, list[int]] = {}
        self.normalized: dict[str, list[int]] = {}
        for table, form in ((self.exact, str), (self.normalized, _normalized)):
            for index, names in enumerate(classes):
                for name in {form(name) for name in names if name}:
                    table.setdefault(name, []).append(index)

    def indices(self, name: str) -> list[int]:
        """Return the indices of all classes of this name."""
        return self.exact.get(name) or self.normalized.get(_normalized(name)) or []

    def index(self, name: str, where: str) -> int:
        """Return the index of the one class of a name that exists; `where` begins the message of an error.

        Raises:
            ValueError: several classes have this name.
        """
        indices = self.indices(name)
        if len(indices) > 1:
            classes = ", ".join(f"{index} ({self.classes[index].wnid or 'no WordNet id'})" for index in indices)
            raise ValueError(f"{where}: expected one class; {name!r} is the name of {classes}. Use WordNet ids.")
        return indices[0]

    def examples(self) -> str:
        """Return the first names or WordNet ids, for messages."""
        first = ", ".join(wnid or label for wnid, label in self.classes[:3])
        return f"{first}, …" if len(self.classes) > 3 else first


def label_by_folder(folder: str | os.PathLike, classes: tuple[Class, ...]) -> list[tuple[Path, int]]:
    """Return every picture of a folder and the index of its class in `classes`.

    Args:
        folder: contains a sub-folder for each class, named by WordNet id or class name; classes may be missing.
        classes: the classes of the network.

    Raises:
        ValueError: the pictures cannot be labelled unambiguously. The message states what to change.
        OSError: a folder cannot be read.
    """
    folder, class_index = require_folder(folder), ClassIndex(classes)
    expected = f"{folder}: expected sub-folders named by class ({class_index.examples()})"
    left_out: Counter[str] = Counter()
    below = {child: pictures for child in subfolders(folder) if (pictures := pictures_below(child, left_out))}
    warn_left_out(folder, left_out)
    outside = [path.name for path in sorted(folder.iterdir()) if is_picture(path.name) and not path.is_dir()]
    unknown = [child for child in below if not class_index.indices(child.name)]
    if unknown:
        above = [str(child) for child in unknown if any(class_index.indices(path.name) for path in subfolders(child))]
        hint = f" Give {' or '.join(above)}." if above else ""
        received = ", ".join(child.name for child in unknown[:5]) + ", …" * (len(unknown) > 5)
        raise ValueError(f"{expected}; received {len(unknown)} that are no class: {received}.{hint}")
    if outside:
        raise ValueError(
            f"{expected}, and no pictures beside them; received {len(outside)} pictures outside of them, as "
            f"{outside[0]}. A ground-truth file (--truth) can label them."
        )
    if not below:
        raise ValueError(f"{expected}, with pictures; received none.")
    return [(path, class_index.index(child.name, str(child))) for child, pictures in below.items() for path in pictures]


def read_ground_truth(
    folder: str | os.PathLike, classes: tuple[Class, ...], truth: str | os.PathLike, ids: Ids | None = None
) -> GroundTruth:
    """Return the pictures below a folder with their labels from a file.

    Args:
        folder: contains the pictures.
        classes: the classes of the network.
        truth: a text file with a label on each line: a number, a WordNet id or a class name. The picture's
            name may stand before it, with or without folder and suffix, followed by a tab, comma or space.
            Without names, the lines belong to the pictures in the order of their names, or, for
            ILSVRC2012_val_… pictures, by the number in the name. Kaggle's LOC_val_solution.csv is read too.
        ids: how the file numbers ImageNet's classes. It is required only if the file does not show it: by
            a 0 or a 1000, or by pictures whose class is known. Other classes are numbered from 0.

    Raises:
        ValueError: a picture has no label or several; a label is not a class; the end of a picture's name
            is ambiguous; the numbering is ambiguous, or contradicts itself or `ids`.
        OSError: a file or folder cannot be read.
    """
    if ids not in (None, *ID_NUMBERINGS):
        raise ValueError(f"Expected ids 'sorted' or 'ilsvrc'. Received: {ids!r}")
    paths, truth, class_index = list_pictures(folder), Path(truth), ClassIndex(classes)
    names = [path.relative_to(folder).as_posix() for path in paths]
    entries = _with_names(_read_entries(truth, names, class_index), names, truth)
    indices, ids = _class_indices(entries, class_index, ids, truth)
    positions = _match(names, entries, indices, truth, os.fspath(folder))
    pictures = [(path, indices[position]) for path, position in zip(paths, positions, strict=True)]
    return GroundTruth(pictures, ids, len(entries) - len(positions))


def _match(names: list[str], entries: list[Entry], indices: list[int], truth: Path, folder: str) -> list[int]:
    """Return for each picture the position of its entry."""
    by_name: dict[str, list[int]] = {}
    for position, entry in enumerate(entries):
        for variant in set(_name_variants(entry.name)):
            by_name.setdefault(variant, []).append(position)
    missing, names_by_position = [], {}
    for name in names:
        matches = next((by_name[variant] for variant in _name_variants(name) if variant in by_name), None)
        if matches is None:
            missing.append(name)
            continue
        lines = [entries[position].line for position in matches]
        if len({indices[position] for position in matches}) > 1:
            raise ValueError(
                f"{truth}: expected one label for {name}; received two, on lines {lines[0]} and {lines[1]}."
            )
        other = names_by_position.setdefault(matches[0], name)
        if other != name:
            raise ValueError(f"{truth}: expected one picture for line {lines[0]}; received {other} and {name}.")
    if missing:
        raise ValueError(
            f"{truth}: expected a label for each picture of {folder}; {len(missing)} of {len(names)} have none, "
            f"as {missing[0]}."
        )
    return list(names_by_position)


def _read_entries(truth: Path, names: list[str], class_index: ClassIndex) -> list[Entry]:
    """Return the entries of a ground-truth file; `names` are those of the pictures in the folder."""
    variants = {variant for name in names for variant in _name_variants(name)}
    lines = read_lines(truth)
    is_kaggle = lines[0] == KAGGLE_HEADER
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line or (is_kaggle and number == 1):
            continue
        where = f"{truth}, line {number}"
        match = (KAGGLE if is_kaggle else LINE).fullmatch(line)
        if match is None:
            raise ValueError(f"{where}: expected [a name and] a label; received {line[:60]!r}.")
        name, label = match.groups() if is_kaggle else _split_line(line, variants, class_index, where)
        entries.append(Entry(number, name, label))
    if not entries:
        raise ValueError(f"{truth}: expected a label on each line; received an empty file.")
    return entries


def _split_line(line: str, variants: set[str], class_index: ClassIndex, where: str) -> tuple[str | None, str]:
    """Return the name of the picture, or None, and the label of a line.

    Both may contain spaces. The separator is a tab if there is one. Else it is the one between a picture of
    the folder and a class; if there is none, the line is the name of a class, or begins with the name of a
    picture, or ends with a class, or has a label of one word, in this order.
    """
    tabs = list(TAB.finditer(line))
    splits = [(line[: gap.start()], line[gap.end() :]) for gap in tabs or SEPARATOR.finditer(line) if gap.start()]
    with_picture = [split for split in splits if not variants.isdisjoint(_name_variants(split[0]))]
    certain = [split for split in with_picture if split[1].isdecimal() or class_index.indices(split[1])]
    if len(certain) > 1:
        labels = " or ".join(f"{label!r} of {name!r}" for name, label in certain)
        raise ValueError(f"{where}: expected one label; received {labels}. Put a tab before it.")
    label_only = [(None, line)] if class_index.indices(line) and not tabs else []
    with_class = [split for split in splits if class_index.indices(split[1])]
    default = splits[:1] if tabs else [LINE.fullmatch(line).groups()]
    return (certain or label_only or with_picture or with_class or default)[0]


def _with_names(entries: list[Entry], names: list[str], truth: Path) -> list[Entry]:
    """Return the entries, each with the name of its picture."""
    unnamed = [entry for entry in entries if entry.name is None]
    if not unnamed:
        return entries
    if len(unnamed) < len(entries):
        raise ValueError(
            f"{truth}: expected names of pictures on every line or on none; "
            f"received a label without a name on line {unnamed[0].line}."
        )
    if len(entries) == len(names):
        assigned = names
    elif all(re.fullmatch(r"ILSVRC2012_val_\d{8}", _name_variants(name)[-1]) for name in names):
        assigned = [VALIDATION.format(number) for number in range(1, len(entries) + 1)]
    else:
        raise ValueError(
            f"{truth}: expected as many labels as pictures, {len(names)}; received {len(entries)}. "
            "The file may have more labels if each line begins with the name of its picture."
        )
    return [entry._replace(name=name) for entry, name in zip(entries, assigned, strict=True)]


def _class_indices(
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
    stem = _name_variants(name)[-1]
    if stem in FIRST_TEN:
        return ilsvrc_ids()[FIRST_TEN[stem]]
    wnid = WNID.search(name)
    return class_index.exact.get(wnid[0], [None])[0] if wnid else None


def _name_variants(name: str) -> tuple[str, ...]:
    """Return a picture's name with and without its suffix, then the same without its folder."""
    base = posixpath.basename(name)
    suffix = posixpath.splitext(base)[1]
    if SEPARATOR.search(suffix):  # "1. cat" has no suffix.
        suffix = ""
    return name, name.removesuffix(suffix), base, base.removesuffix(suffix)


def _normalized(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
