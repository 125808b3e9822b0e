"""Lower bounds: how fast the machine reads and multiplies, and the time that a batch takes at least."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import report
from peers import TYPES
from workers import CORES, Tasks, Worker

from tfalexnet.networks.catalog import BVLC_ALEXNET as NET

READ = 1 << 30  # Bytes; more than any cache holds.
SIDE = 4096  # Rows and columns of the matrices that are multiplied.
TRIES = 7  # The fastest counts.
SIZES = {"float32": 4, "bfloat16": 2}  # Bytes of a weight.
MEASURED = [precision for precision in SIZES if precision in TYPES]


def processor() -> str:
    """Return the name of the processor, and its instructions for vectors and products of few bits."""
    text = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    name, flags = (re.search(rf"(?m)^{field}\s*: (.*)", text)[1] for field in ("model name", "flags"))
    kinds = [flag for flag in flags.split() if re.fullmatch("avx2|avx512f|avx512_bf16|avx(512)?_vnni|amx_.*", flag)]
    return f"{name.strip()} ({', '.join(kinds)})"


def machine() -> Tasks:
    """Return tasks that measure the machine; each returns bytes or multiply-adds per second."""
    parts = np.array_split(np.ones(READ // 8), CORES)

    def read() -> float:
        with ThreadPoolExecutor(CORES) as pool:
            return READ / _best(lambda: list(pool.map(np.max, parts)))

    def multiplied(dtype: str) -> float:
        return SIDE**3 / min(_best(product(dtype)) for product in (_by_tensorflow, _by_openvino))

    return {"bytes": read, **{dtype: functools.partial(multiplied, dtype) for dtype in MEASURED}}


def _by_tensorflow(dtype: str) -> Callable[[], object]:
    """Return a product of two matrices."""
    import tensorflow as tf

    matrix = tf.cast(tf.random.normal((SIDE, SIDE)), dtype)
    return lambda: tf.matmul(matrix, matrix)[0, 0].numpy()


def _by_openvino(dtype: str) -> Callable[[], object]:
    """Return a product of a matrix and a constant one, which is arranged for it beforehand as weights are."""
    import openvino
    from openvino import opset13

    matrix = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    inputs = opset13.parameter(matrix.shape, np.float32)
    model = openvino.Model([opset13.matmul(inputs, opset13.constant(matrix), False, False)], [inputs])
    options = {"INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[dtype]}
    request = openvino.compile_model(model, "CPU", options | {"INFERENCE_NUM_THREADS": CORES}).create_infer_request()
    return lambda: request.infer([matrix], share_inputs=True)


def _best(task: Callable[[], object]) -> float:
    seconds = []
    for _ in range(TRIES):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def layers(precision: str) -> list[tuple[int, int]]:
    """Return the multiply-adds for a picture and the bytes of the weights of each layer that has weights."""
    work = []
    shapes = NET.output_shapes()
    for name, (kernel, bias) in NET.parameter_shapes().items():
        size = SIZES["float32" if name == NET.classifier.name else precision]  # As `runtimes.tensorflow` stores it.
        height, width, _ = shapes[name]
        work.append((height * width * np.prod(kernel), (np.prod(kernel) + np.prod(bias)) * size))
    return work


def shortest_time(precision: str, batch: int, bandwidth: float, multiplied: float) -> float:
    """Return the seconds for a batch if every layer takes only the time to read its weights or to multiply.

    The larger of the two counts, layer by layer, since a layer cannot begin before the previous one has ended.
    Normalisation, pooling and copies between layers are not counted.
    """
    return sum(max(batch * products / multiplied, size / bandwidth) for products, size in layers(precision))


def speeds_in_words(multiplied: dict[str, float]) -> str:
    """Return the operations per second of each precision, two for a multiply-add."""
    return ", ".join(f"{2 * speed / 1e9:.0f} GFLOP/s in {precision}" for precision, speed in multiplied.items())


def step_products(batch: int) -> float:
    """Return the multiply-adds of a training step: for outputs, for gradients of weights and for those of inputs.

    The gradient of the pictures is not computed.
    """
    products = [each for each, _ in layers("float32")]
    return batch * (3 * sum(products) - products[0])


def measured(ours: dict[tuple[str, int], float]) -> str:
    """Return the report; `ours` are seconds per batch by (precision, batch)."""
    with Worker(machine) as worker:
        bandwidth = worker("bytes")
        multiplied = {precision: worker(precision) for precision in MEASURED}
    rows = []
    for (precision, batch), seconds in ours.items():
        if precision not in MEASURED:
            continue
        products, size = (sum(each) for each in zip(*layers(precision), strict=True))
        best = shortest_time(precision, batch, bandwidth, multiplied[precision])
        cells = [batch * products / 1e9, size / 1e6, 1e3 * best, 1e3 * seconds]
        rows.append([f"{precision}, batch {batch}", *(f"{cell:.1f}" for cell in cells), f"{best / seconds:.0%}"])
    speeds = speeds_in_words(multiplied)
    heads = ["", "10⁹ multiply-adds", "MB of weights", "lower bound, ms", "measured, ms", "share"]
    return f"The machine reads {bandwidth / 1e9:.1f} GB/s and multiplies {speeds}.\n\n{report.table(heads, rows)}"
