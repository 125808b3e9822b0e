"""Figures of whole processes: memory, the first answer from the shell, conversion, leaks."""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import speed
from files import H5, LITERT, NPY, PHOTOS, XML
from peers import BY_TENSORFLOW, OURS, PEERS
from report import Figure
from rounds import paired, ratio
from workers import NotMeasured, Tasks, Worker

CONVERT = "import sys; from tfalexnet import convert; convert(sys.argv[1], sys.argv[2], overwrite=True)"
CONVERT_WITH_TENSORFLOW = f"import tensorflow; {CONVERT}"
IMPORT_AND_READ = "import tensorflow, pathlib, sys; pathlib.Path(sys.argv[1]).read_bytes()"
IMPORT = """
import time
start = time.perf_counter()
import tfalexnet, sys
print(time.perf_counter() - start)
assert "tensorflow" not in sys.modules
"""
LOOP = """
import pathlib, re, sys, tfalexnet
from tfalexnet.runtimes import tensorflow as engine
sizes, traced, freeze = [], [], engine.freeze
def count_calls(*arguments):
    network = freeze(*arguments)
    return lambda x: traced.append(x) or network(x)
engine.freeze = count_calls
for call in range(1000):
    tfalexnet.predict(sys.argv[2], weights=sys.argv[1], engine="tensorflow")
    if call in (99, 999):
        sizes.append(int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]))
print((sizes[1] - sizes[0]) / 1e3, len(traced) - 1)
"""
GOALS = {H5: 0.6}  # Seconds to the first answer.
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def python(code: str, *arguments: object) -> tuple[float, float, str]:
    """Return seconds, peak memory in MB, and the last line that Python code prints, in a process of its own."""
    start = time.perf_counter()
    run = subprocess.run(
        # Not ru_maxrss, which a child inherits from the process that started it.
        [sys.executable, "-c", code + PEAK, *map(str, arguments)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    *output, peak = run.stdout.splitlines()
    return seconds, int(peak) / 1e3, output[-1] if output else ""


def cold_start(folder: Path, rounds: int) -> list[Figure]:
    """Measure the first answer from the shell, and the import of TensorFlow with one read of the weights."""
    photo = min((folder / PHOTOS).iterdir())
    # An installed package has bytecode; the first, untimed round writes it.
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}

    def first_answer(file: str) -> float:
        command = [sys.executable, "-m", "tfalexnet", "predict", photo, "--weights", folder / file]
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        return time.perf_counter() - start

    turns = {file: functools.partial(first_answer, file) for file in (H5, XML, LITERT) if (folder / file).exists()}
    seconds = paired(turns | {"import": lambda: python(IMPORT_AND_READ, folder / H5)[0]}, rounds)
    return [
        *(
            Figure(f"first answer from the shell, {file}, s", statistics.median(seconds[file]), at_most=GOALS.get(file))
            for file in turns
        ),
        Figure("`import tensorflow` and one read of the weights, s", statistics.median(seconds["import"])),
        Figure("first answer from .weights.h5, × import and read", ratio(seconds, H5, "import"), at_most=0.2),
    ]


def memory(folder: Path) -> list[Figure]:
    """Measure the peak memory of a process at batch 32, and its memory after calls at batch 1."""
    figures, peaks = [], {}
    for name in (name for name in PEERS if name.startswith(("tfalexnet", "PyTorch"))):
        with contextlib.suppress(NotMeasured):
            peaks[name] = _after(folder, name, 32, "VmHWM")
            figures.append(Figure(f"peak memory at batch 32, {name}, MB", peaks[name]))
    if "PyTorch" in peaks:
        share = peaks[OURS["float32"]] / peaks["PyTorch"]
        figures.append(Figure("peak memory at batch 32, tfalexnet, × PyTorch's", share, at_most=0.9))
    with Worker(bare) as worker:
        imported = worker.memory("RssAnon")
    held = (_after(folder, BY_TENSORFLOW, 1, "RssAnon") - imported) / ((folder / H5).stat().st_size / 1e6)
    # Mapped libraries are not counted. One copy and the compiled code are less than two; two copies are more.
    return [
        *figures,
        Figure("memory kept at batch 1 by TensorFlow beyond that of the imports, × the weights", held, at_most=2),
    ]


def _after(folder: Path, name: str, batch: int, field: str) -> float:
    """Return the memory of an implementation after three turns in a process; the median of three processes."""
    sizes = []
    for _ in range(3):
        with Worker(speed.tasks, name, folder, (batch,)) as worker:
            for _ in range(3):
                worker("seconds", batch)
            sizes.append(worker.memory(field))
    return statistics.median(sizes)


def bare() -> Tasks:
    """Import TensorFlow and Keras; return no task."""
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    return {}


def conversion(folder: Path, rounds: int) -> list[Figure]:
    """Measure `tfalexnet.convert`, with and without TensorFlow, and the import of the package."""
    npy, h5 = folder / NPY, folder / "again.weights.h5"
    size = npy.stat().st_size / 1e6
    imported = python("import tensorflow")[1]
    codes = CONVERT_WITH_TENSORFLOW, CONVERT
    with_tensorflow, plain = ([python(code, npy, h5)[:2] for _ in range(rounds)] for code in codes)
    beyond = (max(peak for _, peak in with_tensorflow) - imported) / size
    importing = statistics.median(float(python(IMPORT)[2]) for _ in range(rounds))
    return [
        Figure("conversion of 244 MB, TensorFlow imported too, s", max(s for s, _ in with_tensorflow), at_most=15),
        Figure("conversion, memory beyond a bare `import tensorflow`, × the file", beyond, at_most=2.2),
        Figure("conversion from the shell, s", max(s for s, _ in plain)),
        Figure("conversion from the shell, peak memory, × the file", max(peak for _, peak in plain) / size),
        Figure("`import tfalexnet`, without TensorFlow, s", importing, at_most=0.3),
    ]


def leaks(folder: Path) -> list[Figure]:
    """Measure a thousand predictions in one process; one picture leaked in each would be 550 MB."""
    growth, retracings = python(LOOP, folder / H5, min((folder / PHOTOS).iterdir()))[2].split()
    return [
        Figure("growth over 900 predictions in a loop, MB (below 0: released)", float(growth), at_most=5),
        Figure("retracings in 1000 predictions", int(retracings), at_most=0),
    ]
