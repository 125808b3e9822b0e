"""Files: written completely or not at all, never overwritten unasked, identified by digests."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PART = ".part"  # Suffix of files that are being written.
_WRITTEN: set[Path] = set()  # Temporary files that this process writes at the moment.


@contextmanager
def atomic_write(path: str | os.PathLike, size: int = 0) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it when the block ends without an error.

    After a crash, a kill or on a full disk the old file is unchanged, and the next call deletes the temporary file.
    With `size`, so many bytes are reserved first: the HDF5 library crashes when the disk fills up while it writes.

    Raises:
        OSError: the disk has too little space, or the folder cannot be written; the error names `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_parts(path)
    temporary = path.parent / f"{temporary_prefix(path)}{os.urandom(4).hex()}{PART}"
    _WRITTEN.add(temporary)
    try:
        with temporary.open("xb") as file:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), os.fspath(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
        _WRITTEN.discard(temporary)


def temporary_prefix(path: Path) -> str:
    """Return the beginning of the names of temporary files for `path` that this process writes.

    Eight characters and PART follow.
    """
    return f".{path.name}.{os.getpid()}."


def open_regular(path: Path) -> BinaryIO:
    """Open a file to append to it; create it if it does not exist.

    Raises:
        OSError: it is a link or no regular file. In a folder that others can write, a link would lead to any file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    file = open(path, "ab", opener=lambda name, _: os.open(name, flags | getattr(os, "O_BINARY", 0), 0o666))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Expected a regular file. Delete it", os.fspath(path))
    return file


def remove_stale_parts(path: Path) -> None:
    """Delete the temporary files and folders for `path` of processes that do not run any more."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(?:(\d+)\.)?[^.]{{8}}{re.escape(PART)}")
    for stale in path.parent.iterdir() if path.parent.is_dir() else ():
        match = pattern.fullmatch(stale.name)
        if match is None or stale in _WRITTEN or (match[1] and _is_another_process(int(match[1]))):
            continue
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)


def _is_another_process(pid: int) -> bool:
    """Return whether another process of this number runs; on Windows, where asking would end it, always True."""
    if pid == os.getpid():  # In a container a later process often has the number of an earlier one.
        return False
    try:
        if os.name != "nt":
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # It belongs to another user.
        pass
    return True


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names_digest(names: Iterable[str]) -> str:
    """Return the SHA-256 of a list of file names in hexadecimal."""
    state = hashlib.sha256()
    for name in names:
        state.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return state.hexdigest()


def file_state(path: Path) -> list[int] | None:
    """Return the size in bytes and the time of modification in ns of a file, None if there is none."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: the name holds a null character.
        state = path.stat()
        return [state.st_size, state.st_mtime_ns]
    return None


def check_output(path: Path, suffixes: Collection[str], overwrite: bool) -> None:
    """Raise unless `path` has one of the suffixes, is no folder, and is new or may be overwritten.

    Raises:
        ValueError: it has another suffix.
        IsADirectoryError: it is a folder.
        FileExistsError: it exists, and `overwrite` is false.
    """
    if path.suffix not in suffixes:
        raise ValueError(f"Expected an output that ends in {', '.join(suffixes)}. Received: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected a file; received a folder.")
    require_absent(path, overwrite)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, blanks at their ends stripped; a byte order mark is ignored.

    Raises:
        ValueError: the file is not UTF-8.
    """
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected text in UTF-8; received something else.") from None


def require_absent(path: Path, overwrite: bool) -> Path:
    """Return the path of an output, or raise `FileExistsError` if it exists and must not be overwritten."""
    if path.exists() and not overwrite:
        raise FileExistsError(f"Expected {path} to be new. It exists; name another, or overwrite it (--overwrite).")
    return path
