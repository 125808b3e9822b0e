"""Speed from a folder of JPEGs to labels, compared with PyTorch, Pillow and DataLoader, and with its own parts."""

from __future__ import annotations

import functools
import itertools
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import report
from files import H5, PHOTOS
from peers import BY_TENSORFLOW, TYPES
from PIL import Image
from report import Figure
from rounds import paired, ratio
from workers import CORES, NotMeasured, Tasks, Worker

from tfalexnet.images.preprocessing import BVLC

GOALS = {"float32": 2.3, "bfloat16": 4}  # As multiples of the speed of PyTorch in float32.
PREPARED = 1.3  # The goal of preparation, as a multiple of the speed with TensorFlow's decoder and resizing.
SUM = 0.95  # The goal of all of it, relative to the sum of the times of both parts.
PRECISIONS = [precision for precision in GOALS if precision in TYPES]
TASKS = {"all": "to labels", "preparing": "preparing only", "network": "network only"}
TENSORFLOW = "TensorFlow's decoder and resizing"
AGREEING = 0.99  # Share of equal labels in float32: with random weights the best two classes may be almost equal.


class Photos:
    """A data set of PyTorch with the preprocessing of BVLC; Pillow does not have its resizing."""

    def __init__(self, files: list[Path]) -> None:
        import torch

        self.files = files
        self.mean = torch.tensor(BVLC.mean)[:, None, None]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        import torch

        with Image.open(self.files[index]) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
        resized = torch.nn.functional.interpolate(pixels, size=(BVLC.size, BVLC.size), mode="bilinear")[0]
        edge = (BVLC.size - BVLC.crop) // 2
        return resized[:, edge : edge + BVLC.crop, edge : edge + BVLC.crop].flip(0) - self.mean


def ours(folder: Path, precision: str, engine: str = "auto") -> Tasks:
    """Return tasks of this package: all of it, and each of its two parts with the threads that it has there."""
    from tfalexnet.inference.pipeline import COMPUTED_AT_ONCE
    from tfalexnet.inference.predict import iter_predictions
    from tfalexnet.runtimes.network import BATCH_SIZE, load_network

    files, weights = sorted((folder / PHOTOS).iterdir()), folder / H5
    network = load_network(weights, precision=precision, engine=engine)
    first = [BVLC(file) for file in files[: 4 * BATCH_SIZE]]
    batches = [np.array(batch) for batch in _batched(first, BATCH_SIZE)]
    steps = -(-len(files) // BATCH_SIZE)

    def labels() -> list[int]:
        return [best.index for [best] in iter_predictions(files, weights, 1, precision, engine=engine)]

    def computing() -> None:
        with ThreadPoolExecutor(COMPUTED_AT_ONCE) as pool:
            list(pool.map(network, itertools.islice(itertools.cycle(batches), steps)))

    tasks = {"all": labels, "preparing": _preparing(network.spec.preprocessing.views, files), "network": computing}
    return {"labels": labels, **{name: _timed(task) for name, task in tasks.items()}}


def in_tensorflow(folder: Path) -> Tasks:
    """Return the task of preparing pictures as `BVLC` does, decoded and resized by TensorFlow."""
    import tensorflow as tf

    def prepare(file: Path) -> np.ndarray:
        pixels = tf.io.decode_jpeg(file.read_bytes(), dct_method="INTEGER_ACCURATE")
        resized = tf.image.resize(pixels, (BVLC.size, BVLC.size))
        edge = (BVLC.size - BVLC.crop) // 2
        cropped = resized[edge : edge + BVLC.crop, edge : edge + BVLC.crop, ::-1]
        return cropped.numpy() - np.float32(BVLC.mean)

    files = sorted((folder / PHOTOS).iterdir())
    if not all(np.array_equal(prepare(file), BVLC(file)) for file in files[:32]):
        raise ValueError("pictures prepared by TensorFlow differ")
    return {"preparing": _timed(_preparing(prepare, files))}


def theirs(folder: Path, precision: str) -> Tasks:
    """Return tasks of PyTorch: one process for each core reads and prepares ahead of the network."""
    import torch
    from peers import torch_module

    module = torch_module(folder, precision)
    files = sorted((folder / PHOTOS).iterdir())
    loader = torch.utils.data.DataLoader(Photos(files), batch_size=32, num_workers=CORES, persistent_workers=True)

    @torch.inference_mode()
    def labels() -> list[int]:
        classes = []
        for batch in loader:
            inputs = batch.to(getattr(torch, precision), memory_format=torch.channels_last)
            classes += module(inputs).argmax(1).tolist()
        return classes

    return {"labels": labels, "all": _timed(labels)}


OURS = {"tfalexnet": ours, BY_TENSORFLOW: functools.partial(ours, engine="tensorflow")}


def measured(folder: Path, count: int, rounds: int, pause: float) -> tuple[str, list[Figure]]:
    """Return the report, and figures with bounds.

    Args:
        folder: with the files of `files.write` and `files.write_photos`.
        count: number of photos.
        rounds: rounds of each timing.
        pause: seconds before each turn.
    """
    notes, labels, turns = [], {}, {}
    with ExitStack() as stack:
        for package, make in (OURS | {"PyTorch": theirs}).items():
            for precision in PRECISIONS:
                try:
                    worker = stack.enter_context(Worker(make, folder, precision))
                    labels[package, precision] = np.array(worker("labels"))
                except NotMeasured as reason:
                    notes.append(f"{package}, {precision}: not measured: {reason}.")
                    continue
                for task in TASKS if package in OURS else ("all",):
                    turns[f"{package} {precision} {task}"] = lambda w=worker, t=task: w(t)
        try:
            turns[TENSORFLOW] = functools.partial(stack.enter_context(Worker(in_tensorflow, folder)), "preparing")
        except NotMeasured as reason:
            notes.append(f"{TENSORFLOW}: not measured: {reason}.")
        seconds = paired(turns, rounds, pause)
    exact = labels["tfalexnet", "float32"]
    agreeing = {key: (classes == exact).mean() for key, classes in labels.items()}
    if agreeing.get(("PyTorch", "float32"), 1) < AGREEING:
        raise SystemExit(
            f"Labels of a folder agree for {agreeing['PyTorch', 'float32']:.1%} of it; the times are not valid."
        )
    rows, figures = [], []
    for package, precision in labels:
        name = f"{package} {precision}"
        speeds = {
            task: f"{count / statistics.median(seconds[f'{name} {task}']):.1f}"
            for task in TASKS
            if f"{name} {task}" in seconds
        }
        row = [f"{package}, {precision}", *(speeds.get(task, "") for task in TASKS)]
        rows.append([*row, f"{agreeing[package, precision]:.1%}"])
    for package, precision in itertools.product(OURS, PRECISIONS):
        name = f"{package} {precision}"
        if f"{name} all" not in seconds:
            continue
        for other, least in {"float32": GOALS[precision], "bfloat16": None}.items():
            if f"PyTorch {other} all" in seconds:
                value = ratio(seconds, f"PyTorch {other} all", f"{name} all")
                text = f"folder to labels, {package}, {precision}, × PyTorch in {other}"
                figures.append(Figure(text, value, at_least=least))
        parts = list(zip(*(seconds[f"{name} {task}"] for task in TASKS), strict=True))
        share = statistics.median((preparing + network) / total for total, preparing, network in parts)
        figures.append(Figure(f"speed relative to both parts in turn, {package}, {precision}", share, SUM))
    if TENSORFLOW in seconds:
        value = ratio(seconds, TENSORFLOW, "tfalexnet float32 preparing")
        figures.append(Figure(f"preparing pictures, × {TENSORFLOW}", value, PREPARED))
    heads = [f"{count} JPEGs, pictures/s", *TASKS.values(), "same label as float32"]
    return "\n\n".join([report.table(heads, rows), *notes]), figures


def _preparing(prepare: Callable[[Path], object], files: list[Path]) -> Callable[[], None]:
    def task() -> None:
        with ThreadPoolExecutor(CORES) as pool:
            for _ in pool.map(prepare, files):
                pass

    return task


def _timed(task: Callable[[], object]) -> Callable[[], float]:
    def seconds() -> float:
        start = time.perf_counter()
        task()
        return time.perf_counter() - start

    return seconds


def _batched(items: list, size: int) -> list[list]:
    return [items[start : start + size] for start in range(0, len(items), size)]
