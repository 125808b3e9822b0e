"""Caffe weights in a NumPy file: `bvlc_alexnet.npy` and what caffe-tensorflow writes.

The file holds a pickled dictionary, `{"conv1": [W, b], …}` or `{"conv1": {"weights": W, "biases":
b}, …}`, written by Python 2 or 3, its keys str or bytes. A pickle is a program; this reader runs
none of it. Arrays are taken from the bytes as they stand, so that reading costs the file's size once.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfalexnet.formats import CheckpointError, Parameters

MAGIC = b"\x93NUMPY"
FLOATS = {"f2", "f4", "f8"}


def read(path: str | os.PathLike) -> Parameters:
    """Kernels and biases by layer, in the order of the file; read-only float32 arrays.

    Raises:
        CheckpointError: the file is damaged, is no such dictionary, or its pickle asks for
            anything beyond NumPy arrays.
        OSError: the file cannot be opened.
    """
    with Path(path).open("rb") as file:
        try:
            entries = _unpickle(file, os.fstat(file.fileno()).st_size)
            return dict(_layer(name, entry) for name, entry in _unique(entries).items())
        except CheckpointError as error:
            raise CheckpointError(f"{os.fspath(path)}: {error}") from None
        except Exception as error:  # A damaged pickle can fail in any way at all.
            reason = f"{type(error).__name__}: {error}"
            raise CheckpointError(
                f"{os.fspath(path)}: expected a .npy file with a pickled dictionary of layers; "
                f"received a damaged one ({reason}). Get the file anew."
            ) from error


def _unpickle(file: BinaryIO, size: int) -> dict:
    version = np.lib.format.read_magic(file)
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in header:
        raise CheckpointError(f"expected .npy version 1.0 or 2.0; received {version}")
    shape, _, dtype = header[version](file)
    if dtype.kind != "O" or shape != ():
        raise CheckpointError(
            f"expected one pickled dictionary of layers; received a plain array of shape {shape} and type {dtype}"
        )
    array = _Unpickler(_Bounded(file, size - file.tell())).load()
    if not isinstance(array, _Array) or len(array.objects) != 1:
        raise CheckpointError("expected an array that holds one dictionary")
    (entries,) = array.objects
    if not isinstance(entries, dict):
        raise CheckpointError(f"expected a dictionary of layers; received {type(entries).__name__}")
    return entries


def _unique(entries: dict) -> dict[str, Any]:
    """The entries with str keys."""
    named = {_text(name): entry for name, entry in entries.items()}
    if len(named) != len(entries):
        raise CheckpointError("two layers have the same name")
    return named


def _layer(name: str, entry: Any) -> tuple[str, tuple[np.ndarray, np.ndarray]]:
    """One layer of either layout."""
    if isinstance(entry, dict):
        parts = {_text(key): part for key, part in entry.items()}
        if set(parts) != {"weights", "biases"}:
            raise CheckpointError(f"layer {name}: expected weights and biases; received {sorted(parts)}")
        entry = [parts["weights"], parts["biases"]]
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        raise CheckpointError(f"layer {name}: expected [weights, biases]")
    if not all(isinstance(part, _Array) for part in entry):
        raise CheckpointError(f"layer {name}: expected two arrays")
    return name, (entry[0].numbers(), entry[1].numbers())


def _text(value: Any) -> str:
    """Python 2 wrote str as bytes."""
    if isinstance(value, bytes):
        return value.decode("latin1")
    if not isinstance(value, str):
        raise CheckpointError(f"expected a name; received {type(value).__name__}")
    return value


class _Bounded:
    """A file that refuses to read more than it holds, so that no length field is believed."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = self.left = size

    def read(self, count: int) -> bytes:
        if count > self.left:
            raise CheckpointError(f"truncated: expected {count} more bytes, {self.left} are left. Get the file anew")
        self.left -= count
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline()
        self.left -= len(line)
        return line


class _Type:
    """Stands in for numpy.dtype: the code, and the byte order that follows in its state."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = _text(code)
        self.order = "="

    def set(self, state: tuple) -> None:
        self.order = _text(state[1])


class _Array:
    """Stands in for numpy.ndarray: the bytes of an array, or the objects of an object array."""

    def __init__(self, *_: Any) -> None:
        self.shape: tuple[int, ...] = (0,)
        self.objects: list = []

    def set(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.hold(data, dtype, shape, "F" if fortran else "C")

    def hold(self, data: Any, dtype: _Type, shape: tuple[int, ...], order: str) -> _Array:
        if isinstance(data, list):
            self.objects = data
        self.data, self.dtype, self.shape, self.order = data, dtype, shape, order
        return self

    def numbers(self) -> np.ndarray:
        """The array itself, a view of the bytes that were read."""
        if self.objects or self.dtype.code not in FLOATS:
            raise CheckpointError(f"expected floats; received type {self.dtype.code!r}")
        flat = np.frombuffer(self.data, np.dtype(self.dtype.code).newbyteorder(self.dtype.order))
        shape = tuple(self.shape)
        count = 1
        for side in shape:
            count *= side if side >= 0 else flat.size + 1
        if count != flat.size:
            raise CheckpointError(f"expected {flat.size} numbers; received the shape {shape}")
        array = flat.reshape(shape, order=self.order)
        return np.ascontiguousarray(array, dtype=np.float32)


class _Unpickler(pickle._Unpickler):
    """An unpickler that knows six globals, all of them stand-ins of this file.

    The Python unpickler, not the C one: the latter allocates what a length or a memo index claims
    before it reads on. A checkpoint has some hundred opcodes, so that the difference is nothing.
    """

    def __init__(self, file: _Bounded) -> None:
        # "bytes" leaves a Python-2 string as it is; the arrays of Python 2 are such strings.
        super().__init__(file, encoding="bytes")
        self.encodable = file.size
        self.globals: dict[tuple[str, str], Callable] = {
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Type,
            ("numpy.core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.multiarray", "_reconstruct"): _Array,
            ("numpy._core.numeric", "_frombuffer"): lambda *state: _Array().hold(*state),
            ("_codecs", "encode"): self.encode,
        }

    def find_class(self, module: str, name: str) -> Callable:
        try:
            return self.globals[module, name]
        except KeyError:
            raise CheckpointError(
                f"refused: the pickle asks for {module}.{name}, which weights never need. Nothing "
                "of it was run. Do not trust this file"
            ) from None

    def encode(self, text: str, encoding: str | bytes) -> bytes:
        """Python 3 writes bytes in protocol 2 as text to be encoded."""
        self.encodable -= len(text)
        if self.encodable < 0 or _text(encoding).replace("-", "") not in ("latin1", "iso88591"):
            raise CheckpointError("refused: expected each array to be encoded once, as latin1")
        return text.encode("latin1")

    def load_build(self) -> None:
        # Only stand-ins take a state: the general rule would set attributes on anything.
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _Type):
            raise CheckpointError("refused: the pickle sets the state of something not an array")
        self.stack[-1].set(state)

    def load_extension(self) -> None:
        # Extension codes may be answered from a cache, past find_class.
        raise CheckpointError("refused: the pickle uses an extension code")

    dispatch = pickle._Unpickler.dispatch | {
        pickle.BUILD[0]: load_build,
        pickle.EXT1[0]: load_extension,
        pickle.EXT2[0]: load_extension,
        pickle.EXT4[0]: load_extension,
        # The stock opcode allocates the claimed length first; bytes serve as well.
        pickle.BYTEARRAY8[0]: pickle._Unpickler.load_binbytes8,
    }
