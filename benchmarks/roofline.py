"""What the machine allows: how fast it reads and multiplies, and how long a batch must take at that."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import report
from workers import CORES, Tasks, Worker

from tfalexnet.networks.catalog import BVLC_ALEXNET as NET

READ = 1 << 30  # Bytes, beyond any cache.
SIDE = 4096  # Of the square matrices that are multiplied.
TRIES = 7  # The best counts.
SIZES = {"float32": 4, "bfloat16": 2}  # Bytes of a weight.


def machine() -> Tasks:
    """Tasks that measure the machine, each giving how many a second."""
    import tensorflow as tf

    parts = np.array_split(np.ones(READ // 8), CORES)

    def read() -> float:
        with ThreadPoolExecutor(CORES) as pool:
            return READ / _best(lambda: list(pool.map(np.max, parts)))

    def multiplied(dtype: str) -> float:
        matrix = tf.cast(tf.random.normal((SIDE, SIDE)), dtype)
        return SIDE**3 / _best(lambda: tf.matmul(matrix, matrix)[0, 0].numpy())

    return {"bytes": read, **{dtype: functools.partial(multiplied, dtype) for dtype in SIZES}}


def _best(task: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def layers(precision: str) -> list[tuple[int, int]]:
    """Multiply-adds for a picture and bytes of weights of each layer that has them."""
    found = []
    places = NET.output_shapes()
    for name, (kernel, bias) in NET.parameter_shapes().items():
        size = SIZES["float32" if name == NET.classifier.name else precision]  # As `frozen.freeze` keeps it.
        height, width, _ = places[name]
        found.append((height * width * np.prod(kernel), (np.prod(kernel) + np.prod(bias)) * size))
    return found


def at_best(precision: str, batch: int, bandwidth: float, multiplied: float) -> float:
    """Seconds for a batch if every layer took only what reading its weights or multiplying takes.

    The larger of the two, layer by layer, since none can begin before the last; normalisation, pooling
    and whatever moves between layers count nothing.
    """
    return sum(max(batch * products / multiplied, size / bandwidth) for products, size in layers(precision))


def measured(ours: dict[tuple[str, int], float]) -> str:
    """Lines for people; `ours` are seconds a batch by (precision, batch)."""
    with Worker(machine) as worker:
        bandwidth = worker("bytes")
        multiplied = {precision: worker(precision) for precision in SIZES}
    rows = []
    for (precision, batch), seconds in ours.items():
        products, size = (sum(each) for each in zip(*layers(precision), strict=True))
        best = at_best(precision, batch, bandwidth, multiplied[precision])
        cells = [batch * products / 1e9, size / 1e6, 1e3 * best, 1e3 * seconds]
        rows.append([f"{precision}, batch {batch}", *(f"{cell:.1f}" for cell in cells), f"{best / seconds:.0%}"])
    speeds = ", ".join(f"{2 * speed / 1e9:.0f} GFLOP/s in {precision}" for precision, speed in multiplied.items())
    heads = ["", "10⁹ multiply-adds", "MB of weights", "at best, ms", "measured, ms", "share"]
    return f"The machine reads {bandwidth / 1e9:.1f} GB/s and multiplies {speeds}.\n\n{report.table(heads, rows)}"
