"""Which pictures there are, and which class each of them shows."""

from __future__ import annotations

import functools
import os
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from tfalexnet.images.classes import Class, ilsvrc_ids, imagenet_classes
from tfalexnet.images.folders import is_picture, list_pictures, pictures_below, require_folder, subfolders

Ids = Literal["sorted", "ilsvrc"]
"""How ImageNet's classes are numbered: by sorted WordNet id from 0, as the outputs of the networks, or
by the challenge's devkit from 1. The two differ for nearly every class."""

ID_NUMBERINGS = {"sorted": "sorted WordNet ids from 0", "ilsvrc": "the devkit's own ids from 1"}

# ILSVRC2012_validation_ground_truth.txt, lines 1 to 10: ids of the devkit.
VALIDATION = "ILSVRC2012_val_{:08d}"
FIRST_TEN = dict(
    zip(map(VALIDATION.format, range(1, 11)), (490, 361, 171, 822, 297, 482, 13, 704, 599, 164), strict=True)
)

LINE = re.compile(r"(?:(.*[^\s,])[\s,]+)?([^\s,]+)")  # [name, then] label, where nothing tells more
BETWEEN = re.compile(r"[\s,]+")
TAB = re.compile(r"[\s,]*\t[\s,]*")
KAGGLE_HEADER = "ImageId,PredictionString"  # LOC_val_solution.csv: a name, then wnid and box, once or more.
KAGGLE = re.compile(r"([^,]+),(n\d{8})(?:\s.*)?")
WNID = re.compile(r"(?<![a-z0-9])n\d{8}(?!\d)")


class GroundTruth(NamedTuple):
    """What a ground-truth file says of a folder.

    Attributes:
        pictures: every picture and its class.
        ids: how the file numbers ImageNet's classes; None where it does not.
        unused: how many of its labels have no picture here.
    """

    pictures: list[tuple[Path, int]]
    ids: Ids | None
    unused: int


class Entry(NamedTuple):
    """A line of a ground-truth file."""

    line: int
    name: str | None
    label: str


class ClassIndex:
    """Classes by WordNet id or name; case, and spaces for underscores, matter only where they must."""

    def __init__(self, classes: tuple[Class, ...]) -> None:
        self.classes = classes
        self.exact, self.plain = _indices(classes, str), _indices(classes, _plain)

    def indices(self, name: str) -> list[int]:
        """Every class of this name."""
        return self.exact.get(name) or self.plain.get(_plain(name)) or []

    def index(self, name: str, where: str) -> int:
        """The class of a name that there is.

        Raises:
            ValueError: several classes bear it.
        """
        found = self.indices(name)
        if len(found) > 1:
            several = ", ".join(f"{index} ({self.classes[index].wnid or 'no WordNet id'})" for index in found)
            raise ValueError(f"{where}: expected one class; {name!r} is the name of {several}. Use WordNet ids.")
        return found[0]

    def examples(self) -> str:
        """A few of them, for messages."""
        few = ", ".join(wnid or label for wnid, label in self.classes[:3])
        return f"{few}, …" if len(self.classes) > 3 else few


def label_by_folder(
    folder: str | os.PathLike,
    classes: tuple[Class, ...],
    truth: str | os.PathLike | None = None,
    ids: Ids | None = None,
) -> list[tuple[Path, int]]:
    """Every picture of a folder, and the place of its class in `classes`.

    Args:
        folder: with a sub-folder for each class, named by WordNet id or by the class's name; they
            need not be all there. With `truth`, pictures anywhere below it.
        classes: what a network tells apart.
        truth: see `ground_truth`.
        ids: see `ground_truth`.

    Raises:
        ValueError: what is there cannot be labelled with certainty; the message says how it can.
        OSError: something cannot be read.
    """
    if truth is not None:
        return read_ground_truth(folder, classes, truth, ids).pictures
    if ids is not None:
        raise ValueError("Expected a ground-truth file, whose numbers `ids` explains. Received: ids without one.")
    folder, names = require_folder(folder), ClassIndex(classes)
    expected = f"{folder}: expected sub-folders named by class ({names.examples()})"
    below = {child: pictures for child in subfolders(folder) if (pictures := pictures_below(child))}
    loose = [path for path in sorted(folder.iterdir()) if is_picture(path.name) and not path.is_dir()]
    unknown = [child for child in below if not names.indices(child.name)]
    if unknown:
        right = [str(child) for child in unknown if any(names.indices(inner.name) for inner in subfolders(child))]
        hint = f" Give {' or '.join(right)}." if right else ""
        received = ", ".join(child.name for child in unknown[:5]) + ", …" * (len(unknown) > 5)
        raise ValueError(f"{expected}; received {len(unknown)} that are no class: {received}.{hint}")
    if loose:
        raise ValueError(
            f"{expected} alone; received {len(loose)} pictures outside of them, as {loose[0].name}. "
            "A ground-truth file (--truth) can label them."
        )
    if not below:
        raise ValueError(f"{expected}, with pictures; received none.")
    return [(path, names.index(child.name, str(child))) for child, pictures in below.items() for path in pictures]


def read_ground_truth(
    folder: str | os.PathLike, classes: tuple[Class, ...], truth: str | os.PathLike, ids: Ids | None = None
) -> GroundTruth:
    """The pictures below a folder with the labels of a file.

    Args:
        folder: of pictures.
        classes: what a network tells apart.
        truth: a text file, a label on each line: a number, a WordNet id or a class's name. Before it,
            and a tab, comma or space, may stand the picture's name, with folder and suffix or without.
            Else the lines belong to the pictures in the order of their names, or of the numbers of
            ILSVRC2012_val_…. Kaggle's LOC_val_solution.csv will do too.
        ids: how the file numbers ImageNet's classes, where it does not show by itself: by a 0 or a
            1000, or by pictures whose class is known. Other classes are numbered from 0.

    Raises:
        ValueError: a picture has no label or two; a label is no class; where a name ends is
            uncertain; the numbering is, or contradicts itself or `ids`.
        OSError: something cannot be read.
    """
    if ids not in (None, *ID_NUMBERINGS):
        raise ValueError(f"Expected ids 'sorted' or 'ilsvrc'. Received: {ids!r}")
    paths, truth = list_pictures(folder), Path(truth)
    names = [path.relative_to(folder).as_posix() for path in paths]
    known = ClassIndex(classes)
    entries = _named(_entries(truth, names, known), names, truth)
    indices, ids = _resolved(entries, known, ids, truth)

    by_form: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        for form in set(_forms(entry.name)):
            by_form.setdefault(form, []).append(place)
    found, missing, used = [], [], {}
    for path, name in zip(paths, names, strict=True):
        places = next((by_form[form] for form in _forms(name) if form in by_form), [])
        if not places:
            missing.append(name)
            continue
        if len({indices[place] for place in places}) > 1:
            lines = " and ".join(str(entries[place].line) for place in places[:2])
            raise ValueError(f"{truth}: expected one label for {name}; received two, on lines {lines}.")
        other = used.setdefault(places[0], name)
        if other != name:
            line = entries[places[0]].line
            raise ValueError(f"{truth}: expected one picture for line {line}; received {other} and {name}.")
        found.append((path, indices[places[0]]))
    if missing:
        raise ValueError(
            f"{truth}: expected a label for each picture of {folder}; {len(missing)} of {len(names)} have none, "
            f"as {missing[0]}."
        )
    return GroundTruth(found, ids, len(entries) - len(used))


def _entries(truth: Path, names: list[str], known: ClassIndex) -> list[Entry]:
    here = {form for name in names for form in _forms(name)}
    try:
        lines = truth.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{truth}: expected text, a label on each line; received a binary file.") from None
    kaggle = lines[0].strip() == KAGGLE_HEADER
    if kaggle:
        lines[0] = ""
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where, line = f"{truth}, line {number}", line.strip()
        match = (KAGGLE if kaggle else LINE).fullmatch(line)
        if match is None:
            raise ValueError(f"{where}: expected [a name and] a label; received {line[:60]!r}.")
        name, label = match.groups() if kaggle else _divided(line, here, known, where)
        entries.append(Entry(number, name, label))
    if not entries:
        raise ValueError(f"{truth}: expected a label on each line; received an empty file.")
    return entries


def _divided(line: str, here: set[str], known: ClassIndex, where: str) -> tuple[str | None, str]:
    """The name, if there is one, and the label of a line; where either holds spaces, what is known of both tells."""
    tabs = list(TAB.finditer(line))
    ways = [(line[: gap.start()], line[gap.end() :]) for gap in tabs or BETWEEN.finditer(line) if gap.start()]
    of_pictures = [way for way in ways if not here.isdisjoint(_forms(way[0]))]
    certain = [way for way in of_pictures if way[1].isdecimal() or known.indices(way[1])]
    if len(certain) > 1:
        several = " or ".join(f"{label!r} of {name!r}" for name, label in certain)
        raise ValueError(f"{where}: expected one label; received {several}. Put a tab before it.")
    whole = [(None, line)] if known.indices(line) and not tabs else []
    of_classes = [way for way in ways if known.indices(way[1])]
    usual = ways[:1] if tabs else [LINE.fullmatch(line).groups()]
    return (certain or whole or of_pictures or of_classes or usual)[0]


def _named(entries: list[Entry], names: list[str], truth: Path) -> list[Entry]:
    """The same, each with the name of its picture."""
    alone = [entry for entry in entries if entry.name is None]
    if not alone:
        return entries
    if len(alone) < len(entries):
        raise ValueError(
            f"{truth}: expected names of pictures on every line or on none; "
            f"received a label alone on line {alone[0].line}."
        )
    if len(entries) == len(names):
        return [entry._replace(name=name) for entry, name in zip(entries, names, strict=True)]
    if all(re.fullmatch(r"ILSVRC2012_val_\d{8}", _forms(name)[-1]) for name in names):
        return [entry._replace(name=VALIDATION.format(place)) for place, entry in enumerate(entries, start=1)]
    raise ValueError(
        f"{truth}: expected as many labels as pictures, {len(names)}; received {len(entries)}. "
        "With the pictures' names before the labels there may be more."
    )


def _resolved(entries: list[Entry], names: ClassIndex, ids: Ids | None, truth: Path) -> tuple[list[int], Ids | None]:
    """The class of each entry; how ImageNet's are numbered, if they are."""
    unknown = [entry for entry in entries if not names.indices(entry.label)]
    if not unknown:
        return [names.index(entry.label, f"{truth}, line {entry.line}") for entry in entries], None
    if not all(entry.label.isdecimal() for entry in entries):
        odd = next((entry for entry in unknown if not entry.label.isdecimal()), unknown[0])
        raise ValueError(
            f"{truth}, line {odd.line}: expected names of classes ({names.examples()}) or numbers, the same on "
            f"every line; received {odd.label!r}."
        )
    numbers = [int(entry.label) for entry in entries]
    is_imagenet = names.classes == imagenet_classes()
    last = len(names.classes) - 1 + is_imagenet
    for entry, number in zip(entries, numbers, strict=True):
        if number > last:
            raise ValueError(f"{truth}, line {entry.line}: expected numbers from 0 to {last}; received {number}.")
    if is_imagenet:
        ids = _numbering(entries, numbers, ids, truth)
        return ([ilsvrc_ids()[number] for number in numbers] if ids == "ilsvrc" else numbers), ids
    if ids is not None:
        raise ValueError(f"Expected `ids` for the numbers of ImageNet's classes alone. Received: ids={ids!r}")
    return numbers, None


def _numbering(entries: list[Entry], numbers: list[int], ids: Ids | None, truth: Path) -> Ids:
    """How ImageNet's classes are numbered; every sign must agree."""
    signs: dict[Ids, list[str]] = {"sorted": [], "ilsvrc": []}
    if ids is not None:
        signs[ids].append(f"ids={ids!r} was asked for")
    for extreme, counted in ((0, "sorted"), (1000, "ilsvrc")):
        if extreme in numbers:
            signs[counted].append(f"line {entries[numbers.index(extreme)].line} is {extreme}")
    for entry, number in zip(entries, numbers, strict=True):
        known = _known(entry.name)
        if known is None:
            continue
        meant = {"sorted": number, "ilsvrc": ilsvrc_ids().get(number)}
        fitting = [counted for counted, index in meant.items() if index == known]
        if not fitting:
            devkit = next(number for number, index in ilsvrc_ids().items() if index == known)
            raise ValueError(
                f"{truth}, line {entry.line}: expected {entry.name} to be {known} ({ID_NUMBERINGS['sorted']}) or "
                f"{devkit} ({ID_NUMBERINGS['ilsvrc']}); received {number}."
            )
        if len(fitting) == 1:
            signs[fitting[0]].append(f"line {entry.line}, {entry.name}, is {number}")
    told = [counted for counted, found in signs.items() if found]
    if len(told) == 1:
        return told[0]
    choice = " or ".join(f"{text} ({counted!r})" for counted, text in ID_NUMBERINGS.items())
    if told:
        raise ValueError(
            f"{truth}: expected classes numbered by {choice}; received both: {signs['sorted'][0]}, "
            f"but {signs['ilsvrc'][0]}."
        )
    raise ValueError(f"{truth}: its numbers may be {choice}. Say which (ids; --truth-ids).")


def _known(name: str) -> int | None:
    """The class that a picture's name gives away: the first of the validation set, or a WordNet id."""
    stem = _forms(name)[-1]
    if stem in FIRST_TEN:
        return ilsvrc_ids()[FIRST_TEN[stem]]
    wnid = WNID.search(name)
    return _places().get(wnid[0]) if wnid else None


@functools.cache
def _places() -> dict[str | None, int]:
    return {wnid: index for index, (wnid, _) in enumerate(imagenet_classes())}


def _forms(name: str) -> tuple[str, ...]:
    """What a file may be called, from the whole to the bare name."""
    base = posixpath.basename(name)
    end = posixpath.splitext(base)[1]
    if BETWEEN.search(end):  # "1. cat" has no suffix.
        end = ""
    return name, name.removesuffix(end), base, base.removesuffix(end)


def _indices(classes: tuple[Class, ...], form: Callable[[str], str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, names in enumerate(classes):
        for name in {form(name) for name in names if name}:
            found.setdefault(name, []).append(index)
    return found


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").split()).casefold()
