"""Networks for other runtimes: which format is written how, and where to."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint, output_stem, read_checkpoint
from tfalexnet.checkpoints.description import Samples, describe_export
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.exporters import litert, onnx, openvino, savedmodel
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.decode import Picture, PictureError
from tfalexnet.images.folders import list_pictures
from tfalexnet.io.files import require_absent, sha256
from tfalexnet.io.packages import require_packages

EXPORTERS: dict[str, ModuleType] = {"savedmodel": savedmodel, "litert": litert, "onnx": onnx, "openvino": openvino}
PACKAGES = {"onnx": ("onnx",), "openvino": ("openvino", "onnx")}  # What writing a format needs.
CALIBRATION = 200  # Pictures: with five times as many, int8 of the shipped model answers no better.


def export(
    weights: str | os.PathLike | None,
    output: str | os.PathLike | None = None,
    format: str = "savedmodel",
    precision: str = "float32",
    pictures: str | os.PathLike | Iterable[Picture] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a network for another runtime, whole or not at all.

    Args:
        weights: a known name or a file in any format; None is the default of `tfalexnet.predict`.
        output: the file, `….tflite`, `….onnx` or `….xml`, or the folder of a SavedModel, new or empty. None
            is `weights/<name of the weights>…`, with the precision where it is not float32.
        format: "savedmodel", from the bytes of pictures to labels; "litert", "onnx" or "openvino",
            from preprocessed pictures to probabilities. `tfalexnet.exports` says what each carries.
        precision: "float32"; "bfloat16" in a SavedModel computes in it; "float16" in the others halves
            the file; "int8" in LiteRT quarters it and computes in whole numbers.
        pictures: for int8 alone: a folder, or several pictures, with which the ranges of activations are
            found, like those that the network will see; at most `CALIBRATION` of them, evenly spread.
        overwrite: whether an output that exists is replaced, a file by a file, a SavedModel by a SavedModel.

    Returns:
        What was written.

    Raises:
        ValueError: an argument that is not possible, a package that is not installed, or pictures none of
            which can be read; the message says what is.
        CheckpointError, WeightsNotFoundError, OSError: see `tfalexnet.convert`.
    """
    if format not in EXPORTERS:
        raise ValueError(f"Expected `format` to be one of {', '.join(EXPORTERS)}. Received: {format!r}")
    module = EXPORTERS[format]
    if precision not in module.PRECISIONS:
        raise ValueError(
            f"Expected `precision` of {format} to be one of {', '.join(module.PRECISIONS)}. Received: {precision!r}"
        )
    if precision == "int8" and pictures is None:
        raise ValueError(
            "Expected pictures (--pictures DIR) for int8, to find the ranges of activations with. Received: none"
        )
    require_packages(*PACKAGES.get(format, ()))
    chosen = _chosen(pictures) if precision == "int8" else []
    source = find_weights(weights)
    name = output_stem(source) + ("" if precision == "float32" else f".{precision}")
    output = Path("weights", module.NAME.format(name)) if output is None else Path(output)
    _check(output, module, overwrite)
    checkpoint = read_checkpoint(source)
    if checkpoint.missing:
        raise CheckpointError(f"Expected weights with all layers. {source} lacks {', '.join(checkpoint.missing)}.")
    description = describe_export(
        checkpoint, precision, module.LAYOUT, source=source.name, source_sha256=sha256(source)
    )
    samples = _samples(checkpoint, source, chosen) if precision == "int8" else None
    output.parent.mkdir(parents=True, exist_ok=True)
    for left in output.parent.glob(f".{glob.escape(output.name)}.????????.part"):
        shutil.rmtree(left, ignore_errors=True)  # By a kill while it was written.
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", suffix=".part", dir=output.parent) as folder:
        written = Path(folder, "new", output.name)
        written.parent.mkdir()
        module.write(written, checkpoint, description, precision, samples)
        files = _files(output, module)
        if len(files) > 1:
            output.unlink(missing_ok=True)  # A kill must not leave an old description to new weights.
        for path in reversed(files):  # What is asked for comes last, when the rest is there.
            if path.is_dir():
                path.rename(Path(folder, "old"))
            (written.parent / path.name).replace(path)
    return output


def _files(output: Path, module: ModuleType) -> list[Path]:
    return [output, *map(output.with_suffix, module.BESIDE)]


def _check(output: Path, module: ModuleType, overwrite: bool) -> None:
    """Raises where something is in the way of an output, or its name says something else."""
    suffix = Path(module.NAME).suffix
    if suffix and output.suffix != suffix:
        raise ValueError(f"Expected an output that ends in {suffix}. Received: {output}")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{output}: expected to make it in a folder. {above} is a file.")
    for path in _files(output, module):
        if path.exists() and path.is_dir() == bool(suffix):
            kinds = ("file", "folder") if suffix else ("folder", "file")
            raise ValueError("Expected an output that is new, or a {}. Received a {}: {}".format(*kinds, path))
        if path.is_dir():
            if not any(path.iterdir()):
                continue
            if not (path / "saved_model.pb").is_file():
                raise ValueError(f"Expected an output that is no folder of other things. Received: {path}")
        require_absent(path, overwrite)


def _chosen(pictures: str | os.PathLike | Iterable[Picture]) -> list[Picture]:
    """Pictures to calibrate with, evenly spread over all."""
    every = list_pictures(pictures) if isinstance(pictures, str | os.PathLike) else list(pictures)
    count = min(len(every), CALIBRATION)
    return [every[place * len(every) // count] for place in range(count)]


def _samples(checkpoint: Checkpoint, source: Path, chosen: list[Picture]) -> Samples:
    process = checkpoint.preprocessing
    if process is None:
        raise CheckpointError(
            f"Expected weights that say how {checkpoint.architecture.name} wants its pictures, for int8. "
            f"{source} does not; float16 needs none."
        )
    readable = []
    for picture in chosen:
        try:
            process(picture)
        except PictureError:
            continue
        readable.append(picture)
    if not readable:
        raise ValueError(f"Expected pictures. Received {len(chosen)}, none of which can be read.")

    def samples() -> Iterator[np.ndarray]:
        for picture in readable:
            yield process(picture)[None]

    return samples
