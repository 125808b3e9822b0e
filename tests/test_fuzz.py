"""Readers on damaged and hostile files: a short run of fuzz_readers.py, and what it and thought have found."""

import functools
import importlib
import io
import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from support import caffe, fuzz_readers

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import Contents, deep_compression, keras_h5, pickles, torch_pth
from tfalexnet.networks.catalog import BVLC_ALEXNET

MANY = 20_000


WATCH = fuzz_readers.Watch()


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_a_short_run(name, tmp_path):
    fuzz_readers.make_seeds(name, tmp_path)
    row = fuzz_readers.fuzz(name, tmp_path, 150, 2012, tmp_path / "failed")
    assert row.failures == []
    assert row.accepted and row.refused


def beyond(_: Path) -> Contents:
    two = np.ones(4, "f4")[2:]
    return Contents({"a": (np.lib.stride_tricks.as_strided(two, (3,)), two)})


def bomb(_: Path) -> None:
    raise MemoryError


def waste(path: Path) -> None:
    bytes(3 << 20)
    raise CheckpointError(f"{path}: damaged")


def mumble(_: Path) -> None:
    raise CheckpointError("damaged")


SINS = {
    "ZeroDivisionError": lambda _: 1 / 0,
    "os.system": lambda _: os.system("true"),
    "other": lambda path: path.with_name("other").open(),
    "'w'": lambda path: path.open("w"),
    "antigravity": lambda _: importlib.import_module("antigravity"),
    "AssertionError": lambda _: Contents({"a": (np.ones(1), np.ones(1))}),
    "beyond its bytes": beyond,
    "MemoryError": bomb,
    "bytes of Python's": waste,
    "not named": mumble,
}


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("reason", SINS)
def test_a_reader_that_sins_is_found_out(reason, tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    monkeypatch.setattr(fuzz_readers.Reader, "read", lambda _, path: SINS[reason](path))
    outcome, said = fuzz_readers.attempt(fuzz_readers.READERS["npy"], path, 1, WATCH)
    assert outcome == "failed" and reason in said


# Files that no mutation would soon find: name, and what makes the file.


def npy(body: bytes) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": ()})
    return head.getvalue() + b"\x80\x02" + body + b"."


def claims_a_header_of_4_gigabytes() -> bytes:
    return b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(100)


def holds_arrays_that_share_their_bytes() -> bytes:
    """Halves, which take twice their room when they become float32."""
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    data = b"T" + struct.pack("<I", 2 * MANY) + bytes(2 * MANY) + b"q\x010"
    kind = b"cnumpy\ndtype\nU\x02f2K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbq\x020"
    half = array + b"J" + struct.pack("<i", MANY) + b"\x85h\x02\x89h\x01tb"
    layers = b"".join(b"U\x04%04d](" % number + half * 2 + b"e" for number in range(200))
    return npy(data + kind + array + b")h\x02\x89]}(" + layers + b"uatb")


def holds_nothing() -> bytes:
    return npy(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01)N\x89]}atb")


def is_opcodes_throughout() -> bytes:
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


def counts_with_a_long_number(opcode: bytes) -> bytes:
    """Its hash takes as long as it is; as a key it is asked for time and again."""
    return npy(opcode + b"q\x010}" + b"h\x01Ns" * MANY)


def compares_long_names() -> bytes:
    name = b"T" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20)
    return npy(name + b"q\x010" + name + b"q\x020}h\x01Ns" + b"h\x02Ns" * MANY)


LONG = {"binary": b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20), "text": b"I0x" + b"f" * (1 << 20) + b"\n"}


def has_sides_of_a_megabyte(opcode: bytes) -> bytes:
    """Their product takes seconds."""
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQ"
    tensor += b"K\x00h\x01\x85h\x01\x85\x89NtR"
    body = opcode + b"q\x010}(" + b"".join(b"U\x07%05d.b" % number + tensor for number in range(100)) + b"u"
    return pth(body, {"0": bytes(4)})


def names_one_storage_a_thousand_times() -> bytes:
    """In the list of the archive; each would have its checksum counted."""
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
    """An archive of one member; `claims` is what it says of its size."""
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


def says(attributes: object) -> bytes:
    """An archive of NumPy's with these attributes."""
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(attributes).encode(), "u1")
    np.savez(buffer, **fuzz_readers.arrays(), **{"tfalexnet.attributes": text})
    return buffer.getvalue()


def has_a_hundred_thousand_sides() -> bytes:
    shape = caffe.field(7, caffe.field(1, b"\x01" * 100_000))
    blobs = caffe.field(7, shape + caffe.field(5, bytes(4))) + caffe.field(7, caffe.field(5, bytes(4)))
    return caffe.field(100, caffe.field(1, b"fc8") + caffe.field(2, b"InnerProduct") + blobs)


def is_layers_throughout() -> bytes:
    return caffe.field(100, caffe.field(1, b"a")) + caffe.field(100, b"") * 1_000_000


def safetensors(header: dict, size: int) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(size)


def holds_tensors_that_overlap(kind: str) -> bytes:
    entry = {"dtype": kind, "shape": [MANY], "data_offsets": [0, 2 * MANY]}
    return safetensors({f"{number}.bias": entry for number in range(1000)}, 2 * MANY)


def claims_more_integers_than_it_holds() -> bytes:
    return safetensors({"x": {"dtype": "I64", "shape": [MANY], "data_offsets": [0, MANY]}}, MANY)


def holds_extras_that_are_no_numbers() -> bytes:
    return safetensors({"tfalexnet.mean": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}} | ONE, 16)


ONE = {
    "fc8.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [8, 12]},
    "fc8.bias": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]},
}


def is_a_header_throughout() -> bytes:
    return safetensors({"x": [[]] * 500_000}, 0)


def is_named_half_a_character() -> bytes:
    entry = {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}
    return safetensors({"\ud800.weight": entry, "\ud800.bias": entry | {"shape": [1]}}, 8)


def has_a_quarter_of_a_million_classes() -> bytes:
    """Of 4096 numbers each, from four bytes each: the rest of the layers is one code long."""
    shapes = BVLC_ALEXNET.with_classes(250_000).parameter_shapes()
    layers = (bytes((1024 if len(kernel) == 4 else 64) + 4 * bias + 2) for kernel, (bias,) in shapes.values())
    return np.ones(len(shapes), "<u4").tobytes() + b"".join(layers)


FILES = {
    claims_a_header_of_4_gigabytes: "EOF|reading array header",
    holds_arrays_that_share_their_bytes: "no more numbers than the file holds",
    holds_nothing: "received an empty one",
    is_opcodes_throughout: "over 524288 opcodes",
    copies_a_list_a_thousand_times: "a shape and strides of at most 8 numbers",
    copies_a_dictionary_a_thousand_times: "",
    copies_a_name_a_thousand_times: "expected a name",
    has_a_header_that_takes_long_to_parse: "",
    functools.partial(unpacks_to_more_than_it_claims, zipfile.ZIP_DEFLATED): "",
    functools.partial(unpacks_to_more_than_it_claims, zipfile.ZIP_BZIP2): "stored or deflated",
    functools.partial(unpacks_to_more_than_it_claims, zipfile.ZIP_LZMA): "stored or deflated",
    functools.partial(says, ["x"]): "attributes with names; received list",
    functools.partial(says, {"architecture": ["x"]}): "attributes of text and integers",
    functools.partial(says, {"architecture": "\ud800"}): "valid text",
    has_a_hundred_thousand_sides: "at most 16 sides",
    is_layers_throughout: "at most 1024 fields",
    functools.partial(bytes, 4_000_000): "expected a checkpoint",
    functools.partial(counts_with_a_long_number, LONG["binary"]): "integers of any length",
    functools.partial(counts_with_a_long_number, LONG["text"]): "a line of over 1024 bytes",
    compares_long_names: "short names or integers",
    functools.partial(has_sides_of_a_megabyte, LONG["binary"]): "integers of any length",
    functools.partial(has_sides_of_a_megabyte, LONG["text"]): "a line of over 1024 bytes",
    names_one_storage_a_thousand_times: "each member in bytes of its own",
    functools.partial(holds_tensors_that_overlap, "F16"): "overlap",
    functools.partial(holds_tensors_that_overlap, "BF16"): "overlap",
    functools.partial(holds_tensors_that_overlap, "I16"): "overlap",
    claims_more_integers_than_it_holds: r"expected \[20000\] numbers in bytes 0 to 20000",
    holds_extras_that_are_no_numbers: "extras of numbers",
    is_a_header_throughout: "a header of at most 1048576 bytes",
    is_named_half_a_character: "valid text",
    has_a_quarter_of_a_million_classes: "expected a checkpoint",
}


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("make", FILES, ids=lambda make: getattr(make, "func", make).__name__)
def test_a_file_that(make, tmp_path):
    """Refused at once, within twice its size, by the package's own error."""
    path = tmp_path / "x"
    path.write_bytes(make())
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=rf"x: .*{FILES[make]}"):
        read_checkpoint(path)
    assert time.perf_counter() - start < 5
    _, peak = tracemalloc.get_traced_memory()
    assert peak - before < 2 * path.stat().st_size + fuzz_readers.SLACK


def own_h5(path) -> None:
    keras_h5.write(path, Contents(fuzz_readers.PARAMETERS))


def test_a_packed_dataset_is_not_unpacked(tmp_path):
    """A chunk of 20 kB would be 20 MB, and a filter could be anybody's library."""
    own_h5(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["layers/dense/vars/0"]
        kernel = file["layers/dense/vars"].create_dataset("0", (4, 3), "f4", chunks=(4, 3), compression="gzip")
        kernel.id.write_direct_chunk((0, 0), zlib.compress(bytes(20_000_000)))
    with pytest.raises(CheckpointError, match="in one piece, as Keras writes"):
        keras_h5.read(tmp_path / "x.h5")


def test_a_heap_of_text_in_which_the_library_runs_in_circles(tmp_path):
    own_h5(tmp_path / "x.h5")
    data = bytearray((tmp_path / "x.h5").read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 24 : heap + 32] = ((1 << 64) - 16).to_bytes(8, "little")
    (tmp_path / "x.h5").write_bytes(data)
    code = "import sys; from tfalexnet.checkpoints.formats import keras_h5; keras_h5.read(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "x.h5"], capture_output=True, text=True, timeout=60)
    assert "CheckpointError" in run.stderr and "damaged: an object of" in run.stderr


def test_attributes_of_others_are_let_be(tmp_path):
    own_h5(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file.attrs.update({"architecture": ["a", "b"], "mine": h5py.Empty("f4"), "it": file.ref, "classes": 3})
    assert keras_h5.read(tmp_path / "x.h5").attributes == {"classes": 3}


def test_kernels_are_floats_and_layers_have_names_of_their_own(tmp_path):
    own_h5(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["layers/dense/vars"].attrs["name"] = "conv1"
    with pytest.raises(CheckpointError, match="two layers are called 'conv1'"):
        keras_h5.read(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["layers/dense/vars/1"]
        file["layers/dense/vars"].attrs["name"] = "fc8"
        file["layers/dense/vars/1"] = np.ones(3, np.uint8)
    assert keras_h5.read(tmp_path / "x.h5").left_out == ("fc8 (dense): float32 and uint8, not floats",)
    for strange in (np.ones(3, "f4,f4"), np.ones(3, "c8"), [b"a", b"b", b"c"]):
        with h5py.File(tmp_path / "x.h5", "r+") as file:
            del file["layers/dense/vars/1"]
            file["layers/dense/vars/1"] = strange
        with pytest.raises(CheckpointError, match="/layers/dense/vars/1: expected numbers"):
            keras_h5.read(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["layers/dense/vars/1"], file["layers/conv2d"]
    with pytest.raises(CheckpointError, match=r"received fc8 \(dense\): not 2 variables but 1"):
        keras_h5.read(tmp_path / "x.h5")


def loop(file: h5py.File) -> None:
    file["layers/dense/layers"] = file["layers"]


def tree_of_twins(file: h5py.File) -> None:
    """Of thirty generations."""
    for _ in range(30):
        children = file.create_group(None)
        children["layers/a"] = children["layers/b"] = file["layers/dense"]
        del file["layers/dense"]
        file["layers/dense"] = children


def shared(file: h5py.File) -> None:
    """Halves, which take twice their room when they become float32."""
    file["half"] = np.ones((1000, 1000), "f2")
    for number in range(100):
        group = file.create_group(f"layers/dense_{number + 1}/vars")
        group["0"] = group["1"] = file["half"]


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (loop, "a second name of another layer"),
        (tree_of_twins, "a second name of another layer"),
        (shared, "no more numbers than the file holds"),
    ],
)
def test_links_within_a_file(make, message, tmp_path):
    own_h5(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        make(file)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=message):
        keras_h5.read(tmp_path / "x.h5")
    assert time.perf_counter() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 2 * (tmp_path / "x.h5").stat().st_size + fuzz_readers.SLACK


def test_the_checksum_of_a_storage_is_counted_once(tmp_path):
    torch = pytest.importorskip("torch")
    storage = torch.ones(1 << 20)
    state = {f"{number}.{part}": storage[:1] for number in range(3000) for part in ("weight", "bias")}
    state = {name: one[None] if name.endswith("weight") else one for name, one in state.items()}
    torch.save(state, tmp_path / "x.pth")
    start = time.perf_counter()
    assert len(torch_pth.read(tmp_path / "x.pth").parameters) == 3000
    assert time.perf_counter() - start < 4


def test_many_bfloat16_are_no_bomb(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"fc8.weight": torch.ones(100, 100), "fc8.bias": torch.ones(100)}
    torch.save({name: tensor.bfloat16() for name, tensor in state.items()}, tmp_path / "x.pth")
    kernel, _ = torch_pth.read(tmp_path / "x.pth").parameters["fc8"]
    assert kernel.shape == (100, 100) and (kernel == 1).all()


def test_the_zeros_of_a_last_layer_are_believed(tmp_path):
    zeros = {
        name: (np.zeros(kernel, "f4"), np.ones(bias, "f4")) for name, (kernel, bias) in fuzz_readers.SHAPES.items()
    }
    deep_compression.write(tmp_path / "x.net", Contents(zeros, flatten="CHW"))
    assert deep_compression.classes(tmp_path / "x.net", fuzz_readers.SHAPES) == 3
