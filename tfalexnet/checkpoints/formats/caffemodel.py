"""Caffe's own `.caffemodel`, of 2014 and later, without Caffe.

The file is a protocol buffer (caffe.proto, message NetParameter): a list of layers, each with a name,
a type and its blobs. Fields are walked where they lie, in the mapped file, so that 244 MB cost little
more than the arrays. Convolutions are (out, in, height, width), inner products (out, in).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, map_file, reading
from tfalexnet.checkpoints.formats.orientation import channels_first, channels_last
from tfalexnet.io.files import atomic_write
from tfalexnet.networks.spec import Parameters

FLATTEN = "CHW"

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
NAME = 1  # In NetParameter.


class Layout(NamedTuple):
    """Numbers of the fields of a layer."""

    name: int
    kind: int
    blobs: int


# By the number of the repeated field in NetParameter: `layers` of 2014 (V1), `layer` of later.
LAYOUTS = {2: Layout(4, 5, 6), 100: Layout(1, 2, 7)}
KINDS = {4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling"}  # The enumeration of V1.
SHAPE, DATA, DOUBLE_DATA = 7, 5, 8  # In a blob; before the shape there were four numbers, 1 to 4.
RANKS = {"Convolution": 4, "InnerProduct": 2}
# Fields of one message and of one blob: Caffe's own networks have some hundred layers, and blobs of five
# fields. A file that is fields throughout would take minutes, and many times its own size.
MAX_FIELDS = 1 << 10
MAX_BLOB_FIELDS = 16

Bytes = np.ndarray
Field = tuple[int, int, "int | Bytes"]


def recognises(path: Path) -> bool:
    """Whether the file begins as a NetParameter does: with a name, or with a layer."""
    try:
        for number, wire, value in _fields(map_file(path)):
            if number in LAYOUTS and wire == LENGTH:
                return LAYOUTS[number].name in {inner for inner, _, _ in _fields(value)}
            if number > max(LAYOUTS):
                return False
    except CheckpointError:
        pass
    return False


def read(path: str | os.PathLike) -> Contents:
    """Kernels and biases by layer; views of the mapped file where it holds whole float arrays.

    Raises:
        CheckpointError: the file is damaged or holds no layers.
        OSError: the file cannot be opened.
    """
    with reading(path, "a .caffemodel"):
        parameters: Parameters = {}
        kinds, left_out = [], []
        for number, wire, message in _fields(map_file(path)):
            if number not in LAYOUTS or wire != LENGTH:
                continue
            name, kind, blobs = _layer(message, LAYOUTS[number])
            kinds.append(kind)
            if not blobs:
                continue
            if kind not in RANKS or len(blobs) != 2:
                why = "one blob, no bias" if len(blobs) == 1 else f"{len(blobs)} blobs, not two"
                left_out.append(f"{name} ({kind}): {why if kind in RANKS else 'no convolution or inner product'}")
                continue
            if name in parameters:
                raise CheckpointError(f"two layers are called {name!r}")
            kernel, bias = (_array(blob, rank) for blob, rank in zip(blobs, (RANKS[kind], 1), strict=True))
            parameters[name] = channels_last(kernel), bias
        if not parameters:
            received = ", ".join(left_out[:8]) or "none"
            raise CheckpointError(f"expected convolutions or inner products with weights; received {received}")
        return Contents(parameters, flatten=FLATTEN, resembles=_resembles(kinds), left_out=tuple(left_out))


def write(path: str | os.PathLike, contents: Contents) -> None:
    """The new layout, as Caffe itself and OpenCV 4 read it; attributes and extras have no place in it.

    Raises:
        OSError: the file cannot be written; whatever was there before still is.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        name = str(contents.attributes.get("architecture", ""))
        file.write(_delimited(NAME, name.encode()))
        for name, (kernel, bias) in contents.parameters.items():
            kind = "Convolution" if kernel.ndim == 4 else "InnerProduct"
            arrays = [np.ascontiguousarray(array, "<f4") for array in (channels_first(kernel), bias)]
            heads = [_blob_head(array) for array in arrays]
            layout = LAYOUTS[100]
            start = _delimited(layout.name, name.encode()) + _delimited(layout.kind, kind.encode())
            blobs = [_key(layout.blobs) + _varint(len(h) + a.nbytes) + h for h, a in zip(heads, arrays, strict=True)]
            size = len(start) + sum(map(len, blobs)) + sum(array.nbytes for array in arrays)
            file.write(_key(100) + _varint(size) + start)
            for head, array in zip(blobs, arrays, strict=True):
                file.write(head)
                file.write(memoryview(array).cast("B"))


def _resembles(kinds: list[str]) -> str | None:
    """Which of Caffe's two networks: AlexNet normalises first, CaffeNet pools first."""
    if "LRN" not in kinds or "Pooling" not in kinds:
        return None
    return "bvlc_alexnet" if kinds.index("LRN") < kinds.index("Pooling") else "bvlc_caffenet"


def _layer(message: Bytes, layout: Layout) -> tuple[str, str, list[Bytes]]:
    name, kind, blobs = "", "", []
    for number, wire, value in _fields(message):
        if number == layout.name and wire == LENGTH:
            name = value.tobytes().decode()
        elif number == layout.kind:
            kind = value.tobytes().decode() if wire == LENGTH else KINDS.get(value, f"type {value}")
        elif number == layout.blobs and wire == LENGTH:
            blobs.append(value)
    return name, kind, blobs


def _array(blob: Bytes, rank: int) -> np.ndarray:
    """The numbers of a blob, in its shape without the sides of 1 that the old layout put first."""
    legacy, shape, parts = {}, None, []
    position = fields = 0
    while position < len(blob):
        fields += 1
        if fields > MAX_BLOB_FIELDS:
            raise CheckpointError(f"expected a blob of at most {MAX_BLOB_FIELDS} fields")
        number, wire, value, following = _field(blob, position)
        if number == SHAPE and wire == LENGTH:
            shape = [side for inner, kind, dims in _fields(value) if inner == 1 for side in _sides(kind, dims)]
        elif wire == VARINT and number <= 4:
            legacy[number] = value
        elif number in (DATA, DOUBLE_DATA) and wire == LENGTH:
            parts.append(value.view("<f4" if number == DATA else "<f8"))
        elif (number, wire) in ((DATA, FIXED32), (DOUBLE_DATA, FIXED64)):
            run = _unpacked(blob[position:], wire)
            parts.append(run)
            following = position + len(run) * (1 + run.itemsize)
        position = following
    numbers = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, "<f4")])
    if shape is None:
        shape = [legacy.get(number, 1) for number in (1, 2, 3, 4)]
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != rank:
        raise CheckpointError(f"expected a blob of {rank} sides; received {shape[:8]}")
    return numbers.reshape(shape).astype(np.float32, copy=False)


def _sides(wire: int, value: int | Bytes) -> list[int]:
    """Dimensions, packed or one by one."""
    if wire == VARINT:
        return [value]
    sides, position = [], 0
    while position < len(value):
        if len(sides) == MAX_BLOB_FIELDS:
            raise CheckpointError(f"expected a blob of at most {MAX_BLOB_FIELDS} sides")
        side, position = _read_varint(value, position)
        sides.append(side)
    return sides


def _unpacked(blob: Bytes, wire: int) -> np.ndarray:
    """A run of numbers, each behind a key of its own, as writers without `packed` leave them."""
    record = np.dtype([("key", "u1"), ("number", "<f4" if wire == FIXED32 else "<f8")])
    records = blob[: len(blob) // record.itemsize * record.itemsize].view(record)
    others = records["key"] != blob[0]
    return records["number"][: others.argmax() if others.any() else None]


def _fields(message: Bytes) -> Iterator[Field]:
    position = fields = 0
    while position < len(message):
        fields += 1
        if fields > MAX_FIELDS:
            raise CheckpointError(f"expected a message of at most {MAX_FIELDS} fields")
        number, wire, value, position = _field(message, position)
        yield number, wire, value


def _field(message: Bytes, position: int) -> tuple[int, int, int | Bytes, int]:
    """Number, wire type and content of the field at a position, and where the next one is."""
    key, position = _read_varint(message, position)
    number, wire = key >> 3, key & 7
    if wire == VARINT:
        value, position = _read_varint(message, position)
        return number, wire, value, position
    if wire == LENGTH:
        size, position = _read_varint(message, position)
    elif wire in (FIXED32, FIXED64):
        size = 4 if wire == FIXED32 else 8
    else:
        raise CheckpointError(f"expected a protocol buffer; received a field of type {wire}")
    if size > len(message) - position:
        raise CheckpointError(
            f"truncated: a field claims {size} bytes, {len(message) - position} are left. Get the file anew"
        )
    return number, wire, message[position : position + size], position + size


def _read_varint(message: Bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    for byte in message[position : position + 10].tolist():
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise CheckpointError("truncated or damaged: expected a number of at most ten bytes")


def _blob_head(array: np.ndarray) -> bytes:
    shape = b"".join(_varint(side) for side in array.shape)
    return _delimited(SHAPE, _delimited(1, shape)) + _key(DATA) + _varint(array.nbytes)


def _delimited(number: int, content: bytes) -> bytes:
    return _key(number) + _varint(len(content)) + content


def _key(number: int) -> bytes:
    return _varint(number << 3 | LENGTH)


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
