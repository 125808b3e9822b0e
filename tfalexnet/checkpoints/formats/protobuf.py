"""The wire format of protocol buffers, read from a mapped file without copies, and written.

A message is a sequence of fields. Each begins with a key, which holds the number of the field and the type on the wire:
an integer of variable length, 4 or 8 bytes, or a length and as many bytes.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # Wire types.
SIZES = {FIXED64: 8, FIXED32: 4}


def fields(
    message: np.ndarray, limit: int, runs: Mapping[int, str] | None = None
) -> Iterator[tuple[int, int | np.ndarray]]:
    """Yield number and value of each field: an integer, bytes, or the numbers of a run.

    Args:
        message: its bytes, uint8.
        limit: most fields of a message. A file that consists of fields would take minutes, and many times its size.
        runs: the types of numbers that are stored one by one, each a field with the same key of one byte, by this key.
            Each run costs a pass over the rest of the message.

    Raises:
        CheckpointError: the bytes are not a message, or have more fields.
    """
    position = count = 0
    while position < len(message):
        count += 1
        if count > limit:
            raise CheckpointError(f"expected a message of at most {limit} fields")
        start = position
        key, position = read_varint(message, position)
        number, wire = key >> 3, key & 7
        if wire in (VARINT, LENGTH):
            size, position = read_varint(message, position)
            if wire == VARINT:
                yield number, size
                continue
        elif wire in SIZES:
            size = SIZES[wire]
        else:
            raise CheckpointError(f"expected a protocol buffer; received a field of type {wire}")
        left = len(message) - position
        if size > left:
            raise CheckpointError(f"truncated: a field has {size} bytes, {left} are left. Get the file again")
        if runs and key in runs:
            value = _run(message[start:], runs[key])
            position = start + value.size * (1 + size)
        else:
            value, position = message[position : position + size], position + size
        yield number, value


def _run(message: np.ndarray, code: str) -> np.ndarray:
    """Return the numbers at the start of a message that stand behind equal keys of one byte."""
    record = np.dtype([("key", "u1"), ("number", code)])
    records = message[: len(message) // record.itemsize * record.itemsize].view(record)
    others = records["key"] != message[0]
    return records["number"][: others.argmax() if others.any() else None]


def read_varint(message: np.ndarray, position: int) -> tuple[int, int]:
    """Return the integer at a position, seven bits a byte, the lowest first, and the position behind it."""
    value = shift = 0
    for byte in message[position : position + 10].tolist():
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise CheckpointError("truncated or damaged: expected an integer of at most ten bytes")


def integers(value: int | np.ndarray, limit: int) -> list[int]:
    """Return the integers of a field, such as dimensions: one, or several packed, at most `limit`."""
    if isinstance(value, int):
        return [value]
    numbers, position = [], 0
    while position < len(value):
        if len(numbers) == limit:
            raise CheckpointError(f"expected at most {limit} dimensions")
        number, position = read_varint(value, position)
        numbers.append(number)
    return numbers


def delimited(number: int, *parts: bytes | memoryview) -> list[bytes | memoryview]:
    """Return a length-delimited field as parts, so that the arrays among them are not copied."""
    return [varint(number << 3 | LENGTH) + varint(sum(map(len, parts))), *parts]


def varint(value: int) -> bytes:
    """Return an integer of at least 0 in the form that `read_varint` reads."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])
