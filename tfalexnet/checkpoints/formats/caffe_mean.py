"""Read and write the mean of Caffe's training pictures: `mean.binaryproto`, or an array of NumPy."""

import os
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, caffemodel, npz, reading
from tfalexnet.checkpoints.formats.binary import map_file, starts_with

NPY = b"\x93NUMPY"
LARGEST = 1 << 12  # Pixels a side, as in preprocessing.


def read_mean(path: str | os.PathLike) -> np.ndarray:
    """Return the mean in a file, float32: a picture (height, width, channels), or numbers (channels,).

    Raises:
        CheckpointError: the file holds neither, or a picture of other than 1 or 3 channels.
        OSError: the file cannot be read.
    """
    with reading(path, "a mean of Caffe, .binaryproto or .npy"):
        data = map_file(path)
        array = npz.array(data) if starts_with(Path(path), NPY) else caffemodel.read_blob(data, rank=3)
        while array.ndim > 3 and array.shape[0] == 1:
            array = array[0]
        if array.ndim == 3 and array.shape[0] in (1, 3):
            array = array.transpose(1, 2, 0)
        if array.ndim not in (1, 3) or array.shape[-1] not in (1, 3) or max(array.shape) > LARGEST:
            expected = f"expected a picture of 1 or 3 channels and at most {LARGEST} pixels a side, or 1 or 3 numbers"
            raise CheckpointError(f"{expected}; received an array of shape {array.shape}")
        mean = np.array(array, np.float32)
        if not np.isfinite(mean).all():
            raise CheckpointError("expected finite numbers")
        return mean


def write_mean(path: Path, mean: np.ndarray) -> None:
    """Write a mean picture (height, width, channels) as Caffe's tools do."""
    blob = caffemodel.blob(mean.transpose(2, 0, 1)[None])
    path.write_bytes(b"".join(blob))
