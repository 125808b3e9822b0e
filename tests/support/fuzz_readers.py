"""Every reader on mutated and truncated files: nothing but the package's own error may come out.

    python tests/fuzz_readers.py [--inputs 10000] [--seed 0] [READER …]

Seeds are small files by this package, NumPy, Keras, PyTorch where it is installed, and Caffe where
TFALEXNET_TEST_DATA holds a file of its. An input is one of them, changed by `random.Random` of seed,
reader and number, so that it can be made again. A process of its own reads the inputs, one after the
other, as `Reader.read` and as `checkpoints.read` do, and takes as failures

- any error that is no CheckpointError or does not name the file, and a crash of the process;
- memory beyond twice the file's size, apart from constants (SLACK, SLACK_OF_PROCESS, NAME): what Python
  and NumPy ask for (tracemalloc), and what the process holds (VmHWM), which is all that can be said of
  libhdf5: it asks malloc for what an object header claims before it finds the file too short;
- what the interpreter audits: a command, a socket, code, an import, another file;
- LIMIT seconds without an end;
- arrays that reach beyond the bytes they lie in.

Ten minutes for all readers on two cores; expected is a column of zeros. Inputs that fail are kept
in runs/fuzz.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import functools
import importlib
import io
import json
import os
import pickle
import pickletools
import random
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from support import ROOT, caffe
from support.nets import random_parameters, write_npy
from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import FORMATS, Checkpoint, read_checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.formats import Contents, deep_compression, state_dict
from tfalexnet.checkpoints.formats.torch_pth import MAGIC_STREAM
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import classes_from_labels
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.spec import Architecture, Conv, Dense, Flatten

LIMIT = 10  # Seconds for one input; they take milliseconds.
SLACK = 1 << 20  # Python's objects for an archive, a header, a message; nothing a length can change.
SLACK_OF_PROCESS = 16 << 20  # The caches of libhdf5, and the steps in which malloc takes memory.
NAME = 256  # Bytes of the name of a class, which a .net file does not hold.
CEILING = 2 << 30  # Of the address space, so that a bomb that goes off spares the machine.
HOSTILE = "hostile"  # In the name of a seed that must be refused as it is.

# Two layers, so that most bytes of a file are structure.
NET = Architecture(
    "bvlc_alexnet",
    "A net of its layers' kinds, for small files.",
    (3, 3, 3),
    (Conv("conv1", 4, 3), Flatten(), Dense("fc8", 3, None)),
)
SHAPES = NET.parameter_shapes()
PARAMETERS = random_parameters(NET)
PREPARED = Preprocessing("squash", 3, 3, antialias=False, channels="BGR", mean=(104.0, 117.0, 123.0))


class Ran(BaseException):
    """Something was asked of the machine; no reader catches this."""


# Seeds: name and bytes.

Seeds = Iterator[tuple[str, bytes]]


def written(suffix: str, parameters: dict = PARAMETERS) -> Seeds:
    """By the package itself, with everything that may travel with weights, and with nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{suffix}"
        for preprocessing in (PREPARED, None):
            labels = classes_from_labels(["a", "b", "c"]) if preprocessing else ()
            write_checkpoint(path, Checkpoint(parameters, ModelSpec(NET, preprocessing, labels)))
            yield "own", path.read_bytes()
        FORMATS[suffix].write(path, Contents(parameters, flatten=FORMATS[suffix].FLATTEN))
        yield "bare", path.read_bytes()


def arrays(kernel: str = "{}.kernel", bias: str = "{}.bias") -> dict[str, np.ndarray]:
    return {
        form.format(name): array
        for name, pair in PARAMETERS.items()
        for form, array in zip((kernel, bias), pair, strict=True)
    }


def seeds_npy() -> Seeds:
    yield from written(".npy")
    with tempfile.TemporaryDirectory() as folder:
        for layout in ("tf_alexnet", "caffe-tensorflow"):
            write_npy(Path(folder) / "net.npy", PARAMETERS, layout)
            yield layout, (Path(folder) / "net.npy").read_bytes()
    entries = np.array({name: list(pair) for name, pair in PARAMETERS.items()}, dtype=object)
    head = io.BytesIO()
    np.lib.format.write_array_header_2_0(head, {"descr": "|O", "fortran_order": False, "shape": ()})
    for protocol in (2, 5):
        yield f"protocol{protocol}", head.getvalue() + pickle.dumps(entries, protocol)
    more = {"epoch": 3, "bn": {"mean": np.ones(2)}, "a": [1], "fc9": {"weights": np.ones(2)}}
    entries = np.array({name: list(pair) for name, pair in PARAMETERS.items()} | more, dtype=object)
    yield "more", head.getvalue() + pickle.dumps(entries, 2)
    yield HOSTILE, head.getvalue() + pickle.dumps(np.array({"conv1": [Runs(), Runs()]}, dtype=object), 2)


class Runs:
    def __reduce__(self):
        return os.system, ("true",)


def seeds_caffemodel() -> Seeds:
    yield from written(".caffemodel")
    for layout in ("new", "old", "double", "unpacked"):
        yield layout, caffe.caffemodel(PARAMETERS, NET, layout)
    folder = os.environ.get("TFALEXNET_TEST_DATA")
    if folder:  # Without its larger layers, of which most bytes would be numbers.
        nodes = tree((Path(folder) / "caffe" / "lenet_iter_10000.caffemodel").read_bytes())
        yield "caffe", serialised([node for node in nodes if len(serialised([node])) < 1 << 15])


def seeds_pth() -> Seeds:
    try:
        import torch
    except ImportError:
        print("pth: seeds of PyTorch are left out, pip install torch", flush=True)
        yield from seeds_pth_without_torch()
        return
    state = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in torch_arrays().items()}
    whole = {"epoch": 3, "state_dict": state, "best": torch.tensor(1.0), "optimizer": {"lr": 0.1, "groups": [1, 2]}}
    beside = {"args": argparse.Namespace(a=1), "type": torch.float32, "loss": np.ones(2)}
    beside["steps"] = collections.Counter([1])
    for zipped in (True, False):
        for name, entries in (
            ("state", state),
            ("whole", whole),
            ("beside", {**state, **beside}),
            ("half", {name: tensor.bfloat16() for name, tensor in state.items()}),
            (HOSTILE, state | {"x": Runs()}),
        ):
            buffer = io.BytesIO()
            torch.save(entries, buffer, _use_new_zipfile_serialization=zipped)
            yield name, buffer.getvalue()


def torch_arrays() -> dict[str, np.ndarray]:
    return state_dict.arrays(Contents(PARAMETERS, flatten="CHW"))


def seeds_pth_without_torch() -> Seeds:
    """Both layouts by hand, as PyTorch writes them."""
    items, storages, declared = b"", [], []
    for key, (name, array) in enumerate(torch_arrays().items()):
        data = np.ascontiguousarray(array, "<f4").tobytes()
        number = str(key).encode()
        strides = [array.size // int(np.prod(array.shape[: axis + 1])) for axis in range(array.ndim)]
        sides, steps = (b"(" + b"".join(b"K" + bytes([n]) for n in each) + b"t" for each in (array.shape, strides))
        place = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(number) + text(b"cpu")
        declared.append((number, array.size))
        storages.append(data)
        items += text(name.encode()) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + b"K%c" % array.size
        items += b"{view}tQK\x00" + sides + steps + b"\x89ccollections\nOrderedDict\n)RtR"
    body = b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", body.replace(b"{view}", b""))
        archive.writestr("net/byteorder", b"little")
        for key, data in enumerate(storages):
            archive.writestr(f"net/data/{key}", data)
    yield "zip", buffer.getvalue()
    keys = b"\x80\x02](" + b"".join(text(number) for number, _ in declared) + b"e."
    raw = b"".join(struct.pack("<Q", len(data) // 4) + data for data in storages)
    yield "stream", MAGIC_STREAM + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + body.replace(b"{view}", b"N") + keys + raw


def text(string: bytes) -> bytes:
    """The opcode of a short text."""
    return b"X" + struct.pack("<I", len(string)) + string


def seeds_net() -> Seeds:
    few = {
        name: (np.round(kernel / np.abs(kernel).max() * 4).astype("f4"), bias)
        for name, (kernel, bias) in PARAMETERS.items()
    }
    yield from written(".net", few)


def seeds_npz() -> Seeds:
    yield from written(".npz")
    for save in (np.savez, np.savez_compressed):
        for forms in (("{}.kernel", "{}.bias"), ("{}/weights", "{}/biases")):
            buffer = io.BytesIO()
            save(buffer, **{name: np.asfortranarray(array.astype(">f8")) for name, array in arrays(*forms).items()})
            yield save.__name__, buffer.getvalue()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays(), objects=np.array({"a": Runs()}, dtype=object))
    yield HOSTILE, buffer.getvalue()


def seeds_safetensors() -> Seeds:
    yield from written(".safetensors")
    (own,) = {data for name, data in written(".safetensors") if name == "bare"}
    size = int.from_bytes(own[:8], "little")
    header = json.loads(own[8 : 8 + size])
    header["n"] = {"dtype": "I64", "shape": [2], "data_offsets": [len(own) - 8 - size, len(own) + 8 - size]}
    text = json.dumps(header).encode()
    yield "integers", len(text).to_bytes(8, "little") + text + own[8 + size :] + bytes(16)
    for entry in header.values():
        if entry.get("dtype") == "F32":
            entry["dtype"] = "BF16"
            entry["shape"][-1] *= 2
    text = json.dumps(header).encode()
    yield "bfloat16", len(text).to_bytes(8, "little") + text + own[8 + size :] + bytes(16)


def seeds_h5() -> Seeds:
    yield from written(".weights.h5")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.weights.h5"
        with contextlib.suppress(ImportError):
            import keras

            layers = [
                keras.layers.Conv2D(4, 3, name="conv1"),
                keras.layers.Flatten(),
                keras.layers.Dense(3, name="fc8"),
            ]
            model = keras.Sequential([keras.Input((3, 3, 2)), *layers])
            model.save_weights(path)
            yield "keras", path.read_bytes()
            nested = keras.Sequential(
                [model, keras.layers.BatchNormalization(), keras.layers.Dense(2, dtype="bfloat16")]
            )
            nested.save_weights(path)
            yield "nested", path.read_bytes()
        (own,) = {data for name, data in written(".weights.h5") if name == "bare"}
        for name, change in STRANGE_H5.items():
            path.write_bytes(own)
            with h5py.File(path, "r+") as file:
                change(file)
            yield name, path.read_bytes()


def replaced(file: h5py.File, **options: object) -> None:
    """The kernel of the classifier, stored in another way."""
    group = file["layers/dense/vars"]
    kernel = group["0"][()]
    del group["0"]
    group.create_dataset("0", data=kernel, **options)


def linked(file: h5py.File, link: object) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = link


def outside(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", (4, 3), "f4", external=[("/etc/passwd", 0, 48)])


def virtual(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 3))
    file["layers/dense/vars"].create_virtual_dataset("0", layout)


STRANGE_H5: dict[str, Callable[[h5py.File], None]] = {
    f"{HOSTILE}-chunked": lambda file: replaced(file, chunks=(2, 3), maxshape=(None, None)),
    "attributes": lambda file: file.attrs.update(
        {"a": [1.5, 2], "b": h5py.Empty("f4"), "c": ["x", "y"], "d": np.bytes_(b"z"), "e": file.ref, "f": 3}
    ),
    f"{HOSTILE}-packed": lambda file: replaced(file, chunks=(4, 3), compression="gzip"),
    f"{HOSTILE}-soft": lambda file: linked(file, h5py.SoftLink("/layers/conv2d/vars/0")),
    f"{HOSTILE}-external": lambda file: linked(file, h5py.ExternalLink("/etc/passwd", "/x")),
    f"{HOSTILE}-outside": outside,
    f"{HOSTILE}-virtual": virtual,
}


# Mutations: of any bytes.

Mutation = Callable[[bytes, list[bytes], random.Random], bytes]
BYTES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
INTEGERS = (0, 1, 2, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63,
            (1 << 64) - 1, (1 << 64) - 8)  # fmt: skip
NEAR = 2048  # Bytes at both ends, where most formats have their structure.


def place(data: bytes, generator: random.Random) -> int:
    first, last = generator.choice(((0, NEAR), (-NEAR, 0), (0, len(data)), (0, 256)))
    first, last = (max(0, len(data) + first), len(data)) if first < 0 else (first, min(last, len(data)))
    return generator.randrange(first, max(last, first + 1))


def stretch(data: bytes, generator: random.Random) -> tuple[int, int]:
    start = place(data, generator)
    return start, start + generator.choice((1, 2, 4, 8, generator.randint(1, 64), generator.randint(1, 4096)))


def flip(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    at = place(data, generator)
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :] if data else data


def byte(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    at = place(data, generator)
    return data[:at] + bytes([generator.choice(BYTES)]) + data[at + 1 :]


def integer(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    size = generator.choice((2, 4, 8))
    at = place(data, generator)
    at -= generator.choice((0, at % size))  # Most are aligned.
    value = generator.choice((*INTEGERS, len(data), generator.getrandbits(64)))
    return data[:at] + (value & (1 << 8 * size) - 1).to_bytes(size, "little") + data[at + size :]


def remove(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    start, end = stretch(data, generator)
    return data[:start] + data[end:]


def repeat(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    start, end = stretch(data, generator)
    return data[:end] + data[start:end] * generator.choice((1, 1, 2, 100)) + data[end:]


def swap(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    (a, b), (c, d) = sorted((stretch(data, generator), stretch(data, generator)))
    return data if b > c else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def noise(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    start, end = stretch(data, generator)
    return data[:start] + generator.randbytes(min(end - start, 64)) + data[generator.choice((start, end)) :]


def truncate(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    return data[: place(data, generator)]


def splice(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    other = generator.choice(others)
    return data[: place(data, generator)] + other[place(other, generator) :]


ANYWHERE: list[Mutation] = [flip, flip, byte, byte, integer, integer, integer]
ANYWHERE += [remove, repeat, swap, noise, truncate, splice]


# Mutations that know a format, so that what comes after its first check is reached as well.

TOKEN = re.compile(rb"-?\d+|\"[^\"]*\"|'[^']*'|true|false|null|True|False|[\[\](){}:,]")
TOKENS = (b"-1", b"0", b"1", b"2.5", b"1e999", b"4611686018427387904", b"99999999999999999999", b"9" * 5000, b"null",
          b"true", b"True", b'"F64"', b'"F16"', b"'>f8'", b"'|O'", b"'f4,f4'", b"[]", b"{}", b"()", b"[" * 3000,
          b'"BF16"', b'"I64"', b'"F8_E5M2"', b'"x"', b'""', b"NaN", b'"\\ud800"', b"\xff", b"3L",
          b'"__class__"')  # fmt: skip


def token(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """A word of JSON, or of the header of an array, becomes another."""
    found = list(TOKEN.finditer(data, 0, NEAR))
    if not found:
        return data
    match = generator.choice(found)
    new = generator.choice((*TOKENS, generator.choice(found).group()))
    return data[: match.start()] + new + data[match.end() :]


def header(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """The header of safetensors, its size set right."""
    size = int.from_bytes(data[:8], "little")
    changed = generator.choice((token, token, token, *ANYWHERE))(data[8 : 8 + size], others, generator)
    return len(changed).to_bytes(8, "little") + changed + data[8 + size :]


def array_header(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """The header of a .npy file, its size set right."""
    wide = data[6:7] == b"\x02"
    start = 12 if wide else 10
    end = start + int.from_bytes(data[8:start], "little")
    changed = token(data[start:end], others, generator)
    return data[:8] + (len(changed) & 0xFFFF).to_bytes(start - 8, "little") + changed + data[end:]


NAMED = (b"os\nsystem", b"posix\nsystem", b"builtins\neval", b"builtins\nexec", b"builtins\ngetattr", b"numpy\nload",
         b"subprocess\nPopen", b"importlib\nimport_module", b"torch\nload", b"socket\nsocket",
         b"copyreg\n_reconstructor", b"collections\nOrderedDict", b"numpy\nndarray", b"numpy\ndtype", b"torch\nSize",
         b"torch._utils\n_rebuild_tensor_v2", b"numpy.core.multiarray\n_reconstruct", b"_codecs\nencode",
         b"numpy._core.numeric\n_frombuffer", b"torch\nFloatStorage", b"torch\ndevice",
         b"argparse\nNamespace", b"collections\nCounter", b"torch\nfloat32", b"__builtin__\nset")  # fmt: skip
FORMS = (b"c%s\n", b"c%s\n(U\x04truetR", b"c%s\n)R", b"c%s\n(U\x04truet\x81", b"(U\x04truei%s\n", b"(c%s\nU\x04trueo",
         b"c%s\n}b", b"c%s\n)}\x92", b"c%s\n]a", b"}U\x08__init__c%s\nsb", b"c%s\n(]K\x01atR", b"c%s\n(NNNNNtR",
         b"c%s\n(K\x01)c%s\n\x89]tb")  # fmt: skip
PIECES = (b"0", b"1", b"2", b"(", b"t", b"]", b"}", b")", b"N", b"a", b"e", b"u", b"s", b"b", b"R", b"Q", b".", b"o",
          b"d", b"l", b"\x85", b"\x86", b"\x87", b"\x81", b"\x88", b"\x8f", b"\x90", b"\x91", b"\x93", b"\x94",
          b"h\x00", b"q\x00", b"]2a", b"}2K\x00\x85u", b"\x82\x01", b"Pxyz\n", b"U\x03xyzQ", b"2\x86" * 40,
          b"K\x01", b"I-1\n", b"L99999999999999999999L\n", b"I01\n", b"F1e999\n", b"G" + b"\xff" * 8,
          b"r\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"p9999999999\n", b"T\xff\xff\xff\x7f", b"T\xff\xff\xff\xff",
          b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\xff",
          b"\x8e" + b"\xff" * 7 + b"\x7f", b"\x8d" + b"\x00" * 5 + b"\x01\x00\x00", b"\x95" + b"\xff" * 8,
          b"\x96" + b"\x00" * 5 + b"\x01\x00\x00", b"\x97", b"\x98", b"\x80\x05", b"]" * 3000, b"(" * 3000,
          b"\x8c\x02os\x8c\x06system\x93(U\x04truetR", b"V\\ud800\n", b"S'x'\n", b"S'\\\n")  # fmt: skip


@functools.lru_cache(64)
def opcodes(data: bytes) -> list[int]:
    """Where the opcodes of the pickles in a file begin, and where the last one ends."""
    start = data.find(b"\n", 0, 200) + 1 if data.startswith(b"\x93NUMPY") else 0
    found = []
    stream = io.BytesIO(data)
    stream.seek(start)
    try:
        while stream.tell() < len(data):
            found += [at for _, _, at in pickletools.genops(stream)]
    except Exception:  # Numbers, or what another mutation has left.
        pass
    return found or [start]


def opcode(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """Opcodes of a pickle are removed, repeated, moved, or others come between."""
    places = opcodes(data)
    first = generator.randrange(len(places))
    at = places[first]
    end = places[min(first + generator.randint(1, 3), len(places) - 1)]
    named = generator.choice(FORMS).replace(b"%s", generator.choice(NAMED))
    piece = generator.choice((named, generator.choice(PIECES), generator.choice(PIECES)))
    new = generator.choice((b"", data[at:end] * 2, data[at:end] + piece, piece + data[at:end], piece, piece))
    return data[:at] + new + data[end:]


class Member(NamedTuple):
    name: str
    data: bytes
    packed: int


def member(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """A member of an archive is changed; the archive is whole, its checksums right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [Member(m.filename, archive.read(m), m.compress_type) for m in archive.infolist()]
        chosen = generator.randrange(len(members))
    except Exception:  # An earlier mutation has broken it.
        return generator.choice(ANYWHERE)(data, others, generator)
    old = members[chosen]
    if generator.random() < 0.2:
        name = generator.choice((generator.choice(members).name, "x", "/data.pkl", "a/b/data.pkl", "x" * 3000))
        packed = generator.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        replacements = [], [old, old], [old._replace(name=name)], [old._replace(packed=packed)]
        members[chosen : chosen + 1] = generator.choice(replacements)
    else:
        if old.name.endswith(".pkl"):
            change = generator.choice((opcode, opcode, opcode, *ANYWHERE))
        else:
            change = generator.choice((token, array_header, array_header, *ANYWHERE))
        members[chosen] = old._replace(data=change(old.data, [m.data for m in members], generator))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content, packed in members:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Two may have the same name: so it is meant.
                archive.writestr(name, content, packed)
    return buffer.getvalue()


class Node(NamedTuple):
    """A field of a protocol buffer; a list of fields where its content could be one."""

    number: int
    wire: int
    value: int | bytes | list[Node]


@functools.lru_cache(64)
def tree(message: bytes) -> list[Node] | None:
    """The fields of a message, or None where these bytes are none."""
    found, position = [], 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            value |= (message[position] & 127) << shift
            shift += 7
            position += 1
            if message[position - 1] < 128:
                return value

    try:
        while position < len(message):
            number, wire = divmod(varint(), 8)
            if wire == 0:
                found.append(Node(number, wire, varint()))
                continue
            size = varint() if wire == 2 else {1: 8, 5: 4}[wire]
            content = message[position : position + size]
            if len(content) < size or not 0 < number < 200:
                return None
            position += size
            found.append(Node(number, wire, (tree(content) if wire == 2 and size > 3 else None) or content))
    except (IndexError, KeyError):
        return None
    return found


def serialised(nodes: list[Node] | bytes) -> bytes:
    if isinstance(nodes, bytes):
        return nodes
    message = b""
    for number, wire, value in nodes:
        content = caffe.varint(value) if wire == 0 else serialised(value)
        message += caffe.varint(number << 3 | wire) + (caffe.varint(len(content)) if wire == 2 else b"") + content
    return message


def message(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """A field of a caffemodel, at any depth, the lengths around it set right."""
    nodes = tree(data)
    if not nodes:
        return generator.choice(ANYWHERE)(data, others, generator)

    def changed(nodes: list[Node]) -> list[Node]:
        at = generator.randrange(len(nodes))
        node = nodes[at]
        if isinstance(node.value, list) and node.value and generator.random() < 0.8:
            return [*nodes[:at], node._replace(value=changed(node.value)), *nodes[at + 1 :]]
        number = Node(generator.choice((1, 2, 3, 4, 5, 6, 7, 8, 100)), node.wire, node.value)
        value = Node(node.number, 0, generator.choice(INTEGERS))
        content = Node(node.number, 2, generator.choice((b"", b"\x01" * 40, b"\xff" * 10, b"\xff\xff\xff\xff\x0f" * 2)))
        some = [], [node] * 2, [node] * 100, [number], [value], [content], [node, *generator.choices(nodes, k=2)]
        if isinstance(node.value, bytes) and node.value:
            new = generator.choice(ANYWHERE)(node.value, others, generator)
            some += ([node._replace(value=new, wire=2)],) * 3
        return [*nodes[:at], *generator.choice(some), *nodes[at + 1 :]]

    return serialised(changed(nodes))


def layout(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """PyTorch's two layouts, each by its own."""
    return (opcode if data.startswith(MAGIC_STREAM) else member)(data, others, generator)


def count(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """The counts at the start of a .net file or the size at its end, by a little or by much."""
    at, size = generator.choice(((0, 4), (4, 4), (len(data) - 8, 8)))
    old = int.from_bytes(data[at : at + size], "little")
    value = generator.choice((old + generator.randint(-3, 3), generator.choice(INTEGERS), len(data) - 16))
    return data[:at] + (value & (1 << 8 * size) - 1).to_bytes(size, "little") + data[at + size :]


def word(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """An aligned number of an HDF5 file, which are full of them."""
    at = generator.randrange(0, max(len(data) - 8, 1), 8)
    size = generator.choice((1, 2, 4, 8))
    value = generator.choice((*INTEGERS, generator.randrange(0, len(data) + 1, 8)))
    return data[:at] + (value & (1 << 8 * size) - 1).to_bytes(size, "little") + data[at + size :]


# Readers.


class Reader(NamedTuple):
    """What a format has for seeds, what it is mutated with, and how its files are read."""

    seeds: Callable[[], Seeds]
    knowing: tuple[Mutation, ...]
    suffix: str

    def read(self, path: Path) -> Contents:
        module = FORMATS[self.suffix]
        if module is deep_compression:
            deep_compression.classes(path, SHAPES)
            return deep_compression.read(path, SHAPES)
        module.recognises(path)
        return module.read(path)


READERS = {
    "npy": Reader(seeds_npy, (opcode, opcode, array_header), ".npy"),
    "caffemodel": Reader(seeds_caffemodel, (message,), ".caffemodel"),
    "pth": Reader(seeds_pth, (layout,), ".pth"),
    "net": Reader(seeds_net, (count,), ".net"),
    "npz": Reader(seeds_npz, (member,), ".npz"),
    "safetensors": Reader(seeds_safetensors, (header,), ".safetensors"),
    "h5": Reader(seeds_h5, (word,), ".weights.h5"),
}


def mutated(name: str, seeds: list[bytes], number: int, seed: int) -> bytes:
    """The input of this number; those below 0 are the seeds themselves."""
    if number < 0:
        return seeds[number]
    generator = random.Random(f"{name} {seed} {number}")
    data = generator.choice(seeds)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        table = READERS[name].knowing if generator.random() < 0.6 else ANYWHERE
        data = generator.choice(table)(data, seeds, generator)
    return data


# The child: one input after the other.

FORBIDDEN = ("exec", "import", "socket.", "subprocess.", "os.", "shutil.", "ctypes.", "marshal.", "pickle.", "pty.",
             "urllib.", "webbrowser.", "code.", "builtins.input", "cpython.")  # fmt: skip
HARMLESS = {"os.listdir", "os.scandir"}
# What the standard library and NumPy import when they first need it, and not at a file's word.
LATE = ("ast", "bz2", "lzma", "mmap", "stringprep", "tokenize", "unicodedata", "encodings.cp437",
        "encodings.idna", "encodings.latin_1", "encodings.raw_unicode_escape", "encodings.utf_16_be",
        "encodings.utf_16_le", "encodings.utf_32_be", "encodings.utf_32_le")  # fmt: skip


class Watch:
    """What the interpreter audits while `path` is being read."""

    def __init__(self) -> None:
        self.path: str | None = None
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple) -> None:
        if self.path is None:
            return
        if event == "open" and not isinstance(arguments[0], int):
            writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            forbidden = writes or os.fsdecode(arguments[0]) != self.path
        else:
            forbidden = event.startswith(FORBIDDEN) and event not in HARMLESS
        if forbidden:
            self.path = None
            raise Ran(f"{event}{arguments!r}"[:300])


def touch(contents: Contents) -> None:
    """Every array is used, and lies within the bytes that it is a view of."""
    assert all(isinstance(name, str) for name in (*contents.parameters, *contents.attributes, *contents.extras))
    assert all(isinstance(value, str | int | np.integer) for value in contents.attributes.values())
    assert contents.parameters
    pairs = [array for pair in contents.parameters.values() for array in pair]
    assert all(array.dtype == np.float32 for array in pairs)
    for array in (*pairs, *contents.extras.values()):
        assert isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
        with np.errstate(all="ignore"):
            float(np.sum(array))
        if array.size:
            owner = array
            while getattr(owner, "base", None) is not None:
                owner = owner.base
            low, high = np.lib.array_utils.byte_bounds(array)
            first, last = np.lib.array_utils.byte_bounds(
                owner if isinstance(owner, np.ndarray) else np.frombuffer(owner, np.uint8)
            )
            assert first <= low and high <= last, "an array reaches beyond its bytes"


def ways(reader: Reader, path: Path, number: int) -> Iterator[Callable[[], int | None]]:
    """All that may be asked of a file; the answer is the number of classes that the file has names for."""
    yield lambda: touch(reader.read(path))
    yield lambda: len(read_checkpoint(path, NET).spec.classes)
    if number % 4 == 0:
        yield lambda: len(read_checkpoint(path).spec.classes)
        yield lambda: len(read_spec(path).classes)


def process_memory(field: str, forget_peak: bool = False) -> int:
    """Bytes that Linux states of this process; 0 elsewhere."""
    try:
        if forget_peak:
            Path("/proc/self/clear_refs").write_text("5")
        with open("/proc/self/status") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith(field))
    except OSError:
        return 0


def attempt(reader: Reader, path: Path, number: int, watch: Watch) -> tuple[str, str]:
    """Outcome and, where it is a failure, the reason."""
    outcomes = []
    size = path.stat().st_size
    for way in ways(reader, path, number):
        held = process_memory("VmRSS", forget_peak=True)
        classes = 0
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        watch.path = os.fspath(path)
        try:
            classes = way() or 0
            outcomes.append("accepted")
        except CheckpointError as error:
            if watch.path is None:
                return "failed", f"an audited event was caught: {error}"
            if os.fspath(path) not in str(error):
                return "failed", f"the file is not named: {error}"
            outcomes.append("refused")
        except BaseException as error:
            watch.path = None
            where = traceback.extract_tb(error.__traceback__)[-1]
            return "failed", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        finally:
            watch.path = None
        limit = 2 * size + NAME * classes
        traced = tracemalloc.get_traced_memory()[1] - before
        if traced > limit + SLACK:
            return "failed", f"{traced} bytes of Python's for a file of {size}"
        grown = process_memory("VmHWM") - held
        if grown > limit + SLACK_OF_PROCESS:
            return "failed", f"{grown} bytes of the process for a file of {size}"
    return outcomes[0], ""


def child(name: str, folder: Path, first: int, last: int, seed: int) -> None:
    """Reads inputs and prints a line for each: number, outcome, seconds, reason."""
    reader = READERS[name]
    files = sorted((folder / name).iterdir())
    seeds = [file.read_bytes() for file in files]
    path = folder / f"{name}.input"
    warnings.simplefilter("ignore")
    for module in LATE:
        importlib.import_module(module)
    watch = Watch()
    tracemalloc.start()
    if process_memory("VmSize"):
        resource.setrlimit(resource.RLIMIT_AS, (process_memory("VmSize") + CEILING,) * 2)
    for number, file in enumerate(files, -len(files)):  # Whatever is imported and cached at first is so now.
        for way in ways(reader, file, 0):
            with contextlib.suppress(Exception):
                way()
        outcome, reason = attempt(reader, file, 0, watch)
        if outcome != ("refused" if HOSTILE in file.name else "accepted") and not first:
            print(number, "failed", 0, f"the seed {file.name}: {outcome} {reason}", sep="\t", flush=True)
    for number in range(first, last):
        path.write_bytes(mutated(name, seeds, number, seed))
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        start = time.perf_counter()
        outcome, reason = attempt(reader, path, number, watch)
        seconds = time.perf_counter() - start
        faulthandler.cancel_dump_traceback_later()
        print(number, outcome, f"{seconds:.6f}", reason.replace("\n", " "), sep="\t", flush=True)


# The parent.


class Row(NamedTuple):
    """What came of a reader's inputs."""

    name: str
    accepted: int
    refused: int
    failures: list[str]
    slowest: float
    seconds: float


def make_seeds(name: str, folder: Path) -> None:
    (folder / name).mkdir()
    for number, (kind, data) in enumerate(READERS[name].seeds()):
        (folder / name / f"{number:02}-{kind}").write_bytes(data)


def fuzz(name: str, folder: Path, inputs: int, seed: int, keep: Path) -> Row:
    """Inputs for one reader; a process that dies is followed by another."""
    started = time.perf_counter()
    accepted = refused = first = 0
    failures: list[str] = []
    slowest = 0.0
    # One arena of malloc, so that the size of the process is that of what was asked for.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "PYTHONPATH": str(ROOT / "tests")}

    def failed(number: int, reason: str) -> None:
        keep.mkdir(parents=True, exist_ok=True)
        seeds = [file.read_bytes() for file in sorted((folder / name).iterdir())]
        (keep / f"{name}-{seed}-{number}").write_bytes(mutated(name, seeds, number, seed))
        failures.append(f"{name}-{seed}-{number}: {reason}")

    while first < inputs:
        command = [sys.executable, __file__, "--child", str(folder), str(first), str(inputs), str(seed), name]
        with tempfile.TemporaryFile("w+") as errors:
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            ) as run:
                for line in run.stdout:
                    number, outcome, seconds, reason = line.rstrip("\n").split("\t", 3)
                    first = max(first, int(number) + 1)
                    slowest = max(slowest, float(seconds))
                    accepted += outcome == "accepted"
                    refused += outcome == "refused"
                    if outcome == "failed":
                        failed(int(number), reason)
            errors.seek(0)
            said = errors.read()
        if run.returncode:
            if run.returncode == 1 and "Timeout (" not in said:
                raise RuntimeError(said)  # Of this script, not of a reader.
            failed(first, f"the process ended with {run.returncode}: {' '.join(said.split())[:600]}")
            first += 1
    return Row(name, accepted, refused, failures, slowest, time.perf_counter() - started)


def table(rows: list[Row], inputs: int) -> str:
    lines = [
        "| reader | inputs | accepted | refused | failures | slowest, s | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, accepted, refused, failures, slowest, seconds in rows:
        cells = [name, inputs, accepted, refused, len(failures), f"{slowest:.3f}", f"{seconds:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, *(failure for row in rows for failure in row.failures)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(READERS)}; all if none")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("runs/fuzz"), help="where inputs that fail are kept")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        folder, *numbers = given.child
        child(given.readers[0], Path(folder), *map(int, numbers))
        return 0
    names = given.readers or list(READERS)
    with tempfile.TemporaryDirectory() as name:
        for reader in names:
            make_seeds(reader, Path(name))
        with ThreadPoolExecutor(2) as pool:
            rows = list(pool.map(lambda reader: fuzz(reader, Path(name), given.inputs, given.seed, given.keep), names))
    print(table(rows, given.inputs))
    return any(row.failures for row in rows)


if __name__ == "__main__":
    sys.exit(main())
