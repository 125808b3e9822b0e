"""`label`: the best classes of any number of pictures in a file, resumable at any moment."""

import csv
import glob
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tfalexnet.hub.cache import find_weights
from tfalexnet.images.folders import list_pictures
from tfalexnet.images.opening import DOWNLOAD, MAX_PIXELS, PictureError, is_address
from tfalexnet.inference.pipeline import check_positive, run_network
from tfalexnet.inference.predict import Prediction, top_predictions
from tfalexnet.inference.resume import Entry, Journal, exclusive_output, explain_write_errors, job_header, json_line
from tfalexnet.inference.timing import Timing
from tfalexnet.io.files import PART, atomic_write, check_output
from tfalexnet.io.packages import require_packages
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import load_network
from tfalexnet.runtimes.selection import AUTO

if TYPE_CHECKING:
    import pyarrow

TYPES = {"index": "int32", "label": "string", "wnid": "string", "score": "float32"}  # Arrow's types of a prediction.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # Beginnings of formulas in spreadsheets (OWASP, CSV Injection).
GROUP = 8192  # Rows of a parquet file in memory at a time.


class Report(NamedTuple):
    """The number of files, and of those that cannot be read as pictures."""

    files: int
    unreadable: int


def label(
    sources: str | os.PathLike | Iterable[str | os.PathLike],
    output: str | os.PathLike,
    weights: str | os.PathLike | None = None,
    top: int = 5,
    precision: Precision = "float32",
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    quote_formulas: bool = False,
    engine: str = AUTO,
) -> Report:
    r"""Write the best classes of every picture to a file, a row for each, sorted by file name.

    Memory grows with the number of names only. `<output>.part` keeps the answers until the output is written; after
    an interruption of any kind the same call continues there.

    Args:
        sources: as for `expand_sources`. The output and its `.part` are never among the pictures.
        output: its suffix selects the format.
            .jsonl: {"file", "predictions": [{"index", "wnid", "label", "score"}, …]}, best first, or
            {"file", "error"}.
            .csv: columns file, error, index_1, label_1, wnid_1, score_1, index_2, …; values that do not apply are
            empty.
            .parquet: the same columns, null where a value does not apply; requires pyarrow.
            All are UTF-8. A byte 0xNN of a file name that is not UTF-8 is written as \udcNN. From .jsonl, Python's
            `json` and `os.fsencode` restore the name; in the other formats it cannot be told from a name that
            contains these six characters.
        weights: as for `tfalexnet.predict`.
        top: number of classes; at most as many as there are.
        precision: as for `tfalexnet.predict`.
        overwrite: whether an existing output is replaced. A `.part` of the same call is used in any case.
        max_pixels: as for `tfalexnet.predict`.
        quote_formulas: of a .csv, put an apostrophe before names of files and classes that a spreadsheet would run as
            formulas: those that begin with =, +, -, @, a tab or a carriage return.
        engine: as for `tfalexnet.predict`.

    Raises:
        ValueError: there are no files, the `.part` is of another call, or an argument is out of its range.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`; or an output is not finite.
        FileExistsError: the output exists.
        BlockingIOError: another process writes the output.
        OSError: a file cannot be written, or a folder of pictures is gone; the same call continues.
    """
    check_positive(top=top, max_pixels=max_pixels)
    output = Path(output)
    part = output.with_name(output.name + PART)
    check_output(output, WRITERS, overwrite)
    if quote_formulas and output.suffix != ".csv":
        raise ValueError(f"Expected an output that ends in .csv for quote_formulas. Received: {output}")
    if output.suffix == ".parquet":
        require_packages("parquet", "pyarrow")
    sources = _as_list(sources)
    files = [file for file in expand_sources(sources) if not _is_one_of((output, part), file)]
    if not files:
        raise ValueError(f"Expected at least one picture. The only file is the output, {output}")
    network = load_network(find_weights(weights), precision=precision, engine=engine)
    classes = network.spec.classes
    top = min(top, len(classes))
    with exclusive_output(output, overwrite):
        journal = Journal(part, job_header(network, files, top=top, max_pixels=max_pixels), files)
        timing = Timing()
        journal.record(
            run_network(network, journal.remaining(), max_pixels=max_pixels, timing=timing),
            lambda outputs: {"predictions": as_json(top_predictions(outputs[0], classes, top))},
            folders=map(_folder, sources),
            timing=timing,
        )
        with explain_write_errors(part), atomic_write(output) as temporary:
            rows = map(_quote_formulas, journal) if quote_formulas else iter(journal)
            WRITERS[output.suffix](temporary, rows, top)
        part.unlink()
    return Report(len(files), journal.unreadable)


def expand_sources(sources: str | os.PathLike | Iterable[str | os.PathLike]) -> list[str]:
    """Return the names of all files, sorted, each once.

    Args:
        sources: one or several of: a file, whatever its name; a folder, which stands for all files below it with the
            suffix of a picture and all folders below it that cannot be read (`list_pictures`); a pattern, which stands
            for all files that match, `**` also for folders. Patterns match no hidden files and follow links to folders.

    Raises:
        ValueError: there are no sources, a folder holds no picture, or no file matches a pattern.
        FileNotFoundError: a file does not exist.
    """
    files = set(itertools.chain.from_iterable(map(_expand, _as_list(sources))))
    if not files:
        raise ValueError("Expected at least one file, folder or pattern. Received: none")
    return sorted(files)


def as_json(predictions: Iterable[Prediction]) -> list[dict[str, Any]]:
    """Return predictions as JSON holds them."""
    return [prediction._asdict() for prediction in predictions]


def label_row(file: str, answer: list[Prediction] | PictureError) -> Entry:
    """Return the row of a file: its predictions, or why it cannot be read."""
    if isinstance(answer, PictureError):
        return {"file": file, "error": answer.reason}
    return {"file": file, "predictions": as_json(answer)}


def labels_table(rows: Iterable[Entry], top: int) -> "pyarrow.Table":
    """Return rows in the columns of parquet files; see `label`."""
    require_packages("parquet", "pyarrow")
    import pyarrow

    types = {name: TYPES.get(name.partition("_")[0], "string") for name in _columns(top)}
    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in types.items()])
    return pyarrow.Table.from_pylist([_flatten(row) for row in rows], schema)


def _as_list(sources: str | os.PathLike | Iterable[str | os.PathLike]) -> list[str]:
    return [os.fspath(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]


def _expand(source: str) -> Iterable[str]:
    if source and Path(source).is_dir():
        return map(str, list_pictures(source, keep_unreadable=True))
    if os.path.lexists(source):
        return [str(Path(source))]
    if is_address(source):
        raise ValueError(f"{source} {DOWNLOAD}")
    if glob.escape(source) == source:
        raise FileNotFoundError(f"Expected a file, a folder or a pattern. Received: {source!r}, which is not there")
    matching = map(Path, glob.iglob(source, recursive=True))  # noqa: PTH207, pathlib has no absolute patterns
    files = {str(path) for path in matching if not path.is_dir()}
    if not files:
        raise ValueError(f"Expected a pattern that files match. Received: {source!r}, which none does")
    return files


def _is_one_of(outputs: tuple[Path, ...], file: str) -> bool:
    return any(file.endswith(path.name) and Path(file).resolve() == path.resolve() for path in outputs)


def _folder(source: str) -> Path:
    """Return the folder that a source is, or the nearest existing one above it."""
    return next(folder for folder in (Path(source), *Path(source).parents) if folder.is_dir())


def _columns(top: int) -> list[str]:
    return ["file", "error", *(f"{name}_{rank}" for rank in range(1, top + 1) for name in TYPES)]


def _flatten(row: Entry) -> dict[str, Any]:
    """Return the columns that apply to a row."""
    texts = {name: row[name] for name in ("file", "error") if name in row}
    columns: dict[str, Any] = {name: text.encode("utf-8", "backslashreplace").decode() for name, text in texts.items()}
    for rank, prediction in enumerate(row.get("predictions", ()), start=1):
        columns |= {f"{name}_{rank}": prediction[name] for name in TYPES}
    return columns


def _quote_formulas(row: Entry) -> Entry:
    """Return a row whose texts begin with an apostrophe where a spreadsheet would run them."""
    quoted = {key: f"'{text}" for key, text in row.items() if isinstance(text, str) and text.startswith(FORMULAS)}
    if "predictions" in row:
        quoted["predictions"] = list(map(_quote_formulas, row["predictions"]))
    return row | quoted


def _write_jsonl(path: Path, rows: Iterable[Entry], _: int) -> None:
    with path.open("wb") as file:
        file.writelines(map(json_line, rows))


def _write_csv(path: Path, rows: Iterable[Entry], top: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _columns(top))
        writer.writeheader()
        writer.writerows(map(_flatten, rows))


def _write_parquet(path: Path, rows: Iterator[Entry], top: int) -> None:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetWriter(path, labels_table([], top).schema) as writer:
        while block := list(itertools.islice(rows, GROUP)):
            writer.write_table(labels_table(block, top))


WRITERS = {".jsonl": _write_jsonl, ".csv": _write_csv, ".parquet": _write_parquet}
