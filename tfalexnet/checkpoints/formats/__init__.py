"""File formats of weights, one module each, and the canonical form that all of them read and write.

The canonical form is `{layer: (kernel, bias)}` in float32. Kernels are (height, width, in / groups, out) or
(in, out); the rows of the first fully connected kernel are in the order height, width, channel.

Every module has `recognises(path)`, `read(path)`, `FLATTEN` (see `Contents.flatten`) and, if the format is written too,
`write(path, contents)`. Deep Compression has no signature: its module has
`classes(path, shapes)` instead of `recognises`, and its `read` takes the shapes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfalexnet.io.terminal import escape
from tfalexnet.networks.spec import Parameters

SPEC = "spec"  # The extra array that holds the JSON of the ModelSpec, as UTF-8.


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        parameters: kernel and bias by layer, in the canonical form except for `flatten`; read-only views of the file
            where possible.
        attributes: text and integers that the file states about its weights.
        extras: arrays stored with the weights, of any numeric type.
        flatten: the order in which the rows of the first fully connected kernel read the last feature map.
        resembles: the name of the network whose layers the file lists, else of the one that it names; None where
            there is neither. Its shapes may be others.
        definition: Caffe's message NetParameter in the form of `prototxt`, or why it cannot be read; None where the
            file holds weights only.
        left_out: the entries that are not used, each a phrase "name (what it is): why", such as
            "fc8 (InnerProduct): one blob, no bias".
        notes: what the reader changed, each a sentence.

    Raises:
        CheckpointError: there are no layers, an attribute or an extra has another type, or a text has a character
            that UTF-8 cannot encode.
    """

    parameters: Parameters
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    flatten: Literal["HWC", "CHW"] = "HWC"
    resembles: str | None = None
    definition: Mapping[str, list[Any]] | str | None = None
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.parameters:
            received = ", ".join(escape(entry, limit=200) for entry in self.left_out[:8]) or "none"
            raise CheckpointError(f"expected layers; received {received}")
        values = self.attributes.values()
        if not all(isinstance(value, str | int) for value in values):
            raise CheckpointError("expected attributes of text and integers")
        if not all(array.dtype.kind in "fiub" for array in self.extras.values()):
            raise CheckpointError("expected extras of numbers")
        # A lone surrogate cannot be encoded, so that neither a terminal nor a file accepts the text.
        texts = (*self.parameters, *self.attributes, *self.extras, *self.left_out, *map(str, values))
        if any("\ud800" <= character <= "\udfff" for text in texts for character in text):
            raise CheckpointError("expected names and attributes of valid text")
        for name in ("left_out", "notes"):
            object.__setattr__(self, name, tuple(escape(entry, limit=200) for entry in getattr(self, name)))


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or does not match what is expected of it."""


@contextmanager
def reading(path: str | os.PathLike, expected: str) -> Iterator[None]:
    """Turn every error in this block into a `CheckpointError` that names the file.

    Args:
        path: the file.
        expected: what it should be, for the message.

    Raises:
        OSError: the file cannot be opened; the block is not entered.
        MemoryError: the machine has too little memory. (Readers refuse sizes beyond that of the file.)
    """
    with Path(path).open("rb"):
        pass
    with explaining(path, expected):
        yield


@contextmanager
def explaining(path: str | os.PathLike, expected: str) -> Iterator[None]:
    """Do the same as `reading` for a file that was read before, and may be gone."""
    try:
        yield
    except MemoryError:
        raise
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    except Exception as error:  # A damaged file can raise anything in the libraries that parse it.
        received = f"received a damaged one ({f'{type(error).__name__}: {error}'[:200]})"
        raise CheckpointError(f"{os.fspath(path)}: expected {expected}; {received}. Get the file again.") from error
