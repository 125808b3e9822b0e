"""Read PyTorch's `.pth` without PyTorch: a state dict, whose pickle is parsed without executing it.

Since PyTorch 1.6 the file is a zip archive with `NAME/data.pkl` and raw storages `NAME/data/KEY`; before, it was a
stream of pickles with the storages behind them. Of a training checkpoint (`{"state_dict": …, "epoch": …}`) only the
state dict is used.
"""

import dataclasses
import functools
import io
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, npz, pickles, reading, state_dict
from tfalexnet.checkpoints.formats.binary import BFLOAT16, MAX_RANK, map_file, starts_with

FLATTEN = "CHW"
# The first pickle of the older layout: the number 0x1950a86a20f9469cfc6c.
MAGIC_STREAM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
PICKLES_BEFORE = 2  # In the stream, between that number and the state dict: version and system of the writer.
# Keys of the state dict in training checkpoints, and of moving averages (EMA) of the weights, which are used only if
# the file has no other state dict. The first key that is there is used.
STATE_DICTS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "weights",
    "params",
    "module",
)
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema")
MAX_NESTING = 3  # Dictionaries around a state dict, such as {"ema": {"state_dict": {…}}}.

# NumPy's types, which replace the classes of storages; arrays of integers are left out later.
STORAGES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": BFLOAT16, "Long": "<i8", "Int": "<i4"}
STORAGES |= {"Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "u1"}

ADVICE = """If you trust the file, these two lines save only its weights:
  model = torch.load('FILE', map_location='cpu', weights_only=False)  # For a training checkpoint: …["model"]
  torch.save(model.state_dict(), 'weights.pth')"""


class Storage(NamedTuple):
    """A storage to which the pickle refers."""

    key: str
    dtype: np.dtype


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


def recognises(path: Path) -> bool:
    """Return whether the file begins as either layout does."""
    with path.open("rb") as file:
        start = file.read(1 << 12)
    return start.startswith(MAGIC_STREAM) or (start.startswith(npz.MAGIC) and npz.PICKLE in start)


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer; views of the mapped file.

    Raises:
        CheckpointError: the file is damaged, holds no state dict, or its pickle names anything but tensors and what
            training checkpoints usually store with them.
        OSError: the file cannot be opened.
    """
    with reading(path, "a state dict of PyTorch"):
        data = map_file(path)
        load = _stream if starts_with(Path(path), MAGIC_STREAM) else _archive
        entries, storage_bytes = load(Path(path), data)
        tensors, left_out = _state_dict(entries)
        arrays: dict[str, np.ndarray] = {}
        remaining = data.size  # A hostile file could share one storage among a thousand tensors.
        for name, tensor in tensors.items():
            arrays[name] = _array(name, tensor, storage_bytes(tensor.storage.key))
            remaining -= arrays[name].nbytes
            if remaining < 0:
                raise CheckpointError("expected no more numbers than the file holds")
        contents = state_dict.contents(arrays)
        return dataclasses.replace(contents, left_out=(*contents.left_out, *left_out))


def _archive(path: Path, data: np.ndarray) -> tuple[Any, Callable[[str], np.ndarray]]:
    """Return the object of the pickle, and a function that returns the bytes of a storage by its key."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
    (pickled,) = (name for name in members if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    if sum(member.file_size for member in members.values()) > data.size:
        raise CheckpointError("expected each member in bytes of its own, not compressed, as PyTorch writes them")

    @functools.cache  # Tensors may share a storage, whose checksum is computed once.
    def content(name: str) -> np.ndarray:
        stored = npz.stored(members[name], data) if name in members else None
        if stored is None:
            raise CheckpointError(f"expected a member {name}, not compressed, as PyTorch writes it")
        return stored

    order = folder + "byteorder"
    if order in members and content(order).tobytes() != b"little":
        raise CheckpointError("expected little-endian numbers")
    entries = _unpickle(io.BytesIO(content(pickled).tobytes()), content(pickled).size, {})
    return entries, lambda key: content(f"{folder}data/{key}")


def _stream(path: Path, data: np.ndarray) -> tuple[Any, Callable[[str], np.ndarray]]:
    """Return the same as `_archive`, from the older layout."""
    used: dict[str, Storage] = {}
    with path.open("rb") as file:
        file.seek(len(MAGIC_STREAM))
        for _ in range(PICKLES_BEFORE):
            _unpickle(file, data.size, {})
        entries = _unpickle(file, data.size, used)
        keys = [pickles.text(key) for key in _unpickle(file, data.size, {})]
        end = file.tell()
    contents = {}
    for key in keys:
        if key not in used:
            raise CheckpointError(f"expected the storage {key!r} to be used; its size is unknown")
        start = end + 8
        end = start + int.from_bytes(data[end:start].tobytes(), "little") * used[key].dtype.itemsize
        if end > data.size:
            raise CheckpointError(f"truncated: a storage ends at byte {end} of {data.size}. Get the file again")
        contents[key] = data[start:end]
    return entries, contents.__getitem__


def _unpickle(file: BinaryIO, size: int, used: dict[str, Storage]) -> Any:
    """Return the object of the pickle at the position of a file of `size` bytes; add its storages to `used`."""

    def storage(reference: Any) -> Storage:
        kind, dtype, key = reference[:3]
        if pickles.text(kind) != "storage" or not isinstance(dtype, np.dtype):
            raise CheckpointError("expected references to storages only")
        used[pickles.text(key)] = Storage(pickles.text(key), dtype)
        return used[pickles.text(key)]

    bounded_file = pickles.BoundedFile(file, size - file.tell())
    return pickles.Unpickler(bounded_file, GLOBALS, storage, ADVICE).load()


def _state_dict(entries: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors by name, and descriptions of the other entries."""
    left_out = []
    for _ in range(MAX_NESTING):
        if not isinstance(entries, dict):
            raise CheckpointError(f"expected a state dict; received {type(entries).__name__}")
        inner = {pickles.key_text(key): entry for key, entry in entries.items() if isinstance(entry, dict)}
        key = next((key for key in (*STATE_DICTS, *AVERAGES) if key in inner), None)
        if key is None:
            break
        averages = [name for name in AVERAGES if name in inner and name != key]
        left_out += [f"{name} (dict): a moving average of the weights; {key} is used" for name in averages]
        entries = inner[key]
    named = {pickles.key_text(key): entry for key, entry in entries.items()}
    tensors = {name: entry for name, entry in named.items() if isinstance(entry, Tensor)}
    left_out += [f"{name} ({_kind(entry)}): no tensor" for name, entry in named.items() if name not in tensors]
    return tensors, left_out


def _kind(entry: Any) -> str:
    """Return the name of the type of an entry."""
    return "object" if pickles.Placeholder in (entry, type(entry)) else type(entry).__name__


def _array(name: str, tensor: Tensor, content: np.ndarray) -> np.ndarray:
    """Return the numbers of a tensor, a view of the bytes of its storage."""
    numbers = content.view(tensor.storage.dtype)
    shape, strides = tensor.shape, tensor.strides
    natural = all(type(number) is int and number >= 0 for number in (tensor.offset, *shape, *strides))
    if not natural or len(shape) != len(strides):
        raise CheckpointError(f"{name}: expected an offset, a shape and strides of non-negative integers")
    if 0 in shape:
        return np.empty(shape, numbers.dtype)
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if last >= numbers.size or math.prod(shape) > numbers.size:
        raise CheckpointError(f"{name}: expected its numbers within its storage of {numbers.size}")
    steps = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], shape, steps, writeable=False)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    """Replace PyTorch's functions that create a tensor."""
    if not isinstance(storage, Storage):
        raise CheckpointError("expected the numbers of a tensor in a storage")
    return Tensor(storage, offset, _size(shape), _size(strides))


def _size(numbers: Any = ()) -> tuple:
    """Replace torch.Size. A long list, which a file could copy into a thousand tensors, is refused."""
    if not isinstance(numbers, list | tuple) or len(numbers) > MAX_RANK:
        raise CheckpointError(f"expected a shape and strides of at most {MAX_RANK} numbers")
    return tuple(numbers)


# Names by module, whose objects training checkpoints store beside weights: arguments, states of optimizers, schedulers
# and generators. They are discarded. PyTorch allows many of them too (torch/_weights_only_unpickler.py).
DISCARDED = {
    "argparse": "Namespace",
    "collections": "Counter",
    "datetime": "date datetime timedelta",
    "numpy": "dtype ndarray",
    **dict.fromkeys(pickles.NUMPY_MODULES, "_reconstruct scalar"),
    **dict.fromkeys(pickles.NUMPY_NUMERIC, "_frombuffer"),
    **dict.fromkeys(("pathlib", "pathlib._local"), "PosixPath PurePosixPath PureWindowsPath WindowsPath"),
    "torch": "device bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128",
    **dict.fromkeys(("builtins", "__builtin__"), "bytearray complex dict float frozenset int list set str"),
}
# The globals that state dicts name; all others are refused.
GLOBALS: pickles.Globals = {
    **{(module, name): pickles.Placeholder for module, names in DISCARDED.items() for name in names.split()},
    ("collections", "OrderedDict"): pickles.ordered_dict,
    ("collections", "defaultdict"): lambda *_: {},
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda tensor, *_: tensor,
    ("torch", "Size"): _size,
    **{("torch", f"{name}Storage"): np.dtype(code) for name, code in STORAGES.items()},
}
