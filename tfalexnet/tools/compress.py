"""Prune and cluster weights, and write them in the layout of Deep Compression.

S. Han, H. Mao, W. Dally, "Deep Compression", ICLR 2016, sections 2 and 3, without their training between the steps: the
largest weights of a kernel remain and the others become 0; the remaining ones are rounded to few shared values by
k-means, whose initial values are spread evenly.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.checkpoint import output_format, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import deep_compression
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.opening import Picture
from tfalexnet.inference.pipeline import run_network
from tfalexnet.io.files import require_absent, sha256
from tfalexnet.io.terminal import format_table
from tfalexnet.runtimes.network import load_network

ENERGY = 0.999  # The error of the shipped model grows by 0.1 points; with 0.99 by 1.5 (README).
ROUNDS = 100  # Limit of rounds of k-means, which seldom needs half of them.


@dataclass(frozen=True)
class Kernel:
    """The compression of one kernel.

    Attributes:
        layer: its name.
        weights: how many it has.
        remaining: the share of them that is not 0, in [0, 1].
        values: how many different values they have.
        error: ‖change‖ / ‖kernel‖.
    """

    layer: str
    weights: int
    remaining: float
    values: int
    error: float


@dataclass(frozen=True)
class Loss:
    """The change of the outputs: pictures compared, those with another best class, largest change of a probability."""

    pictures: int
    changed: int
    largest: float


@dataclass(frozen=True)
class Compression:
    """The file that was written, its size and that of its source in bytes, and what was lost.

    `loss` is None if the preprocessing is unknown. `noise` is whether it was measured on noise.
    """

    output: Path
    before: int
    after: int
    kernels: tuple[Kernel, ...]
    loss: Loss | None
    noise: bool


def compress(
    weights: str | os.PathLike,
    output: str | os.PathLike,
    energy: float = ENERGY,
    pictures: Iterable[Picture] | None = None,
    overwrite: bool = False,
) -> Compression:
    """Write weights in the layout of Deep Compression.

    Args:
        weights: the name of published weights, or a file in any format.
        output: the file to write, `….net`.
        energy: the share of ‖kernel‖² that the remaining weights hold, in (0, 1].
        pictures: those on which the outputs are compared; None is `noise_pictures()`.
        overwrite: whether an existing output is replaced.

    Raises:
        ValueError: an argument is out of its range, or no picture can be read.
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
        clustered = cluster(prune(kernel, energy), deep_compression.values(kernel.ndim))
        parameters[name] = clustered, bias
        error = float(np.linalg.norm(clustered - kernel) / (np.linalg.norm(kernel) or 1))
        remaining = clustered[clustered != 0]
        kernels.append(Kernel(name, kernel.size, remaining.size / kernel.size, len(np.unique(remaining)), error))
    checkpoint = replace(checkpoint, parameters=parameters)
    write_checkpoint(output, checkpoint, source=source.name, source_sha256=sha256(source))
    loss, noise = None, pictures is None
    if checkpoint.spec.preprocessing is not None:
        loss = measure_loss(source, output, noise_pictures() if noise else pictures)
    return Compression(output, source.stat().st_size, output.stat().st_size, tuple(kernels), loss, noise)


def prune(kernel: np.ndarray, energy: float) -> np.ndarray:
    """Return the kernel with its smallest weights 0; the others hold `energy` of its squared norm."""
    squares = np.square(kernel, dtype=np.float64)
    ordered = np.sort(squares, axis=None)
    sums = np.cumsum(ordered)
    pruned = np.searchsorted(sums, (1 - energy) * sums[-1], side="right")
    if pruned == kernel.size:  # All weights are 0.
        return kernel
    return np.where(squares >= ordered[pruned], kernel, np.float32(0))


def cluster(kernel: np.ndarray, count: int) -> np.ndarray:
    """Return the kernel with each weight but 0 rounded to the nearest of at most `count` shared values.

    Lloyd's iteration in one dimension: a cluster is a range of the sorted weights, and its mean is a difference of two
    cumulative sums.
    """
    ordered = np.sort(kernel[kernel != 0])
    if np.count_nonzero(np.diff(ordered)) < count:
        return kernel
    sums = np.append(0, np.cumsum(ordered, dtype=np.float64))
    values = np.linspace(ordered[0], ordered[-1], count)
    for _ in range(ROUNDS):
        before = values
        ends = np.concatenate([[0], np.searchsorted(ordered, _midpoints(values)), [len(ordered)]])
        members = np.diff(ends)
        values = np.where(members > 0, np.diff(sums[ends]) / np.maximum(members, 1), values)
        if np.array_equal(values, before):
            break
    nearest = values.astype(np.float32)[np.searchsorted(_midpoints(values), kernel)]
    return np.where(kernel != 0, nearest, np.float32(0))


def _midpoints(values: np.ndarray) -> np.ndarray:
    return (values[1:] + values[:-1]) / 2


def measure_loss(weights: str | os.PathLike, compressed: str | os.PathLike, pictures: Iterable[Picture]) -> Loss:
    """Return the change of the outputs for those pictures that can be read."""
    pictures = list(pictures)
    both = [run_network(load_network(file), pictures) for file in (weights, compressed)]
    pairs = [pair for pair in zip(*both, strict=True) if not any(isinstance(side, ValueError) for side in pair)]
    if not pairs:
        raise ValueError(f"Expected pictures. Received {len(pictures)} files, none of which can be read.")
    before, after = (np.array([side[0] for side in sides]) for sides in zip(*pairs, strict=True))
    changed = np.count_nonzero(before.argmax(axis=1) != after.argmax(axis=1))
    return Loss(len(pairs), int(changed), float(np.abs(before - after).max()))


def noise_pictures(count: int = 32, side: int = 256) -> list[np.ndarray]:
    """Return pictures for comparing outputs without photos: noise whose amplitude falls as 1/f.

    That of photos does too (D. Field, J. Opt. Soc. Am. A 4, 1987). uint8, (side, side, 3).
    """
    rows, columns = np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij")
    amplitude = 1 / np.maximum(np.hypot(rows, columns), 1 / side)
    white = np.random.default_rng(2012).standard_normal((count, side, side, 3))
    spectrum = np.fft.rfft2(white, axes=(1, 2)) * amplitude[None, :, :, None]
    pink = np.fft.irfft2(spectrum, s=(side, side), axes=(1, 2))
    pink -= pink.min(axis=(1, 2, 3), keepdims=True)
    return list((pink / pink.max(axis=(1, 2, 3), keepdims=True) * 255).round().astype(np.uint8))


def compression_table(compression: Compression) -> str:
    """Return the changes of kernels, size and outputs as lines of text."""
    rows = [("layer", "weights", "remaining", "values", "error")]
    for kernel in compression.kernels:
        shares = f"{kernel.remaining:.1%}", str(kernel.values), f"{kernel.error:.1%}"
        rows.append((kernel.layer, f"{kernel.weights:,}", *shares))
    before, after, loss = compression.before, compression.after, compression.loss
    if loss is None:
        outputs = "The change of the outputs was not measured: the weights do not state their preprocessing."
    else:
        kind = "pictures of noise (--pictures has others)" if compression.noise else "pictures"
        outputs = (
            f"Of {loss.pictures} {kind} {loss.changed} have another best class; the largest change of a probability "
            f"is {loss.largest:.3f}"
        )
    size = f"{before:,} bytes became {after:,} ({after / before:.1%}): {compression.output}"
    return f"{format_table(rows, right=(1, 2, 3, 4))}\n\n{size}\n{outputs}"
