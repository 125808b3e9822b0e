"""Read and write `.npz`, NumPy's archives of named arrays.

The arrays are `conv1.kernel`, `conv1.bias`, …, channels last; the other names of `state_dict` are read too. The
attributes are one array of JSON text; its name and those of the extras begin with `tfalexnet.`.
"""

import io
import json
import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, reading, state_dict
from tfalexnet.checkpoints.formats.binary import map_file
from tfalexnet.io.files import atomic_write

MAGIC = b"PK\x03\x04"
PICKLE = b"/data.pkl"
FLATTEN = "HWC"
ATTRIBUTES = state_dict.EXTRAS + "attributes"
EXPANSION = 2  # Limit of unpacked by packed bytes. Weights hardly compress; a zip bomb grows a thousandfold.
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
MAX_HEADER = 1 << 10  # Bytes of the header of an array, which NumPy parses as Python; it writes 118.
MAX_MEMBERS = 1 << 12
PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # NumPy's. zipfile cannot limit the memory of the others.


def recognises(path: Path) -> bool:
    """Return whether the file is a zip archive, except those of PyTorch, whose first member is a pickle."""
    with path.open("rb") as file:
        start = file.read(1 << 12)
    return start.startswith(MAGIC) and PICKLE not in start


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer; views of the mapped file where it is not compressed.

    Raises:
        CheckpointError: the file is damaged, holds no layers, or holds Python objects.
        OSError: the file cannot be opened.
    """
    with reading(path, "a .npz file"), zipfile.ZipFile(path) as archive:
        data = map_file(path)
        check_members(archive, data)
        arrays = {member.filename.removesuffix(".npy"): _array(member, archive, data) for member in archive.infolist()}
        attributes = json.loads(arrays.pop(ATTRIBUTES).tobytes()) if ATTRIBUTES in arrays else {}
        if not isinstance(attributes, dict):
            raise CheckpointError(f"expected attributes with names; received {type(attributes).__name__}")
        return state_dict.contents(arrays, attributes)


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Write an archive that `numpy.load` reads.

    Raises:
        OSError: the file cannot be written; an older file stays as it was.
    """
    text = json.dumps(dict(contents.attributes)).encode()
    arrays = {ATTRIBUTES: np.frombuffer(text, np.uint8)}
    arrays |= {state_dict.EXTRAS + name: array for name, array in contents.extras.items()}
    for layer, (kernel, bias) in contents.parameters.items():
        arrays |= {f"{layer}.kernel": kernel, f"{layer}.bias": bias}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def check_members(archive: zipfile.ZipFile, data: np.ndarray) -> None:
    """Raise `CheckpointError` for too many members, or for a zip bomb; `data` are the bytes of the archive."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise CheckpointError(f"expected at most {MAX_MEMBERS} arrays; received {len(members)}")
    total = sum(member.file_size for member in members)
    if total > EXPANSION * data.size:
        limit = f"expected at most {EXPANSION} times the file's {data.size} bytes unpacked"
        raise CheckpointError(f"{limit}; received {total}. If you trust the file, save it with numpy.savez")


def unpacked(member: zipfile.ZipInfo, archive: zipfile.ZipFile, data: np.ndarray) -> np.ndarray:
    """Return the bytes of a member, a view of the archive's bytes `data` where it is not compressed."""
    content = stored(member, data)
    if content is None:
        with archive.open(member) as file:  # archive.read would unpack more than the stated size.
            content = np.frombuffer(file.read(member.file_size), np.uint8)
    return content


def _array(member: zipfile.ZipInfo, archive: zipfile.ZipFile, data: np.ndarray) -> np.ndarray:
    try:
        return array(unpacked(member, archive, data))
    except CheckpointError as error:
        raise CheckpointError(f"{member.filename}: {error}") from None


def array(content: np.ndarray) -> np.ndarray:
    """Return the array of a .npy file, a view of its bytes.

    Raises:
        CheckpointError: it does not hold numbers, or not as many as its header states.
    """
    shape, fortran, dtype, start = header(content)
    if dtype.kind not in "fiub":
        raise CheckpointError(f"expected numbers; received {dtype}")
    content = content[start:]
    if math.prod(shape) * dtype.itemsize != content.size:
        raise CheckpointError(f"expected {shape} numbers of {dtype}; received {content.size} bytes")
    return content.view(dtype).reshape(shape, order="F" if fortran else "C")


def header(data: np.ndarray) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Parse the header of a .npy file: shape, whether the order is Fortran's, dtype, and where the numbers begin."""
    start = io.BytesIO(data[:MAX_HEADER].tobytes())  # A stated length cannot exceed this copy.
    version = np.lib.format.read_magic(start)
    if version not in HEADERS:
        raise CheckpointError(f"expected .npy version 1.0 or 2.0; received {version}")
    return *HEADERS[version](start, MAX_HEADER), start.tell()


def stored(member: zipfile.ZipInfo, data: np.ndarray) -> np.ndarray | None:
    """Return the bytes of a member as a view of the archive, their checksum verified; None if it is compressed."""
    if member.compress_type not in PACKING:
        raise CheckpointError(f"expected {member.filename} stored or deflated, as NumPy writes it")
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    local = data[member.header_offset : member.header_offset + 30].tobytes()
    if len(local) < 30 or not local.startswith(MAGIC):
        raise CheckpointError(f"damaged: {member.filename} is not at the position that the archive states")
    start = member.header_offset + 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    if start + member.file_size > data.size:
        raise CheckpointError(f"truncated: {member.filename} ends beyond the file. Get the file again")
    content = data[start : start + member.file_size]
    # PyTorch writes 0 if torch.serialization.set_crc32_options turns checksums off.
    if member.CRC not in (0, zlib.crc32(content)):
        raise CheckpointError(f"damaged: {member.filename} does not match its checksum. Get the file again")
    return content
