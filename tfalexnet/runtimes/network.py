"""Network: a file of weights as a function of preprocessed pictures, computed by one of the engines."""

import functools
import os
import threading
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint, output_stem, read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.io.files import sha256
from tfalexnet.networks.layer_names import ALL, PROBABILITIES, all_outputs, required_rows, resolve_layer
from tfalexnet.runtimes.cpu import Precision, resolve_precision
from tfalexnet.runtimes.engine import Function, Products
from tfalexnet.runtimes.selection import AUTO, recognise_exported, select_engine

BATCH_SIZE = 32  # Pictures a step; larger batches are not faster on a CPU.

_LOADING: dict[tuple, threading.Lock] = {}  # A lock for each network that is being loaded.


@dataclass(frozen=True)
class Network:
    """A network that is ready to compute.

    Attributes:
        spec: its table, preprocessing (None only for inputs that are prepared already) and classes.
        layers: the layers whose outputs it returns.
        engine: the name of the engine that computes it.
        precision: of the products.
        function: computes the outputs.
        path: the file of the weights.
        packages: import names of the packages that compute it.
    """

    spec: ModelSpec
    layers: tuple[str, ...]
    engine: str
    precision: Products
    function: Function
    path: Path
    packages: tuple[str, ...]

    def __call__(self, inputs: np.ndarray, batch: int = BATCH_SIZE) -> list[np.ndarray]:
        """Return an array (n, …) for each of `layers`, computed from n preprocessed pictures in steps of `batch`."""
        steps = [self._step(inputs[start : start + batch], batch) for start in range(0, len(inputs) or 1, batch)]
        return [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*steps, strict=True)]

    @functools.cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file."""
        return sha256(self.path)

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each layer's output for one picture."""
        inputs = np.zeros((1, *self.spec.architecture.input_shape), np.float32)
        return {name: output.shape[1:] for name, output in zip(self.layers, self(inputs), strict=True)}

    def _step(self, inputs: np.ndarray, batch: int) -> list[np.ndarray]:
        count, padded = len(inputs), padded_count(len(inputs), batch)
        if padded > count:
            inputs = np.concatenate([inputs, np.zeros((padded - count, *inputs.shape[1:]), np.float32)])
        return [np.asarray(output)[:count] for output in self.function(inputs)]


def load_network(
    path: str | os.PathLike,
    layers: tuple[str, ...] = (PROBABILITIES,),
    precision: Precision = "float32",
    compiled: bool = True,
    engine: str = AUTO,
    preprocessed: bool = False,
) -> Network:
    """Return the network of a file. The last two stay in memory while their files are unchanged.

    Args:
        path: weights in any format, or a network exported for LiteRT or OpenVINO.
        layers: the outputs to return, by Caffe's names, or torchvision's for `one_weird_trick`; `ALL` alone is each
            that `all_outputs` names.
        precision: of the products; the outputs are float32. "int8" computes the file of `int8_file`.
        compiled: whether TensorFlow compiles the normalisation with XLA. This takes a quarter of a second once, and
            saves 1.5 ms a picture.
        engine: "openvino", "tensorflow", or "litert" for a file that was exported for it; "auto" is the engine that the
            file was exported for, else OpenVINO where its package is installed and the processor is x86 or Arm, else
            TensorFlow.
        preprocessed: whether the preprocessing may be unknown, because the inputs are prepared already.

    Raises:
        ValueError: the network has no such layer, there is no such precision or engine, the package of an engine is
            not installed, or the engine does not compute this file.
        CheckpointError: the file cannot be read, lacks layers, or its preprocessing is unknown.
        OSError: the file cannot be opened.
        RuntimeError: this process was forked from one that has computed with the same engine, TensorFlow or OpenVINO.
    """
    path = Path(path) if precision != "int8" else int8_file(Path(path))
    identity = _identity(path)
    # With the process in the key, a forked process uses neither the networks of its parent nor a lock that a thread
    # of its parent held.
    selected = select_engine(path, engine)
    key = (path.absolute(), layers, *selected, resolve_precision(precision), compiled, *identity, os.getpid())
    with _LOADING.setdefault(key, threading.Lock()):  # Threads that need the same network wait for the first.
        try:
            network = _load(*key)
        finally:
            _LOADING.pop(key, None)
    if precision == "int8" and network.precision != "int8":
        raise ValueError(f"Expected weights in 8 bits. Received: {path}, whose products are {network.precision}")
    if not preprocessed:
        network.spec.require_preprocessing(path)
    return network


def _identity(path: Path) -> tuple[int, ...]:
    """Return numbers of which one changes when a file is changed or replaced.

    A file that replaces another may have its size and its time of modification, not its number and time of change.
    """
    state = path.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino, state.st_ctime_ns


@functools.lru_cache(maxsize=2)
def _digest(path: Path, *_: int) -> str:
    return sha256(path)


@functools.lru_cache(maxsize=2)
def _load(
    path: Path,
    layers: tuple[str, ...],
    name: str,
    is_exported: bool,
    precision: Literal["float32", "bfloat16"],
    compiled: bool,
    *_: int,
) -> Network:
    engine = import_module(f"tfalexnet.runtimes.{name}")
    if is_exported:
        layers = (PROBABILITIES,) if layers == (ALL,) else layers
        spec, *result = engine.load(path, layers, precision)
    else:
        checkpoint, layers, outputs = _read(path, layers)
        spec = checkpoint.spec
        result = engine.compile_network(spec.architecture, checkpoint.parameters, outputs, precision, compiled)
    return Network(spec, layers, name, *result, path, engine.PACKAGES)


def _read(path: Path, layers: tuple[str, ...]) -> tuple[Checkpoint, tuple[str, ...], list[str]]:
    """Return a checkpoint that has the weights for `layers`, their names, and Caffe's names of them."""
    checkpoint = read_checkpoint(path)
    for note in checkpoint.notes:
        warnings.warn(note, stacklevel=5)
    net = checkpoint.spec.architecture
    layers = all_outputs(net, checkpoint.missing) if layers == (ALL,) else layers
    outputs = [resolve_layer(net, layer) for layer in layers]
    lacking = [row.name for row in required_rows(net, outputs) if row.name in checkpoint.missing]
    if lacking:
        raise CheckpointError(
            f"{path}: expected {', '.join(lacking)}, required for {' and '.join(layers)}; the file does not hold "
            "them. `tfalexnet features` gives the layers before."
        )
    return checkpoint, layers, outputs


def int8_file(path: Path) -> Path:
    """Return the file with the weights of `path` in 8 bits, which `tfalexnet export` wrote for OpenVINO.

    It stands beside the weights, or where `tfalexnet export` writes by default. A file that was itself exported is
    returned unchanged.

    Raises:
        ValueError: there is none, or it was written from other weights.
    """
    if recognise_exported(path):
        return path
    name = f"{output_stem(path)}.int8.xml"
    candidates = [folder / name for folder in (path.parent, Path("weights"))]
    found = [file for file in candidates if file.exists()]
    digest = _digest(path.absolute(), *_identity(path)) if found else ""
    for file in found:
        if digest in file.read_text("utf-8", "replace"):  # Its description names the file that was exported.
            return file
    received = f"{found[0]}, which was written from other weights" if found else "none"
    raise ValueError(
        f"Expected {' or '.join(map(str, candidates))}, the weights of {path} in 8 bits. Received: {received}. Write "
        f"it: tfalexnet export {path} --format openvino --precision int8 --pictures DIR --output {candidates[-1]}"
    )


def padded_count(count: int, batch: int) -> int:
    """Return the next power of two, at most a batch: XLA compiles once for each size."""
    return min(max(batch, count), 1 << (count - 1).bit_length())
