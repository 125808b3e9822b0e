"""Check a MAT file of MATLAB 5 to 7.2 before SciPy reads it.

SciPy allocates what the headers of arrays state, and unpacks what is compressed. So every element is visited in SciPy's
order first: each must fill its place exactly, and each array must have the numbers, or the cells, of its shape. The
layout is that of MathWorks' "MAT-File Format", chapter 1.
"""

import math
import zlib

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.formats.binary import MAX_RANK
from tfalexnet.checkpoints.formats.npz import EXPANSION

MAGIC = b"MATLAB 5.0 MAT-file"  # SciPy reads other files as those of MATLAB 4.
HEADER = 128  # Bytes before the first element; the last four are the version and the order of bytes.
LITTLE_ENDIAN = b"\x00\x01IM"
MATRIX, COMPRESSED = 14, 15  # Types of elements.
# Others hold numbers of these sizes, or characters. SciPy reads the table of its types out of bounds for any else.
SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
CHARACTERS = (1, 2, 4, 16, 17, 18)
CELL, STRUCT, TEXT = 1, 2, 4  # Classes of arrays.
NUMBERS = range(6, 16)
BLOCK = 1 << 16  # Bytes that are unpacked at once.
MAX_ARRAYS = 1 << 13  # A network of 1,000 classes has 2,000 texts.
MAX_TEXT = 1 << 20  # Bytes of all texts; SciPy takes several times as many.
MAX_FIELDS = 1 << 6
MAX_DEPTH = 8


def check(data: np.ndarray) -> None:
    """Raise `CheckpointError` unless SciPy can read the bytes of a MAT file with memory for its contents only."""
    header = data[:HEADER].tobytes()
    if not header.startswith(MAGIC) or not header.endswith(LITTLE_ENDIAN):
        raise CheckpointError("expected a MAT file of MATLAB 5 to 7.2 with little-endian numbers")
    content = memoryview(data)[HEADER:]
    arrays, remaining = _Arrays(), EXPANSION * data.size + MAX_TEXT
    while content:
        kind, element, content = _element(content, is_padded=False)
        if kind == COMPRESSED:
            unpacked = _unpacked(element, remaining)
            remaining -= len(unpacked)
            kind, element, rest = _element(unpacked)
            if rest:
                raise CheckpointError("damaged: bytes behind an array. Get the file again")
        if kind != MATRIX or not element:
            raise CheckpointError(f"expected arrays; received an element of type {kind}")
        arrays.check(element, 0)


def _unpacked(element: memoryview, limit: int) -> memoryview:
    """Return the bytes of a compressed element, fewer than `limit`."""
    unpacker, content = zlib.decompressobj(), bytearray()
    for start in range(0, len(element), BLOCK):
        content += unpacker.decompress(element[start : start + BLOCK], limit - len(content))
        if len(content) >= limit:
            expected = f"expected at most {EXPANSION} times the bytes of the file unpacked"
            raise CheckpointError(f"{expected}. If you trust the file, save it in MATLAB with '-v6'")
    return memoryview(content)


def _element(content: memoryview, is_padded: bool = True) -> tuple[int, memoryview, memoryview]:
    """Return the type and the bytes of the first element, and what follows; up to four bytes stand in the tag."""
    kind, size = (int.from_bytes(content[at : at + 4], "little") for at in (0, 4))
    start, padded = 8, size
    if kind >> 16:
        kind, size, start, padded = kind & 0xFFFF, kind >> 16, 4, 4
    elif is_padded and kind != MATRIX:
        padded = size + -size % 8
    if size > padded or start + padded > len(content):
        raise CheckpointError(f"truncated: an element has {size} bytes, {len(content)} are left. Get the file again")
    return kind, content[start : start + size], content[start + padded :]


class _Arrays:
    """The arrays so far."""

    def __init__(self) -> None:
        self.count = self.text = 0

    def check(self, content: memoryview, depth: int) -> None:
        """Check the bytes of an array, and of those inside."""
        self.count += 1
        if self.count > MAX_ARRAYS or depth > MAX_DEPTH:
            raise CheckpointError(f"expected at most {MAX_ARRAYS} arrays, in a depth of at most {MAX_DEPTH}")
        if not content:
            return
        _, flags, content = _element(content)
        kind, dims, content = _element(content)
        _, _, content = _element(content)  # The name.
        shape = np.frombuffer(dims, "<i4").tolist()
        if len(flags) != 8 or SIZES.get(kind) != 4 or not 2 <= len(shape) <= MAX_RANK or min(shape) < 0:
            raise CheckpointError("damaged: an array has no valid header. Get the file again")
        length, kind = math.prod(shape), flags[0]
        if kind in NUMBERS:
            for _ in range(2 if flags[1] & 8 else 1):  # Real and imaginary part.
                kind, numbers, content = _element(content)
                if kind not in SIZES or len(numbers) != length * SIZES[kind]:
                    raise CheckpointError(f"damaged: expected {shape} numbers in {len(numbers)} bytes")
        elif kind == TEXT:
            kind, text, content = _element(content)
            self.text += len(text)
            if kind not in CHARACTERS or length > len(text) or self.text > MAX_TEXT:
                raise CheckpointError(f"expected texts of their stated length, of at most {MAX_TEXT} bytes")
        elif kind in (CELL, STRUCT):
            fields = 1
            if kind == STRUCT:
                fields, content = _field_count(content)
            if length > MAX_ARRAYS:
                raise CheckpointError(f"expected at most {MAX_ARRAYS} cells; received {length}")
            for _ in range(length * fields):
                kind, array, content = _element(content)
                if kind != MATRIX:
                    raise CheckpointError(f"damaged: expected an array in a cell; received type {kind}")
                self.check(array, depth + 1)
        else:
            raise CheckpointError(f"expected numbers, texts, cells and structs; received MATLAB's class {kind}")
        if content:
            raise CheckpointError("damaged: bytes behind the numbers of an array. Get the file again")


def _field_count(content: memoryview) -> tuple[int, memoryview]:
    """Return the number of fields of a struct, and the bytes behind their names."""
    _, size, content = _element(content)
    _, names, content = _element(content)
    length = int.from_bytes(size, "little", signed=True)
    if len(size) != 4 or length <= 0 or len(names) // length > MAX_FIELDS:
        raise CheckpointError(f"expected a struct of at most {MAX_FIELDS} fields")
    return len(names) // length, content
