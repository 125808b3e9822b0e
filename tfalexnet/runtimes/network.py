"""Pictures through a network, batch by batch: the one place that builds a function to infer with."""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import Class
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.layer_names import PROBABILITIES, required_rows, resolve_layer
from tfalexnet.networks.spec import Architecture
from tfalexnet.runtimes import litert, openvino
from tfalexnet.runtimes.cpu import Precision, resolve_precision

BATCH_SIZE = 32  # Pictures a step: more make a CPU no faster.
ALIGNMENT = 64  # Bytes; what TensorFlow asks of memory that it does not own (EIGEN_MAX_ALIGN_BYTES).

ENGINES = {litert: "ai_edge_litert", openvino: "openvino"}  # What answers from an exported file, and its package.


@dataclass(frozen=True)
class Network:
    """A network that is ready to answer.

    Attributes:
        architecture: its table.
        preprocessing: what its pictures become.
        classes: the names of its outputs.
        layers: whose numbers it gives.
        precision: of its products.
        function: from (batch, height, width, channels) to a list of one tensor for each of `layers`.
        path: the file that it is from.
        packages: that compute it, as they are imported.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    classes: tuple[Class, ...]
    layers: tuple[str, ...]
    precision: Literal["float32", "bfloat16", "float16", "int8"]
    function: Callable[[Any], list[Any]]
    path: Path
    packages: tuple[str, ...]

    def __call__(self, inputs: np.ndarray, batch: int = BATCH_SIZE) -> list[np.ndarray]:
        """For each of `layers` an array, (n, …), of n preprocessed pictures, computed in steps of `batch`."""
        steps = [self._step(inputs[start : start + batch], batch) for start in range(0, len(inputs) or 1, batch)]
        return [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*steps, strict=True)]

    def _step(self, inputs: np.ndarray, batch: int) -> list[np.ndarray]:
        count, wanted = len(inputs), padded_count(len(inputs), batch)
        if wanted > count:
            inputs = np.concatenate([inputs, np.zeros((wanted - count, *inputs.shape[1:]), np.float32)])
        return [np.asarray(output)[:count] for output in self.function(inputs)]


def load_network(
    weights: str | os.PathLike | None,
    layers: tuple[str, ...] = (PROBABILITIES,),
    precision: Precision = "float32",
    compiled: bool = True,
) -> Network:
    """The network of these weights, giving these layers.

    The last two stay in memory while their files are unchanged.

    Args:
        weights: a known name or a file.
        layers: by Caffe's names, or torchvision's of `one_weird_trick`.
        precision: of its products; what it gives is float32.
        compiled: whether XLA compiles the normalisation, which costs a quarter of a second once and saves
            a millisecond and a half of every picture.

    Raises:
        ValueError: the network has no such layer, or there is no such precision.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`.
    """
    path = find_weights(weights)
    state = path.stat()
    return _load_cached(
        path.absolute(), layers, resolve_precision(precision), compiled, state.st_mtime_ns, state.st_size
    )


@functools.lru_cache(maxsize=2)
def _load_cached(
    path: Path, layers: tuple[str, ...], precision: Literal["float32", "bfloat16"], compiled: bool, *_: int
) -> Network:
    for engine in ENGINES:
        if engine.recognises(path):
            return _exported(engine, path, layers, precision)
    import tensorflow as tf

    from tfalexnet.runtimes.tensorflow import freeze

    checkpoint = read_checkpoint(path)
    net, process = checkpoint.architecture, checkpoint.preprocessing
    for note in checkpoint.notes:
        warnings.warn(note, stacklevel=4)
    if process is None:
        raise _unprepared(path, net)
    outputs = [resolve_layer(net, layer) for layer in layers]
    lacking = [row.name for row in required_rows(net, outputs) if row.name in checkpoint.missing]
    if lacking:
        raise CheckpointError(
            f"{os.fspath(path)}: expected {', '.join(lacking)}, without which there is no "
            f"{' or '.join(layers)}; the file does not hold it. `tfalexnet features` gives the layers before it."
        )
    # keras.Model.predict costs tens of milliseconds a call; one fixed signature costs the network.
    signature = [tf.TensorSpec((None, *process.shape), tf.float32)]
    network = freeze(net, checkpoint.parameters, outputs, precision, compiled)
    function = tf.function(network, input_signature=signature)
    return Network(
        net,
        process,
        checkpoint.classes,
        layers,
        precision,
        lambda inputs: function(_shared(inputs)),
        path,
        ("tensorflow", "keras"),
    )


def _exported(engine: ModuleType, path: Path, layers: tuple[str, ...], precision: str) -> Network:
    """The network of an exported file, answered by its own runtime; TensorFlow is not imported."""
    checkpoint, precision, function = engine.read(path, precision)
    net, process = checkpoint.architecture, checkpoint.preprocessing
    if layers != (PROBABILITIES,):
        raise ValueError(f"Expected the layer {PROBABILITIES} of an exported file. Received: {', '.join(layers)}")
    if process is None:
        raise _unprepared(path, net)
    return Network(net, process, checkpoint.classes, layers, precision, function, path, (ENGINES[engine],))


def _unprepared(path: Path, net: Architecture) -> CheckpointError:
    return CheckpointError(
        f"{os.fspath(path)}: expected to know how {net.name} wants its pictures; the file does not "
        f"say. Preprocess them yourself and call the model of AlexNet({net.name!r}, weights=…)."
    )


def aligned_memory(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, float32, in memory that a network takes without a copy."""
    count = 4 * math.prod(shape)
    memory = np.zeros(count + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + count].view(np.float32).reshape(shape)


def _shared(inputs: np.ndarray) -> Any:
    """The array as a tensor: the same memory if it is `aligned_memory`, else a copy."""
    import tensorflow as tf

    if inputs.ctypes.data % ALIGNMENT or not inputs.flags.carray or not inputs.size:
        return tf.constant(inputs)
    return tf.experimental.dlpack.from_dlpack(inputs.__dlpack__())


def padded_count(count: int, batch: int) -> int:
    """The next power of two, up to a batch: XLA compiles for each size anew."""
    return min(max(batch, count), 1 << (count - 1).bit_length())
