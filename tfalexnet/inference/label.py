"""The labels of any number of pictures in a file, a row for each; an interruption costs none of them."""

from __future__ import annotations

import contextlib
import csv
import glob
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfalexnet.hub.cache import find_weights
from tfalexnet.images.decode import PictureError
from tfalexnet.images.folders import check_folder_present, list_pictures
from tfalexnet.inference.pipeline import run_network
from tfalexnet.inference.predict import Prediction, check_top, top_predictions
from tfalexnet.inference.resume import append_journal, explain_write_errors, json_line, read_journal, resume_journal
from tfalexnet.io.files import atomic_write, require_absent, sha256
from tfalexnet.io.progress import Progress
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import load_network

if TYPE_CHECKING:
    import pyarrow

TYPES = {"index": "int32", "label": "string", "wnid": "string", "score": "float32"}  # Arrow's, of one prediction.
GROUP = 8192  # Rows of a parquet file that are held at once.


class Report(NamedTuple):
    """How many files there are, and how many of them could not be read as pictures."""

    files: int
    unreadable: int


def label(
    sources: str | os.PathLike | Iterable[str | os.PathLike],
    output: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    top: int = 5,
    precision: Precision = "float32",
    overwrite: bool = False,
) -> Report:
    r"""The best classes of every picture into a file, a row for each, in the order of `listed`.

    Of memory only the names grow with the number of files. Until the output is written,
    `<output>.part` keeps the answers, and after an interruption, whatever its kind, the same call
    goes on from there.

    Args:
        sources: as for `listed`. Output and `.part` are never among the pictures.
        output: what it ends in says how it is written.
            .jsonl: {"file", "predictions": [{"index", "wnid", "label", "score"}, …]}, best first, or
            {"file", "error"}.
            .csv: columns file, error, index_1, label_1, wnid_1, score_1, index_2, …; what does not
            apply is empty.
            .parquet: the same columns, null where they do not apply; pyarrow writes it.
            All are UTF-8. A byte 0xNN of a file's name that is not is written as \udcNN. From .jsonl
            Python's `json` and `os.fsencode` make the name again; in the others it cannot be told from a
            name in which these six characters stand.
        weights: as for `tfalexnet.predict`.
        top: how many classes; at most as many as there are.
        precision: as for `tfalexnet.predict`.
        overwrite: whether an output that exists is replaced. If the `.part` of the same call is there, whole
            or not, that is what is written.

    Raises:
        ValueError: the sources hold no files, the `.part` is of another call, or an argument is wrong.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`; or the answers are no numbers.
        FileExistsError: the output exists.
        OSError: something cannot be written, or a folder of pictures is gone; the same call goes on.
    """
    check_top(top)
    output = Path(output)
    part = output.with_name(f"{output.name}.part")
    if output.suffix not in WRITERS:
        raise ValueError(f"Expected an output that ends in {', '.join(WRITERS)}. Received: {output}")
    if output.is_dir():
        raise IsADirectoryError(f"{output}: expected a file for the labels; received a folder.")
    require_absent(output, overwrite)
    if output.suffix == ".parquet":
        _pyarrow()  # Before the work, not after it.
    sources = _several(sources)
    files = [file for file in expand_sources(sources) if not _is_one_of((output, part), file)]
    if not files:
        raise ValueError(f"Expected pictures beside the output. Received: {output} alone")
    folders = {_folder(source) for source in sources}
    path = find_weights(weights)
    network = load_network(path, precision=precision)
    top = min(top, len(network.classes))
    said = {
        "weights": path.name,
        "weights_sha256": sha256(path),
        "precision": network.precision,
        "top": top,
        "files": len(files),
        "files_sha256": _digest(files),
    }
    for left in output.parent.glob(f".{glob.escape(output.name)}.????????.part"):
        left.unlink()  # By a kill while the output was written.
    done = failed = 0
    for each in resume_journal(part, said, files, _named):
        done, failed = done + 1, failed + ("error" in each)
    results = run_network(network, itertools.islice(files, done, None))
    with (
        append_journal(part) as append,
        contextlib.closing(results),
        Progress(len(files), "pictures", done, _note(failed)) as progress,
    ):
        for file, result in zip(itertools.islice(files, done, None), results, strict=True):
            if isinstance(result, PictureError):
                check_folder_present(file, folders)
                failed += 1
            else:
                result = top_predictions(result[0], network.classes, top)
            append(label_row(file, result))
            progress.advance(1, _note(failed))
    with explain_write_errors(part), atomic_write(output) as temporary:
        WRITERS[output.suffix](temporary, read_journal(part, files, _named), top)
    part.unlink()
    return Report(len(files), failed)


def expand_sources(sources: str | os.PathLike | Iterable[str | os.PathLike]) -> list[str]:
    """Names of files, sorted, each once.

    Args:
        sources: one or several of: a file, whatever it is called; a folder, of which all files below
            that are named as pictures count (`pictures.pictures_in`); a pattern, which stands for all
            files that match, also inside folders for `**`. Patterns find no hidden files, and
            follow links to folders.

    Raises:
        ValueError: there are none, a folder holds no picture, or no file matches a pattern.
        OSError: there is nothing of a name, or a folder cannot be read.
    """
    found: set[str] = set()
    for source in _several(sources):
        found.update(_matched(source))
    if not found:
        raise ValueError("Expected at least one file, folder or pattern. Received: none")
    return sorted(found)


def label_row(file: str, answer: list[Prediction] | PictureError) -> dict[str, Any]:
    """A file and its predictions, or what is wrong with it, as a line of JSON holds them."""
    if isinstance(answer, PictureError):
        return {"file": file, "error": answer.reason}
    return {"file": file, "predictions": [best._asdict() for best in answer]}


def labels_table(rows: Iterable[dict[str, Any]], top: int) -> pyarrow.Table:
    """Rows in the columns of parquet files; see `label`."""
    arrow = _pyarrow()
    types = {name: TYPES.get(name.partition("_")[0], "string") for name in _columns(top)}
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in types.items()])
    return arrow.Table.from_pylist([_flat(each) for each in rows], schema)


def _several(sources: str | os.PathLike | Iterable[str | os.PathLike]) -> list[str]:
    return [os.fspath(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]


def _matched(source: str) -> Iterable[str]:
    if source and Path(source).is_dir():
        return map(str, list_pictures(source))
    if os.path.lexists(source):
        return [str(Path(source))]
    if glob.escape(source) == source:
        raise FileNotFoundError(f"Expected a file, a folder or a pattern. Received: {source!r}, which is not there")
    matching = map(Path, glob.iglob(source, recursive=True))  # noqa: PTH207, which knows no absolute patterns
    names = {str(path) for path in matching if not path.is_dir()}
    if not names:
        raise ValueError(f"Expected a pattern that files match. Received: {source!r}, which none does")
    return names


def _is_one_of(own: tuple[Path, ...], file: str) -> bool:
    return any(file.endswith(path.name) and Path(file).resolve() == path.resolve() for path in own)


def _folder(source: str) -> Path:
    """The folder that a source is, or where its files are."""
    folder = Path(source)
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _digest(files: list[str]) -> str:
    state = hashlib.sha256()
    for file in files:
        state.update(os.fsencode(file) + b"\0")
    return state.hexdigest()


def _note(failed: int) -> str:
    return f"{failed} unreadable" if failed else ""


def _named(entry: Any) -> str | None:
    return entry.get("file") if isinstance(entry, dict) else None


def _columns(top: int) -> list[str]:
    return ["file", "error", *(f"{name}_{place}" for place in range(1, top + 1) for name in TYPES)]


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """Those columns of a row that apply to it."""
    texts = {name: found[name] for name in ("file", "error") if name in found}
    columns: dict[str, Any] = {
        name: text.encode("utf-8", "backslashreplace").decode() for name, text in texts.items()
    }
    for place, best in enumerate(found.get("predictions", ()), start=1):
        columns |= {f"{name}_{place}": best[name] for name in TYPES}
    return columns


def _write_jsonl(path: Path, rows: Iterable[dict[str, Any]], _: int) -> None:
    with path.open("wb") as file:
        file.writelines(map(json_line, rows))


def _write_csv(path: Path, rows: Iterable[dict[str, Any]], top: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns(top))
        writer.writeheader()
        writer.writerows(map(_flat, rows))


def _write_parquet(path: Path, rows: Iterator[dict[str, Any]], top: int) -> None:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(path, labels_table([], top).schema) as writer:
        while block := list(itertools.islice(rows, GROUP)):
            writer.write_table(labels_table(block, top))


WRITERS = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ValueError(
            "Expected pyarrow, which knows .parquet. It is not installed: pip install 'tfalexnet[parquet]'"
        ) from None
    return pyarrow
