"""Convert checkpoints between formats, and describe their contents."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.caffe_network import caffe_preprocessing
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
from tfalexnet.checkpoints.formats.caffe_mean import read_mean
from tfalexnet.checkpoints.spec import ModelSpec, default_preprocessing
from tfalexnet.hub.cache import find_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import read_classes
from tfalexnet.io.files import require_absent, sha256
from tfalexnet.io.terminal import format_table
from tfalexnet.networks.spec import Architecture
from tfalexnet.tools.kernels import identify_kernels
from tfalexnet.tools.model_files import ModelFiles, is_collection, model_files


def convert(
    source: str | os.PathLike,
    output: str | os.PathLike | None = None,
    architecture: str | Architecture | None = None,
    labels: str | os.PathLike | None = None,
    renamed: Mapping[str, str] | None = None,
    overwrite: bool = False,
    like: str | os.PathLike | None = None,
    mean: Sequence[float] | str | os.PathLike | None = None,
    scale: float | None = None,
    channels: Literal["RGB", "BGR", "L"] | None = None,
    size: int | None = None,
    crop: int | None = None,
    prototxt: str | os.PathLike | None = None,
) -> tuple[Path, Checkpoint]:
    """Write the weights of a checkpoint in another format. Nothing is written unless all layers match.

    Args:
        source: a file, whose format is recognised by its content, or the name of published weights; or a folder or
            an archive (`.zip`, `.tar.gz`) with one file of weights, and perhaps others with the names of its classes,
            Caffe's definition and its mean.
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
        mean: of the pictures, a number for each channel in the order and the levels of the preprocessing; or the file
            of Caffe, `.binaryproto` or `.npy`, with a mean picture or numbers, in this order and in levels of 0–255.
            None for that of the file or the network; so is None for the next four.
        scale: factor of the levels 0–255 of pictures, before the mean is subtracted.
        channels: their order in the weights, "RGB", "BGR" or "L" for grey.
        size: pixels of a side of the resized picture.
        crop: pixels of a side of its centre, the input of the network. A definition for training may not state it.
        prototxt: Caffe's definition of the network, instead of `architecture`. None is the one in a `.caffemodel`.

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
        preprocessing = {"scale": scale, "channels": channels, "size": size, "crop": crop}
        with model_files(Path(source)) as files:
            options = _options_of(files, architecture, labels, renamed, like, mean, crop, prototxt)
            output, checkpoint = convert(files.weights, output, overwrite=overwrite, **options, **preprocessing)
            notes = files.notes(*(options[name] for name in ("labels", "prototxt", "mean")))
            return output, replace(checkpoint, notes=(*notes, *checkpoint.notes))
    path = find_weights(source)
    output = Path("weights", f"{output_stem(path)}.weights.h5") if output is None else Path(output)
    stores_weights_only = output_format(output) in WEIGHTS_ONLY
    if output.exists() and output.samefile(path):
        raise ValueError(f"Expected an output other than the source. Received: {output}")
    require_absent(output, overwrite)
    model = None if like is None else read_spec(find_weights(like))
    picture = read_mean(mean) if isinstance(mean, str | os.PathLike) else None
    side = crop or (len(picture) if np.ndim(picture) == 3 else None)
    architecture = architecture or (model and model.architecture)
    checkpoint = read_checkpoint(path, architecture, renamed, prototxt, side)
    if model is not None:
        checkpoint = _with_spec_of(checkpoint, model)
    changes = {"mean": mean, "scale": scale, "channels": channels, "size": size, "crop": crop}
    changes = {name: value for name, value in changes.items() if value is not None}
    was_known = checkpoint.spec.preprocessing is not None
    checkpoint = _with_preprocessing(checkpoint, changes, picture)
    if changes and "mean" not in changes and not was_known:
        checkpoint = replace(checkpoint, notes=(*checkpoint.notes, "No mean is stated; none is subtracted (--mean)."))
    if checkpoint.definition and not checkpoint.spec.preprocessing:
        checkpoint = replace(checkpoint, notes=(*checkpoint.notes, checkpoint.definition.mean_note()))
    if labels is not None:
        checkpoint = _with_labels(checkpoint, Path(labels))
    write_checkpoint(output, checkpoint, source=path.name, source_sha256=sha256(path))
    if stores_weights_only:
        note = f"{output.name} stores weights only: state network, class names and preprocessing again when it is read."
        checkpoint = replace(checkpoint, notes=(*checkpoint.notes, note))
    return output, checkpoint


def _options_of(
    files: ModelFiles,
    architecture: str | Architecture | None,
    labels: str | os.PathLike | None,
    renamed: Mapping[str, str] | None,
    like: str | os.PathLike | None,
    mean: Sequence[float] | str | os.PathLike | None,
    crop: int | None,
    prototxt: str | os.PathLike | None,
) -> dict[str, Any]:
    """Return the arguments of `convert` for files that were found together; those that the user gave come first."""
    if architecture is None and like is None and prototxt is None:
        prototxt = files.definition
    if labels is None and like is None:
        labels = files.labels(read_checkpoint(files.weights, architecture, renamed, prototxt, crop).spec)
    return {
        "architecture": architecture,
        "labels": labels,
        "renamed": renamed,
        "like": like,
        "mean": files.mean if mean is None else mean,
        "prototxt": prototxt,
    }


def describe_checkpoint(source: str | os.PathLike, architecture: str | Architecture | None = None) -> str:
    """Return file, network, classes, preprocessing and layers of a checkpoint as lines of text."""
    path = find_weights(source)
    checkpoint = read_checkpoint(path, architecture)
    spec, names = checkpoint.spec, [_quoted(label) for _, label in checkpoint.spec.classes]
    first = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    kernels = identify_kernels(path, checkpoint)
    facts = [
        ("file", f"{path}, {path.stat().st_size:,} bytes"),
        ("sha256", sha256(path)),
        ("network", f"{spec.architecture.name}, {spec.architecture.source}"),
        ("classes", f"{len(names)}: {first}" if names else f"none, it lacks {', '.join(checkpoint.missing)}"),
        ("pictures", spec.preprocessing.summary() if spec.preprocessing else "preprocessing unknown"),
        *([("kernels", kernels)] if kernels else []),
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


def _with_preprocessing(checkpoint: Checkpoint, changes: dict[str, Any], levels: np.ndarray | None) -> Checkpoint:
    """Return the checkpoint with fields of its preprocessing changed; `levels` are the mean in a file, 0–255."""
    spec, is_defined = checkpoint.spec, checkpoint.definition is not None
    if not changes:
        return checkpoint
    height, _, _ = shape = spec.architecture.input_shape
    if changes.get("crop", height) != height:
        received = f"Received: {changes['crop']}"
        raise ValueError(f"Expected a crop of {height}, the input of {spec.architecture.name}. {received}")
    old = spec.preprocessing or (caffe_preprocessing if is_defined else default_preprocessing)(spec.architecture)
    if levels is not None:  # Caffe scales after it has subtracted them.
        mean = levels * np.float32(changes.get("scale", old.scale))
        changes["mean"] = mean if mean.ndim == 3 else mean.tolist()
        if is_defined and not spec.preprocessing and mean.ndim == 3 and len(mean) == mean.shape[1]:
            changes = {"size": len(mean)} | changes  # Caffe's mean pictures have the size of resized pictures.
    elif "mean" in changes:
        mean = tuple(changes["mean"])
        changes["mean"] = mean * shape[2] if len(mean) == 1 else mean
    preprocessing = replace(old, **changes)
    if preprocessing.shape != shape:
        raise ValueError(f"Expected pictures of shape {shape}. Received: {preprocessing.shape}")
    return replace(checkpoint, spec=replace(spec, preprocessing=preprocessing))


def _with_labels(checkpoint: Checkpoint, file: Path) -> Checkpoint:
    """Return the checkpoint with the class names of a text file."""
    if checkpoint.missing:
        raise CheckpointError(f"Expected weights with a classifier for the labels of {file}. They end before it.")
    classes, count = read_classes(file), checkpoint.spec.architecture.classes
    if len(classes) != count:
        expected = f"expected {count} lines, one for each class of the weights"
        raise CheckpointError(f"{file}: {expected}; received {len(classes)}.")
    return replace(checkpoint, spec=replace(checkpoint.spec, classes=classes))
