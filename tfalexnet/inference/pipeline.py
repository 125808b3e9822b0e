"""Pictures through a network, batch by batch: the one place that builds a function to infer with."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.images.decode import Picture, PictureError
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.runtimes.cpu import _threads
from tfalexnet.runtimes.network import BATCH_SIZE, Network, aligned_memory, padded_count

AT_ONCE = 2  # Batches that are computed at a time: where one leaves cores idle, the other takes them.
AHEAD = AT_ONCE + 2  # Batches that are computed, prepared or waiting.


def as_sequence(images: Picture | Sequence[Picture]) -> tuple[Sequence[Picture], bool]:
    """Pictures as a sequence, and whether they were one: a list, a tuple or an array of four dimensions."""
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 4)
    return (images, True) if several else ([images], False)


def run_network(
    network: Network, pictures: Iterable[Picture], crops: int = 1, batch: int = BATCH_SIZE
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
                shape = (padded_count(crops * len(taken), batch), *network.preprocessing.shape)
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
