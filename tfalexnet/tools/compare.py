"""Two networks, or two checkpoints, layer by layer: what is equal, what differs, and how."""

import difflib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub.cache import find_weights
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.io.terminal import format_table
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture, Layer
from tfalexnet.tools.mistakes import LAYOUTS

Shape = tuple[int, ...]

ROUNDING = 1e-2  # Kernels whose relative distance is smaller differ by rounding only: bfloat16 has 8 bits, 2⁻⁸ = .004.
INITIAL = ("kernel_init", "bias_init")  # Fields of rows that have no effect on weights from a file.


@dataclass(frozen=True)
class LayerDifference:
    """One layer of two networks.

    Attributes:
        layer: its name; "input" is the input of the first layer.
        status: "moved" is a layer of both networks in another position; it has a row for each position.
        outputs: shapes of its output in A and in B, (height, width, channels); None where it is absent.
        parameters: how many it has in A and in B; None where it is absent or has none.
        fields: fields of its rows that differ, {field: (in A, in B)}.
    """

    layer: str
    status: Literal["same", "changed", "moved", "only in A", "only in B"]
    outputs: tuple[Shape | None, Shape | None]
    parameters: tuple[int | None, int | None]
    fields: dict[str, tuple[Any, Any]]

    def __str__(self) -> str:
        position = "" if self.status != "moved" else ": here in A" if self.outputs[0] else ": here in B"
        changes = ", ".join(f"{name} {_text(a)} → {_text(b)}" for name, (a, b) in self.fields.items())
        return f"{self.status}{position}{f': {changes}' if changes else ''}"


@dataclass(frozen=True)
class ArrayDifference:
    """One kernel or bias of two checkpoints; numbers are None where the shapes differ.

    Attributes:
        layer: its name.
        part: "kernel" or "bias".
        shapes: in A and in B; None where it is absent.
        identical: whether all bits are equal.
        largest: max |A − B|.
        relative: ‖A − B‖ / ‖A‖; infinite where A is zero and B is not.
        cosine: A·B / (‖A‖ ‖B‖); None where one of them is zero.
        hint: the layout of `LAYOUTS` in which B's kernel equals A's, None if there is none.
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
            return f"equals A with {self.hint}"
        return "identical" if self.identical else "differs"


@dataclass(frozen=True)
class Comparison:
    """The comparison of two networks, or of two checkpoints.

    Attributes:
        names: of A and B.
        rows: their layers, or the arrays of their layers, in the order of the network.
        differences: of checkpoints: differences of network, preprocessing and classes, each a sentence.
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
        a: a name in `tfalexnet.ARCHITECTURES` or a table; or a file, or the name of published weights.
        b: another of the same kind.
        architecture: the network of both checkpoints; see `checkpoints.checkpoint.read_checkpoint`.
        weights: read two names as weights that are names of architectures too.

    Raises:
        ValueError: one is an architecture, the other a checkpoint.
        CheckpointError: a file is not a checkpoint, or does not match its network.
        WeightsNotFoundError, OSError: a file does not exist or cannot be read.
    """
    if not weights and all(isinstance(side, Architecture) or side in ARCHITECTURES for side in (a, b)):
        first, second = get_architecture(a), get_architecture(b)
        rows = tuple(_compare_layers(first, second))
        return Comparison((first.name, second.name), rows, (), (), all(row.status == "same" for row in rows))
    for side in (a, b):
        if isinstance(side, Architecture) or (side in ARCHITECTURES and side not in REGISTRY):
            raise ValueError(
                "Expected two architectures, or two checkpoints (files or names of weights). "
                f"Received: {getattr(side, 'name', side)}, which is an architecture only."
            )
    first, second = (read_checkpoint(find_weights(side), architecture) for side in (a, b))
    rows = tuple(_compare_arrays(first, second))
    differences = tuple(_compare_specs(first.spec, second.spec))
    same = all(row.identical for row in rows) and not differences
    return Comparison((os.fspath(a), os.fspath(b)), rows, differences, (*first.notes, *second.notes), same)


def comparison_table(comparison: Comparison) -> str:
    """Return the comparison as lines of text."""
    rows = comparison.rows
    parts = [
        "\n".join(f"{side}: {name}" for side, name in zip("AB", comparison.names, strict=True)),
        _arrays_table(rows) if isinstance(rows[0], ArrayDifference) else _layers_table(rows),
        "\n".join(comparison.differences),
        "\n".join(f"Note: {note}" for note in comparison.notes),
        "Nothing differs." if comparison.same else "They differ.",
    ]
    return "\n\n".join(part for part in parts if part)


def _compare_layers(a: Architecture, b: Architecture, ignored: tuple[str, ...] = ()) -> Iterator[LayerDifference]:
    """Yield the layers of both networks, merged in their order."""
    shapes = a.input_shape, b.input_shape
    yield LayerDifference("input", "same" if shapes[0] == shapes[1] else "changed", shapes, (None, None), {})
    sides = _described_layers(a), _described_layers(b)
    for name, present in _merge(*sides):
        shown = (side[name] if here else (None,) * 3 for side, here in zip(sides, present, strict=True))
        _, outputs, parameters = zip(*shown, strict=True)
        changes = {}
        if name in sides[0] and name in sides[1]:
            changes = _changed_fields(sides[0][name][0], sides[1][name][0], ignored)
            status = "moved" if not all(present) else "changed" if changes else "same"
        else:
            status = "only in A" if present[0] else "only in B"
        yield LayerDifference(name, status, outputs, parameters, changes)


def _described_layers(net: Architecture) -> dict[str, tuple[Layer, Shape, int | None]]:
    """Return the row, the shape of the output and the number of parameters of each layer."""
    outputs, shapes = net.output_shapes(), net.parameter_shapes()
    return {
        row.name: (row, outputs[row.name], sum(map(math.prod, shapes.get(row.name, ()))) or None) for row in net.layers
    }


def _merge(a: Iterable[str], b: Iterable[str]) -> Iterator[tuple[str, tuple[bool, bool]]]:
    """Yield the names of both lists in order, and whether A, B or both have the name in this position."""
    a, b = list(a), list(b)
    for tag, a_start, a_stop, b_start, b_stop in difflib.SequenceMatcher(None, a, b, False).get_opcodes():
        yield from ((name, (True, tag == "equal")) for name in a[a_start:a_stop])
        if tag != "equal":
            yield from ((name, (False, True)) for name in b[b_start:b_stop])


def _changed_fields(a: Layer, b: Layer, ignored: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two rows of one name differ."""
    if type(a) is not type(b):
        return {"kind": (type(a).__name__, type(b).__name__)}
    pairs = {name: (value, getattr(b, name)) for name, value in vars(a).items() if name not in ignored}
    return {name: (x, y) for name, (x, y) in pairs.items() if x != y}


def _compare_arrays(a: Checkpoint, b: Checkpoint) -> Iterator[ArrayDifference]:
    for name in dict(_merge(a.parameters, b.parameters)):
        pairs = zip(*(side.parameters.get(name, (None, None)) for side in (a, b)), strict=True)
        for part, (x, y) in zip(("kernel", "bias"), pairs, strict=True):
            shapes = tuple(None if array is None else array.shape for array in (x, y))
            if shapes[0] != shapes[1]:
                yield ArrayDifference(name, part, shapes)
                continue
            identical = np.array_equal(x.view(np.uint32), y.view(np.uint32))  # As bits: −0 is not 0.
            distance = _distance(x, y)
            may_be_reordered = part == "kernel" and distance[1] > ROUNDING
            hint = _matching_layout(x, y, name, b.spec.architecture) if may_be_reordered else None
            yield ArrayDifference(name, part, shapes, identical, *distance, hint)


def _distance(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float | None]:
    """Return max |a − b|, ‖a − b‖ / ‖a‖ and the cosine, computed by rows: fc6 in float64 would take a gigabyte."""
    largest, dd, aa, bb, ab = 0.0, 0.0, 0.0, 0.0, 0.0
    for x, y in zip(a, b, strict=True):
        x, y = (np.asarray(row, np.float64).ravel() for row in (x, y))
        d = x - y
        largest = max(largest, float(np.abs(d).max(initial=0)))
        dd, aa, bb, ab = dd + d @ d, aa + x @ x, bb + y @ y, ab + x @ y
    relative = math.sqrt(dd / aa) if aa else math.inf if dd else 0.0
    return largest, relative, float(ab / math.sqrt(aa * bb)) if aa and bb else None


def _matching_layout(a: np.ndarray, b: np.ndarray, layer: str, net: Architecture) -> str | None:
    """Return the layout in which b equals a up to rounding."""
    for name, layout in LAYOUTS.items():
        other, _ = layout(net, {layer: (b, None)})[layer]
        if other is not b and _distance(a, other)[1] <= ROUNDING:
            return name
    return None


def _compare_specs(a: ModelSpec, b: ModelSpec) -> Iterator[str]:
    """Yield a sentence for each difference of networks, preprocessing and classes."""
    nets = a.architecture, b.architecture
    changed = "; ".join(f"{row.layer} {row}" for row in _compare_layers(*nets, INITIAL) if row.status != "same")
    if changed:
        yield f"Networks: {nets[0].name} in A, {nets[1].name} in B: {changed}"
    if a.preprocessing is not None and b.preprocessing is not None:
        for field in fields(Preprocessing):
            x, y = getattr(a.preprocessing, field.name), getattr(b.preprocessing, field.name)
            # Files store a mean as float32.
            if x != y if isinstance(x, str) else not np.array_equal(np.float32(x), np.float32(y)):
                yield f"Preprocessing: {field.name} {_text(x)} in A, {_text(y)} in B."
    elif a.preprocessing is not b.preprocessing:
        yield f"Preprocessing: unknown in {'A' if a.preprocessing is None else 'B'} only."
    if len(a.classes) != len(b.classes):
        yield f"Classes: {len(a.classes) or 'none'} in A, {len(b.classes) or 'none'} in B."
        return
    labels = [(x.label, y.label) for x, y in zip(a.classes, b.classes, strict=True)]
    others = [index for index, (x, y) in enumerate(labels) if x != y]
    if others:
        x, y = labels[others[0]]
        yield f"Classes: {len(others)} of {len(labels)} have other names; {others[0]} is {x!r} in A, {y!r} in B."


def _layers_table(rows: tuple[LayerDifference, ...]) -> str:
    lines = [("layer", "output in A", "in B", "parameters in A", "in B", "")]
    for row in rows:
        counts = [f"{count:,}" if count else "" for count in row.parameters]
        lines.append((row.layer, *map(_shape_text, row.outputs), *counts, str(row)))
    totals = [f"{sum(row.parameters[side] or 0 for row in rows):,}" for side in (0, 1)]
    return format_table([*lines, ("total", "", "", *totals, "")], right=(3, 4))


def _arrays_table(rows: tuple[ArrayDifference, ...]) -> str:
    lines = [("layer", "", "shape in A", "in B", "max |A−B|", "‖A−B‖/‖A‖", "cosine", "")]
    for row in rows:
        numbers = zip((row.largest, row.relative, row.cosine), (".3g", ".3g", ".6f"), strict=True)
        texts = ["" if number is None else f"{number:{form}}" for number, form in numbers]
        lines.append((row.layer, row.part, *map(_shape_text, row.shapes), *texts, str(row)))
    return format_table(lines, right=(4, 5, 6))


def _shape_text(shape: Shape | None) -> str:
    if shape is None:
        return "–"
    return "×".join(map(str, shape[2:] if len(shape) == 3 and shape[:2] == (1, 1) else shape))


def _text(value: Any) -> str:
    """Return the value of a field; numbers of a mean or a deviation have six digits."""
    if np.ndim(value) == 3:
        return f"a picture of {_shape_text(value.shape)}"
    return ", ".join(f"{x:.6g}" for x in value) if isinstance(value, tuple | np.ndarray) else str(value)
