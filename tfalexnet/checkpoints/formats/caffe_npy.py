"""Read and write Caffe weights in NumPy files: `bvlc_alexnet.npy` and those of caffe-tensorflow.

The file holds a pickled dictionary, `{"conv1": [W, b], …}` or `{"conv1": {"weights": W, "biases": b}, …}` (or W and b,
weight and bias, kernel and bias), written by Python 2 or 3, with keys of str or bytes. The arrays are views of the
bytes read, so that memory stays close to the file's size.
"""

import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, npz, pickles, reading, state_dict
from tfalexnet.checkpoints.formats.binary import FLOATS, MAX_RANK, starts_with
from tfalexnet.io.files import atomic_write

MAGIC = b"\x93NUMPY"
FLATTEN = "HWC"
MAX_LAYERS = 1 << 10  # AlexNet has 8, Caffe's own networks have about a hundred.


def recognises(path: Path) -> bool:
    """Return whether the file begins with the signature of NumPy."""
    return starts_with(path, MAGIC)


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer, in the order of the file; read-only float32 arrays.

    Raises:
        CheckpointError: the file is damaged, does not hold such a dictionary, or its pickle names anything but NumPy
            arrays.
        OSError: the file cannot be opened.
    """
    with Path(path).open("rb") as file, reading(path, "a .npy file with a pickled dictionary of layers"):
        size = os.fstat(file.fileno()).st_size
        entries = _unpickle(file, size)
        named = {pickles.text(name): entry for name, entry in entries.items()}
        if len(named) != len(entries):
            raise CheckpointError("two layers have the same name")
        pairs = {name: _layer(entry) for name, entry in named.items()}
        arrays = {name: pair for name, pair in pairs.items() if pair}
        left_out = [f"{name} ({_kind(named[name])}): no weights and biases" for name in named if not pairs[name]]
        # In a hostile file many arrays may share bytes; as float32 each gets its own.
        if sum(len(array.data) for pair in arrays.values() for array in pair) > size:
            raise CheckpointError("expected no more numbers than the file holds")
        parameters = {name: (kernel.numbers(), bias.numbers()) for name, (kernel, bias) in arrays.items()}
        return Contents(parameters, left_out=tuple(left_out))


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Write the opcodes of `bvlc_alexnet.npy`, which Python 2 and 3 and all versions of NumPy read.

    In Python 3: `np.load(path, allow_pickle=True, encoding="latin1").item()`. Attributes and extras are not written.

    Raises:
        OSError: the file cannot be written; an older file stays as it was.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        # An array of 0 dimensions, which holds one dictionary.
        file.write(b"\x80\x02" + _array_opcodes((), b"O8", b"|", b"K?") + b"](}(")
        for name, pair in contents.parameters.items():
            file.write(_short(name.encode()) + b"](")
            for array in pair:
                data = np.ascontiguousarray(array, "<f4")
                file.write(_array_opcodes(array.shape, b"f4", b"<", b"K\x00") + b"T" + struct.pack("<I", data.nbytes))
                file.write(memoryview(data).cast("B"))
                file.write(b"tb")
            file.write(b"e")
        file.write(b"ue" + b"tb.")


def _array_opcodes(shape: tuple[int, ...], code: bytes, order: bytes, flags: bytes) -> bytes:
    """Return the opcodes of an array up to its content, which ends with b"tb"."""
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    sizes = b"".join(b"J" + struct.pack("<i", size) for size in shape)
    dtype = b"cnumpy\ndtype\n(" + _short(code) + b"K\x00K\x01tR(K\x03" + _short(order) + b"NNN"
    return start + b"(K\x01(" + sizes + b"t" + dtype + b"J\xff\xff\xff\xff" * 2 + flags + b"tb\x89"


def _short(string: bytes) -> bytes:
    """Return the opcode of a string of at most 255 bytes."""
    return b"U" + bytes([len(string)]) + string


def _unpickle(file: BinaryIO, size: int) -> dict:
    """Return the dictionary in the file, whose arrays are `_Array`."""
    shape, _, dtype, start = npz.header(np.frombuffer(file.read(npz.MAX_HEADER), np.uint8))
    file.seek(start)
    if dtype.kind != "O" or shape != ():
        raise CheckpointError(f"expected a pickled dictionary of layers; received an array of {dtype}, shape {shape}")
    array = pickles.Unpickler(pickles.BoundedFile(file, size - start), GLOBALS).load()
    if not isinstance(array, _Array) or not isinstance(array.data, list) or len(array.data) != 1:
        raise CheckpointError("expected an array that holds one dictionary")
    (entries,) = array.data
    if not isinstance(entries, dict) or not entries:
        received = "an empty one" if entries == {} else type(entries).__name__
        raise CheckpointError(f"expected a dictionary of layers; received {received}")
    if len(entries) > MAX_LAYERS:
        raise CheckpointError(f"expected at most {MAX_LAYERS} layers; received {len(entries)}")
    return entries


def _layer(entry: Any) -> "tuple[_Array, _Array] | None":
    """Return the kernel and bias of an entry in either layout, None if it is not a layer."""
    if isinstance(entry, dict) and len(entry) == 2:
        parts = {pickles.key_text(key): part for key, part in entry.items()}
        kernels = [part for key, part in parts.items() if key in state_dict.KERNELS]
        biases = [part for key, part in parts.items() if key in state_dict.BIASES]
        entry = [*kernels, *biases] if len(kernels) == len(biases) == 1 else None
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        return None
    return (entry[0], entry[1]) if all(isinstance(part, _Array) and part.is_float() for part in entry) else None


def _kind(entry: Any) -> str:
    """Return a short description of an entry that is not a layer."""
    if isinstance(entry, dict) and len(entry) <= 4:
        return ", ".join(map(pickles.key_text, entry))
    if isinstance(entry, list | tuple | dict):
        return f"{type(entry).__name__} of {len(entry)}"
    return "array" if isinstance(entry, _Array) else type(entry).__name__


class _Type(pickles.Placeholder):
    """Replaces numpy.dtype: the type code, and the byte order from its state."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code, self.order = pickles.text(code), "="

    def set_state(self, state: tuple) -> None:
        self.order = pickles.text(state[1])


class _Array(pickles.Placeholder):
    """Replaces numpy.ndarray: the bytes of an array, or the list of an array of objects."""

    data: Any = b""
    dtype: Any = None
    shape: tuple[int, ...] = (0,)
    fortran = False

    def set_state(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def is_float(self) -> bool:
        return isinstance(self.dtype, _Type) and self.dtype.code in FLOATS and not isinstance(self.data, list)

    def numbers(self) -> np.ndarray:
        """Return the array, a view of the bytes that were read if they are float32."""
        if len(self.shape) > MAX_RANK or not all(isinstance(size, int) and size >= 0 for size in self.shape):
            raise CheckpointError(f"expected a shape of at most {MAX_RANK} non-negative integers")
        flat = np.frombuffer(self.data, np.dtype(self.dtype.code).newbyteorder(self.dtype.order))
        array = flat.reshape(tuple(self.shape), order="F" if self.fortran else "C")
        return np.ascontiguousarray(array, dtype=np.float32)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """Replace _frombuffer of numpy.core.numeric, or numpy._core.numeric in NumPy 2."""
    array = _Array()
    array.set_state((1, shape, dtype, order == "F", data))
    return array


GLOBALS: pickles.Globals = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    **{(module, "_reconstruct"): _Array for module in pickles.NUMPY_MODULES},
    **{(module, "_frombuffer"): _from_buffer for module in pickles.NUMPY_NUMERIC},
}
