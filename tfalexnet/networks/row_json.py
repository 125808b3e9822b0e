"""The JSON form of a table's rows, and the values that each field of a row may have."""

import dataclasses
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LARGEST_SIZE = 1 << 16  # Bound of each integer: pixels a side, channels, filters, units, strides.
LONGEST_TEXT = 200
MOST_LAYERS = 256

ACTIVATIONS = (  # Keras' elementwise activations.
    *("relu", "tanh", "sigmoid", "linear", "elu", "gelu", "leaky_relu", "relu6", "selu", "silu", "swish", "softplus"),
    *("softsign", "exponential", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "celu", "mish", "log_sigmoid"),
)
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


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_SIZE


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_size, value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30  # Finite in float32.


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_kernel_init(value: Any) -> bool:
    if isinstance(value, dict):
        return len(value) == 1 and all(key in NORMALS and _is_positive(stddev) for key, stddev in value.items())
    return isinstance(value, str) and value in INITIALIZERS


Check = tuple[str, Callable[[Any], bool]]
"""What a value must be, as text for messages, and the test of a value."""


def _one_of(*values: str | bool | None) -> Check:
    allowed = [(type(value), value) for value in values]  # With types, since True == 1.
    return f"one of {', '.join(map(str, values))}", lambda value: (type(value), value) in allowed


KERNEL_INITS = f"one of {', '.join(INITIALIZERS)}, or {' or '.join(NORMALS)} with a positive standard deviation"
FIELDS: dict[str, Check] = {  # For each field of a table or a row.
    "name": (f"printable text of 1 to {LONGEST_TEXT} characters, without / and :, not input or prob", _is_name),
    "source": (f"printable text of at most {LONGEST_TEXT} characters", _is_text),
    "input_shape": (f"3 integers from 1 to {LARGEST_SIZE}", _is_shape),
    "layers": (f"a list of at most {MOST_LAYERS} layers", lambda rows: type(rows) is list and len(rows) <= MOST_LAYERS),
    **dict.fromkeys(
        ("size", "filters", "units", "stride", "groups"), (f"an integer from 1 to {LARGEST_SIZE}", _is_size)
    ),
    **dict.fromkeys(("alpha", "beta", "k"), ("a positive number", _is_positive)),
    "bias_init": ("a finite number", _is_number),
    "rate": ("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1),
    "padding": _one_of("valid", "same", "caffe"),
    "pad": (f"an integer from 0 to {LARGEST_SIZE}", lambda value: _is_size(value) or (type(value), value) == (int, 0)),
    "kind": _one_of("max", "average"),
    "region": _one_of("across_channels", "within_channel"),
    "divide_alpha": _one_of(True, False),
    "activation": _one_of(None, *ACTIVATIONS),
    "function": _one_of(*ACTIVATIONS),
    "kernel_init": (KERNEL_INITS, _is_kernel_init),
}


def error(where: str, expected: str, received: Any) -> ValueError:
    """Return an error that states what was expected and what was received, shortened."""
    return ValueError(f"{where}: expected {expected}; received {reprlib.repr(received)}")


def check_fields(fields: Any, kind: type, where: str) -> None:
    """Raise `ValueError` if `fields` are not those of the dataclass `kind`, or a value is not allowed by `FIELDS`.

    Fields that have a default may be missing.
    """
    keys = list(fields) if isinstance(fields, dict) else []
    is_optional = {field.name: field.default is not dataclasses.MISSING for field in dataclasses.fields(kind)}
    required = {name for name, optional in is_optional.items() if not optional}
    if not required <= set(keys) <= set(is_optional):
        expected = ", ".join(f"[{name}]" if optional else name for name, optional in is_optional.items())
        raise error(where, f"the fields {expected}", keys or fields)
    for name, value in fields.items():
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
    values = {name: value for name, value in fields.items() if name != "type"}
    check_fields(values, row_types[kind], where)
    if isinstance(values.get("kernel_init"), dict):
        ((key, stddev),) = values["kernel_init"].items()
        values["kernel_init"] = Normal(stddev, NORMALS[key])
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
