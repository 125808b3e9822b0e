"""What the layers of a network answer to pictures, in arrays or streamed to a file."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.hub.cache import find_weights
from tfalexnet.images.decode import Picture, PictureError
from tfalexnet.images.folders import check_folder_present, list_pictures
from tfalexnet.inference.pipeline import as_sequence, run_network
from tfalexnet.inference.resume import check_same_header
from tfalexnet.io.files import require_absent, sha256
from tfalexnet.io.progress import Progress
from tfalexnet.runtimes.cpu import Precision
from tfalexnet.runtimes.network import BATCH_SIZE, Network, load_network

BLOCK = 8 * BATCH_SIZE  # Pictures between two openings of the file, which a kill hardly ever meets.
CHUNK = 1 << 18  # Bytes that HDF5 reads at once.


def features(
    images: Picture | Sequence[Picture],
    layers: str | Iterable[str] = "fc7",
    weights: str | os.PathLike | None = None,
    precision: Precision = "float32",
) -> dict[str, np.ndarray]:
    """Activations of pictures by layer, float32.

    Args:
        images: a picture, as `tfalexnet.predict` takes it, or several in a list, tuple or array.
        layers: Caffe's names: `fc7` is what leaves the layer's ReLU, `fc7:pre` what enters it;
            `norm1`, `pool5`, `prob`. For one_weird_trick torchvision's are known too: `features.10`
            is before, `features.11` after the ReLU.
        weights: as for `tfalexnet.predict`.
        precision: as for `tfalexnet.predict`.

    Returns:
        For each layer an array, (height, width, channels) or (units,), channels last, with the number
        of pictures in front if there is a list of them.

    Raises:
        ValueError: the network has no such layer; the message lists those it has.
        PictureError: something is not a picture; the message names it.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`; or the answers are no numbers.
    """
    pictures, several = as_sequence(images)
    network = load_network(weights, _names(layers), precision)
    rows = []
    for row in run_network(network, pictures):
        if isinstance(row, PictureError):
            raise row
        rows.append(row)
    if not rows:
        return {name: np.empty((0, *shape), np.float32) for name, shape in _shapes(network).items()}
    stacked = dict(zip(network.layers, map(np.stack, zip(*rows, strict=True)), strict=True))
    return stacked if several else {name: array[0] for name, array in stacked.items()}


def extract_features(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    layers: str | Iterable[str] = "fc7",
    weights: str | os.PathLike | None = None,
    batch: int = BATCH_SIZE,
    overwrite: bool = False,
    precision: Precision = "float32",
) -> list[PictureError]:
    """Activations of all pictures of a folder into an HDF5 file; memory holds `BLOCK` pictures.

    The file has a float32 dataset for each layer, a row a picture, and `files`, their paths in the
    folder; `unreadable/files` and `unreadable/reasons` for those that are no pictures. Attributes
    say weights, hash, network and preprocessing. It grows as `<output>.part`, from which the same
    call goes on if it was interrupted.

    Args:
        folder: searched with all that is in it.
        output: ends in .h5 or .hdf5.
        layers: as for `features`.
        weights: as for `features`.
        batch: pictures a step.
        overwrite: whether an output that exists is replaced.
        precision: as for `tfalexnet.predict`.

    Returns:
        What is wrong with those that are no pictures.

    Raises:
        ValueError: no such layer, no pictures, or the `.part` is of another call.
        FileExistsError: the output exists.
        CheckpointError, WeightsNotFoundError: as for `features`.
        OSError: the file cannot be written, or a folder of pictures is gone; the same call goes on.
    """
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"Expected `batch` to be a positive integer. Received: batch={batch!r}")
    folder, output = Path(folder), Path(output)
    if output.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"Expected an output that ends in .h5 or .hdf5. Received: {output}")
    require_absent(output, overwrite)
    files = [path.relative_to(folder).as_posix() for path in list_pictures(folder)]
    path = find_weights(weights)
    network = load_network(path, _names(layers), precision)
    part = output.with_name(f"{output.name}.part")
    said = _description(path, network, files)
    done, failed = _begin(part, said, _shapes(network))
    answers = run_network(network, [folder / file for file in files[done:]], batch=batch)
    with Progress(len(files), "pictures", start=done) as progress, contextlib.closing(answers):
        for start in range(done, len(files), BLOCK):
            rows: dict[str, Any] = {}
            try:
                block = files[start : start + BLOCK]
                for file, answer in zip(block, itertools.islice(answers, len(block)), strict=True):
                    if isinstance(answer, PictureError):
                        check_folder_present(folder / file, {folder})
                    rows[file] = answer
                    progress.advance(1, f"{failed} unreadable" if failed else "")
            finally:  # Ctrl-C costs nothing.
                failed += _append(part, network.layers, rows)
    if failed == len(files):
        part.unlink()
        raise ValueError(f"Expected pictures in {folder}. Received {failed} files, none of which can be read.")
    part.replace(output)
    return [PictureError(file, reason) for file, reason in _unreadable(output)]


def _names(layers: str | Iterable[str]) -> tuple[str, ...]:
    names = (layers,) if isinstance(layers, str) else tuple(dict.fromkeys(layers))
    if not names:
        raise ValueError("Expected at least one layer. Received: none")
    return names


def _shapes(network: Network) -> dict[str, tuple[int, ...]]:
    nothing = np.zeros((1, *network.preprocessing.shape), np.float32)
    return {name: array.shape[1:] for name, array in zip(network.layers, network(nothing), strict=True)}


def _description(path: Path, network: Network, files: list[str]) -> dict[str, str]:
    """What makes two extractions the same; attributes of the file."""
    listed = hashlib.sha256("\0".join(files).encode("utf-8", "surrogateescape")).hexdigest()
    return {
        "weights": path.name,
        "weights_sha256": sha256(path),
        "architecture": network.architecture.name,
        "preprocessing": json.dumps(network.preprocessing.to_dict()),
        "layers": ", ".join(network.layers),
        "precision": network.precision,
        "files_sha256": listed,
    }


def _begin(part: Path, said: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
    """How many pictures an interrupted file is done with, and how many of them were unreadable."""
    import h5py

    if part.exists():
        try:
            with h5py.File(part, "r+") as file:
                before = {name: file.attrs[name] for name in said}
                done = file.attrs["done"].tolist()
                if before == said:
                    _truncate(file, tuple(shapes), done)
                    return sum(done), done[1]
        except (OSError, KeyError, ValueError):
            before = said  # Damaged by a kill while it was written to: begin anew.
        check_same_header(part, before, said)
    part.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(part, "w") as file:
        file.attrs.update(said)
        for layer, shape in shapes.items():
            rows = max(1, CHUNK // (4 * math.prod(shape)))
            file.create_dataset(layer, (0, *shape), "f4", maxshape=(None, *shape), chunks=(rows, *shape))
        for name in ("files", "unreadable/files", "unreadable/reasons"):
            file.create_dataset(name, (0,), h5py.string_dtype(), maxshape=(None,))
        file.attrs["done"] = [0, 0]
    return 0, 0


def _truncate(file: Any, layers: tuple[str, ...], done: list[int]) -> None:
    """Forget what was written after `done` was, and so perhaps in part."""
    for name in (*layers, "files"):
        file[name].resize(done[0], axis=0)
    for name in ("unreadable/files", "unreadable/reasons"):
        file[name].resize(done[1], axis=0)


def _append(part: Path, layers: tuple[str, ...], rows: dict[str, Any]) -> int:
    """Add a block to the file; how many of it were unreadable."""
    import h5py

    good = {name: row for name, row in rows.items() if not isinstance(row, PictureError)}
    bad = {name: row.reason for name, row in rows.items() if isinstance(row, PictureError)}
    columns: dict[str, Sequence[Any]] = (
        dict(zip(layers, zip(*good.values(), strict=True), strict=True)) if good else {}
    )
    for name, texts in {"files": good, "unreadable/files": bad, "unreadable/reasons": bad.values()}.items():
        columns[name] = [text.encode("utf-8", "surrogateescape") for text in texts]
    with h5py.File(part, "r+") as file:
        for name, column in columns.items():
            dataset = file[name]
            start = len(dataset)
            dataset.resize(start + len(column), axis=0)
            if column:
                dataset[start:] = np.stack(column) if name in layers else column
        file.attrs["done"] = file.attrs["done"] + [len(good), len(bad)]  # Last: an interrupted block does not count.
    return len(bad)


def _unreadable(path: Path) -> list[tuple[str, str]]:
    import h5py

    with h5py.File(path) as file:
        names, reasons = (
            file[f"unreadable/{kind}"].asstr("utf-8", "surrogateescape")[:] for kind in ("files", "reasons")
        )
    return list(zip(names, reasons, strict=True))
