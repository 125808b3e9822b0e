"""Two networks, or two checkpoints, layer by layer: what is equal, what differs, and how."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.hub.cache import find_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.classes import Class
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.io.terminal import format_table
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture, Layer
from tfalexnet.tools.layouts import LAYOUTS

Shape = tuple[int, ...]
Status = Literal["same", "changed", "moved", "only in A", "only in B"]

# Kernels that differ by less are the same ones, rounded: bfloat16 keeps 8 bits, 2⁻⁸ = .004.
ROUNDED = 1e-2

INITIAL = ("kernel_init", "bias_init")  # What a checkpoint has left behind.


@dataclass(frozen=True)
class LayerDifference:
    """One layer of two networks.

    Attributes:
        layer: its name; "input" is what enters the first one.
        status: "moved" is a layer of both that stands elsewhere in the other, once for each place.
        outputs: what leaves it in A and in B, (height, width, channels); None where it is not.
        parameters: how many it holds in A and in B; None where it is not.
        fields: what its rows say differently, {field: (in A, in B)}.
    """

    layer: str
    status: Status
    outputs: tuple[Shape | None, Shape | None]
    parameters: tuple[int | None, int | None]
    fields: dict[str, tuple[Any, Any]]

    def __str__(self) -> str:
        place = "" if self.status != "moved" else ": here in A" if self.outputs[0] else ": here in B"
        fields = ", ".join(f"{name} {_text(a)} → {_text(b)}" for name, (a, b) in self.fields.items())
        return f"{self.status}{place}{f': {fields}' if fields else ''}"


@dataclass(frozen=True)
class ArrayDifference:
    """One kernel or bias of two checkpoints; numbers are None where there is nothing to compare.

    Attributes:
        layer: its name.
        part: "kernel" or "bias".
        shapes: in A and in B; None where it is not.
        identical: to the bit.
        largest: max |A − B|.
        relative: ‖A − B‖ / ‖A‖; infinite where A is zero and B is not.
        cosine: A·B / (‖A‖ ‖B‖); None where one of them is zero.
        hint: the layout of LAYOUTS in which B's kernel is A's, where that is another one.
    """

    layer: str
    part: Literal["kernel", "bias"]
    shapes: tuple[Shape | None, Shape | None]
    identical: bool = False
    largest: float | None = None
    relative: float | None = None
    cosine: float | None = None
    hint: str | None = None

    def __str__(self) -> str:
        a, b = self.shapes
        if a is None or b is None:
            return "only in A" if b is None else "only in B"
        if a != b:
            return "another shape"
        if self.hint:
            return f"is A's with {self.hint}"
        return "identical" if self.identical else "differs"


@dataclass(frozen=True)
class Comparison:
    """What two networks, or two checkpoints, have in common.

    Attributes:
        names: what A and B are.
        rows: their layers, or the arrays of their layers, in the order of the network.
        differences: what else differs, each a sentence.
        notes: what was guessed, renamed or left out in reading, each a sentence.
        same: whether nothing differs.
    """

    names: tuple[str, str]
    rows: tuple[LayerDifference, ...] | tuple[ArrayDifference, ...]
    differences: tuple[str, ...]
    notes: tuple[str, ...]
    same: bool


def diff(
    a: str | os.PathLike | Architecture,
    b: str | os.PathLike | Architecture,
    architecture: str | Architecture | None = None,
    weights: bool = False,
) -> Comparison:
    """Compare two architectures, or two checkpoints in any formats, layer by layer.

    Args:
        a: a name of `tfalexnet.ARCHITECTURES` or a table; or a file, or a known name of weights.
        b: another of the same kind.
        architecture: the network of both checkpoints; see `checkpoints.read`.
        weights: two names that mean both an architecture and weights mean the weights.

    Raises:
        ValueError: one is an architecture, the other a checkpoint.
        CheckpointError: a file is no checkpoint, or does not fit its network.
        WeightsNotFoundError, OSError: a file cannot be found or read.
    """
    if not weights and all(isinstance(side, Architecture) or side in ARCHITECTURES for side in (a, b)):
        return _architectures(get_architecture(a), get_architecture(b))
    for side in (a, b):
        if isinstance(side, Architecture) or (side in ARCHITECTURES and side not in REGISTRY):
            raise ValueError(
                "Expected two architectures, or two checkpoints (files or names of weights). "
                f"Received: {getattr(side, 'name', side)}, of which there is an architecture alone."
            )
    first, second = (read_checkpoint(find_weights(side), architecture) for side in (a, b))
    return _checkpoints(os.fspath(a), os.fspath(b), first, second)


def comparison_table(comparison: Comparison) -> str:
    """The comparison as lines of text."""
    rows = comparison.rows
    lines = [f"{side}: {name}" for side, name in zip("AB", comparison.names, strict=True)]
    lines += ["", _arrays_table(rows) if isinstance(rows[0], ArrayDifference) else _layers_table(rows)]
    lines += ["" for _ in comparison.differences[:1]] + list(comparison.differences)
    lines += ["" for _ in comparison.notes[:1]] + [f"Note: {note}" for note in comparison.notes]
    return "\n".join([*lines, "", "Nothing differs." if comparison.same else "They differ."])


def _architectures(a: Architecture, b: Architecture) -> Comparison:
    rows = tuple(_layers(a, b))
    return Comparison((a.name, b.name), rows, (), (), all(row.status == "same" for row in rows))


def _layers(a: Architecture, b: Architecture, ignored: tuple[str, ...] = ()) -> Iterator[LayerDifference]:
    """The layers of A and B in an order that serves both."""
    yield LayerDifference(
        "input",
        "same" if a.input_shape == b.input_shape else "changed",
        (a.input_shape, b.input_shape),
        (None, None),
        {},
    )
    sides = [({row.name: row for row in net.layers}, net.output_shapes(), net.parameter_shapes()) for net in (a, b)]
    (rows_a, *_), (rows_b, *_) = sides
    for name, here in _merged(list(rows_a), list(rows_b)):
        fields = {}
        if name in rows_a and name in rows_b:
            fields = _fields(rows_a[name], rows_b[name], ignored)
            status = "moved" if not all(here) else "changed" if fields else "same"
        else:
            status = "only in A" if here[0] else "only in B"
        outputs, parameters = (
            tuple(found if there else None for found, there in zip(pair, here, strict=True))
            for pair in (
                [outputs.get(name) for _, outputs, _ in sides],
                [_size(shapes.get(name)) for _, _, shapes in sides],
            )
        )
        yield LayerDifference(name, status, outputs, parameters, fields)


def _merged(a: list[str], b: list[str]) -> Iterator[tuple[str, tuple[bool, bool]]]:
    """Names of both lists, each where it stands in A, in B, or in both."""
    for _, a_start, a_stop, b_start, b_stop in difflib.SequenceMatcher(None, a, b, False).get_opcodes():
        if a[a_start:a_stop] == b[b_start:b_stop]:
            yield from ((name, (True, True)) for name in a[a_start:a_stop])
        else:
            yield from ((name, (True, False)) for name in a[a_start:a_stop])
            yield from ((name, (False, True)) for name in b[b_start:b_stop])


def _fields(a: Layer, b: Layer, ignored: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """What two rows of one name say differently."""
    if type(a) is not type(b):
        return {"kind": (type(a).__name__, type(b).__name__)}
    names = [field.name for field in dataclasses.fields(a) if field.name not in ignored]
    pairs = {name: (getattr(a, name), getattr(b, name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _size(shapes: tuple[Shape, Shape] | None) -> int | None:
    return None if shapes is None else sum(math.prod(shape) for shape in shapes)


def _checkpoints(name_a: str, name_b: str, a: Checkpoint, b: Checkpoint) -> Comparison:
    rows = tuple(_arrays(a, b))
    differences = (
        *_networks_differ(a.spec.architecture, b.spec.architecture),
        *_preprocessings_differ(a.spec.preprocessing, b.spec.preprocessing),
        *_classes_differ(a.spec.classes, b.spec.classes),
    )
    same = all(row.identical for row in rows) and not differences
    return Comparison((name_a, name_b), rows, differences, (*a.notes, *b.notes), same)


def _arrays(a: Checkpoint, b: Checkpoint) -> Iterator[ArrayDifference]:
    for name, _ in dict(_merged(list(a.parameters), list(b.parameters))).items():
        empty = (None, None)
        pairs = zip(a.parameters.get(name, empty), b.parameters.get(name, empty), strict=True)
        for part, (x, y) in zip(("kernel", "bias"), pairs, strict=True):
            shapes = tuple(None if array is None else array.shape for array in (x, y))
            if shapes[0] != shapes[1]:
                yield ArrayDifference(name, part, shapes)
            elif np.array_equal(x.view(np.uint32), y.view(np.uint32)):  # As bits: −0 is not 0.
                yield ArrayDifference(name, part, shapes, True, 0.0, 0.0, 1.0 if x.any() else None)
            else:
                largest, relative, cosine = _distance(x, y)
                hint = _layout(x, y, name, b.spec.architecture) if part == "kernel" and relative > ROUNDED else None
                yield ArrayDifference(name, part, shapes, False, largest, relative, cosine, hint)


def _distance(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float | None]:
    """Largest |a − b|, ‖a − b‖ / ‖a‖, cosine; a row at a time, since fc6 in float64 takes a gigabyte."""
    largest, dd, aa, bb, ab = 0.0, 0.0, 0.0, 0.0, 0.0
    for x, y in zip(a, b, strict=True):
        x, y = (np.asarray(row, np.float64).ravel() for row in (x, y))
        d = x - y
        largest = max(largest, float(np.abs(d).max(initial=0)))
        dd, aa, bb, ab = dd + d @ d, aa + x @ x, bb + y @ y, ab + x @ y
    relative = math.sqrt(dd / aa) if aa else math.inf if dd else 0.0
    return largest, relative, float(ab / math.sqrt(aa * bb)) if aa and bb else None


def _layout(a: np.ndarray, b: np.ndarray, layer: str, net: Architecture) -> str | None:
    """The layout in which b is a, but for rounding."""
    row = next(row for row in net.weighted if row.name == layer)
    for name, relaid in LAYOUTS.items():
        other = relaid(b, row, net)
        if other is not b and _distance(a, other)[1] <= ROUNDED:
            return name
    return None


def _networks_differ(a: Architecture, b: Architecture) -> Iterator[str]:
    changed = [row for row in _layers(a, b, INITIAL) if row.status != "same"]
    if changed:
        yield f"Networks: {a.name} in A, {b.name} in B: " + "; ".join(f"{row.layer} {row}" for row in changed)


def _preprocessings_differ(a: Preprocessing | None, b: Preprocessing | None) -> Iterator[str]:
    if a is None or b is None:
        if a is not b:
            yield f"Preprocessing: {'A' if a is None else 'B'} does not say, {'B' if a is None else 'A'} does."
        return
    for field in dataclasses.fields(Preprocessing):
        x, y = (getattr(process, field.name) for process in (a, b))
        # Files keep a mean as float32.
        if x != y if isinstance(x, str) else not np.array_equal(np.float32(x), np.float32(y)):
            yield f"Preprocessing: {field.name} {_text(x)} in A, {_text(y)} in B."


def _classes_differ(a: tuple[Class, ...], b: tuple[Class, ...]) -> Iterator[str]:
    if len(a) != len(b):
        yield f"Classes: {len(a) or 'none'} in A, {len(b) or 'none'} in B."
        return
    pairs = [(x.label, y.label) for x, y in zip(a, b, strict=True)]
    unlike = [index for index, (x, y) in enumerate(pairs) if x != y]
    if unlike:
        x, y = pairs[unlike[0]]
        yield f"Classes: {len(unlike)} of {len(a)} have other names; {unlike[0]} is {x!r} in A, {y!r} in B."


def _layers_table(rows: tuple[LayerDifference, ...]) -> str:
    lines = [("layer", "output in A", "in B", "parameters in A", "in B", "")]
    for row in rows:
        counts = [f"{count:,}" if count else "" for count in row.parameters]
        lines.append((row.layer, *map(_sides, row.outputs), *counts, str(row)))
    totals = [sum(row.parameters[side] or 0 for row in rows) for side in (0, 1)]
    lines.append(("total", "", "", *(f"{total:,}" for total in totals), ""))
    return format_table(lines, right=(3, 4))


def _arrays_table(rows: tuple[ArrayDifference, ...]) -> str:
    lines = [("layer", "", "shape in A", "in B", "max |A−B|", "‖A−B‖/‖A‖", "cosine", "")]
    for row in rows:
        numbers = [
            "" if number is None else f"{number:{form}}"
            for number, form in ((row.largest, ".3g"), (row.relative, ".3g"), (row.cosine, ".6f"))
        ]
        lines.append((row.layer, row.part, *map(_sides, row.shapes), *numbers, str(row)))
    return format_table(lines, right=(4, 5, 6))


def _sides(shape: Shape | None) -> str:
    if shape is None:
        return "–"
    return "×".join(map(str, shape[2:] if len(shape) == 3 and shape[:2] == (1, 1) else shape))


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"a picture of {_sides(value.shape)}" if value.ndim == 3 else ", ".join(f"{x:.6g}" for x in value)
    return ", ".join(f"{x:.6g}" for x in value) if isinstance(value, tuple) else str(value)
