"""Run pictures through a network: threads prepare the next batches while others compute."""

import collections
import contextlib
import itertools
import os
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.images.fast import load_packages
from tfalexnet.images.opening import MAX_PIXELS, Picture, PictureError
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.inference.timing import Timing
from tfalexnet.runtimes.cpu import preparing_threads
from tfalexnet.runtimes.engine import aligned_memory
from tfalexnet.runtimes.network import BATCH_SIZE, Network, padded_count

COMPUTED_AT_ONCE = 2  # Batches computed at the same time: one uses the cores that the other leaves idle.
BATCHES_AHEAD = COMPUTED_AT_ONCE + 2  # Batches that are prepared, waiting or computed.

Outputs = list[np.ndarray]
"""The outputs of one picture, an array for each layer of the network."""


def as_sequence(images: Picture | Iterable[Picture]) -> tuple[Iterable[Picture], bool]:
    """Return the pictures as an iterable, and whether several were given: a list, a generator, an array of four axes.

    A picture itself, and anything that is none and cannot be iterated, is returned in a list of one.
    """
    if isinstance(images, np.ndarray):
        several = images.ndim == 4
    else:
        several = isinstance(images, Iterable) and not isinstance(images, str | bytes | os.PathLike)
    return (images, True) if several else ([images], False)


def check_positive(**arguments: int) -> None:
    """Raise `ValueError` unless all arguments are positive integers."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Expected `{name}` to be a positive integer. Received: {name}={value!r}")


def run_network(
    network: Network,
    pictures: Iterable[Picture],
    crops: int = 1,
    batch: int = BATCH_SIZE,
    max_pixels: int = MAX_PIXELS,
    timing: Timing | None = None,
    total: int = 0,
) -> Iterator[Outputs | PictureError]:
    """Yield the outputs of each picture, in order, or the error of one that cannot be read.

    Args:
        network: from `load_network`. If its preprocessing is None, `pictures` are inputs of the network.
        pictures: any number of them; a few batches are in memory at a time.
        crops: 1 for the centre crop; 10 for the mean over the four corners, the centre, and their mirror images.
        batch: crops a step.
        max_pixels: a picture of more pixels is answered with an error.
        timing: measures when the network computes.
        total: number of pictures of the whole job, of which these are the last. Engines are faster, and a continued job
            gives the same last digits, if all batches of a job have one size.

    Raises:
        CheckpointError: an output is not finite.
        ValueError: an input has another shape.
    """
    pictures, pictures_per_batch = iter(pictures), max(1, batch // crops)
    size = padded_count(crops * min(total, pictures_per_batch), batch) if total else 0  # Of every batch.
    timing = timing or Timing()
    batches: collections.deque[tuple[list[Picture], Future]] = collections.deque()
    buffers: list[np.ndarray] = []  # Inputs of full batches, used again: new memory takes the system milliseconds.
    preparing, computing = ThreadPoolExecutor(preparing_threads()), ThreadPoolExecutor(COMPUTED_AT_ONCE)

    def compute(inputs: np.ndarray, prepared: list[Future]) -> list[Outputs | PictureError]:
        errors = [future.result() for future in prepared]
        layers: list[np.ndarray] = []
        if not all(errors):
            with timing.batch():
                layers = network(inputs, batch)
        by_picture = [layer[: crops * len(errors)].reshape(len(errors), crops, *layer.shape[1:]) for layer in layers]
        means = [views.mean(axis=1) for views in by_picture]
        if len(errors) == pictures_per_batch:
            buffers.append(inputs)
        return [error or [layer[index] for layer in means] for index, error in enumerate(errors)]

    try:
        while True:
            while len(batches) < BATCHES_AHEAD and (chunk := list(itertools.islice(pictures, pictures_per_batch))):
                size = size or padded_count(crops * len(chunk), batch)
                shape = (size, *network.spec.architecture.input_shape)
                inputs = buffers.pop() if buffers and len(chunk) == pictures_per_batch else aligned_memory(shape)
                views = inputs[: crops * len(chunk)].reshape(len(chunk), crops, *shape[1:])
                prepared = [
                    preparing.submit(_prepare, network.spec.preprocessing, picture, crops, max_pixels, view)
                    for picture, view in zip(chunk, views, strict=True)
                ]
                batches.append((chunk, computing.submit(compute, inputs, prepared)))
                if len(chunk) == pictures_per_batch:
                    load_packages()  # While the first batch is prepared and computed.
            if not batches:
                return
            chunk, results = batches.popleft()
            for picture, outputs in zip(chunk, results.result(), strict=True):
                if not isinstance(outputs, PictureError):
                    _check_finite(network, picture, outputs)
                yield outputs
    finally:
        for pool in (preparing, computing):
            pool.shutdown(cancel_futures=True)


def require_readable(results: Generator[Any, None, None]) -> list[Any]:
    """Return all results, or raise the first that is a `PictureError`.

    The generator is closed here, in the thread that made it: the garbage collector may run in a thread that is just
    starting, where waiting for the threads of `run_network` never ends.
    """
    collected = []
    with contextlib.closing(results):
        for result in results:
            if isinstance(result, PictureError):
                raise result
            collected.append(result)
    return collected


def _prepare(
    preprocessing: Preprocessing | None, picture: Picture, crops: int, max_pixels: int, view: np.ndarray
) -> PictureError | None:
    """Write the crops of a picture, or an input, into its part of a batch, or return why it cannot be read."""
    if preprocessing is None:
        view[...] = _checked_input(picture, view.shape[1:])
        return None
    try:
        view[...] = preprocessing.views(picture, crops, max_pixels)
    except PictureError as error:
        return error.without_traceback()
    return None


def _checked_input(array: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != shape or array.dtype.kind not in "fiu":
        received = f"{array.dtype}, {array.shape}"
        raise ValueError(f"Expected preprocessed arrays of numbers of shape {shape}. Received: {received}")
    return array


def _check_finite(network: Network, picture: Picture, outputs: Outputs) -> None:
    for layer, values in zip(network.layers, outputs, strict=True):
        if not np.isfinite(values).all():
            name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else "a picture"
            raise CheckpointError(
                f"{network.path}: expected finite numbers; its network answers {name} with NaN or infinity in "
                f"{layer}. Check how these weights were trained or converted."
            )
