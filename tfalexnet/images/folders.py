"""The pictures in a folder, and the check whether a folder of pictures still exists."""

import functools
import os
import posixpath
import warnings
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from PIL import Image

from tfalexnet.images.opening import picture_formats

# Suffixes of pictures that are counted if they are not read.
OTHER_FORMATS = {
    *(".heic", ".heif", ".avif", ".jxl", ".svg", ".psd", ".xcf", ".eps"),
    *(".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),  # Of cameras.
}


def list_pictures(folder: str | os.PathLike, keep_unreadable: bool = False) -> list[Path]:
    """Return all files below a folder whose suffix is that of a picture format that is read, sorted.

    Hidden files and folders are left out, and links to folders are not followed. A warning counts these links and the
    pictures in formats that are not read. With `keep_unreadable`, a folder that cannot be read is listed like a
    picture, so that decoding it states the reason.

    Raises:
        NotADirectoryError: there is no such folder.
        ValueError: the folder contains no picture.
        OSError: a folder cannot be read, without `keep_unreadable`.
    """
    left_out: Counter[str] = Counter()
    pictures = pictures_below(require_folder(folder), left_out, keep_unreadable)
    warn_left_out(folder, left_out)
    if not pictures:
        raise ValueError(f"{os.fspath(folder)}: expected pictures (.jpg, .png, …); received a folder without any.")
    return pictures


def require_folder(folder: str | os.PathLike) -> Path:
    """Return the folder as a path. Raise `NotADirectoryError` if it is not a folder."""
    folder = Path(folder)
    if not folder.is_dir():
        received = "a file" if folder.exists() else "nothing of this name"
        raise NotADirectoryError(f"{folder}: expected a folder of pictures; received {received}.")
    return folder


def check_folder_present(file: str | os.PathLike, folders: Collection[Path]) -> None:
    """Raise an error if a picture could not be read because a folder above it is missing or empty.

    It tells a disk that was disconnected from a picture that is damaged or was deleted.

    Args:
        file: the picture.
        folders: the folders that were searched for pictures; folders above them are not checked. If it is
            empty, all folders above the file are checked.

    Raises:
        NotADirectoryError: the file does not exist, and a folder above it does not exist or is empty.
    """
    if os.path.lexists(file):
        return
    missing = None
    for folder in Path(file).parents:
        if _is_missing(folder):
            missing = folder
        if folder in folders:
            break
    if missing:
        raise NotADirectoryError(
            f"{missing}: expected the pictures that were there; it is gone, or empty. When they are back, run the "
            "same command again: it continues from its saved results."
        )


def _is_missing(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None  # The mount point of an unmounted disk is an empty folder.
    except OSError:
        return True


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and those of metadata in archives of macOS."""
    children = (child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    return sorted(child for child in children if child.name != "__MACOSX")


def pictures_below(folder: Path, left_out: Counter[str], keep_unreadable: bool = False) -> list[Path]:
    """Return the pictures below a folder as `list_pictures` does; the list may be empty.

    Args:
        folder: the folder.
        left_out: counts the links and the pictures in formats that are not read, for `warn_left_out`.
        keep_unreadable: as for `list_pictures`.
    """
    pictures = []

    def fail(error: OSError) -> None:
        if not keep_unreadable:
            raise error
        pictures.append(Path(error.filename))

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        left_out["links to folders"] += sum(Path(parent, name).is_symlink() for name in folders)
        pictures.extend(Path(parent, name) for name in files if is_picture(name))
        others = (Path(name) for name in files if not name.startswith(".") and not is_picture(name))
        left_out.update(file.suffix.lower() for file in others if file.suffix.lower() in OTHER_FORMATS)
    return sorted(pictures)


def warn_left_out(folder: str | os.PathLike, left_out: Counter[str]) -> None:
    """Warn of what `pictures_below` counted, if anything."""
    counts = [f"{kind} ({count:,})" for kind, count in sorted(left_out.items()) if count]
    if counts:
        warnings.warn(f"{os.fspath(folder)}: left out {', '.join(counts)}, which are not read", stacklevel=3)


def is_picture(name: str) -> bool:
    """Return whether a file's name has the suffix of a picture and is not hidden."""
    return posixpath.splitext(name)[1].lower() in _suffixes() and not name.startswith(".")


@functools.cache
def _suffixes() -> frozenset[str]:
    formats = Image.registered_extensions().items()  # This call makes Pillow register all its formats.
    read = {*picture_formats(), "MPO"}  # MPO is opened as JPEG.
    return frozenset(suffix for suffix, name in formats if name in read)
