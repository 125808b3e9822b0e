"""Resume interrupted jobs: a journal on disk with a line for each file that is done."""

import collections
import contextlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfalexnet.images.folders import check_folder_present
from tfalexnet.images.opening import PictureError
from tfalexnet.inference.timing import Timing
from tfalexnet.io.files import atomic_write, file_state, names_digest, require_absent
from tfalexnet.io.locks import file_lock
from tfalexnet.io.progress import Progress
from tfalexnet.runtimes.network import Network

VERSION = 3  # Of the journal; others are refused.
STATE = "state"  # Of an entry: the size of its file in bytes and its time of modification in ns, None if unknown.
DIGEST = "_sha256"  # Suffix of digests in a header; their values are not printed.

Entry = dict[str, Any]
"""`file`, and either the results for it or `error`, the reason why it cannot be read."""


class Journal:
    """The entries of a job over a list of files. An interrupted job continues after the last complete one.

    The journal is a text file of JSON lines: a header that identifies the job, then an entry for each file, in the
    order of the list. Each entry is handed to the system before the next one, so that a kill does not lose it. What an
    interruption left of an incomplete line is removed, and with a warning the entry of a file that has changed since,
    and those after it.

    Args:
        path: of the journal; created if it does not exist.
        header: facts that must be equal when the job is resumed, as JSON holds them.
        files: the names of all files of the job.
        root: the folder that the names of files are relative to.
        max_readable: entries after so many readable files are removed; None keeps all.
        batch: files computed at a time. Entries of an incomplete batch are removed, unless it is the last one, so that
            the others are computed in the batches of an uninterrupted job: results depend on them in the last digits.

    Attributes:
        count: number of entries.
        unreadable: number of entries with an `error`.

    Raises:
        ValueError: the file at `path` is not the journal of this job; it stays as it is.
        OSError: it cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        header: Mapping[str, Any],
        files: Sequence[str],
        root: Path = Path(),
        max_readable: int | None = None,
        batch: int = 1,
    ) -> None:
        self.path, self.files, self.root = path, files, root
        self.count = self.unreadable = 0
        self._states: collections.deque[list[int] | None] = collections.deque()  # Of the files that are being read.
        header = json.loads(json_line({"journal": VERSION, **header}))
        if not path.exists():
            with atomic_write(path) as temporary:
                temporary.write_bytes(json_line(header))
        with path.open("rb+") as file:
            first = file.readline()
            _check_header(path, _parse(first), header)
            end = position = len(first)
            readable, entries = 0, []
            for entry, size in self._complete_entries(file):
                readable += "error" not in entry
                if max_readable is not None and readable > max_readable:
                    break
                if self._has_changed(entry):
                    advice = "it and the files after it are computed again"
                    warnings.warn(f"{entry['file']} has changed: {advice}", stacklevel=3)
                    break
                entries.append(entry)
                position += size
                if len(entries) == batch or self.count + len(entries) == len(files):
                    for complete in entries:
                        self._add(complete)
                    end, entries = position, []
            file.truncate(end)

    def __iter__(self) -> Iterator[Entry]:
        """Read the `count` entries.

        Raises:
            ValueError: the file does not hold as many.
        """
        for entry in self._recorded_entries():
            entry.pop(STATE, None)
            yield entry

    def remaining(self) -> Iterator[Path]:
        """Yield the paths of the files that have no entry, for `run_network`; `record` takes the results."""
        for file in itertools.islice(self.files, self.count, None):
            path = self.root / file
            self._states.append(file_state(path))  # Before it is read, so that any change after this is seen.
            yield path

    def states_sha256(self) -> str:
        """Return the SHA-256 of the sizes and times of all files, as they were when they were read."""
        return names_digest(str(entry.get(STATE)) for entry in self._recorded_entries())

    def _recorded_entries(self) -> Iterator[Entry]:
        count = 0
        with self.path.open("rb") as file:
            file.readline()
            for count, (entry, _) in enumerate(self._complete_entries(file), 1):  # noqa: B007, used below.
                yield entry
        if count < self.count:
            raise ValueError(
                f"{self.path}: expected {self.count} entries; received {count}. Another process writes to it too."
            )

    def record(
        self,
        results: Iterator[Any],
        to_entry: Callable[[Any], Entry],
        folders: Iterable[Path],
        timing: Timing,
        note: Callable[[Entry], str] | None = None,
    ) -> None:
        """Append an entry for the result of each remaining file, with a progress line.

        Args:
            results: for each file of `remaining` a result, or the `PictureError` of one that cannot be read.
            to_entry: makes the entry of a result, without `file`.
            folders: see `check_folder_present`.
            timing: measures the network of `results`; the last line of the progress says which part limits the speed.
            note: text behind the progress after an entry; None shows the number of unreadable files.

        Raises:
            NotADirectoryError: a folder of pictures is gone; its files are not recorded as unreadable.
            OSError: an entry cannot be written.
        """
        folders, note = set(folders), note or self._count_unreadable
        names = itertools.islice(self.files, self.count, None)
        with (
            contextlib.closing(results),
            appending(self.path) as append,
            Progress(len(self.files), "pictures", self.count) as progress,
        ):
            for file, result in zip(names, results, strict=True):
                if isinstance(result, PictureError):
                    check_folder_present(self.root / file, folders)
                    entry = {"file": file, "error": result.reason}
                else:
                    entry = {"file": file, **to_entry(result)}
                entry[STATE] = self._states.popleft()
                append(json_line(entry))
                self._add(entry)
                progress.advance(1, note(entry))
            progress.note = ", ".join(filter(None, (progress.note, timing.limit())))

    def _add(self, entry: Entry) -> None:
        self.count, self.unreadable = self.count + 1, self.unreadable + ("error" in entry)

    def _has_changed(self, entry: Entry) -> bool:
        """Return whether the file of an entry was replaced or changed; one that is gone keeps its result."""
        state = file_state(self.root / entry["file"])
        return state is not None and state != entry.get(STATE)

    def _count_unreadable(self, _: Entry) -> str:
        return f"{self.unreadable} unreadable" if self.unreadable else ""

    def _complete_entries(self, file: Iterable[bytes]) -> Iterator[tuple[Entry, int]]:
        """Yield the entries up to the first line that is damaged or of another file, each with its size in bytes."""
        for name, line in zip(self.files, file, strict=False):
            entry = _parse(line)
            if not line.endswith(b"\n") or entry.get("file") != name:
                return
            yield entry, len(line)


@contextlib.contextmanager
def exclusive_output(output: Path, overwrite: bool) -> Iterator[None]:
    """Hold the lock of an output during a job.

    Raises:
        BlockingIOError: another process writes this output.
        FileExistsError: another process has written it since the arguments were checked.
    """
    with file_lock(output, wait=False):
        require_absent(output, overwrite)
        yield


def job_header(network: Network, files: Sequence[str], **details: Any) -> dict[str, Any]:
    """Return the header of a job: the weights, how they compute, the list of files, and further `details`."""
    return {
        "weights_sha256": network.sha256,
        "preprocessing": network.spec.preprocessing and network.spec.preprocessing.to_dict(),
        "precision": network.precision,
        "engine": network.engine,
        "files": len(files),
        "files_sha256": names_digest(files),
        **details,
    }


@contextlib.contextmanager
def appending(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Yield a function that appends to a file; the bytes are with the system when it returns."""
    with explain_write_errors(path):
        file = path.open("ab", buffering=0)

    def append(content: bytes) -> None:
        with explain_write_errors(path):
            while content:
                content = content[file.write(content) :]  # A disk that fills up accepts a part.

    with file:
        yield append


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Add to the system's error about a full or missing disk that the same command continues."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        text = f"{os.strerror(error.errno)}. Finished results are saved; the same command continues"
        raise OSError(error.errno, text, os.fspath(path)) from error


def json_line(content: Any) -> bytes:
    """Return JSON in UTF-8 with an end of line."""
    # A byte of a file name that is not UTF-8 is a lone surrogate; backslashreplace writes it as JSON's \udcNN.
    return f"{json.dumps(content, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace")


def _parse(line: bytes) -> Entry:
    """Return the object in a line of JSON; it is empty if there is none."""
    content = None
    with contextlib.suppress(ValueError):
        content = json.loads(line)
    return content if isinstance(content, dict) else {}


def _check_header(path: Path, received: Entry, expected: Entry) -> None:
    if received.keys() != expected.keys() or received["journal"] != VERSION:
        raise ValueError(
            f"{path}: expected the journal of an interrupted command of this version; received another file. Delete "
            "it, or choose another output."
        )
    differences: dict[str, str] = {}
    for key, value in expected.items():
        if received[key] != value:
            text = "different" if key.endswith(DIGEST) else f"{received[key]} there, {value} here"
            differences.setdefault(key.removesuffix(DIGEST), text)
    if differences:
        listed = "; ".join(f"{name}: {difference}" for name, difference in differences.items())
        raise ValueError(
            f"Expected {path} to be left by the same command. It differs: {listed}. Delete it, or choose another "
            "output."
        )
