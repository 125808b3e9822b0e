"""A foreign file becomes a `.weights.h5` that needs nothing beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from pathlib import Path

from tfalexnet import checkpoints, classes
from tfalexnet.architectures import Architecture
from tfalexnet.checkpoints import Checkpoint
from tfalexnet.formats import CheckpointError, keras_h5


def convert(
    source: str | os.PathLike,
    output: str | os.PathLike | None = None,
    architecture: str | Architecture | None = None,
    labels: str | os.PathLike | None = None,
) -> tuple[Path, Checkpoint]:
    """Write the weights of a checkpoint as Keras reads them; nothing is written unless all fits.

    Args:
        source: the checkpoint; its format is told from its content.
        output: the file to write; None is `weights/<name of the source>.weights.h5`.
        architecture: the network; None takes what the source says or is named after, or else
            bvlc_alexnet. Any number of classes.
        labels: a text file with the name of each class on a line, for classes other than ImageNet's.

    Returns:
        The file written, and what is in it.

    Raises:
        CheckpointError: the source is no checkpoint, or does not fit; the message says where.
        OSError: a file cannot be read or written. An older output stays as it was.
    """
    source = Path(source)
    output = Path("weights", f"{source.name.split('.')[0]}.weights.h5") if output is None else Path(output)
    if not output.name.endswith(".weights.h5"):
        raise ValueError(f"Expected an output named ….weights.h5, or Keras would not read it. Received: {output}")
    checkpoint = checkpoints.read(source, architecture)
    if labels is not None:
        checkpoint = _labelled(checkpoint, Path(labels))
    attributes, extras = checkpoints.attributes(checkpoint)
    attributes["source"] = source.name
    attributes["source_sha256"] = _sha256(source)
    keras_h5.write(output, checkpoint.parameters, attributes, extras)
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


def _labelled(checkpoint: Checkpoint, file: Path) -> Checkpoint:
    labels = file.read_text("utf-8").splitlines()
    if len(labels) != checkpoint.architecture.classes:
        raise CheckpointError(
            f"{file}: expected {checkpoint.architecture.classes} lines, one for each class of the "
            f"weights; received {len(labels)}."
        )
    return dataclasses.replace(checkpoint, classes=classes.named(labels))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
