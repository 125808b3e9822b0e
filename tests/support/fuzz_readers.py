"""Fuzz test of every reader and of the decoder of pictures: files that are damaged may cause nothing but
`CheckpointError`, or `PictureError`.

    cd tests && python -m support.fuzz_readers [--inputs 10000] [--seed 0] [READER …]

An input is a seed (fuzz_seeds.py) after one to three mutations (fuzz_mutations.py). They are chosen by
`random.Random` of reader, seed and number, so that every input can be made again. A process reads the inputs one
after the other, with the reader of the format and with `read_checkpoint`. Failures are

- an error other than CheckpointError, a message without the name of the file, a crash of the process;
- memory beyond twice the file's size, apart from constants (SLACK, SLACK_OF_PROCESS, CLASS_NAME): what Python and
  NumPy allocate (tracemalloc) and the growth of the process (VmHWM). The second includes libhdf5, which allocates
  the size that an object header states before it finds the file too short;
- events that the interpreter audits: a command, a socket, code, an import, another file;
- LIMIT seconds without a result;
- arrays that reach beyond the bytes of which they are views.

All readers take ten minutes on two cores; no failures are expected. The inputs that fail are stored in runs/fuzz.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from support import ROOT
from support.fuzz_mutations import (
    ANYWHERE,
    Mutation,
    array_header,
    big_endian,
    byte,
    count,
    header,
    layout,
    matlab,
    member,
    message,
    opcode,
    repeat,
    token,
    word,
)
from support.fuzz_seeds import (
    BUNDLE,
    HOSTILE,
    NET,
    PARAMETERS,
    SHAPES,
    Seeds,
    seeds_archives,
    seeds_caffe_h5,
    seeds_caffemodel,
    seeds_h5,
    seeds_keras,
    seeds_keras_legacy,
    seeds_matconvnet,
    seeds_means,
    seeds_net,
    seeds_npy,
    seeds_npz,
    seeds_onnx,
    seeds_pictures,
    seeds_prototxt,
    seeds_pth,
    seeds_safetensors,
    seeds_tensorflow,
    seeds_tensorflow_bundle,
)
from support.fuzz_watch import watch
from tfalexnet import CheckpointError, PictureError
from tfalexnet.checkpoints.caffe_network import find_network
from tfalexnet.checkpoints.checkpoint import FORMATS, read_checkpoint, read_spec
from tfalexnet.checkpoints.formats import Contents, deep_compression, tensorflow_checkpoint
from tfalexnet.checkpoints.formats.caffe_mean import read_mean
from tfalexnet.images.preprocessing import BVLC, TORCHVISION, Preprocessing
from tfalexnet.tools.model_files import is_collection, model_files

byte_bounds = getattr(np.lib, "array_utils", np).byte_bounds  # Its place in NumPy 2, and in NumPy 1.
LIMIT = 10  # Seconds for one input; they take milliseconds.
SLACK = 1 << 20  # Objects of Python for an archive, a header, a message; independent of lengths in the file.
SLACK_OF_PROCESS = 16 << 20  # Caches of libhdf5, and the steps in which malloc takes memory.
CLASS_NAME = 256  # Bytes of the name of a class; a .net file has none.
CEILING = 2 << 30  # Bytes of address space, so that a bomb does not take the memory of the machine.


class Reader(NamedTuple):
    """The seeds of a format, the mutations that know it, and its reader."""

    seeds: Callable[[], Seeds]
    mutations: tuple[Mutation, ...]
    suffix: str

    def read(self, path: Path) -> Contents:
        module = FORMATS[self.suffix]
        if module is deep_compression:
            deep_compression.classes(path, SHAPES)
            return deep_compression.read(path, SHAPES)
        module.recognises(path)
        return module.read(path)

    def ways(self, path: Path, number: int) -> Iterator[Callable[[], int | None]]:
        """All ways to read a file; each returns the number of its classes."""
        yield lambda: touch(self.read(path))
        yield lambda: len(read_checkpoint(path, NET).spec.classes)
        if number % 4 == 0:
            yield lambda: len(read_checkpoint(path).spec.classes)
            yield lambda: len(read_spec(path).classes)

    error: ClassVar = CheckpointError
    memory: ClassVar = 0


class Pictures(NamedTuple):
    """The seeds of all formats of pictures, and their decoder with the resizing and cropping of a network."""

    seeds: Callable[[], Seeds]
    mutations: tuple[Mutation, ...]

    def ways(self, path: Path, number: int) -> Iterator[Callable[[], None]]:
        def prepare(preprocessing: Preprocessing) -> None:
            pixels = preprocessing(path)
            assert pixels.dtype == np.float32 and pixels.shape == preprocessing.shape and np.isfinite(pixels).all()

        yield lambda: prepare((BVLC, TORCHVISION)[number % 2])

    error: ClassVar = PictureError
    memory: ClassVar = 1_500_000_000  # MAX_PIXELS in the mode with most bytes, and its copy in RGB.


class Definitions(NamedTuple):
    """The seeds of Caffe's definitions as text, and their reader up to the table of the network."""

    seeds: Callable[[], Seeds]
    mutations: tuple[Mutation, ...]

    def ways(self, path: Path, number: int) -> Iterator[Callable[[], None]]:
        def find(side: int | None) -> None:
            network, _ = find_network(Contents(PARAMETERS), Path("x"), path, side)
            network.architecture.to_dict()

        yield lambda: find(None if number % 2 else 40)

    error: ClassVar = CheckpointError
    memory: ClassVar = 0


class Means(NamedTuple):
    """The seeds of means of pictures, and their reader."""

    seeds: Callable[[], Seeds]
    mutations: tuple[Mutation, ...]

    def ways(self, path: Path, _: int) -> Iterator[Callable[[], None]]:
        yield lambda: read_mean(path).sum() and None

    error: ClassVar = CheckpointError
    memory: ClassVar = 0


class Bundles(NamedTuple):
    """The seeds of tables of TensorFlow whose numbers are in the file beside them."""

    seeds: Callable[[], Seeds]
    mutations: tuple[Mutation, ...]

    def ways(self, path: Path, _: int) -> Iterator[Callable[[], int | None]]:
        beside = path.with_name(f"{path.name}.data-00000-of-00001")
        beside.write_bytes(BUNDLE)
        yield lambda: touch(tensorflow_checkpoint.read(path))
        yield lambda: len(read_checkpoint(path, NET).spec.classes)
        beside.unlink()

    error: ClassVar = CheckpointError
    memory: ClassVar = 2 * len(BUNDLE)


class Archives(NamedTuple):
    """The seeds of archives of model zoos, which are unpacked into the folder for temporary files."""

    seeds: Callable[[], Seeds]
    mutations: tuple[Mutation, ...]

    def ways(self, path: Path, _: int) -> Iterator[Callable[[], int | None]]:
        def read() -> int:
            if not is_collection(path):
                raise CheckpointError(f"{path}: no archive")
            with model_files(path) as files:
                try:
                    spec = read_checkpoint(files.weights, NET).spec
                except CheckpointError as error:
                    raise CheckpointError(f"{path}: {error}") from error
                files.labels(spec)
                return len(spec.classes)

        scratch = path.with_name("scratch")
        scratch.mkdir(exist_ok=True)
        tempfile.tempdir = watch().scratch = os.fspath(scratch)
        yield read
        tempfile.tempdir = watch().scratch = None
        assert list(scratch.parent.rglob("evil*")) == []
        scratch.rmdir()

    error: ClassVar = CheckpointError
    memory: ClassVar = 16 << 20  # Blocks of bzip2, and those in which files are copied.


READERS: dict[str, Reader | Pictures | Definitions | Means | Bundles | Archives] = {
    "npy": Reader(seeds_npy, (opcode, opcode, array_header), ".npy"),
    "caffemodel": Reader(seeds_caffemodel, (message,), ".caffemodel"),
    "pth": Reader(seeds_pth, (layout,), ".pth"),
    "net": Reader(seeds_net, (count,), ".net"),
    "npz": Reader(seeds_npz, (member,), ".npz"),
    "safetensors": Reader(seeds_safetensors, (header,), ".safetensors"),
    "tensorflow": Reader(seeds_tensorflow, (byte,), ".index"),
    "tensorflow_bundle": Bundles(seeds_tensorflow_bundle, (byte,)),
    "onnx": Reader(seeds_onnx, (message,), ".onnx"),
    "matconvnet": Reader(seeds_matconvnet, (matlab,), ".mat"),
    "means": Means(seeds_means, (message, array_header)),
    "archives": Archives(seeds_archives, (member,)),
    "keras": Reader(seeds_keras, (member,), ".keras"),
    "h5": Reader(seeds_h5, (word,), ".weights.h5"),
    "caffe_h5": Reader(seeds_caffe_h5, (word,), ".caffemodel.h5"),
    "keras_legacy": Reader(seeds_keras_legacy, (word,), ".h5"),
    "prototxt": Definitions(seeds_prototxt, (token, repeat)),
    "pictures": Pictures(seeds_pictures, (big_endian,)),
}


def mutated(name: str, seeds: list[bytes], number: int, seed: int) -> bytes:
    """The input of this number; those below 0 are the seeds themselves."""
    if number < 0:
        return seeds[number]
    generator = random.Random(f"{name} {seed} {number}")
    data = generator.choice(seeds)
    for _ in range(generator.choice((1, 1, 1, 2, 3))):
        table = READERS[name].mutations if generator.random() < 0.6 else ANYWHERE
        data = generator.choice(table)(data, seeds, generator)
    return data


# The child: one input after the other.

# Modules that the standard library and NumPy import when they first need them, independent of the file.
IMPORTED_LATE = ("ast", "bz2", "lzma", "mmap", "stringprep", "tokenize", "unicodedata", "encodings.cp437",
        "encodings.idna", "encodings.latin_1", "encodings.raw_unicode_escape", "encodings.utf_16_be",
        "encodings.unicode_escape", "encodings.utf_16_le", "encodings.utf_32_be", "encodings.utf_32_le")  # fmt: skip


def touch(contents: Contents) -> None:
    """Use every array; each must lie within the bytes of which it is a view."""
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
            low, high = byte_bounds(array)
            first, last = byte_bounds(owner if isinstance(owner, np.ndarray) else np.frombuffer(owner, np.uint8))
            assert first <= low and high <= last, "an array reaches beyond its bytes"


def process_memory(field: str, reset_peak: bool = False) -> int:
    """A field of /proc/self/status in bytes; 0 where there is no such file."""
    try:
        if reset_peak:
            Path("/proc/self/clear_refs").write_text("5")
        with open("/proc/self/status") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith(field))
    except OSError:
        return 0


def attempt(reader: Reader | Pictures | Definitions, path: Path, number: int) -> tuple[str, str]:
    """The outcome and, where it is a failure, the reason."""
    outcomes = []
    size = path.stat().st_size
    for way in reader.ways(path, number):
        before_process = process_memory("VmRSS", reset_peak=True)
        classes = 0
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        watch().path = os.fspath(path)
        try:
            classes = way() or 0
            outcomes.append("accepted")
        except reader.error as error:
            if watch().path is None:
                return "failed", f"an audited event was caught: {error}"
            if os.fspath(path) not in str(error):
                return "failed", f"the file is not named: {error}"
            outcomes.append("refused")
        except BaseException as error:
            watch().path = None
            where = traceback.extract_tb(error.__traceback__)[-1]
            return "failed", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        finally:
            watch().path = None
        limit = 2 * size + CLASS_NAME * classes + reader.memory
        traced = tracemalloc.get_traced_memory()[1] - before
        if traced > limit + SLACK:
            return "failed", f"{traced} bytes of Python for a file of {size}"
        grown = process_memory("VmHWM") - before_process
        if grown > limit + SLACK_OF_PROCESS:
            return "failed", f"{grown} bytes of the process for a file of {size}"
    return outcomes[0], ""


def attempts(name: str, folder: Path, numbers: range, seed: int) -> Iterator[tuple[int, str, float, str]]:
    """Read the seeds, then the inputs of these numbers: number, outcome, seconds and reason of each failure.

    Seeds have numbers below 0; only those with the wrong outcome are yielded.
    """
    reader = READERS[name]
    files = sorted((folder / name).iterdir())
    seeds = [file.read_bytes() for file in files]
    path = folder / f"{name}.input"
    for module in IMPORTED_LATE:
        importlib.import_module(module)
    for number, file in enumerate(files, -len(files)):
        for way in reader.ways(file, 0):  # Fills the caches of libraries, so that the attempts do not.
            with contextlib.suppress(Exception):
                way()
        outcome, reason = attempt(reader, file, 0)
        if outcome != ("refused" if HOSTILE in file.name else "accepted"):
            yield number, "failed", 0.0, f"the seed {file.name}: {outcome} {reason}"
    for number in numbers:
        path.write_bytes(mutated(name, seeds, number, seed))
        start = time.perf_counter()
        outcome, reason = attempt(reader, path, number)
        yield number, outcome, time.perf_counter() - start, reason


def child(name: str, folder: Path, first: int, last: int, seed: int) -> None:
    """Print a line for each attempt, tab-separated; exit after LIMIT seconds without one."""
    warnings.simplefilter("ignore")
    tracemalloc.start()
    if process_memory("VmSize"):
        resource.setrlimit(resource.RLIMIT_AS, (process_memory("VmSize") + CEILING,) * 2)
    for number, outcome, seconds, reason in attempts(name, folder, range(first, last), seed):
        if number >= 0 or not first:
            print(number, outcome, f"{seconds:.6f}", reason.replace("\n", " "), sep="\t", flush=True)
        faulthandler.dump_traceback_later(LIMIT, exit=True)
    faulthandler.cancel_dump_traceback_later()


# The parent.


class Row(NamedTuple):
    """The outcomes of a reader's inputs."""

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


def fuzz(name: str, folder: Path, inputs: int, seed: int, failed_folder: Path) -> Row:
    """Read inputs in a process; if it dies, another continues."""
    started = time.perf_counter()
    accepted = refused = first = 0
    failures: list[str] = []
    slowest = 0.0
    # One arena of malloc, so that the process grows by what is allocated.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1", "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"}

    def failed(number: int, reason: str) -> None:
        failed_folder.mkdir(parents=True, exist_ok=True)
        seeds = [file.read_bytes() for file in sorted((folder / name).iterdir())]
        (failed_folder / f"{name}-{seed}-{number}").write_bytes(mutated(name, seeds, number, seed))
        failures.append(f"{name}-{seed}-{number}: {reason}")

    while first < inputs:
        arguments = map(str, ("--child", folder, first, inputs, seed, name))
        command = [sys.executable, "-m", "support.fuzz_readers", *arguments]
        with tempfile.TemporaryFile("w+") as errors:
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as run:
                for line in run.stdout:
                    number, outcome, seconds, reason = line.rstrip("\n").split("\t", 3)
                    first = max(first, int(number) + 1)
                    slowest = max(slowest, float(seconds))
                    accepted += outcome == "accepted"
                    refused += outcome == "refused"
                    if outcome == "failed":
                        failed(int(number), reason)
            errors.seek(0)
            output = errors.read()
        if run.returncode:
            if run.returncode == 1 and "Timeout (" not in output:
                raise RuntimeError(output)  # An error of this script, not of a reader.
            failed(first, f"the process ended with {run.returncode}: {' '.join(output.split())[:600]}")
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
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"{', '.join(READERS)}; default: all")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failed", type=Path, default=Path("runs/fuzz"), help="folder for the inputs that fail")
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
            runs = [pool.submit(fuzz, reader, Path(name), given.inputs, given.seed, given.failed) for reader in names]
            rows = [run.result() for run in runs]
    print(table(rows, given.inputs))
    return any(row.failures for row in rows)


if __name__ == "__main__":
    sys.exit(main())
