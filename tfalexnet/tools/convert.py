"""Convert checkpoints between formats, and describe their contents."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tfalexnet.checkpoints.checkpoint import (
    WEIGHTS_ONLY,
    Checkpoint,
    output_format,
    output_stem,
    read_checkpoint,
    read_spec,
    write_checkpoint,
)
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec, default_preprocessing
from tfalexnet.hub.cache import find_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import read_classes
from tfalexnet.io.files import require_absent, sha256
from tfalexnet.io.terminal import format_table
from tfalexnet.networks.spec import Architecture
from tfalexnet.tools.model_files import is_collection, model_files


def convert(
    source: str | os.PathLike,
    output: str | os.PathLike | None = None,
    architecture: str | Architecture | None = None,
    labels: str | os.PathLike | None = None,
    renamed: Mapping[str, str] | None = None,
    overwrite: bool = False,
    like: str | os.PathLike | None = None,
    mean: Sequence[float] | None = None,
) -> tuple[Path, Checkpoint]:
    """Write the weights of a checkpoint in another format. Nothing is written unless all layers match.

    Args:
        source: a file, whose format is recognised by its content, or the name of published weights; or a folder or
            an archive (`.zip`, `.tar.gz`) with one file of weights, and perhaps one with the names of its classes.
        output: the file to write, whose format is that of its suffix: `.weights.h5`, `.npy`, `.caffemodel`,
            `.safetensors`, `.npz`, `.net`. None is `weights/<name of the source>.weights.h5`; for RUN/model.weights.h5
            the name is RUN.
        architecture: the network, with any number of classes; see `checkpoints.checkpoint.read_checkpoint`.
        labels: a text file with the name of each class on a line, or its WordNet id, a tab and its name, for classes
            other than those of ImageNet.
        renamed: new names of layers by their names in the source.
        overwrite: whether an existing output is replaced.
        like: other weights, a name or a file, whose network, preprocessing and, with as many classes, class names are
            used; `architecture` and `labels` come before them.
        mean: of the pictures, a number for each channel in the order and the levels of the preprocessing; None for
            that of the file or the network.

    Returns:
        The file that was written, and its contents.

    Raises:
        CheckpointError: the source is not a checkpoint, or does not match the network; the message states where.
        ValueError: the output has an unknown suffix, or there is no such network.
        FileExistsError: the output exists.
        WeightsNotFoundError: the source does not exist.
        OSError: a file cannot be read or written. An existing output is unchanged.
    """
    is_path = isinstance(source, str | os.PathLike) and os.fspath(source) not in REGISTRY
    if is_path and is_collection(Path(source)):
        with model_files(Path(source)) as files:
            if labels is None and like is None:
                labels = files.labels(read_checkpoint(files.weights, architecture, renamed).spec)
            output, checkpoint = convert(files.weights, output, architecture, labels, renamed, overwrite, like, mean)
            return output, replace(checkpoint, notes=(*files.notes(labels), *checkpoint.notes))
    path = find_weights(source)
    output = Path("weights", f"{output_stem(path)}.weights.h5") if output is None else Path(output)
    stores_weights_only = output_format(output) in WEIGHTS_ONLY
    if output.exists() and output.samefile(path):
        raise ValueError(f"Expected an output other than the source. Received: {output}")
    require_absent(output, overwrite)
    model = None if like is None else read_spec(find_weights(like))
    checkpoint = read_checkpoint(path, architecture or (model and model.architecture), renamed)
    if model is not None:
        checkpoint = _with_spec_of(checkpoint, model)
    if mean is not None:
        spec = checkpoint.spec
        preprocessing = replace(spec.preprocessing or default_preprocessing(spec.architecture), mean=tuple(mean))
        checkpoint = replace(checkpoint, spec=replace(spec, preprocessing=preprocessing))
    if labels is not None:
        checkpoint = _with_labels(checkpoint, Path(labels))
    write_checkpoint(output, checkpoint, source=path.name, source_sha256=sha256(path))
    if stores_weights_only:
        note = f"{output.name} stores weights only: state network, class names and preprocessing again when it is read."
        checkpoint = replace(checkpoint, notes=(*checkpoint.notes, note))
    return output, checkpoint


def describe_checkpoint(source: str | os.PathLike, architecture: str | Architecture | None = None) -> str:
    """Return file, network, classes, preprocessing and layers of a checkpoint as lines of text."""
    path = find_weights(source)
    checkpoint = read_checkpoint(path, architecture)
    spec, names = checkpoint.spec, [_quoted(label) for _, label in checkpoint.spec.classes]
    first = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    facts = [
        ("file", f"{path}, {path.stat().st_size:,} bytes"),
        ("sha256", sha256(path)),
        ("network", f"{spec.architecture.name}, {spec.architecture.source}"),
        ("classes", f"{len(names)}: {first}" if names else f"none, it lacks {', '.join(checkpoint.missing)}"),
        ("pictures", spec.preprocessing.summary() if spec.preprocessing else "preprocessing unknown"),
        *(("note", note) for note in checkpoint.notes),
    ]
    lines = "\n".join(f"{name:<9} {value}" for name, value in facts)
    return f"{lines}\n\n{parameters_table(checkpoint)}"


def _quoted(name: str) -> str:
    """Return the name of a class for a list between commas."""
    return f'"{name}"' if "," in name else name


def parameters_table(checkpoint: Checkpoint) -> str:
    """Return layers, shapes and numbers of parameters as lines of text."""
    rows, total = [("layer", "kernel", "bias", "parameters")], 0
    for name, (kernel, bias) in checkpoint.parameters.items():
        shapes = ("×".join(map(str, array.shape)) for array in (kernel, bias))
        rows.append((name, *shapes, f"{kernel.size + bias.size:,}"))
        total += kernel.size + bias.size
    return format_table([*rows, ("total", "", "", f"{total:,}")], right=(3,))


def _with_spec_of(checkpoint: Checkpoint, model: ModelSpec) -> Checkpoint:
    """Return the checkpoint with the preprocessing and, where their number is the same, the classes of `model`."""
    spec = checkpoint.spec
    same = bool(spec.classes) and len(spec.classes) == len(model.classes)
    classes = model.classes if same else spec.classes
    return replace(checkpoint, spec=replace(spec, preprocessing=model.preprocessing, classes=classes))


def _with_labels(checkpoint: Checkpoint, file: Path) -> Checkpoint:
    """Return the checkpoint with the class names of a text file."""
    if checkpoint.missing:
        raise CheckpointError(f"Expected weights with a classifier for the labels of {file}. They end before it.")
    classes, count = read_classes(file), checkpoint.spec.architecture.classes
    if len(classes) != count:
        expected = f"expected {count} lines, one for each class of the weights"
        raise CheckpointError(f"{file}: {expected}; received {len(classes)}.")
    return replace(checkpoint, spec=replace(checkpoint.spec, classes=classes))
