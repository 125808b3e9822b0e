"""What a figure fades around a part of a photo."""

import numpy as np


def faded_and_kept(axes) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The extents, left, top, right and bottom, of the one faded patch and of the hole in it."""
    (patch,) = [patch for patch in axes.patches if patch.get_fill()]
    around, hole = patch.get_path().to_polygons(closed_only=True)
    assert _area(around) * _area(hole) < 0  # Opposite directions: the hole is not filled.
    return tuple((*points.min(axis=0), *points.max(axis=0)) for points in (around, hole))


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
