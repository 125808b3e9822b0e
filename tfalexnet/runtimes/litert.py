"""Engine LiteRT: computes a `.tflite` file that `tfalexnet export` wrote, without TensorFlow."""

import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.exported import INPUTS, KEY, OUTPUTS, parse_description
from tfalexnet.checkpoints.formats import CheckpointError, explaining, reading
from tfalexnet.io.packages import require_packages
from tfalexnet.runtimes.cpu import available_cores
from tfalexnet.runtimes.engine import Loaded, require_probabilities

PACKAGES = ("ai_edge_litert",)
EXPECTED = "a network that tfalexnet exported for LiteRT"
TRIAL = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(sys.argv[1], num_threads=1).get_signature_runner()
details = runner.get_input_details().items()
for count in 1, 2:
    runner(**{name: np.zeros((count, *of["shape"][1:]), of["dtype"]) for name, of in details})
"""
TRIAL_SECONDS = 60
MAX_DESCRIPTION = 1 << 25  # Bytes; a mean picture in decimal digits and the names of many classes take less.


def load(path: Path, layers: tuple[str, ...], _precision: str = "float32") -> Loaded:
    """Read the file; its function may be called from several threads. The precision is always that of the file.

    Raises:
        CheckpointError: the file is damaged, or another program wrote it.
        ValueError: a package is not installed, or `layers` are not the probabilities.
    """
    require_packages("export", *PACKAGES)
    from ai_edge_litert.interpreter import Interpreter

    with reading(path, EXPECTED):
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{KEY}.json")
            if entry.file_size > MAX_DESCRIPTION:
                raise CheckpointError(f"expected a description of at most {MAX_DESCRIPTION:,} bytes; received more")
            spec, precision = parse_description(archive.read(entry))
        _try_in_child(path)
        runner = Interpreter(os.fspath(path), num_threads=available_cores()).get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        shapes = [[*inputs[INPUTS]["shape"][1:]], [*outputs[OUTPUTS]["shape"][1:]]]
        expected = [[*spec.architecture.input_shape], [spec.architecture.classes]]
        if shapes != expected:
            raise CheckpointError(f"expected inputs and outputs of {expected}, as described; received {shapes}")
    require_probabilities(layers)
    lock = threading.Lock()

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        with lock, explaining(path, EXPECTED):
            return [runner(**{INPUTS: np.asarray(inputs, np.float32)})[OUTPUTS]]

    return spec, precision, function


def _try_in_child(path: Path) -> None:
    """Raise `CheckpointError` unless another process computes an answer from the file.

    LiteRT (2.1) does not check the graph: a damaged file can end its process. The child takes a fifth of a second.
    """
    command = [sys.executable, "-P", "-c", TRIAL, path]  # Without -P, a numpy.py in the working folder would be run.
    try:
        child = subprocess.run(command, capture_output=True, timeout=TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        raise CheckpointError(f"LiteRT computes no answer within {TRIAL_SECONDS} seconds") from None
    if child.returncode:
        lines = child.stderr.decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if child.returncode > 0 and lines else f"its process ended with status {child.returncode}"
        raise CheckpointError(f"LiteRT cannot compute it: {reason}")
