"""Pictures through a network, batch by batch: the one place that builds a function to infer with."""

from __future__ import annotations

import collections
import functools
import itertools
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet import checkpoints
from tfalexnet.architectures import Architecture
from tfalexnet.classes import Class
from tfalexnet.exports import litert
from tfalexnet.formats import CheckpointError
from tfalexnet.outputs import PROBABILITIES, named, reached
from tfalexnet.preprocessing import Picture, PictureError, Preprocessing
from tfalexnet.weights import find

BATCH = 32  # Pictures a step: more make a CPU no faster.
AT_ONCE = 2  # Batches that are computed at a time: where one leaves cores idle, the other takes them.
AHEAD = AT_ONCE + 2  # Batches that are computed, prepared or waiting.

Precision = Literal["float32", "bfloat16", "auto"]
"""What products are computed in; "auto" is bfloat16 on processors that have such products, else float32."""

PRECISIONS = ("float32", "bfloat16", "auto")
FAST_BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # Flags of /proc/cpuinfo.


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
    """

    architecture: Architecture
    preprocessing: Preprocessing
    classes: tuple[Class, ...]
    layers: tuple[str, ...]
    precision: Literal["float32", "bfloat16", "float16", "int8"]
    function: Callable[[Any], list[Any]]

    def __call__(self, inputs: np.ndarray, batch: int = BATCH) -> list[np.ndarray]:
        """For each of `layers` an array, (n, …), of n preprocessed pictures, computed in steps of `batch`."""
        steps = [self._step(inputs[start : start + batch], batch) for start in range(0, len(inputs) or 1, batch)]
        return [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*steps, strict=True)]

    def _step(self, inputs: np.ndarray, batch: int) -> list[np.ndarray]:
        """At most a batch of pictures, with zeros up to a power of two: XLA compiles for each size anew."""
        count = len(inputs)
        lacking = min(batch, 1 << (count - 1).bit_length()) - count
        if lacking:
            inputs = np.concatenate([inputs, np.zeros((lacking, *inputs.shape[1:]), np.float32)])
        return [np.asarray(output)[:count] for output in self.function(inputs)]


def listed(images: Picture | Sequence[Picture]) -> tuple[Sequence[Picture], bool]:
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
        batch: pictures a step.
    """
    pictures = iter(pictures)
    batches: collections.deque[Future] = collections.deque()
    preparing, computing = ThreadPoolExecutor(_threads()), ThreadPoolExecutor(AT_ONCE)
    try:
        while True:
            while len(batches) < AHEAD and (taken := list(itertools.islice(pictures, batch))):
                prepared = [preparing.submit(_prepared, network, picture, crops) for picture in taken]
                batches.append(computing.submit(_computed, network, prepared, crops, batch))
            if not batches:
                return
            yield from batches.popleft().result()
    finally:
        for pool in (preparing, computing):
            pool.shutdown(cancel_futures=True)


def load(
    weights: str | os.PathLike | None, layers: tuple[str, ...] = (PROBABILITIES,), precision: Precision = "float32"
) -> Network:
    """The network of these weights, giving these layers.

    The last two stay in memory while their files are unchanged.

    Args:
        weights: a known name or a file.
        layers: by Caffe's names, or torchvision's of `one_weird_trick`.
        precision: of its products; what it gives is float32.

    Raises:
        ValueError: the network has no such layer, or there is no such precision.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`.
    """
    path = find(weights)
    state = path.stat()
    return _load(path.absolute(), layers, supported(precision), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=2)
def _load(path: Path, layers: tuple[str, ...], precision: Literal["float32", "bfloat16"], *_: int) -> Network:
    if litert.recognises(path):
        return _lite(path, layers)
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
    function = tf.function(freeze(net, checkpoint.parameters, outputs, precision), input_signature=signature)
    return Network(net, process, checkpoint.classes, layers, precision, function)


def _lite(path: Path, layers: tuple[str, ...]) -> Network:
    """The network of an exported file, in the precision of the file; TensorFlow is not imported."""
    checkpoint, precision, function = litert.read(path)
    if layers != (PROBABILITIES,):
        raise ValueError(f"Expected the layer {PROBABILITIES} of a file for LiteRT. Received: {', '.join(layers)}")
    if checkpoint.preprocessing is None:
        raise _unprepared(path, checkpoint.architecture)
    return Network(checkpoint.architecture, checkpoint.preprocessing, checkpoint.classes, layers, precision, function)


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


def _threads() -> int | None:
    """As many as TensorFlow was told to take, which may be a share of the machine."""
    tf = sys.modules.get("tensorflow")  # A network for LiteRT does without.
    return (tf and tf.config.threading.get_intra_op_parallelism_threads()) or os.cpu_count()


def _prepared(network: Network, picture: Picture, crops: int) -> np.ndarray | PictureError:
    try:
        return network.preprocessing.views(picture, crops)
    except PictureError as error:
        return error


def _computed(
    network: Network, prepared: list[Future], crops: int, batch: int
) -> list[list[np.ndarray] | PictureError]:
    found = [future.result() for future in prepared]
    inputs = [views for views in found if not isinstance(views, PictureError)]
    outputs = network(np.concatenate(inputs), batch) if inputs else []
    means = [output.reshape(-1, crops, *output.shape[1:]).mean(axis=1) for output in outputs]
    rows = map(list, zip(*means, strict=True))
    return [views if isinstance(views, PictureError) else next(rows) for views in found]
