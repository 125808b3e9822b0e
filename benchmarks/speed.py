"""The network without preprocessing: agreement of all implementations, and their speed at batch 1 and 32."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import report
from files import PICTURES
from peers import OURS, PEERS
from report import Figure
from rounds import Seconds, paired, ratio
from workers import NotMeasured, Tasks, Worker

CALLS = {1: 5, 32: 1}  # Calls per turn, by batch.
CLOSE = 1e-5  # Largest difference of a probability in float32 from that of the original script.
REFERENCE = "TensorFlow as in tf_alexnet"
AS_FAST = 0.97  # The goal: of the speed of the fastest peer in the same precision.
INT8 = {1: 1.6, 32: 1.2}  # The goals of int8 by batch, as multiples of bfloat16.


class Speed(NamedTuple):
    """The report, figures with bounds, and seconds per batch of this package by (precision, batch)."""

    text: str
    figures: list[Figure]
    ours: dict[tuple[str, int], float]


def tasks(name: str, folder: Path, batches: tuple[int, ...] = tuple(CALLS)) -> Tasks:
    """Return the tasks of a worker with one implementation."""
    networks = {batch: PEERS[name].make(folder, batch) for batch in batches}
    pictures = np.load(folder / PICTURES, mmap_mode="r")
    inputs = {batch: prepare(pictures[:batch]) for batch, (prepare, _) in networks.items()}

    def answers(batch: int, count: int) -> np.ndarray:
        prepare, network = networks[batch]
        steps = (pictures[start : start + batch] for start in range(0, count, batch))
        return np.concatenate([network(prepare(step)) for step in steps])

    def seconds(batch: int) -> float:
        _, network = networks[batch]
        network(inputs[batch])  # Wakes the threads.
        start = time.perf_counter()
        for _ in range(CALLS[batch]):
            network(inputs[batch])
        return (time.perf_counter() - start) / CALLS[batch]

    return {"answers": answers, "seconds": seconds}


def measured(folder: Path, count: int, rounds: int, pause: float) -> Speed:
    """Measure all implementations; nothing is timed unless all probabilities in float32 agree.

    Args:
        folder: with the files of `files.write` and `count` pictures.
        count: a multiple of 32.
        rounds: rounds of each timing.
        pause: seconds before each turn.
    """
    with ExitStack() as stack:
        workers, answers, missing = {}, {}, []
        for name in PEERS:
            try:
                worker = stack.enter_context(Worker(tasks, name, folder))
                answers[name] = {batch: worker("answers", batch, batch) for batch in CALLS}
                workers[name] = worker
            except NotMeasured as reason:
                missing.append(f"- {name}: not measured: {reason}")
                print(missing[-1], flush=True)
        _check(answers)
        agreement = _agreement(workers, count)
        times = {
            batch: paired({n: lambda w=w, b=batch: w("seconds", b) for n, w in workers.items()}, rounds, pause)
            for batch in CALLS
        }
    text = "\n\n".join([_table(times), agreement, *(["\n".join(missing)] if missing else [])])
    ours = {
        (precision, batch): statistics.median(times[batch][name])
        for precision, name in OURS.items()
        for batch in times
        if name in times[batch]
    }
    return Speed(text, _figures(times), ours)


def _check(answers: dict[str, dict[int, np.ndarray]]) -> None:
    for name, by_batch in answers.items():
        for batch, probabilities in by_batch.items():
            difference = np.abs(probabilities - answers[REFERENCE][batch]).max()
            if PEERS[name].precision == "float32" and not difference <= CLOSE:
                raise SystemExit(f"{name}, batch {batch}, differs by {difference} in a probability; nothing was timed.")


def _agreement(workers: dict[str, Worker], count: int) -> str:
    """Return a table of the answers in bfloat16 and int8 against those of this package in float32."""
    exact = workers[OURS["float32"]]("answers", 32, count)
    best, rows = exact.argmax(1), []
    for name, worker in workers.items():
        if PEERS[name].precision != "float32":
            answers = worker("answers", 32, count)
            five = np.argsort(-answers, 1)[:, :5]
            shares = (five[:, 0] == best).mean(), (five == best[:, None]).any(1).mean()
            rows.append([name, *(f"{share:.1%}" for share in shares), f"{np.abs(answers - exact).max():.1g}"])
    heads = [
        f"{count} pictures of {len(set(best))} best classes",
        "best class as in float32",
        "that class among the five best",
    ]
    return report.table([*heads, "largest difference of a probability"], rows)


def _table(times: dict[int, Seconds]) -> str:
    rows = []
    for name in times[1]:
        peer = PEERS[name]
        cells = [name, metadata.version(peer.package)]
        for seconds, convert in ((times[1], lambda s: 1000 * s), (times[32], lambda s: 32 / s)):
            cells.append(f"{convert(statistics.median(seconds[name])):.1f}")
            cells.append(f"{ratio(seconds, name, OURS[peer.precision]):.2f}")
        rows.append(cells)
    return report.table(["", "version", "1 at a time, ms", "×", "32 at a time, pictures/s", "×"], rows)


def _figures(times: dict[int, Seconds]) -> list[Figure]:
    """Compare the defaults with the fastest peer of their precision, int8 with that of the fastest floats."""
    figures = []
    for batch, seconds in times.items():
        fastest = {}
        for precision, ours in OURS.items():
            if ours not in seconds:
                continue
            others = (name for name in seconds if PEERS[name].package != "tfalexnet")
            peers = [name for name in others if PEERS[name].precision == precision]
            if peers:
                fastest[precision] = min(peers, key=lambda name: ratio(seconds, name, ours))
            theirs = fastest.get(precision) or fastest.get("bfloat16") or fastest["float32"]
            least = AS_FAST if peers else INT8[batch] if "bfloat16" in fastest else None
            figures.append(Figure(f"batch {batch}, {ours}, × {theirs}", ratio(seconds, theirs, ours), least))
    return figures
