"""The layout of Deep Compression's `AlexNet_compressed.net`: 244 MB of weights in 9.

S. Han, H. Mao, W. Dally, "Deep Compression", ICLR 2016; repository songhan/Deep-Compression-AlexNet,
decode.py. A uint32 a layer, how many codes it has; then for each layer its codebook (float32: 256 for
convolutions, 16 for inner products), its biases (float32), its codes (one or two a byte, the low half
first) and its gaps (two a byte, the low half first). The code of number i stands at the place
`Σ_{j ≤ i} (gap_j + 1) − 1` of the kernel in Caffe's order; elsewhere stands `codebook[0]`.

The file does not say what its layers are, so that reading takes their shapes. Attributes and extras
follow the last layer as a block of safetensors and its size (uint64); readers of the published layout
stop before them.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, map_file, reading, safetensors
from tfalexnet.checkpoints.formats.orientation import channels_first, channels_last
from tfalexnet.io.files import atomic_write
from tfalexnet.networks.spec import Parameters

FLATTEN = "CHW"
MAX_GAP = 15  # Four bits; a longer way is gone in steps of 16 with code 0.

MAX_CLASSES = 1 << 16
BLANK = 1 << 24  # Numbers of a last layer that may be zeros alone, 4096 for each of 4096 classes.

Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int]]]


def classes(path: Path, shapes: Shapes) -> int | None:
    """With how many classes in the last layer these shapes make this file, to the byte.

    None if with no number; so a file is told from others, having no other mark.
    """
    data = map_file(path)
    name, (kernel, _) = list(shapes.items())[-1]
    without = _end(data, {**shapes, name: ((kernel[0], MAX_CLASSES), (0,))})
    if without is None:
        return None
    biases = _layers_end(data) - without
    if not 0 < biases <= 4 * MAX_CLASSES or biases % 4:
        return None
    # A bias is four bytes and a class thousands of numbers: their codes must be there, or few enough.
    reached = (MAX_GAP + 1) * _counts(data, shapes)[-1]
    return biases // 4 if kernel[0] * (biases // 4) <= max(reached, BLANK) else None


def trailer(path: Path) -> tuple[Mapping[str, str | int], Mapping[str, np.ndarray]]:
    """Return the attributes and extras behind the layers, both empty where there is no complete block of them."""
    data = map_file(path)
    end = _layers_end(data)
    try:
        return safetensors.unpack(data[end:-8]) if end < data.size else ({}, {})
    except (CheckpointError, AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return {}, {}


def read(path: str | os.PathLike, shapes: Shapes) -> Contents:
    """Kernels and biases by layer.

    Args:
        path: the file.
        shapes: of kernel and bias by layer, in the order of the network, as in
            `Architecture.parameter_shapes`.

    Raises:
        CheckpointError: the file is damaged, or made of other shapes.
        OSError: the file cannot be opened.
    """
    with reading(path, "a file of Deep Compression"):
        data = map_file(path)
        end = _layers_end(data)
        if _end(data, shapes) != end:
            raise CheckpointError(f"expected {_end(data, shapes)} bytes for these layers; received {end}")
        parameters: Parameters = {}
        position = 4 * len(shapes)
        for (name, (kernel, bias)), count in zip(shapes.items(), _counts(data, shapes), strict=True):
            sizes = _sizes(kernel, bias, count)
            codebook, biases, codes, gaps = (data[a:b] for a, b in _spans(position, sizes))
            position += sum(sizes)
            flat = _decode(name, codebook.view("<f4"), codes, gaps, count, math.prod(kernel))
            shape = [kernel[axis] for axis in ((3, 2, 0, 1) if len(kernel) == 4 else (1, 0))]
            parameters[name] = channels_last(flat.reshape(shape)), biases.view("<f4")
        attributes, extras = safetensors.unpack(data[end:-8]) if end < data.size else ({}, {})
        return Contents(parameters, attributes, extras, FLATTEN)


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Kernels of few different numbers; each layer must hold zeros and at most 255, or 15, others.

    Raises:
        CheckpointError: a kernel has more different numbers (`tfalexnet compress` makes them few).
        OSError: the file cannot be written; whatever was there before still is.
    """
    layers = []
    for name, (kernel, bias) in contents.parameters.items():
        layers.append((*_encode(name, channels_first(kernel), _bits(kernel.ndim)), bias))
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(np.array([len(codes) for _, codes, _, _ in layers], "<u4").tobytes())
        for codebook, codes, gaps, bias in layers:
            packed = codes if len(codebook) == 256 else _halves(codes)
            for array in (codebook, np.ascontiguousarray(bias, "<f4"), packed, _halves(gaps)):
                file.write(array.tobytes())
        if contents.attributes or contents.extras:
            block = io.BytesIO()
            safetensors.pack(block, contents.attributes, contents.extras)
            file.write(block.getvalue() + len(block.getvalue()).to_bytes(8, "little"))


def values(rank: int) -> int:
    """How many different numbers beside 0 a kernel may hold."""
    return (1 << _bits(rank)) - 1


def _bits(rank: int) -> int:
    return 8 if rank == 4 else 4


def _counts(data: np.ndarray, shapes: Shapes) -> list[int]:
    return data[: 4 * len(shapes)].view("<u4").tolist()


def _sizes(kernel: tuple[int, ...], bias: tuple[int], count: int) -> tuple[int, int, int, int]:
    """Bytes of codebook, biases, codes and gaps."""
    bits = _bits(len(kernel))
    return 4 << bits, 4 * bias[0], (count + 8 // bits - 1) // (8 // bits), (count + 1) // 2


def _spans(start: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    for size in sizes:
        yield start, start + size
        start += size


def _end(data: np.ndarray, shapes: Shapes) -> int | None:
    """Where layers of these shapes end; None where the counts cannot be theirs."""
    if data.size < 4 * len(shapes):
        return None
    counts = _counts(data, shapes)
    if any(not 0 < count <= math.prod(k) for count, (k, _) in zip(counts, shapes.values(), strict=True)):
        return None
    return 4 * len(shapes) + sum(sum(_sizes(*pair, n)) for pair, n in zip(shapes.values(), counts, strict=True))


def _layers_end(data: np.ndarray) -> int:
    """Where the layers of this file end: at its own end, or where its block begins."""
    size = int.from_bytes(data[-8:].tobytes(), "little")
    start = data.size - 8 - size
    return start if start > 0 and data[start + 8 : start + 9].tobytes() == b"{" else data.size


def _decode(name: str, codebook: np.ndarray, codes: np.ndarray, gaps: np.ndarray, count: int, size: int) -> np.ndarray:
    if len(codebook) == 16:
        codes = _whole(codes)
    places = np.cumsum(_whole(gaps)[:count] + np.uint8(1), dtype=np.int64)
    places -= 1
    if places[-1] >= size:
        raise CheckpointError(f"{name}: expected {size} numbers; a code stands at {places[-1]}")
    kernel = np.full(size, codebook[0], np.float32)
    kernel[places] = codebook[codes[:count]]
    return kernel


def _encode(name: str, kernel: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codebook, codes and gaps."""
    flat = np.ascontiguousarray(kernel, "<f4").reshape(-1)
    (places,) = np.nonzero(flat.view("<u4"))  # By their bits: −0 is a number of its own.
    numbers, codes = np.unique(flat[places].view("<u4"), return_inverse=True)
    if len(numbers) >= 1 << bits:
        raise CheckpointError(
            f"{name}: expected at most {(1 << bits) - 1} different numbers besides 0; received {len(numbers)}. "
            "Compress the weights first: tfalexnet compress"
        )
    codebook = np.zeros(1 << bits, "<u4")
    codebook[1 : 1 + len(numbers)] = numbers
    # A way longer than MAX_GAP is paved with code 0, a stone every 16 numbers.
    ways = np.diff(places, prepend=-1) - 1
    stones = ways // (MAX_GAP + 1)
    ends = np.cumsum(stones + 1) - 1
    count = int(ends[-1]) + 1 if len(ends) else 1  # The layout has no layer without codes.
    all_codes, gaps = np.zeros(count, np.uint8), np.full(count, MAX_GAP, np.uint8)
    all_codes[ends] = codes + 1
    gaps[ends] = ways % (MAX_GAP + 1)
    if not len(ends):
        gaps[0] = 0
    return codebook.view("<f4"), all_codes, gaps


def _whole(packed: np.ndarray) -> np.ndarray:
    """Two numbers of four bits a byte, the low half first, to one a byte."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)


def _halves(numbers: np.ndarray) -> np.ndarray:
    """The other way round; an odd end is filled with 0."""
    even = np.append(numbers, np.zeros(len(numbers) % 2, np.uint8))
    return even[::2] | even[1::2] << 4
