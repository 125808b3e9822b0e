"""PyTorch's `.pth` without PyTorch: a state dict, its pickle read but not run.

Since PyTorch 1.6 a zip archive, `NAME/data.pkl` beside raw storages `NAME/data/KEY`; before, a stream
of pickles with the storages behind it. Training checkpoints (`{"state_dict": …, "epoch": …}`) are
looked into.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfalexnet.checkpoints.formats import (
    MAX_RANK,
    CheckpointError,
    Contents,
    bfloat16_to_float32,
    map_file,
    npz,
    pickles,
    reading,
    starts_with,
    state_dict,
)

FLATTEN = "CHW"
# The first pickle of the older layout: the number 0x1950a86a20f9469cfc6c.
MAGIC_STREAM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PICKLES_BEFORE = 2  # In the stream: version and system of the writer, after the magic number.
STATE_DICTS = ("state_dict", "model_state_dict", "model")

# Storage types; those that are no weights are read past.
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}


class Storage(NamedTuple):
    """A storage that the pickle refers to: its key, and what it holds."""

    key: str
    kind: str
    count: int


class Tensor(NamedTuple):
    """A view of a storage, in numbers not bytes."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


def recognises(path: Path) -> bool:
    """Whether the file begins as either layout does."""
    with path.open("rb") as file:
        start = file.read(1 << 12)
    return start.startswith(MAGIC_STREAM) or (start.startswith(npz.MAGIC) and npz.PICKLE in start)


def read(path: str | os.PathLike) -> Contents:
    """Kernels and biases by layer; views of the mapped file.

    Raises:
        CheckpointError: the file is damaged, holds no state dict, or its pickle asks for anything
            beyond tensors and what usually lies beside them.
        OSError: the file cannot be opened.
    """
    with reading(path, "a state dict of PyTorch"):
        data = map_file(path)
        load = _stream if starts_with(Path(path), MAGIC_STREAM) else _archive
        entries, storages = load(Path(path), data)
        tensors, rest = _state_dict(entries)
        limit = data.size  # Tensors may share storages; a bomb would share one a thousand times.
        arrays = {}
        for name, tensor in tensors.items():
            arrays[name] = _array(name, tensor, storages)
            limit -= arrays[name].size * np.dtype(STORAGES[tensor.storage.kind]).itemsize
            if limit < 0:
                raise CheckpointError("expected no more numbers than the file holds")
        found = state_dict.contents(arrays)
        return dataclasses.replace(found, left_out=(*found.left_out, *rest))


def _archive(path: Path, data: np.ndarray) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
    (pickled,) = (name for name in members if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    if sum(member.file_size for member in members.values()) > data.size:
        raise CheckpointError("expected each member in bytes of its own, not compressed, as PyTorch writes them")

    @functools.cache  # Tensors may share a storage, of which a checksum is counted.
    def content(name: str) -> np.ndarray:
        if name not in members:
            raise CheckpointError(f"expected a member {name}; it is missing")
        found = npz.stored(members[name], data)
        if found is None:
            raise CheckpointError(f"expected {name} as PyTorch writes it, not compressed")
        return found

    order = folder + "byteorder"
    if order in members and content(order).tobytes() != b"little":
        raise CheckpointError("expected little-endian numbers")
    return _unpickle(io.BytesIO(content(pickled).tobytes())), lambda storage: content(f"{folder}data/{storage.key}")


def _stream(path: Path, data: np.ndarray) -> tuple[Any, Callable[[Storage], np.ndarray]]:
    with path.open("rb") as file:
        file.seek(len(MAGIC_STREAM))
        for _ in range(PICKLES_BEFORE):
            _unpickle(file, data.size)
        storages: dict[str, Storage] = {}
        entries = _unpickle(file, data.size, storages)
        keys = [pickles.text(key) for key in _unpickle(file, data.size)]
        position = file.tell()
    places = {}
    for key in keys:
        if key not in storages:
            raise CheckpointError(f"expected the storage {key!r} to be used; its size is unknown")
        count = int.from_bytes(data[position : position + 8].tobytes(), "little")
        size = count * np.dtype(STORAGES[storages[key].kind]).itemsize
        position += 8
        if size > data.size - position:
            raise CheckpointError(f"truncated: a storage claims {size} bytes. Get the file anew")
        places[key] = data[position : position + size]
        position += size

    def content(storage: Storage) -> np.ndarray:
        if storage.key not in places:
            raise CheckpointError(f"expected a storage {storage.key!r}; it is missing")
        return places[storage.key]

    return entries, content


def _unpickle(file: Any, size: int | None = None, storages: dict[str, Storage] | None = None) -> Any:
    size = len(file.getbuffer()) if size is None else size
    bounded = pickles.BoundedFile(file, size - file.tell())

    def persistent(pid: Any) -> Storage:
        kind, storage, key, _, count = pid[:5]
        if pickles.text(kind) != "storage" or not isinstance(storage, _Kind) or type(count) is not int:
            raise CheckpointError("expected references to storages alone")
        found = Storage(pickles.text(key), storage.name, count)
        if storages is not None:
            storages[found.key] = found
        return found

    try:
        return pickles.Unpickler(bounded, GLOBALS, (pickles.Discarded,), persistent).load()
    except CheckpointError as error:
        if "the pickle asks for" in str(error):  # Often a whole module, as PyTorch itself advises against.
            raise CheckpointError(f"{error}: torch.save(model.state_dict(), 'weights.pth')") from None
        raise


def _state_dict(entries: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by name, and what is none."""
    for name in STATE_DICTS:
        inner = entries.get(name, entries.get(name.encode())) if isinstance(entries, dict) else None
        if isinstance(inner, dict):
            entries = inner
            break
    if not isinstance(entries, dict):
        raise CheckpointError(f"expected a state dict; received {type(entries).__name__}")
    named = {pickles.text(name) if isinstance(name, str | bytes) else str(name): e for name, e in entries.items()}
    tensors = {name: entry for name, entry in named.items() if isinstance(entry, Tensor)}
    return tensors, [f"{name} ({_kind(entry)}): no tensor" for name, entry in named.items() if name not in tensors]


def _kind(entry: Any) -> str:
    return "object" if pickles.Discarded in (entry, type(entry)) else type(entry).__name__


def _array(name: str, tensor: Tensor, storages: Callable[[Storage], np.ndarray]) -> np.ndarray:
    numbers = storages(tensor.storage).view(STORAGES[tensor.storage.kind])
    sides, strides = tensor.shape, tensor.strides
    whole = all(type(number) is int and number >= 0 for number in (tensor.offset, *sides, *strides))
    if not whole or len(sides) != len(strides):
        raise CheckpointError(f"{name}: expected a shape and strides of few whole numbers")
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(sides, strides, strict=True))
    if 0 not in sides and (last >= numbers.size or np.prod(sides, dtype=object) > numbers.size):
        raise CheckpointError(f"{name}: expected its numbers within its storage of {numbers.size}")
    if 0 in sides:
        return np.empty(sides, numbers.dtype)
    steps = [stride * numbers.itemsize for stride in strides]
    array = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], sides, steps, writeable=False)
    return bfloat16_to_float32(array) if tensor.storage.kind == "BFloat16Storage" else array


class _Kind:
    """Stands in for a storage class."""

    def __init__(self, name: str) -> None:
        self.name = name


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage):
        raise CheckpointError("expected a tensor to lie in a storage")
    return Tensor(storage, offset, _few(shape), _few(strides))


def _few(numbers: Any = ()) -> tuple:
    """Stands in for torch.Size. A long list could be copied into a thousand tensors."""
    if not isinstance(numbers, list | tuple) or len(numbers) > MAX_RANK:
        raise CheckpointError(f"expected a shape and strides of at most {MAX_RANK} numbers")
    return tuple(numbers)


# What lies beside weights in training checkpoints, and is not kept: arguments, states of optimizers,
# schedulers and generators. Much of it PyTorch allows too (torch/_weights_only_unpickler.py).
BESIDE = {
    "argparse": ("Namespace",),
    "collections": ("Counter",),
    "datetime": ("date", "datetime", "timedelta"),
    "numpy": ("dtype", "ndarray"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "pathlib": ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "pathlib._local": ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"),
    "torch": (
        *("device", "bool", "uint8", "int8", "int16", "int32", "int64"),
        *("float16", "bfloat16", "float32", "float64", "complex64", "complex128"),
    ),
    **dict.fromkeys(
        ("builtins", "__builtin__"), ("bytearray", "complex", "dict", "float", "frozenset", "int", "list", "set", "str")
    ),
}
# What state dicts name; a call of anything else is refused.
GLOBALS: pickles.Globals = {
    **{(module, name): pickles.Discarded for module, names in BESIDE.items() for name in names},
    ("collections", "OrderedDict"): pickles.ordered_dict,
    ("collections", "defaultdict"): lambda *_: {},
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda tensor, *_: tensor,
    ("torch", "Size"): _few,
    **{("torch", name): _Kind(name) for name in STORAGES},
}
