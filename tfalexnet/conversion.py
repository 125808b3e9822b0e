"""A checkpoint in one format becomes one in another."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path

from tfalexnet import checkpoints, classes
from tfalexnet.architectures import Architecture
from tfalexnet.checkpoints import Checkpoint
from tfalexnet.files import sha256
from tfalexnet.formats import CheckpointError
from tfalexnet.weights import find


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
    if checkpoint.missing:
        raise CheckpointError(f"Expected weights with a classifier for the labels of {file}. They end before it.")
    labels = file.read_text("utf-8-sig").splitlines()
    if len(labels) != checkpoint.architecture.classes:
        raise CheckpointError(
            f"{file}: expected {checkpoint.architecture.classes} lines, one for each class of the "
            f"weights; received {len(labels)}."
        )
    return dataclasses.replace(checkpoint, classes=classes.named(labels))
