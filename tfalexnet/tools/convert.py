"""A checkpoint in one format becomes one in another."""

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path

from tfalexnet.checkpoints.checkpoint import (
    WEIGHTS_ONLY,
    Checkpoint,
    output_format,
    output_stem,
    read_checkpoint,
    write_checkpoint,
)
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import classes_from_labels, read_class_names
from tfalexnet.io.files import require_absent, sha256
from tfalexnet.io.terminal import format_table
from tfalexnet.networks.spec import Architecture


def convert(
    source: str | os.PathLike,
    output: str | os.PathLike | None = None,
    architecture: str | Architecture | None = None,
    labels: str | os.PathLike | None = None,
    renamed: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> tuple[Path, Checkpoint]:
    """Write the weights of a checkpoint in another format; nothing is written unless all fits.

    Args:
        source: a file, its format told from its content, or a known name.
        output: the file to write, its format told from its name: `.weights.h5`, `.npy`,
            `.caffemodel`, `.safetensors`, `.npz`, `.net`. None is `weights/<name of the
            source>.weights.h5`; of RUN/model.weights.h5 the name is that of RUN.
        architecture: the network; see `checkpoints.read`. Any number of classes.
        labels: a text file with the name of each class on a line, for classes other than ImageNet's.
        renamed: layers of the source, and what the network calls them.
        overwrite: whether an output that exists is replaced.

    Returns:
        The file written, and what is in it.

    Raises:
        CheckpointError: the source is no checkpoint, or does not fit; the message says where.
        ValueError: the output ends in no known suffix, or there is no such network.
        FileExistsError: the output exists.
        WeightsNotFoundError: there is no such source.
        OSError: a file cannot be read or written. An older output stays as it was.
    """
    path = find_weights(source)
    output = Path("weights", f"{output_stem(path)}.weights.h5") if output is None else Path(output)
    module = output_format(output)
    if output.exists() and output.samefile(path):
        raise ValueError(f"Expected an output other than the source. Received: {output}")
    require_absent(output, overwrite)
    checkpoint = read_checkpoint(path, architecture, renamed)
    if labels is not None:
        checkpoint = _with_labels(checkpoint, Path(labels))
    write_checkpoint(output, checkpoint, source=path.name, source_sha256=sha256(path))
    if module in WEIGHTS_ONLY:
        note = f"{output.name} stores weights only: state network, class names and preprocessing again when it is read."
        checkpoint = dataclasses.replace(checkpoint, notes=(*checkpoint.notes, note))
    return output, checkpoint


def describe_checkpoint(source: str | os.PathLike, architecture: str | Architecture | None = None) -> str:
    """Format, network, classes, preprocessing and layers of a file, as lines of text."""
    path = find_weights(source)
    checkpoint = read_checkpoint(path, architecture)
    net, preprocessing = checkpoint.spec.architecture, checkpoint.spec.preprocessing
    names = [label for _, label in checkpoint.spec.classes]
    few = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    facts = {
        "file": f"{path}, {path.stat().st_size:,} bytes",
        "sha256": sha256(path),
        "network": f"{net.name}, {net.source}",
        "classes": f"{len(names)}: {few}" if names else f"none, it lacks {', '.join(checkpoint.missing)}",
        "pictures": preprocessing.summary() if preprocessing else "preprocessing unknown",
    }
    lines = [f"{name:<9} {value}" for name, value in facts.items()]
    return "\n".join([*lines, *(f"note      {note}" for note in checkpoint.notes), "", parameters_table(checkpoint)])


def parameters_table(checkpoint: Checkpoint) -> str:
    """Layers, shapes and parameters, as lines of text."""
    rows = [("layer", "kernel", "bias", "parameters")]
    for name, arrays in checkpoint.parameters.items():
        kernel, bias = ("×".join(map(str, array.shape)) for array in arrays)
        rows.append((name, kernel, bias, f"{sum(array.size for array in arrays):,}"))
    total = sum(math.prod(array.shape) for arrays in checkpoint.parameters.values() for array in arrays)
    rows.append(("total", "", "", f"{total:,}"))
    return format_table(rows, right=(3,))


def _with_labels(checkpoint: Checkpoint, file: Path) -> Checkpoint:
    """Return the checkpoint with the class names of a text file."""
    if checkpoint.missing:
        raise CheckpointError(f"Expected weights with a classifier for the labels of {file}. They end before it.")
    labels = read_class_names(file)
    count = checkpoint.spec.architecture.classes
    if len(labels) != count:
        raise CheckpointError(
            f"{file}: expected {count} lines, one for each class of the weights; received {len(labels)}."
        )
    spec = dataclasses.replace(checkpoint.spec, classes=classes_from_labels(labels))
    return dataclasses.replace(checkpoint, spec=spec)
