"""Read and write Deep Compression's `.net`, the layout of `AlexNet_compressed.net`: 244 MB in 9 MB.

S. Han, H. Mao, W. Dally, "Deep Compression", ICLR 2016; repository songhan/Deep-Compression-AlexNet, decode.py. The
file begins with the number of codes of each layer (uint32). Each layer follows with its codebook (float32: 256 entries
for convolutions, 16 for inner products), its biases (float32), its codes (one byte each for convolutions, otherwise
four bits) and its gaps (four bits each). Four-bit numbers are two in a byte, the low half first. Code i belongs to
position `Σ_{j ≤ i} (gap_j + 1) − 1` of the kernel in Caffe's order; all other positions are `codebook[0]`.

The file does not state its layers, so that reading requires their shapes. Attributes and extras follow the last layer
as a block of safetensors and its size (uint64); readers of the published layout stop before them.
"""

import io
import math
import os
from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, reading, safetensors
from tfalexnet.checkpoints.formats.binary import map_file
from tfalexnet.checkpoints.formats.orientation import channels_first, channels_last
from tfalexnet.io.files import atomic_write
from tfalexnet.networks.spec import Parameters

FLATTEN = "CHW"
MAX_GAP = 15  # Four bits. Longer gaps are split with padding entries (code 0) every 16 weights.
BITS = {4: 8, 2: 4}  # Of a code, by the rank of the kernel.
MAX_CLASSES = 1 << 16
MAX_ZEROS = 1 << 24  # Weights of a last layer that may all be zero: 4096 for each of 4096 classes.

Shapes = Mapping[str, tuple[tuple[int, ...], tuple[int]]]  # Of kernel and bias by layer, in the order of the network.


def classes(path: Path, shapes: Shapes) -> int | None:
    """Return the number of classes with which layers of these shapes have exactly the size of the file.

    None means that there is no such number. The format has no signature, so that this is how its files are recognised.
    """
    data = map_file(path)
    name, (kernel, _) = list(shapes.items())[-1]
    without_biases = _layers_end(data, {**shapes, name: ((kernel[0], MAX_CLASSES), (0,))})
    if without_biases is None:
        return None
    biases = _data_end(data) - without_biases
    if not 0 < biases <= 4 * MAX_CLASSES or biases % 4:
        return None
    # A bias takes four bytes and a class thousands of weights, which the codes must reach unless they are few.
    reachable = (MAX_GAP + 1) * _counts(data, shapes)[-1]
    return biases // 4 if kernel[0] * (biases // 4) <= max(reachable, MAX_ZEROS) else None


def trailer(path: str | os.PathLike) -> tuple[Mapping[str, str | int], Mapping[str, np.ndarray]]:
    """Return the attributes and extras behind the layers, both empty where there are none.

    Raises:
        CheckpointError, AttributeError, KeyError, RecursionError, TypeError, ValueError: the block is damaged.
    """
    data = map_file(path)
    end = _data_end(data)
    return safetensors.unpack(data[end:-8]) if end < data.size else ({}, {})


def read(path: str | os.PathLike, shapes: Shapes) -> Contents:
    """Return kernels and biases by layer.

    Raises:
        CheckpointError: the file is damaged, or has layers of other shapes.
        OSError: the file cannot be opened.
    """
    with reading(path, "a file of Deep Compression"):
        data = map_file(path)
        end, expected = _data_end(data), _layers_end(data, shapes)
        if expected != end:
            raise CheckpointError(f"expected {expected} bytes for these layers; received {end}")
        parameters: Parameters = {}
        start = 4 * len(shapes)
        for (name, (kernel, bias)), count in zip(shapes.items(), _counts(data, shapes), strict=True):
            ends = list(accumulate(_sizes(kernel, bias, count), initial=start))
            codebook, biases, codes, gaps = (data[first:last] for first, last in pairwise(ends))
            start = ends[-1]
            flat = _decode(name, codebook.view("<f4"), codes, gaps, count, math.prod(kernel))
            shape = [kernel[axis] for axis in ((3, 2, 0, 1) if len(kernel) == 4 else (1, 0))]
            parameters[name] = channels_last(flat.reshape(shape)), biases.view("<f4")
        return Contents(parameters, *trailer(path), FLATTEN)


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Write kernels of few different numbers: zeros and at most 255 others, 15 in fully connected layers.

    Raises:
        CheckpointError: a kernel has more different numbers; `tfalexnet compress` reduces them.
        OSError: the file cannot be written; an older file stays as it was.
    """
    layers = [
        (*_encode(name, channels_first(kernel), BITS[kernel.ndim]), np.ascontiguousarray(bias, "<f4"))
        for name, (kernel, bias) in contents.parameters.items()
    ]
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(np.array([len(codes) for _, codes, _, _ in layers], "<u4").tobytes())
        for codebook, codes, gaps, bias in layers:
            packed = codes if len(codebook) == 256 else _pack(codes)
            file.writelines(array.tobytes() for array in (codebook, bias, packed, _pack(gaps)))
        if contents.attributes or contents.extras:
            block = io.BytesIO()
            safetensors.pack(block, contents.attributes, contents.extras)
            file.write(block.getvalue() + len(block.getvalue()).to_bytes(8, "little"))


def values(rank: int) -> int:
    """Return how many different numbers besides 0 a kernel of this rank may hold."""
    return (1 << BITS[rank]) - 1


def _counts(data: np.ndarray, shapes: Shapes) -> list[int]:
    """Return the number of codes of each layer."""
    return data[: 4 * len(shapes)].view("<u4").tolist()


def _sizes(kernel: tuple[int, ...], bias: tuple[int], count: int) -> tuple[int, int, int, int]:
    """Return the bytes of codebook, biases, codes and gaps of a layer with `count` codes."""
    bits = BITS[len(kernel)]
    return 4 << bits, 4 * bias[0], (count * bits + 7) // 8, (count + 1) // 2


def _layers_end(data: np.ndarray, shapes: Shapes) -> int | None:
    """Return the position where layers of these shapes end, None if the file does not have such layers."""
    if data.size < 4 * len(shapes):
        return None
    layers = list(zip(shapes.values(), _counts(data, shapes), strict=True))
    if not all(0 < count <= math.prod(kernel) for (kernel, _), count in layers):
        return None
    return 4 * len(shapes) + sum(sum(_sizes(*pair, count)) for pair, count in layers)


def _data_end(data: np.ndarray) -> int:
    """Return the position where the layers of this file end: its own end, or the start of the block."""
    size = int.from_bytes(data[-8:].tobytes(), "little")
    start = data.size - 8 - size
    return start if start > 0 and data[start + 8 : start + 9].tobytes() == b"{" else data.size


def _decode(name: str, codebook: np.ndarray, codes: np.ndarray, gaps: np.ndarray, count: int, size: int) -> np.ndarray:
    """Return the `size` numbers of a kernel."""
    if len(codebook) == 16:
        codes = _unpack(codes)
    positions = np.cumsum(_unpack(gaps)[:count] + np.uint8(1), dtype=np.int64)
    positions -= 1
    if positions[-1] >= size:
        raise CheckpointError(f"{name}: expected {size} numbers; the last code has position {positions[-1]}")
    kernel = np.full(size, codebook[0], np.float32)
    kernel[positions] = codebook[codes[:count]]
    return kernel


def _encode(name: str, kernel: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return codebook, codes and gaps."""
    flat = np.ascontiguousarray(kernel, "<f4").reshape(-1)
    (positions,) = np.nonzero(flat.view("<u4"))  # By their bits: −0 has an entry of its own.
    numbers, codes = np.unique(flat[positions].view("<u4"), return_inverse=True)
    if len(numbers) >= 1 << bits:
        limit = f"expected at most {(1 << bits) - 1} different numbers besides 0"
        raise CheckpointError(f"{name}: {limit}; received {len(numbers)}. First run: tfalexnet compress")
    codebook = np.zeros(1 << bits, "<u4")
    codebook[1 : 1 + len(numbers)] = numbers
    distances = np.diff(positions, prepend=-1) - 1
    ends = np.cumsum(distances // (MAX_GAP + 1) + 1) - 1  # Index of each code among codes and padding.
    count = int(ends[-1]) + 1 if len(ends) else 1  # A layer has at least one code.
    all_codes, gaps = np.zeros(count, np.uint8), np.full(count, MAX_GAP if len(ends) else 0, np.uint8)
    all_codes[ends] = codes + 1
    gaps[ends] = distances % (MAX_GAP + 1)
    return codebook.view("<f4"), all_codes, gaps


def _unpack(packed: np.ndarray) -> np.ndarray:
    """Return one byte for each four bits, the low half first."""
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(-1)


def _pack(numbers: np.ndarray) -> np.ndarray:
    """Return two numbers of four bits in each byte; the inverse of `_unpack`, padded with 0 at an odd end."""
    even = np.append(numbers, np.zeros(len(numbers) % 2, np.uint8))
    return even[::2] | even[1::2] << 4
