"""MAT files whose headers state more than the file holds are refused before SciPy allocates it."""

import io
import struct
import zlib

import numpy as np
import pytest

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.formats import mat_file

io_ = pytest.importorskip("scipy.io")


def saved(variables: dict, **options: object) -> bytes:
    buffer = io.BytesIO()
    io_.savemat(buffer, variables, **options)
    return buffer.getvalue()


def check(data: bytes) -> None:
    mat_file.check(np.frombuffer(data, np.uint8))


CELLS = np.array([[1.0, "text", np.ones((2, 3), "f4")]], object)
VARIABLES = {"a": CELLS, "b": {"x": 1 + 2j, "y": "", "z": CELLS}, "c": np.zeros((0, 4)), "d": np.arange(5, dtype="i2")}


@pytest.mark.parametrize("packed", [False, True])
def test_what_scipy_writes_passes(packed):
    check(saved(VARIABLES, do_compression=packed, long_field_names=True))


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def array(kind: int, shape: tuple[int, ...], content: bytes) -> bytes:
    dims = element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, element(6, bytes([kind, 0, 0, 0, 0, 0, 0, 0])) + dims + element(1, b"a") + content)


ZEROS = array(7, (1 << 19, 1), element(7, bytes(1 << 21)))
HUGE = (1 << 15, 1 << 15)
HOSTILE = {
    "at most 8192 cells": array(1, HUGE, b""),
    "at most 8192 cells; received 1073741824": array(2, HUGE, element(5, struct.pack("<i", 8)) + element(1, b"")),
    r"truncated: an element has \d+ bytes, 0 are left": array(1, (1, 5), b""),
    r"expected \[32768, 32768\] numbers in 8 bytes": array(7, HUGE, element(7, bytes(8))),
    r"expected \[1, 4\] numbers in 4 bytes": array(7, (1, 4), element(16, bytes(4))),  # A table of SciPy has 13 types.
    "texts of their stated length, of": array(4, (1, 4), element(200, bytes(4))),
    "texts of their stated length": array(4, HUGE, element(4, b"")),
    "at most 64 fields": array(2, (1, 1), element(5, struct.pack("<i", 1)) + element(1, bytes(65))),
    "a struct of at most": array(2, (1, 1), element(5, struct.pack("<i", 0)) + element(1, bytes(65))),
    "MATLAB's class 5": array(5, (1, 1), b""),
    "bytes behind the numbers": array(7, (1, 1), element(7, bytes(4)) * 2),
    "no valid header": array(7, (-1, 1), element(7, bytes(4))),
    "truncated": struct.pack("<II", 14, 1 << 31),
    "received an element of type 7": element(7, bytes(8)),
    "at most 2 times the bytes of the file": element(15, zlib.compress(ZEROS)),
    "in a depth of at most 8": element(14, b""),
}


@pytest.mark.parametrize("message", HOSTILE)
def test_hostile_files_are_refused(message):
    content = HOSTILE[message]
    if message == "in a depth of at most 8":
        for _ in range(10):
            content = array(1, (1, 1), content)
    with pytest.raises(CheckpointError, match=message):
        check(saved({}) + content)


@pytest.mark.parametrize(("old", "new"), [(b"IM", b"MI"), (b"MATLAB 5", bytes(8))])
def test_big_endian_files_and_those_of_matlab_4_are_refused(old, new):
    with pytest.raises(CheckpointError, match="of MATLAB 5 to 7.2 with little-endian"):
        check(saved({}).replace(old, new))
