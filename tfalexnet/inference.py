"""Pictures through a network, batch by batch: the one place that builds a function to infer with."""

from __future__ import annotations

import collections
import functools
import itertools
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np

from tfalexnet import checkpoints
from tfalexnet.architectures import Architecture
from tfalexnet.classes import Class
from tfalexnet.decoding import Picture, PictureError
from tfalexnet.exports import litert, openvino
from tfalexnet.formats import CheckpointError
from tfalexnet.outputs import PROBABILITIES, named, reached
from tfalexnet.preprocessing import Preprocessing
from tfalexnet.processors import cores
from tfalexnet.weights import find

BATCH = 32  # Pictures a step: more make a CPU no faster.
AT_ONCE = 2  # Batches that are computed at a time: where one leaves cores idle, the other takes them.
AHEAD = AT_ONCE + 2  # Batches that are computed, prepared or waiting.
ALIGNMENT = 64  # Bytes; what TensorFlow asks of memory that it does not own (EIGEN_MAX_ALIGN_BYTES).

Precision = Literal["float32", "bfloat16", "auto"]
"""What products are computed in; "auto" is bfloat16 on processors that have such products, else float32."""

PRECISIONS = get_args(Precision)
FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # Flags of /proc/cpuinfo.

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

    def __call__(self, inputs: np.ndarray, batch: int = BATCH) -> list[np.ndarray]:
        """For each of `layers` an array, (n, …), of n preprocessed pictures, computed in steps of `batch`."""
        steps = [self._step(inputs[start : start + batch], batch) for start in range(0, len(inputs) or 1, batch)]
        return [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*steps, strict=True)]

    def _step(self, inputs: np.ndarray, batch: int) -> list[np.ndarray]:
        count, wanted = len(inputs), _padded(len(inputs), batch)
        if wanted > count:
            inputs = np.concatenate([inputs, np.zeros((wanted - count, *inputs.shape[1:]), np.float32)])
        return [np.asarray(output)[:count] for output in self.function(inputs)]


def as_sequence(images: Picture | Sequence[Picture]) -> tuple[Sequence[Picture], bool]:
    """Pictures as a sequence, and whether they were one: a list, a tuple or an array of four dimensions."""
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 4)
    return (images, True) if several else ([images], False)


def run(
    network: Network, pictures: Iterable[Picture], crops: int = 1, batch: int = BATCH
) -> Iterator[list[np.ndarray] | PictureError]:
    """For each picture in order the numbers of each layer, or what is wrong with it.

    Threads prepare the pictures of the next batches while others compute.

    Args:
        network: from `load`.
        pictures: as many as there are; no more than a few batches of them are held.
        crops: 1 for the centre; 10 for the four corners and the centre, mirrored too, of which the
            mean is given.
        batch: views a step.

    Raises:
        CheckpointError: an answer is no number.
    """
    pictures, together = iter(pictures), max(1, batch // crops)
    batches: collections.deque[tuple[list[Picture], Future]] = collections.deque()
    spare: list[np.ndarray] = []  # Memory for whole batches; the system takes milliseconds to give it anew.
    preparing, computing = ThreadPoolExecutor(_threads()), ThreadPoolExecutor(AT_ONCE)

    def computed(inputs: np.ndarray, prepared: list[Future]) -> list[list[np.ndarray] | PictureError]:
        errors = [future.result() for future in prepared]
        outputs = [] if all(errors) else network(inputs, batch)
        means = [output[: crops * len(errors)].reshape(len(errors), crops, *output.shape[1:]) for output in outputs]
        means = [views.mean(axis=1) for views in means]
        if len(errors) == together:
            spare.append(inputs)
        return [error or [layer[place] for layer in means] for place, error in enumerate(errors)]

    try:
        while True:
            while len(batches) < AHEAD and (taken := list(itertools.islice(pictures, together))):
                shape = (_padded(crops * len(taken), batch), *network.preprocessing.shape)
                inputs = spare.pop() if spare and len(taken) == together else aligned_memory(shape)
                places = inputs[: crops * len(taken)].reshape(len(taken), crops, *shape[1:])
                prepared = [
                    preparing.submit(_prepared, network.preprocessing, picture, crops, place)
                    for picture, place in zip(taken, places, strict=True)
                ]
                batches.append((taken, computing.submit(computed, inputs, prepared)))
            if not batches:
                return
            taken, answers = batches.popleft()
            for picture, answer in zip(taken, answers.result(), strict=True):
                if not isinstance(answer, PictureError):
                    _check_finite(network, picture, answer)
                yield answer
    finally:
        for pool in (preparing, computing):
            pool.shutdown(cancel_futures=True)


def load(
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
    path = find(weights)
    state = path.stat()
    return _load(path.absolute(), layers, supported(precision), compiled, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=2)
def _load(
    path: Path, layers: tuple[str, ...], precision: Literal["float32", "bfloat16"], compiled: bool, *_: int
) -> Network:
    for engine in ENGINES:
        if engine.recognises(path):
            return _exported(engine, path, layers, precision)
    import tensorflow as tf

    from tfalexnet.frozen import freeze

    checkpoint = checkpoints.read(path)
    net, process = checkpoint.architecture, checkpoint.preprocessing
    for note in checkpoint.notes:
        warnings.warn(note, stacklevel=4)
    if process is None:
        raise _unprepared(path, net)
    outputs = [named(net, layer) for layer in layers]
    lacking = [row.name for row in reached(net, outputs) if row.name in checkpoint.missing]
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


def supported(precision: Precision) -> Literal["float32", "bfloat16"]:
    """The precision itself; of "auto" what is the faster one here.

    Raises:
        ValueError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Expected `precision` to be one of {', '.join(PRECISIONS)}. Received: {precision!r}")
    if precision != "auto":
        return precision
    try:
        words = Path("/proc/cpuinfo").read_text("ascii", "replace").split()
    except OSError:  # Not Linux.
        return "float32"
    return "float32" if FAST_BFLOAT16.isdisjoint(words) else "bfloat16"


def _threads() -> int:
    """As many as TensorFlow was told to take, else as cores that this process may use."""
    tf = sys.modules.get("tensorflow")  # A network for LiteRT does without.
    told = tf.config.threading.get_intra_op_parallelism_threads() if tf else 0
    return told or cores()


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


def _padded(count: int, batch: int) -> int:
    """The next power of two, up to a batch: XLA compiles for each size anew."""
    return min(max(batch, count), 1 << (count - 1).bit_length())


def _check_finite(network: Network, picture: Picture, answer: list[np.ndarray]) -> None:
    for layer, numbers in zip(network.layers, answer, strict=True):
        if not np.isfinite(numbers).all():
            name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else "a picture"
            raise CheckpointError(
                f"{network.path}: expected finite numbers; its network answers {name} with NaN or infinity in "
                f"{layer}. Look into the training that made it."
            )


def _prepared(process: Preprocessing, picture: Picture, crops: int, place: np.ndarray) -> PictureError | None:
    """Write the views of a picture to their place in a batch; what is wrong with it otherwise."""
    try:
        place[...] = process.views(picture, crops)
    except PictureError as error:
        return error
    return None
