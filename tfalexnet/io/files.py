"""Files: written whole or not at all, and told apart by their bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: str | os.PathLike, size: int = 0) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well.

    A crash, a kill or a full disk leaves the old file as it was. Room for `size` bytes is asked for
    first where it is given: the HDF5 library crashes when it finds none halfway.

    Raises:
        OSError: there is no such room, or the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        try:
            if size and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle, 0, size)
        finally:
            os.close(handle)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp gives 0600, which others could not read.
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Of the bytes of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_absent(path: Path, overwrite: bool) -> Path:
    """The path of an output, or `FileExistsError` where something is there that was not meant to go."""
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"Expected {path} to be new. It exists; name another output, or overwrite it (--overwrite)."
        )
    return path
