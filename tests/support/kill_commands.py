"""Kill commands at random moments, or give them a small disk: the same command then ends with the complete output.

    cd tests && python -m support.kill_commands [--kills 100] [--disks 10] [--seed 0] [COMMAND …]

Each command runs in a folder of its own. It is killed (SIGKILL) again and again, at a moment drawn evenly from the
duration of a complete run, until it ends by itself; then its output is compared with that of the complete run, and
nothing may be left beside it. This is repeated until there were as many kills as asked for.

Disks of several sizes, up to twice the size of the output, are file systems in memory, where the system allows that,
else limits of the size of a file. The command must end with an error that says so, without a traceback, or with the
complete output. The same command, on a large disk, must then end with the complete output.

One hundred kills of each command take about half an hour on two cores; no failures are expected.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from PIL import Image

from support.servers import Answer, Server

PICTURES = 100
CONVERTED = "net.safetensors"
DISK = "disk"  # The folder of the outputs.
TFALEXNET = ("-m", "tfalexnet")
DOWNLOAD = """
import sys
from pathlib import Path
from tfalexnet.hub import download
from tfalexnet.io import locks, terminal
download.PAUSE = locks.POLL = 0.01
try:
    download.download_file([Path("address").read_text()], Path("disk/out"), download.Digest("sha256", sys.argv[1]))
except OSError as error:
    sys.exit(terminal.explain_os_error(error))
"""
BODY = np.random.default_rng(0).bytes(1 << 23)  # The file that is downloaded, in PIECES answers.
PIECES = 64
# Arguments of Python by name; the output is the file or folder `disk/out…`.
COMMANDS = {
    "convert": (*TFALEXNET, "convert", CONVERTED, "--output", "disk/out.weights.h5", "--overwrite"),
    "predict": (
        *(*TFALEXNET, "predict", "pictures", "--weights", "net.tflite"),
        *("--output", "disk/out.jsonl", "--overwrite"),
    ),
    "evaluate": (
        *(*TFALEXNET, "evaluate", "pictures", "--weights", "net.tflite"),
        *("--output", "disk/out.json", "--overwrite"),
    ),
    "features": (
        *(*TFALEXNET, "features", "pictures", "--weights", CONVERTED, "--layer", "fc4", "--layer", "conv1"),
        *("--output", "disk/out.h5", "--overwrite"),
    ),
    "export": (*TFALEXNET, "export", CONVERTED, "--format", "onnx", "--output", "disk/out.onnx", "--overwrite"),
    "train": (
        *(*TFALEXNET, "train", "pictures", "--architecture", "mnist_28", "--epochs", "2", "--batch-size", "20"),
        *("--deterministic", "--checkpoint-minutes", "0.01", "--log-interval", "1", "--output", "disk/out"),
    ),
    "download": ("-c", DOWNLOAD, hashlib.sha256(BODY).hexdigest()),
}
ENOSPC = ("No space left on device", "File too large")  # Of a disk in memory, of a limit.
VARYING = {"seconds", "resumed_after"}  # Fields of the report of an evaluation.


class Run(NamedTuple):
    """The exit status of a command, None if it was killed, and what it wrote to stderr."""

    status: int | None
    errors: str


class Complete(NamedTuple):
    """A run that nothing interrupted: its status, its seconds, and the digest and the bytes of its output."""

    status: int
    seconds: float
    digest: str
    size: int


@contextmanager
def inputs() -> Iterator[Path]:
    """A folder with pictures of two classes, one unreadable, weights with these classes, and an address that answers
    during the block.
    """
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name, Server() as server:
        folder = Path(name)
        (folder / DISK).mkdir()
        for index in range(PICTURES):
            path = folder / "pictures" / ("airplane", "automobile")[index % 2] / f"{index:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
        (folder / "pictures" / "airplane" / "unreadable.png").write_bytes(b"no picture")
        (folder / "address").write_text(server.url("file", Answer(BODY, piece=len(BODY) // PIECES)))
        for arguments in (
            ("convert", "cifar10", "--output", CONVERTED),
            ("export", CONVERTED, "--format", "litert", "--output", "net.tflite"),
        ):
            subprocess.run([sys.executable, *TFALEXNET, *arguments], cwd=folder, check=True, capture_output=True)
        yield folder


def digest(folder: Path) -> str:
    """The SHA-256 of all that the outputs in a folder state, whenever and however often a command was interrupted."""
    state = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name.startswith("out/") and path.name != "model.weights.h5":
            continue  # The log of a training states times, its description the versions.
        state.update(name.encode())
        if path.suffix == ".json":
            report = json.loads(path.read_bytes())
            content = json.dumps({key: value for key, value in report.items() if key not in VARYING}).encode()
        elif path.suffix == ".h5":
            content = b"".join(values(path))
        else:
            content = path.read_bytes()
        state.update(content)
    return state.hexdigest()


def values(path: Path) -> Iterator[bytes]:
    """All data sets of an HDF5 file; its other bytes may hold times."""
    found: list[bytes] = []

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            found.append(f"{name} {np.asarray(item[()]).tolist() if item.dtype.kind == 'O' else ''}".encode())
            found.append(b"" if item.dtype.kind == "O" else np.asarray(item[()]).tobytes())

    with h5py.File(path) as file:
        file.visititems(add)
    return iter(found)


def run(folder: Path, command: str, seconds: float | None = None, size: int | None = None) -> Run:
    """Run a command in a folder; kill it after some seconds; let no file have more than `size` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    with subprocess.Popen(
        [sys.executable, *COMMANDS[command]],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=limit if size is not None else None,
    ) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return Run(None, "")
    return Run(process.returncode, errors.decode("utf-8", "replace"))


def run_completely(command: str, inputs: Path) -> Complete:
    """Return what a run in a copy of the inputs gives."""
    with tempfile.TemporaryDirectory() as work:
        folder = shutil.copytree(inputs, Path(work, "complete"))
        began = time.monotonic()
        status, _ = run(folder, command)
        seconds = time.monotonic() - began
        size = sum(path.stat().st_size for path in (folder / DISK).rglob("*") if path.is_file())
        return Complete(status, seconds, digest(folder / DISK), size)


def difference(folder: Path, result: Run, expected: Complete) -> str:
    """Say how a run differs from the complete one; nothing if it does not."""
    if result.status == expected.status and digest(folder / DISK) == expected.digest:
        return ""
    left = sorted(path.name for path in (folder / DISK).iterdir())
    return f"status {result.status}, {left}, {result.errors[-300:]!r}"


def kill_often(
    command: str, inputs: Path, expected: Complete, kills: int, generator: random.Random
) -> tuple[int, list[str]]:
    """Return the number of outputs that were compared, and a sentence for each failure."""
    failures, killed, compared = [], 0, 0
    while killed < kills:
        with tempfile.TemporaryDirectory() as work:
            folder = shutil.copytree(inputs, Path(work, "killed"))
            moments, result = [], Run(None, "")
            while result.status is None:
                moment = generator.uniform(0, 1.1) * expected.seconds if killed < kills else None
                result = run(folder, command, moment)
                if result.status is None:
                    moments.append(f"{moment:.3f}")
            killed += len(moments)
            compared += 1
            if reason := difference(folder, result, expected):
                failures.append(f"{command}, killed after {', '.join(moments)} s: {reason}")
    return compared, failures


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[int | None]:
    """Mount a file system of `size` bytes on a folder; in the block, yield None, or `size` if that is forbidden.

    The block ends with a large file system with the same files.
    """
    page = os.sysconf("SC_PAGESIZE")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={max(page, size // page * page)}", "none", os.fspath(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        yield size
        return
    try:
        yield None
        copy = shutil.copytree(folder, folder.with_name("copy"), symlinks=True)
    finally:
        subprocess.run(["umount", folder], check=True)
    folder.rmdir()
    copy.rename(folder)


def fill_disk(command: str, inputs: Path, expected: Complete, disks: int) -> tuple[int, list[str]]:
    """Return the number of disks that were too small, and a sentence for each failure."""
    failures, full = [], 0
    for number in range(disks):
        size = int(2 * expected.size * (number + 0.5) / disks)
        with tempfile.TemporaryDirectory() as work:
            folder = shutil.copytree(inputs, Path(work, "full"))
            with small_disk(folder / DISK, size) as limit:
                result = run(folder, command, size=limit)
            if difference(folder, result, expected):
                full += 1
                explained = any(reason in result.errors for reason in ENOSPC) and "Traceback" not in result.errors
                if not explained or result.status < 0:
                    failures.append(f"{command}, {size} bytes: status {result.status}, {result.errors[-300:]!r}")
            if reason := difference(folder, run(folder, command), expected):
                failures.append(f"{command} again after {size} bytes: {reason}")
    return full, failures


def interrupt(command: str, inputs: Path, kills: int, disks: int, seed: int = 0) -> tuple[str, list[str]]:
    """Return a line of figures, and a sentence for each failure."""
    began, generator = time.monotonic(), random.Random(f"{command} {seed}")
    expected = run_completely(command, inputs)
    compared, failures = kill_often(command, inputs, expected, kills, generator)
    full, of_disks = fill_disk(command, inputs, expected, disks)
    failures += of_disks
    cells = (command, kills, compared, disks, full, len(failures), f"{time.monotonic() - began:.0f}")
    return f"| {' | '.join(map(str, cells))} |", failures


HEADS = "| command | kills | outputs compared | disks | too small | failures | s |\n|---|---|---|---|---|---|---|"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--disks", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    failed = False
    print(HEADS)
    with inputs() as folder:
        for command in options.commands or COMMANDS:
            line, failures = interrupt(command, folder, options.kills, options.disks, options.seed)
            print(line, *failures, sep="\n", flush=True)
            failed |= bool(failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
