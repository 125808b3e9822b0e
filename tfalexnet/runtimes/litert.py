"""Engine LiteRT: computes a `.tflite` file that `tfalexnet export` wrote, without TensorFlow."""

import os
import threading
import zipfile
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.exported import INPUTS, KEY, OUTPUTS, parse_description
from tfalexnet.checkpoints.formats import CheckpointError, reading
from tfalexnet.io.packages import require_packages
from tfalexnet.runtimes.cpu import available_cores
from tfalexnet.runtimes.engine import Loaded, require_probabilities

PACKAGES = ("ai_edge_litert",)
MAX_DESCRIPTION = 1 << 25  # Bytes; a mean picture in decimal digits and the names of many classes take less.


def load(path: Path, layers: tuple[str, ...], _precision: str = "float32", _compiled: bool = True) -> Loaded:
    """Read the file; its function may be called from several threads. The precision is always that of the file.

    Raises:
        CheckpointError: the file is damaged, or another program wrote it.
        ValueError: a package is not installed, or `layers` are not the probabilities.
    """
    require_packages("export", *PACKAGES)
    from ai_edge_litert.interpreter import Interpreter

    with reading(path, "a network that tfalexnet exported for LiteRT"):
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{KEY}.json")
            if entry.file_size > MAX_DESCRIPTION:
                raise CheckpointError(f"expected a description of at most {MAX_DESCRIPTION:,} bytes; received more")
            spec, precision = parse_description(archive.read(entry))
        runner = Interpreter(os.fspath(path), num_threads=available_cores()).get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        shapes = [[*inputs[INPUTS]["shape"][1:]], [*outputs[OUTPUTS]["shape"][1:]]]
        expected = [[*spec.architecture.input_shape], [spec.architecture.classes]]
        if shapes != expected:
            raise CheckpointError(f"expected inputs and outputs of {expected}, as described; received {shapes}")
    require_probabilities(layers)
    lock = threading.Lock()

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        with lock:
            return [runner(**{INPUTS: np.asarray(inputs, np.float32)})[OUTPUTS]]

    return spec, precision, function
