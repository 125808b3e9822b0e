"""Read the checkpoints of TensorFlow without TensorFlow.

Those of TensorFlow 2, and of 1 since 0.12, are a table `NAME.index` (`tensorflow_table`), which states type, shape and
position of each variable, and `NAME.data-00000-of-00001` with their numbers. Before, one file was a table with the
numbers themselves. Kernels are channels last. Variables of optimizers are left out.
"""

import dataclasses
import math
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, reading, state_dict, tensorflow_table
from tfalexnet.checkpoints.formats.binary import BFLOAT16, MAX_RANK, map_file
from tfalexnet.checkpoints.formats.protobuf import fields

FLATTEN = "HWC"
# types.proto: numbers of the types of weights and of integers; variables of other types are left out.
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 14: BFLOAT16, 19: "<f2"}
VALUES = {5: "<f4", 6: "<f8"}  # Fields of a TensorProto with packed numbers, by their type.
MAX_FIELDS = 1 << 15
DATA = re.compile(r"(?P<prefix>.+)\.data-\d{5}-of-\d{5}")
OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"  # The end of the name of a variable in TensorFlow 2.
OPTIMIZER = re.compile(r"\.OPTIMIZER_SLOT|^(.*/)?_?optimizer/")
UNNAMED = re.compile(r"Variable(_\d{1,6})?")  # What tf.Variable is called without a name.


def recognises(path: Path) -> bool:
    """Return whether the file ends as a table does, or is the .data-* file beside one."""
    with _index(path).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - len(tensorflow_table.MAGIC), 0))
        return file.read() == tensorflow_table.MAGIC


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer; views of the mapped files.

    Raises:
        CheckpointError: a file is damaged or missing, or there are no layers.
        OSError: a file cannot be opened.
    """
    with reading(path, "a checkpoint of TensorFlow"):
        index = _index(Path(path))
        entries = dict(tensorflow_table.entries(map_file(index)))
        first = list(fields(entries.pop(b"", np.empty(0, np.uint8)), MAX_FIELDS))
        shards, big_endian = (next((value for number, value in first if number == field), 0) for field in (1, 2))
        if isinstance(shards, int) and isinstance(big_endian, int) and big_endian:
            raise CheckpointError("expected little-endian numbers")
        if isinstance(shards, int):  # The number of .data-* files; before, a message that lists the variables.
            arrays, left_out = _bundle(index, shards, entries)
        else:
            arrays, left_out = _single(shards, entries)
        arrays, slots = _without_optimizer(arrays)
        contents = state_dict.contents(_named(arrays))
        return dataclasses.replace(contents, left_out=(*contents.left_out, *left_out, *slots))


def _index(path: Path) -> Path:
    """Return the table that belongs to a file."""
    data = DATA.fullmatch(path.name)
    index = path.with_name(f"{data['prefix']}.index") if data else path
    return index if index.is_file() else path


def _bundle(index: Path, shards: int, entries: Mapping[bytes, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the variables in the .data-* files by name, and descriptions of those that are left out."""
    arrays, left_out = {}, []
    files: dict[int, np.ndarray] = {}
    remaining = 0
    for key, message in entries.items():
        entry = _integers(message)
        name = key.decode("utf-8", "replace").removesuffix(OBJECT)
        code, shape, shard = entry.get(1, 0), _shape(message), entry.get(3, 0)
        if code not in TYPES or any(number == 7 for number, _ in fields(message, MAX_FIELDS)):
            left_out.append(f"{name}: {'a part of a variable' if code in TYPES else 'no numbers'}")
            continue
        if shard not in files:
            file = index.with_name(f"{index.name.removesuffix('.index')}.data-{shard:05}-of-{shards:05}")
            if shard >= shards or not file.is_file():
                raise CheckpointError(f"expected {file.name[-200:]} beside it, which holds the numbers")
            files[shard] = map_file(file)
            remaining += files[shard].size
        data, offset, size = files[shard], entry.get(4, 0), entry.get(5, 0)
        dtype = np.dtype(TYPES[code])
        if offset + size > data.size or math.prod(shape) * dtype.itemsize != size:
            stated = f"{shape} numbers of {dtype.name} in bytes {offset} to {offset + size} of {data.size}"
            raise CheckpointError(f"{name}: expected {stated}. Get the files again")
        remaining -= size
        if remaining < 0:
            raise CheckpointError("expected no more numbers than the files hold")
        arrays[name] = data[offset : offset + size].view(dtype).reshape(shape)
    return arrays, left_out


def _single(listed: np.ndarray, entries: Mapping[bytes, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the same as `_bundle` from one file.

    Args:
        listed: a SavedTensorSliceMeta, with name and shape of each variable.
        entries: values are messages SavedTensorSlices, whose field 2 is a SavedSlice with name and TensorProto.
    """
    shapes = {_name(message): _shape(message) for number, message in fields(listed, MAX_FIELDS) if number == 1}
    arrays, left_out = {}, []
    for entry in entries.values():
        for _, piece in fields(entry, MAX_FIELDS):
            name = _name(piece)
            (tensor,) = (message for number, message in fields(piece, MAX_FIELDS) if number == 3)
            parts = [value.view(VALUES[number]) for number, value in fields(tensor, MAX_FIELDS) if number in VALUES]
            if len(parts) != 1:
                left_out.append(f"{name}: no floats")
            elif name in arrays or math.prod(shapes[name]) != parts[0].size:
                raise CheckpointError(f"{name}: expected {shapes[name]} numbers in one piece; received {parts[0].size}")
            else:
                arrays[name] = parts[0].reshape(shapes[name])
    return arrays, left_out


def _name(message: np.ndarray) -> str:
    """Return the text of field 1."""
    return next(value for number, value in fields(message, MAX_FIELDS) if number == 1).tobytes().decode()


def _integers(message: np.ndarray) -> dict[int, int]:
    """Return the fields of a message that are integers, by number."""
    return {number: value for number, value in fields(message, MAX_FIELDS) if isinstance(value, int)}


def _shape(message: np.ndarray) -> tuple[int, ...]:
    """Return the shape in field 2, a TensorShapeProto; an absent size is 0."""
    shape = next((value for number, value in fields(message, MAX_FIELDS) if number == 2), np.empty(0, np.uint8))
    return tuple(_integers(size).get(1, 0) for number, size in fields(shape, MAX_RANK) if number == 2)


def _without_optimizer(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the variables of layers, and a description of the others, such as conv1/weights/Momentum."""
    others = Counter()
    layers = {}
    for name, array in arrays.items():
        owner, _, kind = name.rpartition("/")
        if owner in arrays or OPTIMIZER.search(name):
            others[kind] += 1
        else:
            layers[name] = array
    summary = f"{others.total()} variables of the optimizer, or averages ({', '.join(others)})"
    return layers, [summary] if others else []


def _named(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the variables with names that `state_dict` reads.

    Scripts that name no variable create kernels and biases in the order of layers, alternately or not: Variable,
    Variable_1, …. The first kernel belongs to the first bias.
    """
    unnamed = sorted(filter(UNNAMED.fullmatch, arrays), key=lambda name: int(name[len("Variable_") :] or 0))
    kernels = [name for name in unnamed if arrays[name].ndim > 1]
    biases = [name for name in unnamed if arrays[name].ndim == 1]
    sizes = [arrays[name].shape[-1] for name in kernels], [arrays[name].size for name in biases]
    names = {name: name.replace("/_", "/") for name in arrays}  # Keras 3 calls them _kernel in such checkpoints.
    if sizes[0] == sizes[1]:
        for kernel, bias in zip(kernels, biases, strict=True):
            names |= {kernel: f"{kernel}/kernel", bias: f"{kernel}/bias"}
    return {names[name]: array for name, array in arrays.items()}
