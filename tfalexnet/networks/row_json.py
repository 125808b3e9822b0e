"""The JSON form of a table's rows, and the values that each field of a row may have."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

LARGEST_SIZE = 1 << 16  # Bound of each integer: pixels a side, channels, filters, units, strides.
LONGEST_TEXT = 200

ACTIVATIONS = ("relu", "tanh", "sigmoid", "linear", "elu", "gelu", "leaky_relu", "relu6", "selu", "silu", "softplus")
INITIALIZERS = (
    *("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal"),
    *("orthogonal", "random_normal", "random_uniform", "truncated_normal", "ones", "zeros"),
)


@dataclass(frozen=True)
class Normal:
    """Initial kernels drawn from N(0, stddev²); `truncated` redraws values beyond two `stddev`."""

    stddev: float
    truncated: bool = False


NORMALS = {"normal": False, "truncated_normal": True}  # The key of a `Normal` in JSON, and its `truncated`.


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.isprintable()


def _is_name(value: Any) -> bool:
    # Keras and HDF5 reserve "/"; layer_names.py reserves ":" and "prob"; build.py names the input "input".
    return _is_text(value) and value not in ("", "input", "prob") and not {"/", ":"} & set(value)


def is_size(value: Any) -> bool:
    """Return whether a value is an integer from 1 to `LARGEST_SIZE`."""
    return type(value) is int and 0 < value <= LARGEST_SIZE


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30  # Finite in float32.


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_kernel_init(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) == 1 and all(key in NORMALS and _is_positive(stddev) for key, stddev in value.items())
    return isinstance(value, str) and value in INITIALIZERS


def _one_of(*values: str | bool | None) -> tuple[str, Callable[[Any], bool]]:
    allowed = [(type(value), value) for value in values]  # With types, since True == 1.
    return f"one of {', '.join(map(str, values))}", lambda value: (type(value), value) in allowed


INTEGER = f"an integer from 1 to {LARGEST_SIZE}", is_size
# For each field what it must be, in words for messages and as a test of a value.
FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": (f"printable text of 1 to {LONGEST_TEXT} characters, without / and :, not input or prob", _is_name),
    "source": (f"printable text of at most {LONGEST_TEXT} characters", _is_text),
    **dict.fromkeys(("size", "filters", "units", "stride", "groups"), INTEGER),
    **dict.fromkeys(("alpha", "beta", "k"), ("a positive number", _is_positive)),
    "bias_init": ("a finite number", _is_number),
    "rate": ("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1),
    "padding": _one_of("valid", "same"),
    "kind": _one_of("max", "average"),
    "region": _one_of("across_channels", "within_channel"),
    "divide_alpha": _one_of(True, False),
    "activation": _one_of(None, *ACTIVATIONS),
    "function": _one_of(*ACTIVATIONS),
    "kernel_init": (
        f"one of {', '.join(INITIALIZERS)}, or {' or '.join(NORMALS)} with a positive standard deviation",
        _is_kernel_init,
    ),
}


def error(where: str, expected: str, received: Any) -> ValueError:
    """Return an error that states what was expected and what was received, shortened."""
    return ValueError(f"{where}: expected {expected}; received {reprlib.repr(received)}")


def check_keys(fields: Any, required: Iterable[str], optional: Iterable[str], where: str) -> None:
    """Raise `ValueError` if `fields` is not a dictionary with all required keys and no unknown ones."""
    keys = set(fields) if isinstance(fields, dict) else set()
    if not set(required) <= keys <= {*required, *optional}:
        expected = ", ".join([*required, *(f"[{name}]" for name in optional)])
        raise error(where, f"the fields {expected}", list(fields) if isinstance(fields, dict) else fields)


def check_value(name: str, value: Any, where: str) -> None:
    """Raise `ValueError` if the value of a field is not what `FIELDS` requires."""
    expected, is_valid = FIELDS[name]
    if not is_valid(value):
        raise error(where, f"`{name}` to be {expected}", value)


def row_from_dict(fields: Any, row_types: Mapping[str, type], where: str) -> Any:
    """Return the row that `row_to_dict` described; `row_types` are the kinds of rows by name.

    Raises:
        ValueError: the kind or a field is unknown, or a field is missing or has a wrong value.
    """
    kind = fields.get("type") if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in row_types:
        raise error(where, f"a layer whose `type` is one of {', '.join(row_types)}", fields)
    defaults = {field.name: field.default for field in dataclasses.fields(row_types[kind])}
    optional = [name for name, default in defaults.items() if default is not dataclasses.MISSING]
    check_keys(fields, ["type", *(name for name in defaults if name not in optional)], optional, where)
    values = {name: value for name, value in fields.items() if name != "type"}
    for name, value in values.items():
        check_value(name, value, where)
        if isinstance(value, dict):
            ((key, stddev),) = value.items()
            values[name] = Normal(stddev, NORMALS[key])
    return row_types[kind](**values)


def row_to_dict(row: Any) -> dict[str, Any]:
    """Return the type and the fields of a row, without those that equal their default."""
    fields: dict[str, Any] = {"type": type(row).__name__}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Normal):
            value = {"truncated_normal" if value.truncated else "normal": value.stddev}
        if value != field.default:
            fields[field.name] = value
    return fields
