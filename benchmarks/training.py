"""Compare a training step with other implementations and with the speed of the machine, in one run.

    pip install torch jax openvino
    python benchmarks/training.py PHOTOS

bvlc_alexnet with momentum, decay and dropout is trained on the same random pictures. Each implementation has a process;
in each round every implementation of a precision has one turn, in random order, and a ratio is the median of the
ratios of the rounds. PHOTOS is a folder with a folder for each class; its pictures are read, cropped, mirrored and
changed in colour as for training. It writes its section of RESULTS.md. Run nothing else at the same time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import numpy as np
import report
import roofline
from absl import app, flags
from peers import OURS, TYPES
from report import Figure
from rounds import Seconds, paired, ratio
from training_peers import PEERS, tasks
from workers import CORES, NotMeasured, Tasks, Worker

FLAGS = flags.FLAGS
flags.DEFINE_string("output", str(Path(__file__).parent / "RESULTS.md"), "File whose section is written.")
flags.DEFINE_integer("rounds", 5, "Rounds of each timing.", lower_bound=1)
flags.DEFINE_integer("steps", 1, "Steps of a turn that are timed, after one that is not.", lower_bound=1)
flags.DEFINE_multi_integer("batch", [32, 128], "Pictures of a step; may be repeated.", lower_bound=1)

PAUSE = 0.05  # Seconds before each turn, in which the threads of the previous one stop spinning.
SHARES = {"float32": 0.7, "bfloat16": 0.5}  # The goals for the share of the machine, at the largest batch.
AS_FAST = 1.2  # The goal for the speed relative to the fastest other implementation, at the largest batch.


def times(precision: str, batch: int) -> tuple[Seconds, list[str]]:
    """Return the seconds of a step of each implementation in every round, and why others are not measured."""
    missing = []
    with ExitStack() as stack:
        workers = {}
        for name, peer in PEERS.items():
            if peer.precision == precision:
                try:
                    workers[name] = stack.enter_context(Worker(tasks, name, batch))
                except NotMeasured as reason:
                    missing.append(f"- {name}, batch {batch}: not measured: {reason}")
        if OURS[precision] not in workers:
            raise SystemExit("\n".join(missing))
        turns = {name: lambda worker=worker: worker("seconds", FLAGS.steps) for name, worker in workers.items()}
        return paired(turns, FLAGS.rounds, PAUSE), missing


def compared(multiplied: dict[str, float]) -> str:
    """Return the tables of all steps, with the machine's multiply-adds per second by precision."""
    figures, rows, notes = [], [], []
    largest = max(FLAGS.batch)
    for precision in (each for each in SHARES if each in TYPES):
        for batch in FLAGS.batch:
            seconds, missing = times(precision, batch)
            ours, notes = OURS[precision], [*notes, *missing]
            for name, measured in seconds.items():
                median = statistics.median(measured)
                share = roofline.step_products(batch) / multiplied[precision] / median
                version = metadata.version(PEERS[name].package)
                cells = (f"{batch / median:.1f}", f"{share:.0%}", f"{ratio(seconds, name, ours):.2f}")
                rows.append([name, version, str(batch), *cells])
                print(rows[-1], flush=True)
                if name == ours and batch == largest:
                    figures.append(Figure(f"batch {batch}, {ours}, share of the machine", share, SHARES[precision]))
            others = [name for name in seconds if name != ours]
            if others:
                fastest = min(others, key=lambda name: statistics.median(seconds[name]))
                bound = AS_FAST if batch == largest else None
                figures.append(Figure(f"batch {batch}, {ours}, × {fastest}", ratio(seconds, fastest, ours), bound))
    heads = ["", "version", "batch", "pictures/s", "share of the machine", "×"]
    return "\n\n".join(
        [report.figures_table(figures), report.table(heads, rows), *(["\n".join(notes)] if notes else [])]
    )


def other_tasks(photos: str) -> Tasks:
    """Return tasks that measure the input pipeline and the memory of a training."""
    from tfalexnet import data, training
    from tfalexnet.networks.catalog import MNIST_28
    from tfalexnet.training.run_folder import RunFolder
    from tfalexnet.training.trainer import train

    def pipeline() -> float:
        """Return the pictures per second that are read and augmented."""
        labelled, _ = data.read(photos)
        start, count = None, 0
        for inputs, _, _ in data.batches(labelled, data.PREPARED["bvlc_alexnet"], 32, "paper"):
            if start is None:
                start = time.perf_counter()  # The first batch waits for the threads.
                continue
            count += len(inputs)
            if count >= 3000:
                break
        return count / (time.perf_counter() - start)

    def memory() -> list[float]:
        """Return MB of this process after each of 20 epochs of a small training."""
        generator = np.random.default_rng(0)
        digits = data.from_arrays(generator.integers(0, 256, (640, 28, 28), "uint8"), generator.integers(0, 10, 640))
        recipe = dataclasses.replace(training.SOURCES["mnist_28"], epochs=20)
        sizes: list[float] = []
        RunFolder.report = lambda *_: sizes.append(_resident())
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
            train(digits, digits, MNIST_28, recipe, Path(folder, "run"))
        return sizes

    return {"pipeline": pipeline, "memory": memory}


def _resident() -> float:
    """Return the resident MB of this process; requires Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("expected one argument, a folder with a folder for each class")
    with Worker(roofline.machine) as worker:
        multiplied = {precision: worker(precision) for precision in roofline.MEASURED}
    speeds, tables = roofline.speeds_in_words(multiplied), compared(multiplied)
    with Worker(other_tasks, argv[1]) as worker:
        speed, sizes = worker("pipeline"), worker("memory")
    text = "\n\n".join(
        [
            f"`python benchmarks/training.py PHOTOS --rounds {FLAGS.rounds}` on {CORES} cores. The machine multiplies "
            f"{speeds}. The share of the machine is the time that it needs for the products of a step (for outputs, "
            "for gradients of weights and, except for the pictures, of inputs) as a share of the step's time. × is the "
            "speed of tfalexnet as a multiple of the other one's in the same precision, the median of paired rounds.",
            tables,
            f"The input pipeline reads and augments {speed:.0f} pictures/s. Memory after epochs 2 and 20 of a small "
            f"training: {sizes[1]:.0f} and {sizes[-1]:.0f} MB.",
        ]
    )
    report.write(Path(FLAGS.output), f"Training on {roofline.processor()}", text)
    print(text)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
