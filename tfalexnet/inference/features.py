"""`features`: the outputs of layers for pictures, in arrays or streamed to a file."""

import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.hub.cache import find_weights
from tfalexnet.images.folders import list_pictures
from tfalexnet.images.opening import MAX_PIXELS, Picture, PictureError
from tfalexnet.images.preprocessing import with_protocol
from tfalexnet.inference.feature_files import Table, check_feature_file, check_layers, write_features
from tfalexnet.inference.label import expand_sources
from tfalexnet.inference.pipeline import Outputs, as_sequence, check_positive, require_readable, run_network
from tfalexnet.inference.resume import Entry, Journal, appending, exclusive_output, explain_write_errors, job_header
from tfalexnet.inference.timing import Timing
from tfalexnet.io.files import PART, remove_stale_parts
from tfalexnet.networks.layer_names import ALL
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import BATCH_SIZE, Network, load_network
from tfalexnet.runtimes.selection import AUTO

ROWS = f".rows{PART}"  # Suffix of the file of rows until the output is written.

# From the maps of a layer, (pictures, height, width, channels), to a vector for each picture.
POOLS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "max": lambda maps: maps.max(axis=(1, 2)),
    "mean": lambda maps: maps.mean(axis=(1, 2)),
    "flatten": lambda maps: maps.reshape(len(maps), -1),
}


def features(
    images: Picture | Iterable[Picture],
    layers: str | Iterable[str] = "fc7",
    weights: str | os.PathLike | None = None,
    precision: Precision = "float32",
    max_pixels: int = MAX_PIXELS,
    engine: str = AUTO,
    preprocessed: bool = False,
    pool: str | None = None,
    resize: str | None = None,
    crop: str | None = None,
) -> dict[str, np.ndarray]:
    """Return the outputs of layers for pictures, float32.

    Args:
        images: a picture, as `tfalexnet.predict` takes it, or several in a list, tuple, array or generator.
        layers: Caffe's names: `fc7` is the output of the layer's ReLU, `fc7:pre` the input of the ReLU; `norm1`,
            `pool5`, `prob`. "all" is every layer; "fc6,fc7" are two. For one_weird_trick torchvision's names are valid
            too: `features.10` is before, `features.11` after the ReLU.
        weights: as for `tfalexnet.predict`; also the folder of a training.
        precision: as for `tfalexnet.predict`.
        max_pixels: as for `tfalexnet.predict`.
        engine: as for `tfalexnet.predict`.
        preprocessed: whether `images` are inputs of the network, (height, width, channels), as `tfalexnet.transform`
            returns them.
        pool: "max" or "mean" over height and width, or "flatten" to one vector, height × width × channels. Layers
            without a map are not changed.
        resize: "caffe" squashes pictures to 256×256; "shorter-side", as in the paper, and "torchvision" resize their
            shorter side to 256; "none" does not resize. Inputs below 224 or above 256 pixels get 256/227 of their
            size. None is as the weights require.
        crop: "centre" uses the centre of the resized picture; "none" resizes to the input itself. None is "centre" with
            a `resize`, else as the weights require.

    Returns:
        For each layer an array, (height, width, channels) or (units,), channels last; for several pictures with their
        number as first axis.

    Raises:
        ValueError: the network has no such layer; the message lists those it has. Or an argument is out of its range.
        PictureError: a picture cannot be read; the message names it.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`; or an output is not finite.
    """
    pictures, is_sequence = as_sequence(images)
    network = _load(weights, layers, precision, engine, preprocessed, pool, resize, crop)
    rows = require_readable(run_network(network, pictures, max_pixels=max_pixels))
    if not rows:
        return {name: np.empty((0, *shape), np.float32) for name, shape in network.output_shapes().items()}
    stacked = dict(zip(network.layers, map(np.stack, zip(*rows, strict=True)), strict=True))
    return stacked if is_sequence else {name: array[0] for name, array in stacked.items()}


def extract_features(
    images: Picture | Iterable[Picture],
    output: str | os.PathLike,
    layers: str | Iterable[str] = "fc7",
    weights: str | os.PathLike | None = None,
    batch: int = BATCH_SIZE,
    overwrite: bool = False,
    precision: Precision = "float32",
    max_pixels: int = MAX_PIXELS,
    engine: str = AUTO,
    preprocessed: bool = False,
    pool: str | None = None,
    resize: str | None = None,
    crop: str | None = None,
) -> list[PictureError]:
    r"""Write the outputs of layers for pictures to a file; memory holds a few batches and the names.

    Until all pictures are done, the rows are in `<output>.rows.part`, and the journal of the job in `<output>.part`;
    after an interruption the same call continues after the last complete batch. While the output is written, the disk
    holds the rows twice. A job whose pictures have no names cannot continue.

    Args:
        images: a folder, searched with all folders below it, whose pictures are named relative to it; a file; a
            pattern; a list of files, whose order is kept; or any pictures in an iterable, such as a generator.
            Pictures without a name are numbered from 0.
        output: its suffix selects the format. All have the layers by name, in rows as many as readable pictures;
            `files`; `unreadable` with files and reasons; and attributes that state the weights, their digest, the
            network, the preprocessing and the engine.
            .h5, .hdf5: datasets `<layer>`, `files`, `unreadable/files`, `unreadable/reasons`, and attributes.
            .npy: one layer; all else is in `<output>.json`.
            .npz: arrays `<layer>`, `files`, `unreadable_files`, `unreadable_reasons`, and `attributes`, a JSON text.
            .csv: columns file, <layer>_0, <layer>_1, …, in the order height, width, channel; `<output>.json`.
            .mat: the names of .npz, with _ for other characters; at most 2 GiB a layer, and as much memory;
            requires SciPy.
            .parquet: columns file and <layer>, a list of fixed size; the rest is in the metadata `tfalexnet`, JSON;
            requires pyarrow.
            In .csv, .mat and .parquet, a byte 0xNN of a file name that is not UTF-8 is written as \udcNN.
        layers: as for `features`.
        weights: as for `features`.
        batch: pictures a step.
        overwrite: whether an existing output is replaced.
        precision: as for `tfalexnet.predict`.
        max_pixels: as for `tfalexnet.predict`.
        engine: as for `tfalexnet.predict`.
        preprocessed: as for `features`.
        pool: as for `features`.
        resize: as for `features`.
        crop: as for `features`.

    Returns:
        The errors of the pictures that cannot be read.

    Raises:
        ValueError: there is no such layer, there are no pictures, the format cannot hold the layers, or the `.part` is
            of another call.
        FileExistsError: the output exists.
        BlockingIOError: another process writes the output.
        CheckpointError, WeightsNotFoundError: as for `features`.
        OSError: a file cannot be written, or a folder of pictures is gone; the same call continues.
    """
    check_positive(batch=batch, max_pixels=max_pixels)
    output = Path(output)
    check_feature_file(output, overwrite)
    root, files = (Path(), None) if preprocessed else _named_files(images, output)
    network = _load(weights, layers, precision, engine, preprocessed, pool, resize, crop)
    row = np.dtype([(name, np.float32, shape) for name, shape in network.output_shapes().items()])
    check_layers(output, row, len(files or ()))
    names = {"architecture": network.spec.architecture.name, "layers": ", ".join(network.layers)}
    details = {**names, "pool": pool or "none", "max_pixels": max_pixels}

    def write(header: dict[str, Any], entries: list[Entry], rows: np.ndarray) -> None:
        readable = [entry["file"] for entry in entries if "error" not in entry]
        unreadable = {entry["file"]: entry["error"] for entry in entries if "error" in entry}
        write_features(output, Table({"weights": network.path.name, **header}, readable, unreadable, rows))

    run = functools.partial(run_network, network, batch=batch, max_pixels=max_pixels)
    with exclusive_output(output, overwrite):
        if files is None:
            header = functools.partial(job_header, network, **details)
            entries = _extract_unnamed(output, as_sequence(images)[0], run, row, header, write)
        else:
            entries = _extract_files(output, root, files, run, row, batch, job_header(network, files, **details), write)
    errors = [PictureError(entry["file"], entry["error"]) for entry in entries if "error" in entry]
    if len(errors) == len(entries):
        raise ValueError(f"Expected pictures. Received {len(entries)} files, none of which can be read.")
    return errors


def _load(
    weights: str | os.PathLike | None,
    layers: str | Iterable[str],
    precision: Precision,
    engine: str,
    preprocessed: bool,
    pool: str | None,
    resize: str | None,
    crop: str | None,
) -> Network:
    """Return the network whose outputs are the features; its preprocessing is None for inputs."""
    if pool is not None and pool not in POOLS:
        raise ValueError(f"Expected `pool` to be one of {', '.join(POOLS)}. Received: {pool!r}")
    if preprocessed and (resize or crop):
        raise ValueError("Expected `resize` and `crop` for pictures only. Received: preprocessed=True")
    network = load_network(
        find_weights(weights), _layer_names(layers), precision, engine=engine, preprocessed=preprocessed
    )
    preprocessing = None if preprocessed else with_protocol(network.spec.preprocessing, resize, crop)
    network = dataclasses.replace(network, spec=dataclasses.replace(network.spec, preprocessing=preprocessing))
    if pool is None:
        return network
    compute, reduce = network.function, POOLS[pool]

    def pooled(inputs: np.ndarray) -> list[np.ndarray]:
        return [reduce(values) if values.ndim == 4 else values for values in map(np.asarray, compute(inputs))]

    return dataclasses.replace(network, function=pooled)


def _layer_names(layers: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of layers, each once; a text may hold several, separated by commas."""
    texts = (layers,) if isinstance(layers, str) else layers
    names = tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))
    if not names:
        raise ValueError("Expected at least one layer. Received: none")
    return (ALL,) if ALL in names else names


def _named_files(images: Any, output: Path) -> tuple[Path, list[str] | None]:
    """Return a folder and the names of pictures relative to it, None if not all pictures are files.

    What a job itself writes is not among the files of a pattern.
    """
    if isinstance(images, str | os.PathLike):
        root = Path(images)
        if root.is_dir():
            return root, [path.relative_to(root).as_posix() for path in list_pictures(root, keep_unreadable=True)]
        own = {Path(f"{output}{suffix}").resolve() for suffix in ("", PART, ROWS, ".json")}
        return Path(), [file for file in expand_sources(images) if Path(file).resolve() not in own]
    if isinstance(images, list | tuple) and images and all(isinstance(item, str | os.PathLike) for item in images):
        return Path(), [os.fspath(item) for item in images]
    return Path(), None


def _extract_files(
    output: Path,
    root: Path,
    files: list[str],
    run: Callable[..., Iterator[Outputs | PictureError]],
    row: np.dtype,
    batch: int,
    header: dict[str, Any],
    write: Callable[[dict[str, Any], list[Entry], np.ndarray], None],
) -> list[Entry]:
    """Compute the rows of files, or those that an interrupted job lacks, call `write`, and return the entries."""
    part, rows_part = (output.with_name(f"{output.name}{suffix}") for suffix in (PART, ROWS))
    stored = rows_part.stat().st_size // row.itemsize if rows_part.exists() else 0
    remove_stale_parts(output)  # Now: the disk may need their space for the rows.
    journal = Journal(part, header, files, root, max_readable=stored, batch=batch)
    if rows_part.exists():
        os.truncate(rows_part, (journal.count - journal.unreadable) * row.itemsize)
    with appending(rows_part) as append_row:

        def store(outputs: Outputs) -> Entry:
            append_row(_row_bytes(outputs))
            return {}

        folders = {root} if root != Path() else {Path(file).parent for file in files}
        timing = Timing()
        results = run(journal.remaining(), timing=timing, total=len(files))
        journal.record(results, store, folders, timing)
    entries = list(journal)
    if journal.unreadable < len(files):
        with explain_write_errors(part):
            write(header | {"states_sha256": journal.states_sha256()}, entries, np.memmap(rows_part, row, "r"))
    for file in (part, rows_part):
        file.unlink()
    return entries


def _extract_unnamed(
    output: Path,
    images: Iterable[Picture],
    run: Callable[[Iterable[Picture]], Iterator[Outputs | PictureError]],
    row: np.dtype,
    header: Callable[[list[str]], dict[str, Any]],
    write: Callable[[dict[str, Any], list[Entry], np.ndarray], None],
) -> list[Entry]:
    """Compute the rows of any pictures, which are numbered if they are no files, call `write`, return the entries."""
    names, entries = [], []

    def named() -> Iterator[Picture]:
        for number, picture in enumerate(images):
            names.append(os.fspath(picture) if isinstance(picture, str | os.PathLike) else str(number))
            yield picture

    with tempfile.TemporaryFile(dir=output.parent) as rows, contextlib.closing(run(named())) as results:
        for number, result in enumerate(results):
            if isinstance(result, PictureError):
                entries.append({"file": names[number], "error": result.reason})
            else:
                entries.append({"file": names[number]})
                rows.write(_row_bytes(result))
        rows.flush()
        if rows.tell():
            write(header(names), entries, np.memmap(rows, row, "r"))
    return entries


def _row_bytes(outputs: Outputs) -> bytes:
    return b"".join(values.tobytes() for values in outputs)
