"""`export`: write a network for another runtime, completely or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from tfalexnet.checkpoints.checkpoint import Checkpoint, output_stem, read_checkpoint
from tfalexnet.checkpoints.exported import Samples, describe_export
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.exporters import caffe, litert, onnx, openvino, savedmodel
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.folders import list_pictures
from tfalexnet.images.opening import Picture, PictureError
from tfalexnet.io.files import PART, remove_stale_parts, require_absent, sha256, temporary_prefix
from tfalexnet.io.packages import require_packages

# Modules of this package, each with:
#   NAME        default name of an output, from the name of the weights
#   BESIDE      suffixes of further files that are written beside the output
#   LAYOUT      of the inputs, NHWC or NCHW
#   MARKER      the file by which a folder of this format is recognised; empty for a format that is a file
#   PRECISIONS  the possible ones, the default first
#   PACKAGES    that are required to write it
#   write(path, checkpoint, description, precision, samples), which may empty the checkpoint's parameters
# Every file takes preprocessed pictures, float32 (a SavedModel by its signature `probabilities`), and carries the
# description of `checkpoints.exported`.
EXPORTERS: dict[str, ModuleType] = {
    "savedmodel": savedmodel,
    "litert": litert,
    "onnx": onnx,
    "openvino": openvino,
    "caffe": caffe,
}
FULL = 1 << 20  # Bytes; a disk with less is full: the libraries write larger pieces.
CALIBRATION_PICTURES = 200  # With 1000, the int8 version of the shipped model was not more accurate.


def export(
    weights: str | os.PathLike | None,
    output: str | os.PathLike | None = None,
    format: str = "savedmodel",
    precision: str = "float32",
    pictures: str | os.PathLike | Iterable[Picture] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a network for another runtime.

    Args:
        weights: a name or a file in any format; None is the default of `tfalexnet.predict`.
        output: the file, `….tflite`, `….onnx` or `….xml`, or the folder of a SavedModel or for Caffe, new or empty.
            None is `weights/<name of the weights>…`, with the precision where it is not float32.
        format: "savedmodel", from the bytes of pictures to labels; "litert", "onnx", "openvino" or "caffe", from
            preprocessed pictures to probabilities.
        precision: "float32"; "bfloat16" for a SavedModel computes in it; "float16" for the others halves the file;
            "int8" for LiteRT and OpenVINO quarters the file and computes in integers.
        pictures: for int8 only: a folder, or several pictures, that calibrate the ranges of activations; they should
            be like those that the network will see. At most `CALIBRATION_PICTURES` of them are used, evenly spread.
        overwrite: whether an existing output is replaced, a file by a file, a folder by a folder of the same format.

    Returns:
        The path of the output.

    Raises:
        ValueError: an argument is not possible, a package is not installed, or no picture can be read.
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
            "Expected pictures (--pictures DIR) for int8, to calibrate the ranges of activations. Received: none"
        )
    require_packages("export", *module.PACKAGES)
    calibration = calibration_pictures(pictures) if precision == "int8" else []
    source = find_weights(weights)
    name = output_stem(source) + ("" if precision == "float32" else f".{precision}")
    output = Path("weights", module.NAME.format(name)) if output is None else Path(output)
    files = [output, *map(output.with_suffix, module.BESIDE)]
    _check_output(files, module.MARKER, Path(module.NAME).suffix, overwrite)
    checkpoint = read_checkpoint(source)
    checkpoint.require_complete(source)
    samples = _samples(checkpoint, source, calibration) if precision == "int8" else None
    origin = {"source": source.name, "source_sha256": sha256(source)}
    description = describe_export(checkpoint.spec, precision, module.LAYOUT, **origin)
    output.parent.mkdir(parents=True, exist_ok=True)
    remove_stale_parts(output)
    with tempfile.TemporaryDirectory(PART, temporary_prefix(output), output.parent) as folder:
        written = Path(folder, "new", output.name)
        written.parent.mkdir()
        with _explain_full_disk(output):
            module.write(written, checkpoint, description, precision, samples)
        _replace(files, written.parent, Path(folder, "old"))
    return output


@contextlib.contextmanager
def _explain_full_disk(output: Path) -> Iterator[None]:
    """Raise the system's error in place of those of TensorFlow and OpenVINO if the disk of the output is full."""
    try:
        yield
    except Exception as error:
        if shutil.disk_usage(output.parent).free < FULL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(output)) from error
        raise


def _replace(files: list[Path], new: Path, old: Path) -> None:
    """Move files of the same names out of the folder `new`; an existing folder is moved to `old`."""
    if len(files) > 1:
        files[0].unlink(missing_ok=True)  # After a kill an old description must not stand beside new weights.
    for path in reversed(files):  # The output itself comes last, when the files beside it are there.
        if path.is_dir():
            path.rename(old)
        (new / path.name).replace(path)


def _check_output(files: list[Path], marker: str, suffix: str, overwrite: bool) -> None:
    """Raise if the output has another suffix, or something that must not be replaced has the name of a file.

    Args:
        files: the output, and what is written beside it.
        marker: the file that a folder of the format holds; empty for a format that is a file.
        suffix: of the output; it is empty for a format that is a folder.
        overwrite: whether an existing output is replaced.
    """
    output = files[0]
    if suffix and output.suffix != suffix:
        raise ValueError(f"Expected an output that ends in {suffix}. Received: {output}")
    above = next(folder for folder in output.absolute().parents if folder.exists())
    if not above.is_dir():
        raise NotADirectoryError(f"{output}: expected to make it in a folder. {above} is a file.")
    expected, other = ("file", "folder") if suffix else ("folder", "file")
    for path in files:
        if path.exists() and path.is_dir() == bool(suffix):
            raise ValueError(f"Expected an output that is new, or a {expected}. Received a {other}: {path}")
        if path.is_dir() and not any(path.iterdir()):
            continue
        if path.is_dir() and not (path / marker).is_file():
            raise ValueError(f"Expected a new folder, or one that holds {marker}. Received: {path}")
        require_absent(path, overwrite)


def calibration_pictures(pictures: str | os.PathLike | Iterable[Picture]) -> list[Picture]:
    """Return the pictures to calibrate with, evenly spread over all."""
    all_pictures = list_pictures(pictures) if isinstance(pictures, str | os.PathLike) else list(pictures)
    count = min(len(all_pictures), CALIBRATION_PICTURES)
    return [all_pictures[index * len(all_pictures) // count] for index in range(count)]


def _samples(checkpoint: Checkpoint, source: Path, pictures: list[Picture]) -> Samples:
    preprocessing = checkpoint.spec.preprocessing
    if preprocessing is None:
        raise CheckpointError(
            f"Expected weights that state the preprocessing of {checkpoint.spec.architecture.name}, for int8. "
            f"{source} does not; float16 requires none."
        )
    readable = []
    for picture in pictures:
        with contextlib.suppress(PictureError):
            preprocessing(picture)
            readable.append(picture)
    if not readable:
        raise ValueError(f"Expected pictures. Received {len(pictures)}, none of which can be read.")
    return lambda: (preprocessing(picture)[None] for picture in readable)
