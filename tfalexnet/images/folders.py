"""Which pictures there are, and which class each of them shows."""

from __future__ import annotations

import functools
import os
import posixpath
from collections.abc import Collection
from pathlib import Path

from PIL import Image

# Pillow knows these by their first bytes and cannot read them (its handbook, "Identify-only formats").
NOT_READ = {"BUFR", "GRIB", "HDF5", "MPEG"}


def list_pictures(folder: str | os.PathLike) -> list[Path]:
    """All files below a folder whose names end as pictures that Pillow reads do, sorted.

    Hidden files and folders are left out, and links to folders are not followed.

    Raises:
        NotADirectoryError: there is no such folder.
        ValueError: it holds no picture.
        OSError: a folder cannot be read.
    """
    found = _below(require_folder(folder))
    if not found:
        raise ValueError(f"{os.fspath(folder)}: expected pictures (.jpg, .png, …); received a folder without any.")
    return found


def require_folder(folder: str | os.PathLike) -> Path:
    """The folder, or `NotADirectoryError`."""
    folder = Path(folder)
    if not folder.is_dir():
        received = "a file" if folder.exists() else "nothing of this name"
        raise NotADirectoryError(f"{folder}: expected a folder of pictures; received {received}.")
    return folder


def check_folder_present(file: str | os.PathLike, folders: Collection[Path]) -> None:
    """Of a picture that could not be read: a disk that is gone says nothing about its pictures.

    A file that alone is missing passes, as one that is damaged does.

    Args:
        file: its name.
        folders: where pictures were looked for; what is above them does not count. Without any, all
            folders above the file do.

    Raises:
        NotADirectoryError: the file is missing, and with it all that a folder above it held.
    """
    if os.path.lexists(file):
        return
    gone = None
    for folder in Path(file).parents:
        if _is_gone(folder):
            gone = folder
        if folder in folders:
            break
    if gone:
        raise NotADirectoryError(
            f"{gone}: expected the pictures that were there; it is gone, or empty. With them back, give the same "
            "command again: it goes on from what it has kept."
        )


def _is_gone(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None  # What is left of a disk that was unmounted is an empty folder.
    except OSError:
        return True


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _below(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in files if _is_picture(name)]
    return sorted(found)


def _is_picture(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in _suffixes() and not name.startswith(".")


@functools.cache
def _suffixes() -> frozenset[str]:
    formats = Image.registered_extensions().items()  # Registers them all.
    read = {*Image.OPEN, "MPO"} - NOT_READ  # MPO is opened as JPEG.
    return frozenset(suffix for suffix, name in formats if name in read)
