"""`features`: the outputs of layers for pictures, in arrays or streamed to an HDF5 file."""

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.hub.cache import find_weights
from tfalexnet.images.folders import list_pictures
from tfalexnet.images.opening import MAX_PIXELS, Picture, PictureError
from tfalexnet.inference.pipeline import Outputs, as_sequence, check_positive, require_readable, run_network
from tfalexnet.inference.resume import Entry, Journal, appending, exclusive_output, explain_write_errors, job_header
from tfalexnet.io.files import PART, atomic_write, check_output, remove_stale_parts
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import BATCH_SIZE, load_network
from tfalexnet.runtimes.selection import AUTO

COPIED_AT_ONCE = 1 << 24  # Bytes of rows in memory while the HDF5 file is written.
METADATA = 1 << 20  # Bytes of an HDF5 file beside its rows and names, more than attributes and groups take.


def features(
    images: Picture | Sequence[Picture],
    layers: str | Iterable[str] = "fc7",
    weights: str | os.PathLike | None = None,
    precision: Precision = "float32",
    max_pixels: int = MAX_PIXELS,
    engine: str = AUTO,
) -> dict[str, np.ndarray]:
    """Return the outputs of layers for pictures, float32.

    Args:
        images: a picture, as `tfalexnet.predict` takes it, or several in a list, tuple or array.
        layers: Caffe's names: `fc7` is the output of the layer's ReLU, `fc7:pre` the input of the ReLU; `norm1`,
            `pool5`, `prob`. For one_weird_trick torchvision's names are valid too: `features.10` is before,
            `features.11` after the ReLU.
        weights: as for `tfalexnet.predict`.
        precision: as for `tfalexnet.predict`.
        max_pixels: as for `tfalexnet.predict`.
        engine: as for `tfalexnet.predict`.

    Returns:
        For each layer an array, (height, width, channels) or (units,), channels last; for several pictures with their
        number as first axis.

    Raises:
        ValueError: the network has no such layer; the message lists those it has.
        PictureError: a picture cannot be read; the message names it.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`; or an output is not finite.
    """
    pictures, is_sequence = as_sequence(images)
    network = load_network(find_weights(weights), _layer_names(layers), precision, engine=engine)
    rows = require_readable(run_network(network, pictures, max_pixels=max_pixels))
    if not rows:
        return {name: np.empty((0, *shape), np.float32) for name, shape in network.output_shapes().items()}
    stacked = dict(zip(network.layers, map(np.stack, zip(*rows, strict=True)), strict=True))
    return stacked if is_sequence else {name: array[0] for name, array in stacked.items()}


def extract_features(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    layers: str | Iterable[str] = "fc7",
    weights: str | os.PathLike | None = None,
    batch: int = BATCH_SIZE,
    overwrite: bool = False,
    precision: Precision = "float32",
    max_pixels: int = MAX_PIXELS,
    engine: str = AUTO,
) -> list[PictureError]:
    """Write the outputs of layers for all pictures of a folder to an HDF5 file; memory holds a few batches.

    The file has a float32 dataset for each layer, a row for each picture; `files`, their paths below the folder;
    `unreadable/files` and `unreadable/reasons`. Attributes state the weights, their digest, the network, the
    preprocessing and the engine. Until all pictures are done, the rows are in `<output>.rows.part`, and the journal of
    the job in `<output>.part`; after an interruption the same call continues after the last complete batch. While the
    HDF5 file is written, the disk holds the rows twice.

    Args:
        folder: searched with all folders below it.
        output: ends in .h5 or .hdf5.
        layers: as for `features`.
        weights: as for `features`.
        batch: pictures a step.
        overwrite: whether an existing output is replaced.
        precision: as for `tfalexnet.predict`.
        max_pixels: as for `tfalexnet.predict`.
        engine: as for `tfalexnet.predict`.

    Returns:
        The errors of the pictures that cannot be read.

    Raises:
        ValueError: there is no such layer, there are no pictures, or the `.part` is of another call.
        FileExistsError: the output exists.
        BlockingIOError: another process writes the output.
        CheckpointError, WeightsNotFoundError: as for `features`.
        OSError: a file cannot be written, or a folder of pictures is gone; the same call continues.
    """
    check_positive(batch=batch, max_pixels=max_pixels)
    folder, output = Path(folder), Path(output)
    check_output(output, (".h5", ".hdf5"), overwrite)
    files = [path.relative_to(folder).as_posix() for path in list_pictures(folder, keep_unreadable=True)]
    network = load_network(find_weights(weights), _layer_names(layers), precision, engine=engine)
    row = np.dtype([(name, np.float32, shape) for name, shape in network.output_shapes().items()])
    names = {"architecture": network.spec.architecture.name, "layers": ", ".join(network.layers)}
    header = job_header(network, files, **names, max_pixels=max_pixels)
    part, rows_part = (output.with_name(f"{output.name}{suffix}") for suffix in (PART, f".rows{PART}"))
    with exclusive_output(output, overwrite):
        stored = rows_part.stat().st_size // row.itemsize if rows_part.exists() else 0
        remove_stale_parts(output)  # Now: the disk may need their space for the rows.
        journal = Journal(part, header, files, max_readable=stored, batch=batch)
        if rows_part.exists():
            os.truncate(rows_part, (journal.count - journal.unreadable) * row.itemsize)
        with appending(rows_part) as append_row:

            def store(outputs: Outputs) -> Entry:
                append_row(b"".join(values.tobytes() for values in outputs))
                return {}

            remaining = [folder / file for file in files[journal.count :]]
            journal.record(run_network(network, remaining, batch=batch, max_pixels=max_pixels), store, folder, {folder})
        if journal.unreadable < len(files):
            entries = list(journal)
            with explain_write_errors(part):
                attributes = {"weights": network.path.name, **header}
                _write_hdf5(output, attributes, entries, np.memmap(rows_part, row, "r"))
        for file in (part, rows_part):
            file.unlink()
    if journal.unreadable == len(files):
        raise ValueError(f"Expected pictures in {folder}. Received {len(files)} files, none of which can be read.")
    return [PictureError(entry["file"], entry["error"]) for entry in entries if "error" in entry]


def _layer_names(layers: str | Iterable[str]) -> tuple[str, ...]:
    names = (layers,) if isinstance(layers, str) else tuple(dict.fromkeys(layers))
    if not names:
        raise ValueError("Expected at least one layer. Received: none")
    return names


def _write_hdf5(output: Path, attributes: dict[str, Any], entries: list[Entry], rows: np.ndarray) -> None:
    """Write the file that `extract_features` describes."""
    import h5py

    readable = [entry["file"] for entry in entries if "error" not in entry]
    unreadable = {entry["file"]: entry["error"] for entry in entries if "error" in entry}
    texts = {"files": readable, "unreadable/files": unreadable, "unreadable/reasons": unreadable.values()}
    size = rows.nbytes + METADATA + sum(64 + 4 * len(text) for column in texts.values() for text in column)
    with atomic_write(output, size) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(attributes | {"preprocessing": json.dumps(attributes["preprocessing"])})
        for layer in rows.dtype.names:
            column = rows[layer]
            dataset = file.create_dataset(layer, column.shape, "f4")
            step = max(1, COPIED_AT_ONCE // (4 * math.prod(column.shape[1:])))
            for start in range(0, len(column), step):
                dataset[start : start + step] = column[start : start + step]
        for name, column in texts.items():
            encoded = [text.encode("utf-8", "surrogateescape") for text in column]
            file.create_dataset(name, (len(encoded),), h5py.string_dtype(), encoded or None)
