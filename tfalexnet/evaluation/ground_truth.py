"""The class of each picture of a folder, from its sub-folder or from a ground-truth file."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tfalexnet.evaluation.class_index import ClassIndex
from tfalexnet.evaluation.numbering import (
    ID_NUMBERINGS,
    SEPARATOR,
    VALIDATION,
    Entry,
    Ids,
    class_indices,
    name_variants,
)
from tfalexnet.images.classes import Class
from tfalexnet.images.folders import (
    is_picture,
    list_pictures,
    pictures_below,
    require_folder,
    subfolders,
    warn_left_out,
)
from tfalexnet.io.files import read_lines

LINE = re.compile(r"(?:(.*[^\s,])[\s,]+)?([^\s,]+)")  # [name, separator] label: the label is the last word.
TAB = re.compile(r"[\s,]*\t[\s,]*")
KAGGLE_HEADER = "ImageId,PredictionString"  # LOC_val_solution.csv: a name, then one or more of WordNet id and box.
KAGGLE = re.compile(r"([^,]+),(n\d{8})(?:\s.*)?")


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
    indices, ids = class_indices(entries, class_index, ids, truth)
    positions = _match(names, entries, indices, truth, os.fspath(folder))
    pictures = [(path, indices[position]) for path, position in zip(paths, positions, strict=True)]
    return GroundTruth(pictures, ids, len(entries) - len(positions))


def _match(names: list[str], entries: list[Entry], indices: list[int], truth: Path, folder: str) -> list[int]:
    """Return for each picture the position of its entry."""
    by_name: dict[str, list[int]] = {}
    for position, entry in enumerate(entries):
        for variant in set(name_variants(entry.name)):
            by_name.setdefault(variant, []).append(position)
    missing, names_by_position = [], {}
    for name in names:
        matches = next((by_name[variant] for variant in name_variants(name) if variant in by_name), None)
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
    variants = {variant for name in names for variant in name_variants(name)}
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
    with_picture = [split for split in splits if not variants.isdisjoint(name_variants(split[0]))]
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
    elif all(re.fullmatch(r"ILSVRC2012_val_\d{8}", name_variants(name)[-1]) for name in names):
        assigned = [VALIDATION.format(number) for number in range(1, len(entries) + 1)]
    else:
        raise ValueError(
            f"{truth}: expected as many labels as pictures, {len(names)}; received {len(entries)}. "
            "The file may have more labels if each line begins with the name of its picture."
        )
    return [entry._replace(name=name) for entry, name in zip(entries, assigned, strict=True)]
