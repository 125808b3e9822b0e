"""Kill commands at random moments: the same command then ends with the bytes of a run that was not killed.

    cd tests && python -m support.kill_commands [--kills 100] [--seed 0] [COMMAND …]

Each command runs in a folder of its own. It is killed (SIGKILL) again and again, at a moment drawn evenly from the
duration of a complete run, until it ends by itself; then its output is compared with that of the complete run, and
nothing may be left beside it. This is repeated until there were as many kills as asked for. One hundred kills of each
command take about half an hour on two cores; no failures are expected.
"""

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

PICTURES = 300
CONVERTED = "net.safetensors"
# Command lines by name; the output is the file or folder `out…`.
COMMANDS = {
    "convert": ("convert", CONVERTED, "--output", "out.weights.h5", "--overwrite"),
    "predict": ("predict", "pictures", "--weights", "net.tflite", "--output", "out.jsonl", "--overwrite"),
    "evaluate": ("evaluate", "pictures", "--weights", "net.tflite", "--output", "out.json", "--overwrite"),
    "features": (
        *("features", "pictures", "--weights", CONVERTED, "--layer", "fc4", "--layer", "conv1"),
        *("--output", "out.h5", "--overwrite"),
    ),
    "export": ("export", CONVERTED, "--format", "onnx", "--output", "out.onnx", "--overwrite"),
    "train": (
        *("train", "pictures", "--architecture", "mnist_28", "--epochs", "2", "--batch-size", "20"),
        *("--deterministic", "--checkpoint-minutes", "0.01", "--log-interval", "1", "--output", "out"),
    ),
}
VARYING = {"seconds", "resumed_after"}  # Fields of the report of an evaluation.


def make_inputs(folder: Path) -> None:
    """Write pictures of two classes, one of them unreadable, and weights with these classes."""
    generator = np.random.default_rng(0)
    for index in range(PICTURES):
        path = folder / "pictures" / ("airplane", "automobile")[index % 2] / f"{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    (folder / "pictures" / "airplane" / "unreadable.png").write_bytes(b"no picture")
    for arguments in (
        ("convert", "cifar10", "--output", CONVERTED),
        ("export", CONVERTED, "--format", "litert", "--output", "net.tflite"),
    ):
        subprocess.run([sys.executable, "-m", "tfalexnet", *arguments], cwd=folder, check=True, capture_output=True)


def digest(folder: Path) -> str:
    """The SHA-256 of all that a command's output states, whenever and however often it was interrupted."""
    state = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.suffix in (".png", ".tflite") or path.name == CONVERTED:
            continue
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


def run(folder: Path, arguments: tuple[str, ...], limit: float | None = None) -> int | None:
    """Return the exit status of a command, None if it was killed after `limit` seconds."""
    with subprocess.Popen(
        [sys.executable, "-m", "tfalexnet", *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None
    return process.returncode


def kill_often(command: str, inputs: Path, kills: int, generator: random.Random) -> tuple[int, int, list[str]]:
    """Return the number of kills, of outputs that were compared, and a sentence for each failure."""
    arguments, failures, killed, compared = COMMANDS[command], [], 0, 0
    with tempfile.TemporaryDirectory() as work:
        complete = Path(work, "complete")
        shutil.copytree(inputs, complete)
        began = time.monotonic()
        expected_status = run(complete, arguments)
        duration, expected = time.monotonic() - began, digest(complete)
        while killed < kills:
            folder = Path(work, "killed")
            shutil.copytree(inputs, folder)
            state, status, earlier = generator.getstate(), None, killed
            while status is None:
                limit = generator.uniform(0, 1.1) * duration if killed < kills else None
                status = run(folder, arguments, limit)
                killed += status is None
            compared += 1
            if status != expected_status or digest(folder) != expected:
                left = sorted(path.name for path in folder.iterdir() if path.name not in ("pictures", CONVERTED))
                failures.append(f"{command}, kills {earlier + 1} to {killed}: status {status}, {left}, {state[1][-1]}")
            shutil.rmtree(folder)
    return killed, compared, failures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    failed = False
    with tempfile.TemporaryDirectory() as inputs:
        make_inputs(Path(inputs))
        for command in options.commands or COMMANDS:
            began = time.monotonic()
            generator = random.Random(f"{command} {options.seed}")
            killed, compared, failures = kill_often(command, Path(inputs), options.kills, generator)
            seconds = time.monotonic() - began
            print(
                f"{command}: {killed} kills, {compared} outputs, {len(failures)} failures, {seconds:.0f} s", flush=True
            )
            print(*failures, sep="\n", end="\n" if failures else "")
            failed |= bool(failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
