"""Caffe's weights in NumPy files: both layouts, every version of pickle, hostile pickles."""

import copyreg
import io
import pickle
import random
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from support.nets import write_npy
from support.parameters import PARAMETERS, assert_equal

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.formats import Contents, caffe_npy, pickles, torch_pth


def python2(parameters: dict, layout: str) -> bytes:
    """A .npy as Python 2 and NumPy 1 wrote it: protocol 2, every string a str of bytes."""

    def string(value: bytes) -> bytes:
        start = b"T" + struct.pack("<I", len(value)) if len(value) > 255 else b"U" + bytes([len(value)])
        return start + value

    def array(shape: tuple, code: bytes, order: bytes, content: bytes) -> bytes:
        sides = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in shape) + b"t"
        start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + string(b"b") + b"tR"
        last = b"J\xff\xff\xff\xff" * 2 + b"K?" if code == b"O8" else b"J\xff\xff\xff\xff" * 2 + b"K\x00"
        dtype = b"cnumpy\ndtype\n(" + string(code) + b"K\x00K\x01tR(K\x03" + string(order) + b"NNN" + last + b"tb"
        return start + b"(K\x01" + sides + dtype + b"\x89" + content + b"tb"

    entries = b""
    for name, arrays in parameters.items():
        parts = [array(a.shape, b"f4", b"<", string(a.tobytes())) for a in arrays]
        if layout == "tf_alexnet":
            value = b"](" + b"".join(parts) + b"e"
        else:
            value = b"}(" + string(b"weights") + parts[0] + string(b"biases") + parts[1] + b"u"
        entries += string(name.encode()) + value
    body = b"\x80\x02" + array((), b"O8", b"|", b"](" + b"}(" + entries + b"u" + b"e") + b"."
    return header() + body


def header() -> bytes:
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": "|O", "fortran_order": False, "shape": ()})
    return text.getvalue()


def assert_file_holds(path, expected: dict = PARAMETERS) -> None:
    """The file has these layers, in this order."""
    parameters = caffe_npy.read(path).parameters
    assert list(parameters) == list(expected)
    assert_equal(parameters, expected)


@pytest.mark.parametrize("layout", ["tf_alexnet", "caffe-tensorflow"])
def test_files_of_the_installed_numpy_are_read(layout, tmp_path):
    write_npy(tmp_path / "net.npy", PARAMETERS, layout)
    assert_file_holds(tmp_path / "net.npy")


@pytest.mark.parametrize("layout", ["tf_alexnet", "caffe-tensorflow"])
def test_files_of_python_2_are_read(layout, tmp_path):
    (tmp_path / "net.npy").write_bytes(python2(PARAMETERS, layout))
    assert_file_holds(tmp_path / "net.npy")
    entries = np.load(tmp_path / "net.npy", allow_pickle=True, encoding="latin1").item()
    assert list(entries) == list(PARAMETERS)  # NumPy reads the file too.


@pytest.mark.parametrize("module", pickles.NUMPY_MODULES)
def test_every_module_in_which_numpy_kept_its_arrays_is_accepted(module, tmp_path):
    content = python2(PARAMETERS, "caffe-tensorflow").replace(b"cnumpy.core.multiarray\n", f"c{module}\n".encode())
    (tmp_path / "net.npy").write_bytes(content)
    assert_file_holds(tmp_path / "net.npy")
    assert (module, "_reconstruct") in torch_pth.GLOBALS


@pytest.mark.data
def test_a_file_of_caffe_tensorflow_is_read(data):
    parameters = caffe_npy.read(data / "real" / "caffe_tensorflow" / "lenet.npy").parameters
    assert {name: kernel.shape for name, (kernel, _) in parameters.items()} == {
        "conv1": (5, 5, 1, 20),
        "conv2": (5, 5, 20, 50),
        "ip1": (800, 500),
        "ip2": (500, 10),
    }


@pytest.mark.parametrize("keys", [("weight", "bias"), ("W", "b"), ("kernel", "bias"), ("b", "W")])
def test_kernel_and_bias_by_any_usual_names(keys, tmp_path):
    entries = {
        name: dict(zip(keys, pair[:: -1 if keys[0] == "b" else 1], strict=True)) for name, pair in PARAMETERS.items()
    }
    np.save(tmp_path / "net.npy", np.array(entries, dtype=object), allow_pickle=True)
    assert_file_holds(tmp_path / "net.npy")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("keys", [str, str.encode])
def test_every_protocol_of_python_3_is_read(protocol, keys, tmp_path):
    entries = np.array({keys(name): list(arrays) for name, arrays in PARAMETERS.items()}, dtype=object)
    (tmp_path / "net.npy").write_bytes(header() + pickle.dumps(entries, protocol))
    assert_file_holds(tmp_path / "net.npy")


@pytest.mark.parametrize("module", pickles.NUMPY_NUMERIC)
def test_protocol_5_of_numpy_1_and_2_is_read(module, tmp_path):
    content = pickle.dumps(np.array({name: list(arrays) for name, arrays in PARAMETERS.items()}, dtype=object), 5)
    [name] = [name for name in pickles.NUMPY_NUMERIC if name.encode() in content]
    frame = int.from_bytes(content[3:11], "little") + len(module) - len(name)  # Protocol, then FRAME and its length.
    named, other = (bytes([len(each)]) + each.encode() for each in (name, module))
    (tmp_path / "net.npy").write_bytes(
        header() + content[:3] + frame.to_bytes(8, "little") + content[11:].replace(named, other)
    )
    assert_file_holds(tmp_path / "net.npy")
    assert (module, "_frombuffer") in torch_pth.GLOBALS


def test_numpy_reads_what_is_written(tmp_path):
    caffe_npy.write(tmp_path / "net.npy", Contents(PARAMETERS))
    entries = np.load(tmp_path / "net.npy", allow_pickle=True, encoding="latin1").item()
    for name, (kernel, bias) in PARAMETERS.items():
        np.testing.assert_array_equal(entries[name][0], kernel)
        np.testing.assert_array_equal(entries[name][1], bias)


def test_extension_codes_are_refused_even_when_cached(tmp_path, monkeypatch):
    monkeypatch.setitem(copyreg._extension_cache, 1, print)
    (tmp_path / "net.npy").write_bytes(hostile(b"\x82\x01(U\x01.tR"))
    with pytest.raises(CheckpointError, match="refused: the pickle uses extension codes"):
        caffe_npy.read(tmp_path / "net.npy")


def test_a_pickle_of_too_many_opcodes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_READS", 1000)
    (tmp_path / "net.npy").write_bytes(hostile(b"N0" * 500))
    with pytest.raises(CheckpointError, match="over 500 opcodes"):
        caffe_npy.read(tmp_path / "net.npy")


def test_other_orders_and_precisions_become_float32(tmp_path):
    kernel, bias = PARAMETERS["conv1"]
    entries = {"conv1": [np.asfortranarray(kernel.astype(">f8")), bias.astype("f2")]}
    np.save(tmp_path / "net.npy", np.array(entries, dtype=object), allow_pickle=True)
    assert_file_holds(tmp_path / "net.npy", {"conv1": (kernel, bias.astype("f2").astype("f4"))})


def hostile(opcodes: bytes) -> bytes:
    return header() + b"\x80\x02" + opcodes + b"."


class Runs:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('ran').touch()",)


GLOBALS = ["os\nsystem", "builtins\neval", "numpy\nload", "numpy.core.multiarray\nscalar", "copyreg\n_reconstructor"]


@pytest.mark.parametrize("named", GLOBALS)
def test_no_code_of_the_pickle_runs(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.npy").write_bytes(hostile(f"c{named}\n(U\x01.tR".encode()))
    with pytest.raises(CheckpointError, match=rf"net\.npy: refused.*{named.split()[1]}"):
        caffe_npy.read(tmp_path / "net.npy")
    np.save(tmp_path / "net.npy", np.array({"conv1": [Runs(), Runs()]}, dtype=object), allow_pickle=True)
    with pytest.raises(CheckpointError, match=r"refused.*eval"):
        caffe_npy.read(tmp_path / "net.npy")
    assert not (tmp_path / "ran").exists()
    assert np.load(tmp_path / "net.npy", allow_pickle=True) is not None
    assert (tmp_path / "ran").exists()  # NumPy does run the code.


BOMBS = {
    "bytes": b"\x8e" + struct.pack("<Q", 1 << 40),
    "bytearray": b"\x96" + struct.pack("<Q", 1 << 40),
    "text": b"\x8d" + struct.pack("<Q", 1 << 40),
    "frame": b"\x95" + struct.pack("<Q", 1 << 40),
    "memo": b"]r\xff\xff\xff\xff",
    "long": b"\x8b" + struct.pack("<i", 1 << 30),
    "state": b"c_codecs\nencode\n(U\x01tb",
    "many": b"c_codecs\nencode\nq\x00X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\x01U\x06latin1q\x02"
    + b"h\x00h\x01h\x02\x86R" * 5000,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_false_lengths_take_no_memory(name, tmp_path):
    file = tmp_path / "net.npy"
    file.write_bytes(hostile(BOMBS[name]))
    tracemalloc.start()
    with pytest.raises(CheckpointError):
        caffe_npy.read(file)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * file.stat().st_size + 200_000


@pytest.mark.parametrize("keep", [0, 5, 60, 200, 5000, -1])
def test_truncated_files_are_refused(keep, tmp_path):
    data = python2(PARAMETERS, "tf_alexnet")
    (tmp_path / "net.npy").write_bytes(data[:keep])
    with pytest.raises(CheckpointError, match=r"net\.npy"):
        caffe_npy.read(tmp_path / "net.npy")


def test_a_shape_of_more_numbers_than_the_file_holds_is_refused(tmp_path):
    data = python2({"conv1": (np.ones((2, 3), "f4"), np.ones(3, "f4"))}, "tf_alexnet")
    data = data.replace(b"(J\x02\x00\x00\x00J\x03", b"(J\x00\x00\x00\x40J\x03")
    (tmp_path / "net.npy").write_bytes(data)
    with pytest.raises(CheckpointError, match="cannot reshape array of size 6"):
        caffe_npy.read(tmp_path / "net.npy")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"conv1": [np.ones(3)]}, r"expected layers; received conv1 \(list of 1\)"),
        ({"conv1": {"weights": np.ones(3)}}, r"expected layers; received conv1 \(weights\)"),
        ({"conv1": [1, 2]}, r"expected layers; received conv1 \(list of 2\)"),
        ({"conv1": [np.array(["a"]), np.ones(1)]}, "expected layers"),
        (dict.fromkeys(map(str, range(2000)), 1), "expected at most 1024 layers; received 2000"),
        ({"conv1": [np.ones(1), np.ones(1)], b"conv1": [np.ones(1), np.ones(1)]}, "same name"),
        ({1: [np.ones(1), np.ones(1)]}, "expected a name"),
        ([1, 2], "expected a dictionary"),
    ],
)
def test_other_contents_are_refused(entries, message, tmp_path):
    array = np.empty((), dtype=object)
    array[()] = entries
    np.save(tmp_path / "net.npy", array, allow_pickle=True)
    with pytest.raises(CheckpointError, match=message):
        caffe_npy.read(tmp_path / "net.npy")


OTHERS = {
    "epoch": (3, "int"),
    "bn1": ({"mean": np.ones(3), "variance": np.ones(3)}, "mean, variance"),
    "scale": ({"weights": np.ones((2, 3))}, "weights"),
    "labels": ([np.array(["a"]), np.arange(3)], "list of 2"),
    "objects": ([np.array([{}], dtype=object), np.ones(1)], "list of 2"),
    "mean": (np.ones(3), "array"),
    "notes": ({1: 2, b"a": 3}, "1, a"),
    "many": (dict.fromkeys("abcde"), "dict of 5"),
}


@pytest.mark.parametrize("layout", ["tf_alexnet", "caffe-tensorflow"])
def test_other_entries_are_left_out_and_reported(layout, tmp_path):
    write_npy(tmp_path / "net.npy", PARAMETERS, layout)
    entries = np.load(tmp_path / "net.npy", allow_pickle=True).item()
    entries |= {name: entry for name, (entry, _) in OTHERS.items()}
    np.save(tmp_path / "net.npy", np.array(entries, dtype=object), allow_pickle=True)
    assert_file_holds(tmp_path / "net.npy")
    assert caffe_npy.read(tmp_path / "net.npy").left_out == tuple(
        f"{name} ({kind}): no weights and biases" for name, (_, kind) in OTHERS.items()
    )


def test_a_plain_array_is_refused(tmp_path):
    np.save(tmp_path / "net.npy", np.ones((2, 2)))
    with pytest.raises(CheckpointError, match=r"received an array of float64, shape \(2, 2\)"):
        caffe_npy.read(tmp_path / "net.npy")


@pytest.mark.parametrize("layout", ["tf_alexnet", "caffe-tensorflow"])
def test_mutated_files_are_read_or_refused(layout, tmp_path):
    tiny = {"conv1": (np.ones((2, 2), "f4"), np.ones(2, "f4")), "fc8": (np.ones((2, 3), "f4"), np.ones(3, "f4"))}
    write_npy(tmp_path / "3.npy", tiny, layout)
    seeds = [(tmp_path / "3.npy").read_bytes(), python2(tiny, layout)]
    generator = random.Random(2012)
    file = tmp_path / "net.npy"
    for _ in range(300):
        data = bytearray(generator.choice(seeds))
        for _ in range(generator.randint(1, 4)):
            start = generator.randrange(len(data))
            data[start : start + generator.randint(0, 2)] = generator.randbytes(generator.randint(0, 2))
        file.write_bytes(data)
        try:
            caffe_npy.read(file)
        except CheckpointError as error:
            assert str(file) in str(error)


def test_memory_stays_close_to_the_size_of_the_file(tmp_path):
    """61 MB are read without a second copy."""
    big = {"fc7": (np.zeros((3900, 3900), "f4"), np.zeros(3900, "f4"))}
    write_npy(tmp_path / "net.npy", big)
    code = (
        "import resource, sys; from tfalexnet.checkpoints.formats import Contents, caffe_npy\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "contents = caffe_npy.read(sys.argv[1])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    answer = subprocess.run([sys.executable, "-c", code, tmp_path / "net.npy"], capture_output=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(answer.stdout) * unit < 1.5 * (tmp_path / "net.npy").stat().st_size
