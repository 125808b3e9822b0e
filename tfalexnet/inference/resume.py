"""Long work as it grows: a line of JSON for each file, from which the same call goes on."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tfalexnet.io.files import atomic_write

DIGEST = re.compile("[0-9a-f]{64}")

Named = Callable[[Any], str | None]
"""The file that a line, parsed, is about; None if it is no line of that kind of journal."""


def resume_journal(path: Path, said: dict[str, Any], files: Sequence[str], named: Named) -> Iterator[Any]:
    """The lines of an interrupted call; after the last of them the journal is ready for the rest.

    Its first line says of what it is; each further one is about one file, in order. What an
    interruption left of a line is cut off. Without a journal there is a new one.

    Args:
        path: of the journal.
        said: of what it is to be, as JSON holds it.
        files: all that there will be a line for.
        named: tells a line's file.

    Raises:
        ValueError: it is not a journal, or of another call; it stays as it is.
        OSError: it cannot be read or written.
    """
    if not path.exists():
        with atomic_write(path) as temporary:
            temporary.write_bytes(json_line(said))
        return
    with path.open("rb+") as log:
        first = log.readline()
        before = _parsed(first)
        if not isinstance(before, dict) or set(before) != set(said):
            raise ValueError(f"{path}: expected what an interrupted command left; it is not. Choose another output.")
        check_same_header(path, before, said)
        end = len(first)
        for found, length in _whole(log, files, named):
            end += length
            yield found
        log.truncate(end)


def check_same_header(path: Path, before: dict[str, Any], said: dict[str, Any]) -> None:
    """Raises `ValueError` where a file was left by another call; of digests it says only that they differ."""
    differing: dict[str, str] = {}
    for key, value in said.items():
        if before[key] != value:
            name, digest = key.removesuffix("_sha256"), DIGEST.fullmatch(str(value))
            differing.setdefault(name, "others" if digest else f"{before[key]} there, {value} here")
    if differing:
        listed = "; ".join(f"{name}: {difference}" for name, difference in differing.items())
        raise ValueError(
            f"Expected {path} to be left by the same command. It differs: {listed}. Delete it, or choose "
            "another output."
        )


def read_journal(path: Path, files: Sequence[str], named: Named) -> Iterator[Any]:
    """The lines of a finished journal, one for each file.

    Raises:
        ValueError: some are missing.
    """
    count = 0
    with path.open("rb") as log:
        log.readline()
        for found, _ in _whole(log, files, named):
            count += 1
            yield found
    if count < len(files):
        raise ValueError(f"{path}: expected a row for each of {len(files)} files; another process writes to it too.")


@contextlib.contextmanager
def append_journal(path: Path) -> Iterator[Callable[[Any], None]]:
    """A function that adds a line, which is with the system when it returns: a kill does not take it back."""
    with explain_write_errors(path):
        log = path.open("ab")

    def append(content: Any) -> None:
        with explain_write_errors(path):
            log.write(json_line(content))
            log.flush()

    try:
        yield append
    finally:
        with explain_write_errors(path):  # What a full disk did not take is tried once more.
            log.close()


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """A full disk, or one that went away, in words that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        text = f"{os.strerror(error.errno)}. What is done is kept: the same command goes on"
        raise OSError(error.errno, text, os.fspath(path)) from error


def json_line(content: Any) -> bytes:
    """JSON in UTF-8, and the end of a line."""
    # Of a lone surrogate, a byte of a name that is not UTF-8, backslashreplace makes what JSON calls it, \udcNN.
    return f"{json.dumps(content, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace")


def _whole(log: IO[bytes], files: Sequence[str], named: Named) -> Iterator[tuple[Any, int]]:
    """The lines as far as they are whole, each with its bytes."""
    for file, text in zip(files, log, strict=False):
        found = _parsed(text)
        if not text.endswith(b"\n") or named(found) != file:
            return
        yield found, len(text)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
