"""Hostile files that no mutation would soon produce: refused at once, within twice their size."""

import functools
import io
import json
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from support import caffe, fuzz_readers, fuzz_seeds

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import pickles
from tfalexnet.networks.catalog import BVLC_ALEXNET

MANY = 20_000


def npy(body: bytes) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": ()})
    return head.getvalue() + b"\x80\x02" + body + b"."


def claims_a_header_of_4_gigabytes() -> bytes:
    return b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100)


def holds_arrays_that_share_their_bytes() -> bytes:
    """float16, whose size doubles in float32."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    data = b"T" + struct.pack("<I", 2 * MANY) + bytes(2 * MANY) + b"q\x010"
    kind = b"cnumpy\ndtype\nU\x02f2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbq\x020"
    half = array + b"J" + struct.pack("<i", MANY) + b"\x85h\x02\x89h\x01tb"
    layers = b"".join(b"U\x04%04d](" % number + half * 2 + b"e" for number in range(200))
    return npy(data + kind + array + b")h\x02\x89]}(" + layers + b"uatb")


def holds_nothing() -> bytes:
    return npy(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01)N\x89]}atb")


def consists_of_opcodes() -> bytes:
    return npy(b"N0" * pickles.MAX_READS)


def pth(body: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02" + body + b".")
        for name, data in (storages or {}).items():
            archive.writestr(f"net/data/{name}", data)
    return buffer.getvalue()


def copies_a_list_a_thousand_times() -> bytes:
    return pth(b"](" + b"K\x01" * MANY + b"eq\x000" + b"ctorch\nSize\nh\x00\x85R" * 1000)


def copies_a_dictionary_a_thousand_times() -> bytes:
    pairs = b"".join(b"U\x05%05dN\x86" % number for number in range(2000))
    return pth(b"](" + pairs + b"eq\x000" + b"ccollections\nOrderedDict\nh\x00\x85R" * 1000)


def copies_a_name_a_thousand_times() -> bytes:
    name = b"T" + struct.pack("<I", MANY) + b"a" * MANY + b"q\x000"
    return npy(name + b"cnumpy\ndtype\nh\x00\x85R" * 1000)


LONG = {"binary": b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20), "text": b"I0x" + b"f" * (1 << 20) + b"\n"}


def counts_with_a_long_number(opcode: bytes) -> bytes:
    """The hash of a long number is slow; as a key of many entries it is computed again and again."""
    return npy(opcode + b"q\x010}" + b"h\x01Ns" * MANY)


def compares_long_names() -> bytes:
    name = b"T" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    return npy(name + b"q\x010" + name + b"q\x020}h\x01Ns" + b"h\x02Ns" * MANY)


def has_dimensions_of_a_megabyte(opcode: bytes) -> bytes:
    """Their product would take seconds."""
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQ"
    tensor += b"K\x00h\x01\x85h\x01\x85\x89NtR"
    body = opcode + b"q\x010}(" + b"".join(b"U\x07%05d.b" % number + tensor for number in range(100)) + b"u"
    return pth(body, {"0": bytes(4)})


def names_one_storage_a_thousand_times() -> bytes:
    """The directory of the archive lists it a thousand times; each checksum would be computed."""
    names = [f"{number:05}" for number in range(1000)]
    data = pth(b"N", {names[0]: bytes(1 << 20)})
    start = data.index(b"PK\x01\x02", len(data) - 400)
    end = data.index(b"PK\x05\x06")
    entry = data[data.index(b"PK\x01\x02", start + 1) : end]
    entries = [data[start : end - len(entry)], *(entry.replace(names[0].encode(), name.encode()) for name in names)]
    entries = b"".join(entries)
    last = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(names) + 1, len(names) + 1, len(entries), start, 0)
    return data[:start] + entries + last


def npz(content: bytes, packing: int = zipfile.ZIP_STORED, claims: int | None = None) -> bytes:
    """An archive of one member; `claims` is the size that it states."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        archive.writestr("fc8.kernel.npy", content)
    size = struct.pack("<I", len(content))
    return buffer.getvalue().replace(size, struct.pack("<I", claims or len(content)))


def has_a_header_that_takes_long_to_parse() -> bytes:
    text = b"[" * 9000
    return npz(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text)


def unpacks_to_more_than_it_claims(packing: int) -> bytes:
    return npz(bytes(20_000_017), packing, 100)


def states_attributes(attributes: object) -> bytes:
    """An archive of NumPy with these attributes."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(attributes).encode(), "u1")
    np.savez(buffer, **fuzz_seeds.arrays(), **{"tfalexnet.attributes": text})
    return buffer.getvalue()


def has_a_hundred_thousand_dimensions() -> bytes:
    shape = caffe.field(7, caffe.field(1, b"\x01" * 100_000))
    blobs = caffe.field(7, shape + caffe.field(5, bytes(4))) + caffe.field(7, caffe.field(5, bytes(4)))
    return caffe.field(100, caffe.field(1, b"fc8") + caffe.field(2, b"InnerProduct") + blobs)


def consists_of_layers() -> bytes:
    return caffe.field(100, caffe.field(1, b"a")) + caffe.field(100, b"") * 1_000_000


def safetensors(header: dict, size: int) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


def holds_tensors_that_overlap(kind: str) -> bytes:
    entry = {"dtype": kind, "shape": [MANY], "data_offsets": [0, 2 * MANY]}
    return safetensors({f"{number}.bias": entry for number in range(1000)}, 2 * MANY)


def claims_more_integers_than_it_holds() -> bytes:
    return safetensors({"x": {"dtype": "I64", "shape": [MANY], "data_offsets": [0, MANY]}}, MANY)


ONE = {
    "fc8.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [8, 12]},
    "fc8.bias": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]},
}


def holds_extras_that_are_no_numbers() -> bytes:
    return safetensors({"tfalexnet.mean": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}} | ONE, 16)


def consists_of_a_header() -> bytes:
    return safetensors({"x": [[]] * 500_000}, 0)


def has_half_a_character_in_a_name() -> bytes:
    entry = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
    return safetensors({"\ud800.weight": entry, "\ud800.bias": entry | {"shape": [1]}}, 8)


def has_a_quarter_of_a_million_classes() -> bytes:
    """Four bytes for each class would give 4096 numbers; each layer has one code."""
    shapes = BVLC_ALEXNET.with_classes(250_000).parameter_shapes()
    layers = (bytes((1024 if len(kernel) == 4 else 64) + 4 * bias + 2) for kernel, (bias,) in shapes.values())
    return np.ones(len(shapes), "<u4").tobytes() + b"".join(layers)


FILES = {
    claims_a_header_of_4_gigabytes: "EOF|reading array header",
    holds_arrays_that_share_their_bytes: "no more numbers than the file holds",
    holds_nothing: "received an empty one",
    copies_a_list_a_thousand_times: "a shape and strides of at most 8 numbers",
    copies_a_dictionary_a_thousand_times: "",
    copies_a_name_a_thousand_times: "expected a name",
    has_a_header_that_takes_long_to_parse: "",
    functools.partial(unpacks_to_more_than_it_claims, zipfile.ZIP_DEFLATED): "",
    functools.partial(unpacks_to_more_than_it_claims, zipfile.ZIP_BZIP2): "stored or deflated",
    functools.partial(unpacks_to_more_than_it_claims, zipfile.ZIP_LZMA): "stored or deflated",
    functools.partial(states_attributes, ["x"]): "attributes with names; received list",
    functools.partial(states_attributes, {"architecture": ["x"]}): "attributes of text and integers",
    functools.partial(states_attributes, {"architecture": "\ud800"}): "valid text",
    has_a_hundred_thousand_dimensions: "at most 16 dimensions",
    consists_of_layers: "at most 1024 fields",
    functools.partial(bytes, 4_000_000): "expected a checkpoint",
    functools.partial(counts_with_a_long_number, LONG["binary"]): "integers of any length",
    functools.partial(counts_with_a_long_number, LONG["text"]): "a line of over 1024 bytes",
    compares_long_names: "short names or integers",
    functools.partial(has_dimensions_of_a_megabyte, LONG["binary"]): "integers of any length",
    functools.partial(has_dimensions_of_a_megabyte, LONG["text"]): "a line of over 1024 bytes",
    names_one_storage_a_thousand_times: "each member in bytes of its own",
    functools.partial(holds_tensors_that_overlap, "F16"): "overlap",
    functools.partial(holds_tensors_that_overlap, "BF16"): "overlap",
    functools.partial(holds_tensors_that_overlap, "I16"): "overlap",
    claims_more_integers_than_it_holds: r"expected \[20000\] numbers in bytes 0 to 20000",
    holds_extras_that_are_no_numbers: "extras of numbers",
    consists_of_a_header: "a header of at most 1048576 bytes",
    has_half_a_character_in_a_name: "valid text",
    has_a_quarter_of_a_million_classes: "expected a checkpoint",
}


SLOW = {consists_of_opcodes: "over 524288 opcodes"}
CASES = [*FILES, *(pytest.param(make, marks=pytest.mark.slow) for make in SLOW)]


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("make", CASES, ids=lambda make: getattr(make, "func", make).__name__)
def test_a_file_that(make, tmp_path):
    """Refused within seconds and twice its size."""
    path = tmp_path / "x"
    path.write_bytes(make())
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=rf"x: .*{(FILES | SLOW)[make]}"):
        read_checkpoint(path)
    assert time.perf_counter() - start < 5
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < 2 * path.stat().st_size + fuzz_readers.SLACK
