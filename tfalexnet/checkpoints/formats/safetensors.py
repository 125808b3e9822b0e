"""Read and write `.safetensors`: a JSON header, then the numbers, named as in a PyTorch state dict.

The attributes are strings in the header's `__metadata__`. The extras are too, under names that begin with
`tfalexnet.`; those too large for a header are arrays of these names.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, reading, state_dict
from tfalexnet.checkpoints.formats.binary import BFLOAT16, MAX_RANK, map_file
from tfalexnet.io.files import atomic_write

FLATTEN = "CHW"
# The types of its format.rs. NumPy has no 1-byte floats, which are read as raw bytes; types below 1 byte are refused.
TYPES = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": BFLOAT16, "C64": "<c8", "BOOL": "?"}
TYPES |= {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)}
TYPES |= dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0"), "V1")
CODES = {np.dtype(code): name for name, code in TYPES.items()}
METADATA = "__metadata__"
MAX_HEADER = 1 << 20  # Bytes. Parsed JSON takes twenty times its size.
MAX_TEXT = MAX_HEADER // 4  # Bytes of an extra that is stored in the header; a header may hold two.


def recognises(path: Path) -> bool:
    """Return whether the file begins with the size of a header and its opening brace."""
    with path.open("rb") as file:
        start = file.read(9)
    size = int.from_bytes(start[:8], "little")
    return len(start) == 9 and start[8:] == b"{" and size <= path.stat().st_size - 8


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer; views of the mapped file.

    Raises:
        CheckpointError: the file is damaged or holds no layers.
        OSError: the file cannot be opened.
    """
    with reading(path, "a .safetensors file"):
        attributes, arrays = unpack(map_file(path))
        texts = {name: attributes.pop(name) for name in list(attributes) if name.startswith(state_dict.EXTRAS)}
        arrays |= {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
        return state_dict.contents(arrays, attributes)


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Write a state dict that `safetensors.torch.load_file` reads; `contents.flatten` must be "CHW".

    Raises:
        OSError: the file cannot be written; an older file stays as it was.
    """
    arrays, metadata = state_dict.arrays(contents), dict(contents.attributes)
    for name, array in contents.extras.items():
        if array.dtype == np.uint8 and array.size < MAX_TEXT:  # As text: `load_state_dict` refuses further tensors.
            metadata[state_dict.EXTRAS + name] = array.tobytes().decode()
        else:
            arrays[state_dict.EXTRAS + name] = array
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        pack(file, metadata, arrays)


def pack(file: BinaryIO, attributes: Mapping[str, str | int], arrays: Mapping[str, np.ndarray]) -> None:
    """Write header and numbers, in the order of `arrays`."""
    header: dict[str, Any] = {METADATA: {name: str(value) for name, value in attributes.items()}}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": CODES[array.dtype], "shape": array.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # Aligns the numbers.
    file.write(len(text).to_bytes(8, "little") + text)
    for array in arrays.values():
        file.write(memoryview(np.ascontiguousarray(array).reshape(-1)).cast("B"))


def unpack(data: np.ndarray) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return attributes and arrays; the arrays are views of `data`."""
    size = int.from_bytes(data[:8].tobytes(), "little")
    if size > data.size - 8:
        raise CheckpointError(f"truncated: the header has {size} bytes, {data.size - 8} are left. Get the file again")
    if size > MAX_HEADER:
        raise CheckpointError(f"expected a header of at most {MAX_HEADER} bytes; received {size}")
    header = json.loads(data[8 : 8 + size].tobytes())
    numbers = data[8 + size :]
    attributes = header.pop(METADATA, {})
    if not all(isinstance(value, str) for value in attributes.values()):
        raise CheckpointError("expected metadata of strings")
    arrays = {name: _array(name, entry, numbers) for name, entry in header.items()}
    if sum(end - start for start, end in (entry["data_offsets"] for entry in header.values())) > numbers.size:
        raise CheckpointError("expected arrays that do not share bytes; some overlap")
    return attributes, arrays


def _array(name: str, entry: dict, numbers: np.ndarray) -> np.ndarray:
    code, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    natural = all(type(number) is int and number >= 0 for number in (*shape, start, end))
    if code not in TYPES or not natural or len(shape) > MAX_RANK:
        raise CheckpointError(f"{name}: expected a known type in at most {MAX_RANK} dimensions; received {code!r}")
    if end > numbers.size or math.prod(shape) * np.dtype(TYPES[code]).itemsize != end - start:
        raise CheckpointError(f"{name}: expected {shape} numbers in bytes {start} to {end} of {numbers.size}")
    return numbers[start:end].view(TYPES[code]).reshape(shape)
