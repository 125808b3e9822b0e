"""Foreign checkpoints in and out, a file per format; one canonical form between.

Canonical form: `{layer: (kernel, bias)}`, float32, kernels as (height, width, in / groups, out) or
(in, out), the first fully connected one reading height, width, channel.

Every format is a module with `recognises(path)`, `read(path)` and, but for PyTorch's pickles,
`write(path, contents)`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from tfalexnet.networks.spec import Parameters

FLOATS = {"f2", "f4", "f8"}  # Types that weights may have in files, in either order of bytes.
MAX_RANK = 8  # Weights have four sides; a long shape could be copied into a thousand arrays.


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        parameters: kernel and bias by layer, in the canonical form but for `flatten`; read-only
            views of the file where it can be.
        attributes: what the file says of itself: architecture, classes, preprocessing.
        extras: arrays that travel with the weights: mean, labels.
        flatten: the order in which the first fully connected kernel reads the last feature map.
        resembles: the network that the file's own list of layers describes.
        left_out: what else the file holds and this package has no use for, each a phrase "name (what
            it is): why", such as "fc8 (InnerProduct): one blob, no bias".
    """

    parameters: Parameters
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    flatten: Literal["HWC", "CHW"] = "HWC"
    resembles: str | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = self.attributes.values()
        if not all(isinstance(value, str | int) for value in values):
            raise CheckpointError("expected attributes of text and whole numbers")
        if not all(array.dtype.kind in "fiub" for array in self.extras.values()):
            raise CheckpointError("expected extras of numbers")
        # Half of a surrogate pair is text that no terminal shows and no file takes.
        words = (*self.parameters, *self.attributes, *self.extras, *self.left_out, *map(str, values))
        if any("\ud800" <= sign <= "\udfff" for word in words for sign in word):
            raise CheckpointError("expected names and attributes of valid text")


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or is not what it should be."""


@contextmanager
def reading(path: str | os.PathLike, expected: str) -> Iterator[None]:
    """Whatever a damaged file provokes leaves this block as a `CheckpointError` that names it.

    Raises:
        OSError: the file cannot be opened, and the block is not entered.
        MemoryError: the machine has too little memory; files that claim too much are refused before.
    """
    with Path(path).open("rb"):
        pass
    try:
        yield
    except MemoryError:
        raise
    except CheckpointError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    except Exception as error:  # A damaged file can fail in any way at all.
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(
            f"{os.fspath(path)}: expected {expected}; received a damaged one ({reason[:200]}). Get the file anew."
        ) from error


def map_file(path: str | os.PathLike) -> np.ndarray:
    """The bytes of a file, paged in when used."""
    if not Path(path).stat().st_size:
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "r"))


def bfloat16_to_float32(numbers: np.ndarray) -> np.ndarray:
    """The same numbers in float32, of which bfloat16 (here as unsigned integers) is the upper half."""
    wide = numbers.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def starts_with(path: Path, magic: bytes) -> bool:
    """Whether the file begins with these bytes."""
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
