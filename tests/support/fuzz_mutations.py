"""Mutations of files: of any bytes, and some that keep the structure of a format valid around the change."""

from __future__ import annotations

import functools
import io
import pickletools
import random
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import NamedTuple

from support import caffe
from tfalexnet.checkpoints.formats.torch_pth import MAGIC_STREAM

Mutation = Callable[[bytes, list[bytes], random.Random], bytes]
BYTES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
INTEGERS = (0, 1, 2, 255, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63,
            (1 << 64) - 1, (1 << 64) - 8)  # fmt: skip
NEAR = 2048  # Bytes at both ends, where most formats have their structure.


def position_in(data: bytes, generator: random.Random) -> int:
    first, last = generator.choice(((0, NEAR), (-NEAR, 0), (0, len(data)), (0, 256)))
    first, last = (max(0, len(data) + first), len(data)) if first < 0 else (first, min(last, len(data)))
    return generator.randrange(first, max(last, first + 1))


def stretch(data: bytes, generator: random.Random) -> tuple[int, int]:
    start = position_in(data, generator)
    return start, start + generator.choice((1, 2, 4, 8, generator.randint(1, 64), generator.randint(1, 4096)))


def flip(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    at = position_in(data, generator)
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :] if data else data


def byte(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    at = position_in(data, generator)
    return data[:at] + bytes([generator.choice(BYTES)]) + data[at + 1 :]


def integer(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    size = generator.choice((2, 4, 8))
    at = position_in(data, generator)
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
    return data[: position_in(data, generator)]


def splice(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    other = generator.choice(others)
    return data[: position_in(data, generator)] + other[position_in(other, generator) :]


def big_endian(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """Change an integer, as JPEG, PNG and JPEG 2000 write them."""
    at, size = position_in(data, generator), generator.choice((2, 4))
    value = generator.choice((*INTEGERS, 20_000, len(data))) & (1 << 8 * size) - 1
    return data[:at] + value.to_bytes(size, "big") + data[at + size :]


ANYWHERE: list[Mutation] = [flip, flip, byte, byte, integer, integer, integer]
ANYWHERE += [remove, repeat, swap, noise, truncate, splice]


# Mutations that know a format, so that the code behind its first check runs too.

TOKEN = re.compile(rb"-?\d+|\"[^\"]*\"|'[^']*'|true|false|null|True|False|[\[\](){}:,]")
TOKENS = (b"-1", b"0", b"1", b"2.5", b"1e999", b"4611686018427387904", b"99999999999999999999", b"9" * 5000, b"null",
          b"true", b"True", b'"F64"', b'"F16"', b"'>f8'", b"'|O'", b"'f4,f4'", b"[]", b"{}", b"()", b"[" * 3000,
          b'"BF16"', b'"I64"', b'"F8_E5M2"', b'"x"', b'""', b"NaN", b'"\\ud800"', b"\xff", b"3L",
          b'"__class__"')  # fmt: skip


def token(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """Replace a token of JSON, or of the header of an array, by another."""
    tokens = list(TOKEN.finditer(data, 0, NEAR))
    if not tokens:
        return data
    match = generator.choice(tokens)
    new = generator.choice((*TOKENS, generator.choice(tokens).group()))
    return data[: match.start()] + new + data[match.end() :]


def header(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """Change the header of a .safetensors file and correct its size."""
    size = int.from_bytes(data[:8], "little")
    changed = generator.choice((token, token, token, *ANYWHERE))(data[8 : 8 + size], others, generator)
    return len(changed).to_bytes(8, "little") + changed + data[8 + size :]


def array_header(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """Change the header of a .npy file and correct its size."""
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
    """The positions at which the opcodes of the pickles in a file begin."""
    start = data.find(b"\n", 0, 200) + 1 if data.startswith(b"\x93NUMPY") else 0
    positions = []
    stream = io.BytesIO(data)
    stream.seek(start)
    try:
        while stream.tell() < len(data):
            positions += [at for _, _, at in pickletools.genops(stream)]
    except Exception:  # Raw numbers, or damage of an earlier mutation.
        pass
    return positions or [start]


def opcode(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """Opcodes of a pickle are removed or repeated, or others are inserted."""
    positions = opcodes(data)
    first = generator.randrange(len(positions))
    at = positions[first]
    end = positions[min(first + generator.randint(1, 3), len(positions) - 1)]
    named = generator.choice(FORMS).replace(b"%s", generator.choice(NAMED))
    piece = generator.choice((named, generator.choice(PIECES), generator.choice(PIECES)))
    new = generator.choice((b"", data[at:end] * 2, data[at:end] + piece, piece + data[at:end], piece, piece))
    return data[:at] + new + data[end:]


class Member(NamedTuple):
    name: str
    data: bytes
    packed: int


def member(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """Change a member of an archive; the archive stays valid and its checksums are correct."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [Member(m.filename, archive.read(m), m.compress_type) for m in archive.infolist()]
        chosen = generator.randrange(len(members))
    except Exception:  # Damage of an earlier mutation.
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
        elif old.name.endswith(".h5"):
            change = word
        else:
            change = generator.choice((token, array_header, array_header, *ANYWHERE))
        members[chosen] = old._replace(data=change(old.data, [m.data for m in members], generator))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content, packed in members:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Two members may have the same name, on purpose.
                archive.writestr(name, content, packed)
    return buffer.getvalue()


class Node(NamedTuple):
    """A field of a protocol buffer; its value is a list of fields where its content can be parsed as such."""

    number: int
    wire: int
    value: int | bytes | list[Node]


@functools.lru_cache(64)
def fields_of(message: bytes) -> list[Node] | None:
    """The fields of a message, None if the bytes are not a message."""
    fields, position = [], 0

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
                fields.append(Node(number, wire, varint()))
                continue
            size = varint() if wire == 2 else {1: 8, 5: 4}[wire]
            content = message[position : position + size]
            if len(content) < size or not 0 < number < 200:
                return None
            position += size
            fields.append(Node(number, wire, (fields_of(content) if wire == 2 and size > 3 else None) or content))
    except (IndexError, KeyError):
        return None
    return fields


def serialised(nodes: list[Node] | bytes) -> bytes:
    if isinstance(nodes, bytes):
        return nodes
    message = b""
    for number, wire, value in nodes:
        content = caffe.varint(value) if wire == 0 else serialised(value)
        message += caffe.varint(number << 3 | wire) + (caffe.varint(len(content)) if wire == 2 else b"") + content
    return message


def message(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """Change a field of a .caffemodel, at any depth, and correct the lengths around it."""
    nodes = fields_of(data)
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
        replacements = (
            [],
            [node] * 2,
            [node] * 100,
            [number],
            [value],
            [content],
            [node, *generator.choices(nodes, k=2)],
        )
        if isinstance(node.value, bytes) and node.value:
            new = generator.choice(ANYWHERE)(node.value, others, generator)
            replacements += ([node._replace(value=new, wire=2)],) * 3
        return [*nodes[:at], *generator.choice(replacements), *nodes[at + 1 :]]

    return serialised(changed(nodes))


def layout(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """Change a file of PyTorch, by the mutation for its layout."""
    return (opcode if data.startswith(MAGIC_STREAM) else member)(data, others, generator)


def count(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """Change the counts at the start of a .net file, or the size at its end."""
    at, size = generator.choice(((0, 4), (4, 4), (len(data) - 8, 8)))
    old = int.from_bytes(data[at : at + size], "little")
    value = generator.choice((old + generator.randint(-3, 3), generator.choice(INTEGERS), len(data) - 16))
    return data[:at] + (value & (1 << 8 * size) - 1).to_bytes(size, "little") + data[at + size :]


def word(data: bytes, _: list[bytes], generator: random.Random) -> bytes:
    """Change an aligned integer of an HDF5 file."""
    at = generator.randrange(0, max(len(data) - 8, 1), 8)
    size = generator.choice((1, 2, 4, 8))
    value = generator.choice((*INTEGERS, generator.randrange(0, len(data) + 1, 8)))
    return data[:at] + (value & (1 << 8 * size) - 1).to_bytes(size, "little") + data[at + size :]


def matlab(data: bytes, others: list[bytes], generator: random.Random) -> bytes:
    """Change an aligned integer of a .mat file, in an element that is unpacked and packed again where it is."""
    at, packed = 128, []
    while at + 8 <= len(data):
        kind, size = (int.from_bytes(data[place : place + 4], "little") for place in (at, at + 4))
        packed += [(at, size)] * (kind == 15)
        at += 8 + size
    try:
        at, size = generator.choice(packed)
        content = word(zlib.decompress(data[at + 8 : at + 8 + size]), others, generator)
    except (IndexError, zlib.error):  # Not packed, or damage of an earlier mutation.
        return word(data, others, generator)
    content = zlib.compress(content)
    return data[: at + 4] + len(content).to_bytes(4, "little") + content + data[at + 8 + size :]
