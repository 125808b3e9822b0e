"""Weights pruned and clustered, to be kept in the layout of Deep Compression.

S. Han, H. Mao, W. Dally, "Deep Compression", ICLR 2016, sections 2 and 3, without their training
between the steps: the largest weights of a kernel are kept, the others become 0, and what is kept is
rounded to few shared values by k-means from values spread evenly.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.checkpoint import output_format, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import deep_compression
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.decode import Picture
from tfalexnet.inference.pipeline import run_network
from tfalexnet.io.files import require_absent, sha256
from tfalexnet.io.terminal import format_table
from tfalexnet.runtimes.network import load_network

ENERGY = 0.999  # The error of the shipped model grows by .1 points; at .99 by 1.5 (README).
ROUNDS = 100  # Of k-means, which seldom needs half of them.


@dataclass(frozen=True)
class Kernel:
    """What became of one kernel: share of its weights and values left, ‖change‖ / ‖kernel‖."""

    layer: str
    weights: int
    kept: float
    values: int
    error: float


@dataclass(frozen=True)
class Loss:
    """What the outputs lost: pictures with another best class, and the largest change of a probability."""

    pictures: int
    changed: int
    largest: float


@dataclass(frozen=True)
class Compression:
    """What was written, its size and that of its source in bytes, and what was lost.

    `loss` is None where nobody says how the network takes its pictures.
    """

    output: Path
    before: int
    after: int
    kernels: tuple[Kernel, ...]
    loss: Loss | None
    on: str


def compress(
    weights: str | os.PathLike,
    output: str | os.PathLike,
    energy: float = ENERGY,
    pictures: Iterable[Picture] | None = None,
    overwrite: bool = False,
) -> Compression:
    """Write weights in the layout of Deep Compression.

    Args:
        weights: a known name or a file in any format.
        output: the file to write, `….net`.
        energy: the share of ‖kernel‖² that the weights which are kept hold, in (0, 1].
        pictures: what the outputs are compared on; None is `noise()`.
        overwrite: whether an output that exists is replaced.

    Raises:
        ValueError: an argument out of its range, or pictures none of which can be read.
        CheckpointError, WeightsNotFoundError, OSError: see `tfalexnet.convert`.
    """
    output = Path(output)
    if not 0 < energy <= 1:
        raise ValueError(f"Expected `energy` in (0, 1]. Received: {energy!r}")
    if output_format(output) is not deep_compression:
        raise ValueError(f"Expected an output that ends in .net. Received: {output}")
    require_absent(output, overwrite)
    source = find_weights(weights)
    checkpoint = read_checkpoint(source)
    checkpoint.require_complete(source)
    parameters, kernels = {}, []
    for name, (kernel, bias) in checkpoint.parameters.items():
        few = cluster(prune(kernel, energy), deep_compression.values(kernel.ndim))
        parameters[name] = few, bias
        kept = np.count_nonzero(few) / kernel.size
        error = float(np.linalg.norm(few - kernel) / (np.linalg.norm(kernel) or 1))
        kernels.append(Kernel(name, kernel.size, kept, len(np.unique(few[few != 0])), error))
    compressed = replace(checkpoint, parameters=parameters)
    write_checkpoint(output, compressed, source=source.name, source_sha256=sha256(source))
    loss = None
    if checkpoint.spec.preprocessing is not None:
        loss = measure_loss(source, output, noise_pictures() if pictures is None else pictures)
    on = "pictures of noise (--pictures has others)" if pictures is None else "pictures"
    return Compression(output, source.stat().st_size, output.stat().st_size, tuple(kernels), loss, on)


def prune(kernel: np.ndarray, energy: float) -> np.ndarray:
    """The kernel with its smallest weights 0, the others holding `energy` of its squared norm."""
    squares = np.square(kernel, dtype=np.float64).reshape(-1)
    ordered = np.sort(squares)
    lost = np.cumsum(ordered)
    smallest = np.searchsorted(lost, (1 - energy) * lost[-1], side="right")
    if smallest == kernel.size:  # All are 0.
        return kernel
    return np.where(squares.reshape(kernel.shape) >= ordered[smallest], kernel, np.float32(0))


def cluster(kernel: np.ndarray, count: int) -> np.ndarray:
    """The kernel with each weight but 0 rounded to the nearest of at most `count` shared values.

    Lloyd's iteration in one dimension, where a cluster is a piece of the sorted weights and its mean a
    difference of two sums.
    """
    (places,) = np.nonzero(kernel.reshape(-1))
    weights = kernel.reshape(-1)[places]
    ordered = np.sort(weights)
    distinct = ordered[np.append(True, ordered[1:] != ordered[:-1])] if ordered.size else ordered
    if len(distinct) <= count:
        return kernel
    sums = np.append(0, np.cumsum(ordered, dtype=np.float64))
    values = np.linspace(ordered[0], ordered[-1], count)
    for _ in range(ROUNDS):
        before = values
        ends = np.searchsorted(ordered, (values[1:] + values[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(ordered)]])
        members = np.diff(ends)
        values = np.where(members > 0, np.diff(sums[ends]) / np.maximum(members, 1), values)
        if np.array_equal(values, before):
            break
    nearest = np.searchsorted((values[1:] + values[:-1]) / 2, weights)
    few = np.zeros(kernel.size, np.float32)
    few[places] = values.astype(np.float32)[nearest]
    return few.reshape(kernel.shape)


def measure_loss(weights: str | os.PathLike, compressed: str | os.PathLike, pictures: Iterable[Picture]) -> Loss:
    """What the outputs lost, on pictures that can be read."""
    pictures = list(pictures)
    both = [run_network(load_network(file), pictures) for file in (weights, compressed)]
    pairs = [pair for pair in zip(*both, strict=True) if not any(isinstance(side, ValueError) for side in pair)]
    if not pairs:
        raise ValueError(f"Expected pictures. Received {len(pictures)} files, none of which can be read.")
    before, after = (np.array([side[0] for side in sides]) for sides in zip(*pairs, strict=True))
    changed = np.count_nonzero(before.argmax(axis=1) != after.argmax(axis=1))
    return Loss(len(pairs), int(changed), float(np.abs(before - after).max()))


def noise_pictures(count: int = 32, side: int = 256) -> list[np.ndarray]:
    """Pictures to try outputs on where there are no real ones: noise whose amplitude falls as 1/f.

    So does that of photographs (D. Field, J. Opt. Soc. Am. A 4, 1987).
    """
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / side)
    white = np.random.default_rng(2012).standard_normal((count, side, side, 3))
    spectrum = np.fft.rfft2(white, axes=(1, 2)) * amplitude[None, :, :, None]
    pink = np.fft.irfft2(spectrum, s=(side, side), axes=(1, 2))
    low, high = pink.min(axis=(1, 2, 3), keepdims=True), pink.max(axis=(1, 2, 3), keepdims=True)
    return list(((pink - low) / (high - low) * 255).round().astype(np.uint8))


def compression_table(compression: Compression) -> str:
    """What became of each kernel, of the size and of the outputs, as lines of text."""
    rows = [("layer", "weights", "kept", "values", "error")]
    for kernel in compression.kernels:
        rows.append(
            (kernel.layer, f"{kernel.weights:,}", f"{kernel.kept:.1%}", str(kernel.values), f"{kernel.error:.1%}")
        )
    lines = [format_table(rows, right=(1, 2, 3, 4))]
    share = compression.after / compression.before
    lines += ["", f"{compression.before:,} bytes became {compression.after:,} ({share:.1%}): {compression.output}"]
    if (loss := compression.loss) is None:
        return "\n".join(
            [*lines, "What the outputs lost is not known: the weights do not say how pictures are prepared."]
        )
    lines.append(
        f"Of {loss.pictures} {compression.on} {loss.changed} have another best class; the largest change of a "
        f"probability is {loss.largest:.3f}"
    )
    return "\n".join(lines)
