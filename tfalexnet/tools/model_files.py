"""Find weights, labels, mean and definition in a folder or an archive, as model zoos ship them."""

import errno
import fnmatch
import os
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from tfalexnet.checkpoints.checkpoint import output_stem, recognise_format
from tfalexnet.checkpoints.formats import CheckpointError, foreign, npz, tensorflow_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import imagenet_classes, numbered_classes, read_classes
from tfalexnet.io.terminal import escape

MAX_FILES = 1000
MAX_DEPTH = 4  # Folders in folders.
MAX_BYTES = 4 << 30  # Of all files of an archive, unpacked.
MAX_HEADER = 1 << 16  # Bytes of an extended header of a .tar.
MAX_TEXT = 1 << 20  # Bytes of a file of labels.
BLOCK = 1 << 20
MAX_NAME = 200  # Bytes of a name that is written; file systems have 255.
# Positions out of the file, and names that are a file and a folder; other errors are those of the disk.
ERRORS_OF_ARCHIVES = (None, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
# Files by their names, in any case. The first kind whose pattern fits is used; the others may be weights.
KINDS = {
    "labels": ("*.txt", "*.names", "*.tsv"),
    "definition": ("*.prototxt",),
    "mean": ("*.binaryproto", "*mean*.npy"),
    "other": ("*.md", "*.json", "*.jpg", "*.jpeg", "*.png", "*.py", "*.solverstate", "*.meta", "checkpoint"),
}
LABELS = re.compile("label|class|categor|synset|names", re.IGNORECASE)  # In the name of a list of classes.


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        weights: the only file with weights.
        texts: those that may hold the names of the classes.
        definition: Caffe's prototxt, the one of deployment if there are several; None if there is none.
        mean: the mean of pictures, None if there is none.
        folder: where they are.
    """

    weights: Path
    texts: tuple[Path, ...]
    definition: Path | None
    mean: Path | None
    folder: Path

    def labels(self, spec: ModelSpec) -> Path | None:
        """Return the file with the names of the classes; None if the weights state them, or not one file fits."""
        count = len(spec.classes)
        if not count or spec.classes not in (numbered_classes(count), imagenet_classes()):
            return None
        lists = [path for path in self.texts if _count(path) == count]
        lists = [path for path in lists if LABELS.search(path.name)] or lists
        return lists[0] if len(lists) == 1 and not _is_imagenet(lists[0]) else None

    def notes(self, labels: Any, definition: Any, mean: Any) -> tuple[str, ...]:
        """Return what was taken for what, a sentence for each; the arguments are what was used."""
        notes = [f"{self._shown(self.weights)} is used: weights."]
        if labels in self.texts:
            notes.append(f"{self._shown(labels)} is used: names of the classes.")
        found = {"definition": (self.definition, definition), "mean": (self.mean, mean)}
        for kind, (path, used) in found.items():
            if path:
                notes.append(f"{self._shown(path)} is {'' if used is path else 'not '}used: {kind}.")
        return tuple(notes)

    def _shown(self, path: Path) -> str:
        return escape(path.relative_to(self.folder).as_posix(), limit=100)


def is_collection(path: Path) -> bool:
    """Return whether this is a folder, or an archive that is not itself a checkpoint, as a .npz is."""
    return path.is_dir() or (path.is_file() and _unpacker(path) is not None)


@contextmanager
def model_files(source: Path) -> Iterator[ModelFiles]:
    """Yield the files of a folder or of an archive, which is unpacked until the end of the block.

    Only regular files are unpacked, below a temporary folder.

    Raises:
        CheckpointError: there is no file with weights, or there are several; the archive is damaged or too large.
        OSError: a file cannot be read or written.
    """
    if source.is_dir():
        yield _find(source, source)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary, output_stem(source).removesuffix(".tar") or "model")
        try:
            _unpacker(source)(source, folder)
        except Exception as error:  # A damaged archive can raise anything.
            is_of_disk = isinstance(error, OSError) and error.errno not in ERRORS_OF_ARCHIVES
            if is_of_disk or isinstance(error, MemoryError):
                raise
            raise CheckpointError(f"{source}: expected an archive that can be unpacked; {error}") from error
        yield _find(folder, source)


def _unpacker(path: Path) -> Callable[[Path, Path], None] | None:
    """Return the function that unpacks a file into a folder, None for a file that is no archive."""
    described, _ = foreign.describe(path) or ("", "")
    if described.startswith("a zip archive"):
        return _unpack_zip
    return _unpack_tar if described.startswith(foreign.PACKED) else None


class _Member(tarfile.TarInfo):
    """An entry of an archive, whose extended headers are bounded; tarfile reads them at once."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if not (self.isreg() or self.size <= MAX_HEADER):
            raise tarfile.ReadError(f"it has a header of {self.size:,} bytes")
        return super()._proc_member(archive)


def _unpack_zip(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) > MAX_FILES:
            raise CheckpointError(f"it holds {len(members)} files, more than {MAX_FILES}")
        remaining = MAX_BYTES
        for member in members:
            if member.compress_type not in npz.PACKING:
                raise CheckpointError(f"{member.filename} is neither stored nor deflated")
            with archive.open(member) as file:
                remaining -= _copy(file, folder, member.filename, remaining)


def _unpack_tar(path: Path, folder: Path) -> None:
    with tarfile.open(path, "r|*", tarinfo=_Member) as archive:
        remaining = MAX_BYTES
        for number, member in enumerate(archive):
            if number >= MAX_FILES:
                raise CheckpointError(f"it holds more than {MAX_FILES} files")
            if member.isfile():
                remaining -= _copy(archive.extractfile(member), folder, member.name, remaining)


def _copy(file: BinaryIO, folder: Path, name: str, limit: int) -> int:
    """Write a file of an archive below a folder, whatever its name is, and return its number of bytes."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    parts = [os.fsdecode(os.fsencode(part.replace(":", "_"))[-MAX_NAME:]) for part in parts[-MAX_DEPTH:]]
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("wb") as output:
        while block := file.read(BLOCK):
            size += len(block)
            if size > limit:
                raise CheckpointError(f"it holds more than {MAX_BYTES:,} bytes")
            output.write(block)
    return size


def _find(folder: Path, source: Path) -> ModelFiles:
    """Return the files of a model in a folder; `source` is named in messages."""
    kinds: dict[str, list[Path]] = {kind: [] for kind in (*KINDS, "weights")}
    for path in _regular_files(folder, source):
        kinds[_kind(path)].append(path)
    candidates = [path for path in kinds["weights"] if path.suffix == ".net" or recognise_format(path)]
    names = {path.name for path in candidates}
    candidates = [path for path in candidates if tensorflow_checkpoint.index_name(path) not in names - {path.name}]
    if len(candidates) != 1:
        received = ", ".join(escape(path.relative_to(folder).as_posix(), limit=100) for path in candidates[:8])
        advice = "Give one of them" if candidates else "Give the file of weights"
        raise CheckpointError(f"{source}: expected one file of weights; received {received or 'none'}. {advice}.")
    deploy = sorted(kinds["definition"], key=lambda path: ("deploy" not in path.name, "solver" in path.name, path))
    return ModelFiles(
        candidates[0],
        tuple(path for path in kinds["labels"] if path.stat().st_size <= MAX_TEXT),
        next(iter(deploy), None),
        next(iter(kinds["mean"]), None),
        folder,
    )


def _regular_files(folder: Path, source: Path) -> Sequence[Path]:
    """Return the files below a folder, sorted; hidden ones and links are ignored."""
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):
        depth = len(Path(parent).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")) and depth < MAX_DEPTH)
        paths = (Path(parent, name) for name in sorted(names) if not name.startswith("."))
        files += [path for path in paths if path.is_file() and not path.is_symlink()]
        if len(files) > MAX_FILES:
            raise CheckpointError(f"{source}: expected a folder of one model; it holds more than {MAX_FILES} files.")
    return files


def _kind(path: Path) -> str:
    name = path.name.lower()
    return next(
        (kind for kind, globs in KINDS.items() if any(fnmatch.fnmatch(name, glob) for glob in globs)), "weights"
    )


def _count(path: Path) -> int | None:
    """Return the number of classes in a text file, None if it is no list of classes."""
    try:
        return len(read_classes(path))
    except ValueError:
        return None


def _is_imagenet(path: Path) -> bool:
    """Return whether a list has the WordNet ids of ImageNet, whose names this package has, as `synset_words.txt`."""
    ids = [known.wnid for known in imagenet_classes()]
    return [stated.wnid or stated.label.split()[0] for stated in read_classes(path)] == ids
