"""A checkpoint in one format becomes one in another; a known name becomes a file."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path

from tfalexnet import checkpoints, classes
from tfalexnet.architectures import Architecture
from tfalexnet.checkpoints import Checkpoint
from tfalexnet.download import DownloadError, alone, fetch
from tfalexnet.formats import CheckpointError
from tfalexnet.weights import KNOWN, Known, WeightsNotFoundError, cache, folders, locate


def convert(
    source: str | os.PathLike,
    output: str | os.PathLike | None = None,
    architecture: str | Architecture | None = None,
    labels: str | os.PathLike | None = None,
    renamed: Mapping[str, str] | None = None,
) -> tuple[Path, Checkpoint]:
    """Write the weights of a checkpoint in another format; nothing is written unless all fits.

    Args:
        source: a file, its format told from its content, or a known name.
        output: the file to write, its format told from its name: `.weights.h5`, `.npy`,
            `.caffemodel`, `.safetensors`, `.npz`, `.net`. None is `weights/<name of the
            source>.weights.h5`.
        architecture: the network; see `checkpoints.read`. Any number of classes.
        labels: a text file with the name of each class on a line, for classes other than ImageNet's.
        renamed: layers of the source, and what the network calls them.

    Returns:
        The file written, and what is in it.

    Raises:
        CheckpointError: the source is no checkpoint, or does not fit; the message says where.
        OSError: a file cannot be read or written. An older output stays as it was.
    """
    path = find(source)
    output = _beside(path) if output is None else Path(output)
    checkpoints.format_of(output)
    if output.exists() and output.samefile(path):
        raise ValueError(f"Expected an output other than the source. Received: {output}")
    checkpoint = checkpoints.read(path, architecture, renamed)
    if labels is not None:
        checkpoint = _labelled(checkpoint, Path(labels))
    checkpoints.write(output, checkpoint, source=path.name, source_sha256=sha256(path))
    return output, checkpoint


def find(weights: str | os.PathLike) -> Path:
    """The file of a path or a known name; what is not on this machine is downloaded and converted.

    Both are done once, into the folder that TFALEXNET_HOME names, however many processes ask.

    Raises:
        WeightsNotFoundError: there is no such file, or it cannot be downloaded; the message says how
            to get it by hand.
        OSError: it cannot be written.
    """
    path = locate(weights)
    if path is not None:
        return path
    known = KNOWN[os.fspath(weights)]
    converted = cache() / known.file
    with alone(converted):
        return locate(weights) or _obtain(known, converted)


def _obtain(known: Known, converted: Path) -> Path:
    """Download the first source that can be had, convert it, and keep what was converted."""
    problems = []
    for source in known.sources:
        name = source.urls[0].rsplit("/", 1)[-1]
        try:
            file = fetch(source.urls, cache() / name, source.digest, source.size)
        except DownloadError as error:
            problems.append(str(error))
            continue
        try:
            checkpoint = checkpoints.read(file, known.architecture)
        except CheckpointError as error:  # Of a digest that is not certain, this is the better judge.
            problems.append(str(error))
            file.unlink()
            continue
        checkpoints.write(converted, checkpoint, source=name, source_sha256=sha256(file))
        file.unlink()
        return converted
    looked = ", ".join(str(folder.absolute()) for folder in folders()[1:])
    raise WeightsNotFoundError(
        f"The weights {known.name!r} are not on this machine: {known.file} was looked for in {looked}.\n"
        + "\n".join(problems)
        + "\nGet one of these files elsewhere and type\n    "
        + f"tfalexnet convert FILE --architecture {known.architecture} --output {Path('weights', known.file)}\n"
        + "or use weights='cifar10', which ship with the package."
    )


def table(checkpoint: Checkpoint) -> str:
    """Layers, shapes and parameters, as lines of text."""
    rows = [("layer", "kernel", "bias", "parameters")]
    for name, arrays in checkpoint.parameters.items():
        kernel, bias = ("×".join(map(str, array.shape)) for array in arrays)
        rows.append((name, kernel, bias, f"{sum(array.size for array in arrays):,}"))
    total = sum(math.prod(array.shape) for arrays in checkpoint.parameters.values() for array in arrays)
    rows.append(("total", "", "", f"{total:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  {kernel:<{widths[1]}}  {bias:<{widths[2]}}  {count:>{widths[3]}}"
        for name, kernel, bias, count in rows
    )


def _beside(path: Path) -> Path:
    """The usual output for a source; another source's is not overwritten."""
    suffix = next((suffix for suffix in checkpoints.FORMATS if path.name.endswith(suffix)), path.suffix)
    output = Path("weights", f"{path.name.removesuffix(suffix)}.weights.h5")
    before = checkpoints.source(output) if output.exists() else None
    if before not in (None, path.name):
        raise ValueError(
            f"Expected {output} to be free, or made from {path.name}. It was made from {before}. "
            "Choose another output (--output)."
        )
    return output


def _labelled(checkpoint: Checkpoint, file: Path) -> Checkpoint:
    labels = file.read_text("utf-8").splitlines()
    if len(labels) != checkpoint.architecture.classes:
        raise CheckpointError(
            f"{file}: expected {checkpoint.architecture.classes} lines, one for each class of the "
            f"weights; received {len(labels)}."
        )
    return dataclasses.replace(checkpoint, classes=classes.named(labels))


def sha256(path: Path) -> str:
    """Of the bytes of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
