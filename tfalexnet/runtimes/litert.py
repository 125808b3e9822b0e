"""LiteRT (TensorFlow Lite): a file for telephones and small machines, out and in."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.description import INPUTS, KEY, OUTPUTS, parse_description
from tfalexnet.checkpoints.formats import CheckpointError, reading
from tfalexnet.io.packages import require_packages
from tfalexnet.runtimes.cpu import available_cores

MAGIC = b"TFL3"  # At byte 4, where a FlatBuffer says what it is.
LARGEST = 1 << 25  # Bytes of a description: the mean picture in decimal digits, and the names of many classes.


def recognises(path: Path) -> bool:
    """Whether a file is a network for LiteRT."""
    with path.open("rb") as file:
        return file.read(8)[4:] == MAGIC


def read(path: Path, _: str = "float32") -> tuple[Checkpoint, str, Callable[[np.ndarray], list[np.ndarray]]]:
    """What a file of `write` says of itself, its precision, and its function; TensorFlow is not needed.

    The file's own precision is all there is, whatever is asked for.

    Returns:
        A checkpoint without parameters, the precision, and a function from preprocessed pictures,
        float32 (batch, height, width, channels), to a list of their probabilities, which threads may share.

    Raises:
        CheckpointError: the file is damaged, or not one of `write`.
        ValueError: the package ai-edge-litert is not installed.
    """
    require_packages("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    with reading(path, "a network that tfalexnet exported for LiteRT"):
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{KEY}.json")
            if entry.file_size > LARGEST:
                raise CheckpointError(f"expected a description of at most {LARGEST:,} bytes; received more")
            checkpoint, precision = parse_description(archive.read(entry))
        runner = Interpreter(os.fspath(path), num_threads=available_cores()).get_signature_runner()
        taken, given = runner.get_input_details(), runner.get_output_details()
        shapes = [[*taken[INPUTS]["shape"][1:]], [*given[OUTPUTS]["shape"][1:]]]
        wanted = [[*checkpoint.architecture.input_shape], [checkpoint.architecture.classes]]
        if shapes != wanted:
            raise CheckpointError(f"expected inputs and outputs of {wanted}, as it says; received {shapes}")
    alone = threading.Lock()

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        with alone:
            return [runner(**{INPUTS: np.asarray(inputs, np.float32)})[OUTPUTS]]

    return checkpoint, precision, function
