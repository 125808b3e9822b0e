"""Read the weights and the table of a `.keras` file, a complete model that Keras 3 saved, without Keras.

The file is a zip archive: `model.weights.h5` is that of `keras_h5`, and `config.json` describes the layers
(`keras_config`).
"""

import dataclasses
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.checkpoints.formats import SPEC, CheckpointError, Contents, keras_config, keras_h5, npz, reading
from tfalexnet.checkpoints.formats.binary import map_file

FLATTEN = keras_h5.FLATTEN
WEIGHTS, CONFIG = "model.weights.h5", "config.json"
MAX_CONFIG = 1 << 20  # Bytes; Keras writes about 1 kB a layer.


def recognises(path: Path) -> bool:
    """Return whether the file is a zip archive with the weights of a model."""
    try:
        with zipfile.ZipFile(path) as archive:
            return WEIGHTS in archive.namelist()
    except Exception:  # Another format, or a damaged archive, which can raise anything.
        return False


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer, as views of the mapped file, and the table of the network as the spec.

    Raises:
        CheckpointError: the file is damaged, or no table can describe the model.
        OSError: the file cannot be opened.
    """
    with reading(path, "a model that Keras 3 saved"), zipfile.ZipFile(path) as archive:
        data = map_file(path)
        npz.check_members(archive, data)
        config = archive.getinfo(CONFIG)
        if config.file_size > MAX_CONFIG:
            raise CheckpointError(f"expected {CONFIG} of at most {MAX_CONFIG:,} bytes; received {config.file_size:,}")
        spec, flatten = keras_config.spec(json.loads(npz.unpacked(config, archive, data).tobytes()))
        weights = npz.unpacked(archive.getinfo(WEIGHTS), archive, data)
        contents = keras_h5.contents(weights, _Bytes(weights))
        extras = {SPEC: np.frombuffer(json.dumps(spec).encode(), np.uint8)}
        return dataclasses.replace(contents, attributes={}, extras=extras, flatten=flatten)


class _Bytes(io.RawIOBase):
    """Bytes in memory as a file, without a copy."""

    def __init__(self, data: np.ndarray) -> None:
        self._data, self._position = memoryview(data), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._data)}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)
