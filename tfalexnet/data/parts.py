"""The parts of a data set, for training and validation, by the names of folders, lists or arrays."""

import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from tfalexnet.images.folders import subfolders

TRAINING_NAME = "train"
VALIDATION_NAMES = ("val", "valid", "validation", "test")  # The first of them that exists is used.
_TRAINING = "train(?:ing)?"
_OTHERS = "val|valid|validation|test(?:ing)?|pred|prediction|dev|eval|evaluation|holdout"
# A name that has one of these words, such as "training_set", "seg_test" or "testset1".
_WORD = r"(?:.*[^a-z])?(?:{})(?:set|data)?\d*(?:[^a-z].*)?"
_TRAINING_PART, _PART = (re.compile(_WORD.format(words)) for words in (_TRAINING, f"{_TRAINING}|{_OTHERS}"))


def find_parts(names: Iterable[str], source: Path) -> tuple[str | None, str | None]:
    """Return the names of the parts for training and validation among `names`, in any case; None where there is none.

    A warning names further parts of `source`.
    """
    # Names in lower case are last, and so selected if another name differs in case alone.
    by_name = {name.casefold(): name for name in sorted(names)}
    training = by_name.get(TRAINING_NAME)
    if training is None:
        return None, None
    validation = next((by_name[name] for name in VALIDATION_NAMES if name in by_name), None)
    unused = [name for name in by_name.values() if name not in (training, validation) and _matches(_PART, name)]
    if unused:
        used = validation or "a tenth of the training pictures"
        warnings.warn(f"{source}: validation uses {used}; not used: {', '.join(unused)}", stacklevel=4)
    return training, validation


def check_are_classes(folders: list[Path]) -> None:
    """Raise `ValueError` if folders are named as parts of a data set; warn if each holds folders of the same names."""
    below = {folder: {child.name for child in subfolders(folder)} for folder in folders}
    is_training = [folder for folder in folders if _matches(_TRAINING_PART, folder.name) and below[folder]]
    if is_training or (len(folders) > 1 and all(_matches(_PART, folder.name) for folder in folders)):
        first = (is_training or folders)[0]
        raise ValueError(
            f"{first.parent}: expected a folder of pictures for each class; received parts of a data set: "
            f"{', '.join(folder.name for folder in folders)}. Name the parts train and val, or give {first}."
        )
    shared = set.intersection(*below.values())
    if len(folders) > 1 and len(shared) > 1:
        warnings.warn(
            f"{folders[0].parent}: its folders are the classes ({folders[0].name}, {folders[1].name}, …), though each "
            f"contains {' and '.join(sorted(shared)[:2])}. If these are the classes, give one of the folders.",
            stacklevel=5,
        )


def _matches(pattern: re.Pattern[str], name: str) -> bool:
    return pattern.fullmatch(name.casefold()) is not None
