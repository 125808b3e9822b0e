"""Representational dissimilarity matrices: how different the features of each two pictures are."""

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

Metric = Literal["correlation", "cosine", "euclidean"]

AT_ONCE = 1 << 26  # Bytes of rows, in float64, in memory for each of two blocks.
MOST_ROWS = 2048  # Of a block; the dissimilarities of two blocks take 32 MB.
# Share of the squared norms below which a squared distance, computed as a² + b² − 2ab, has lost too many digits.
CANCELLED = 1e-4


class Block(NamedTuple):
    """Some rows, prepared for a metric, float64, and a number for each row that the metric requires."""

    rows: np.ndarray
    norms: np.ndarray


def rdm(
    features: Any,
    metric: Metric = "correlation",
    layer: str | None = None,
    square: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Return the dissimilarity of each two rows, as `scipy.spatial.distance.pdist`.

    `correlation` is 1 − the correlation of Pearson of two rows, `cosine` 1 − the cosine of their angle, `euclidean`
    the length of their difference. A constant row has no correlation and a row of zeros no angle: NaN. All is computed
    in float64, from two blocks of rows at a time, so that neither a file of features nor, with a mapped `out`, the
    result has to fit into the memory.

    Args:
        features: (n, …), n pictures: an array, a mapped one, a dataset of h5py, anything else with `shape` and slices;
            or a file of `tfalexnet features`: .h5, .npy or .npz, of which the last is read into memory. Further axes
            are flattened.
        metric: the dissimilarity.
        layer: the layer in a .h5 or .npz; may be None where there is one only.
        square: whether all n × n are returned, with a diagonal of 0.
        out: where the result is written, in its dtype: (n(n − 1)/2,), or (n, n) with `square`.

    Returns:
        float64 (n(n − 1)/2,): the upper triangle, row by row: (0, 1), (0, 2), … (n − 2, n − 1); or (n, n). It is `out`
        if that is given.

    Raises:
        ValueError: an argument is out of its range.
        OSError: a file cannot be read.
    """
    if metric not in METRICS:
        raise ValueError(f"Expected `metric` to be one of {', '.join(METRICS)}. Received: {metric!r}")
    prepare, compare = METRICS[metric]
    with _open(features, layer) as rows:
        if len(rows.shape) < 2:
            raise ValueError(f"Expected features of shape (pictures, …). Received: {tuple(rows.shape)}")
        count = rows.shape[0]
        shape = (count, count) if square else (count * (count - 1) // 2,)
        out = np.empty(shape) if out is None else out
        if out.shape != shape or out.dtype.kind != "f":
            expected = f"`out` of shape {shape} for {count} rows, and of a floating-point type"
            raise ValueError(f"Expected {expected}. Received: {out.shape}, {out.dtype}")
        step = max(1, min(MOST_ROWS, AT_ONCE // (8 * max(1, math.prod(rows.shape[1:])))))
        store = _store_square if square else _store_triangle
        for top in range(0, count, step):
            upper = prepare(_read(rows, top, step))
            for left in range(top, count, step):
                other = upper if left == top else prepare(_read(rows, left, step))
                store(out, count, top, left, compare(upper, other))
    if square:
        np.fill_diagonal(out, 0)
    return out


@contextlib.contextmanager
def _open(features: Any, layer: str | None) -> Iterator[Any]:
    """Yield something with `shape` and slices of rows."""
    if not isinstance(features, str | os.PathLike):
        if layer is not None:
            raise ValueError(f"Expected `layer` for a .h5 or .npz file only. Received: {layer!r}")
        yield features if hasattr(features, "shape") else np.asarray(features)
        return
    path = Path(features)
    if path.suffix == ".npy":
        yield np.load(path, mmap_mode="r")
    elif path.suffix == ".npz":
        with np.load(path) as file:
            yield file[_layer_of(path, {name: file[name].dtype for name in file.files}, layer)]
    elif path.suffix in (".h5", ".hdf5"):
        import h5py

        with h5py.File(path) as file:
            datasets = {name: item.dtype for name, item in file.items() if isinstance(item, h5py.Dataset)}
            yield file[_layer_of(path, datasets, layer)]
    else:
        raise ValueError(f"Expected an array, or a .h5, .npy or .npz file. Received: {path}")


def _layer_of(path: Path, dtypes: dict[str, np.dtype], layer: str | None) -> str:
    """Return the name of the array of floating-point numbers to read."""
    names = [name for name, dtype in dtypes.items() if dtype.kind == "f"]
    if layer in names or (layer is None and len(names) == 1):
        return layer or names[0]
    raise ValueError(f"Expected `layer` to be one of {', '.join(names)} in {path}. Received: {layer!r}")


def _read(rows: Any, start: int, step: int) -> np.ndarray:
    block = np.asarray(rows[start : start + step], np.float64)
    return block.reshape(len(block), -1)


def _unit(rows: np.ndarray) -> Block:
    """Return rows divided by their lengths; rows of zeros become NaN."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    norms[norms == 0] = np.nan
    return Block(rows / norms[:, None], norms)


def _centred(rows: np.ndarray) -> Block:
    """Return rows minus their means, as units; constant rows become NaN, whatever the rounding of their means."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    if rows.shape[1]:
        centred[rows.max(axis=1) == rows.min(axis=1)] = 0
    return _unit(centred)


def _one_minus_products(one: Block, other: Block) -> np.ndarray:
    return 1 - np.clip(one.rows @ other.rows.T, -1, 1)


def _with_squares(rows: np.ndarray) -> Block:
    return Block(rows, np.einsum("ij,ij->i", rows, rows))


def _distances(one: Block, other: Block) -> np.ndarray:
    """Return √(a² + b² − 2ab); where this cancels, the length of a − b."""
    sums = one.norms[:, None] + other.norms
    with np.errstate(invalid="ignore"):  # ∞ − ∞, here and in the differences.
        squares = sums - 2 * (one.rows @ other.rows.T)
        for index, cancelled in enumerate(~(squares >= CANCELLED * sums)):
            if cancelled.any():
                difference = other.rows[cancelled] - one.rows[index]
                squares[index, cancelled] = np.einsum("ij,ij->i", difference, difference)
    return np.sqrt(squares)


def _store_square(out: np.ndarray, _: int, top: int, left: int, block: np.ndarray) -> None:
    height, width = block.shape
    out[top : top + height, left : left + width] = block
    out[left : left + width, top : top + height] = block.T


def _store_triangle(out: np.ndarray, count: int, top: int, left: int, block: np.ndarray) -> None:
    """Write the part of a block above the diagonal: row i, column j is at i·(2n − i − 1)/2 + j − i − 1."""
    for row, values in enumerate(block, top):
        first = max(left, row + 1)  # Column.
        start = row * (2 * count - row - 1) // 2 + first - row - 1
        out[start : start + left + len(values) - first] = values[first - left :]


METRICS: dict[str, tuple[Callable[[np.ndarray], Block], Callable[[Block, Block], np.ndarray]]] = {
    "correlation": (_centred, _one_minus_products),
    "cosine": (_unit, _one_minus_products),
    "euclidean": (_with_squares, _distances),
}


def percentiles(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value among all of them in per cent, 0–100; equal values share their mean rank.

    Args:
        values: any shape; NaN has no rank and stays NaN.
    """
    ranks = np.full(values.shape, np.nan)
    known = ~np.isnan(values)
    _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    ranks[known] = (last - (counts - 1) / 2)[inverse] * 100 / max(1, known.sum() - 1)
    return ranks
