"""A name is a promise: source, architecture, licence, measured accuracy, and where its file is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Known:
    """Weights with a name.

    Attributes:
        name: what users write.
        architecture: the network they belong to.
        source: where they come from.
        licence: in the words of their owner.
        accuracy: published or measured here, with the protocol.
        get: the commands that put the converted file in place; none for what ships.
    """

    name: str
    architecture: str
    source: str
    licence: str
    accuracy: str
    get: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        return f"{self.name}.weights.h5"


KNOWN = {
    known.name: known
    for known in (
        Known(
            "bvlc_alexnet",
            "bvlc_alexnet",
            "http://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",
            "released for unrestricted use",
            "57.1 % top-1, 80.2 % top-5 (ImageNet validation, centre crop; Caffe's readme)",
            (
                "curl -LO http://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",
                "tfalexnet convert bvlc_alexnet.npy",
            ),
        ),
        Known(
            "cifar10",
            "cifar10_18pct",
            "trained by examples/train_cifar10.py",
            "Apache-2.0",
            "16.91 % test error (CIFAR-10, 10,000 pictures, single view; published for this network: 18 %)",
        ),
    )
}

SHIPPED = Path(__file__).parent / "shipped"


class WeightsNotFoundError(FileNotFoundError):
    """Weights that are not where they were looked for."""


def folders() -> tuple[Path, ...]:
    """Where the files of known names are looked for, in this order."""
    home = os.environ.get("TFALEXNET_HOME")
    cache = Path(home) if home else Path.home() / ".cache" / "tfalexnet"
    return SHIPPED, Path("weights"), cache


def locate(weights: str | os.PathLike) -> Path:
    """The file of a known name, or of a path.

    Raises:
        WeightsNotFoundError: there is none; the message says where it was looked for, and how to
            get it.
    """
    if not isinstance(weights, str | os.PathLike):
        raise TypeError(f"Expected `weights` to be a name or a path. Received: {weights!r}")
    known = KNOWN.get(os.fspath(weights))
    if known is None:
        path = Path(weights)
        if path.is_file():
            return path
        problem = "it is a folder" if path.is_dir() else "there is no such file"
        raise WeightsNotFoundError(
            f"Expected `weights` to be one of {', '.join(KNOWN)}, or a file. "
            f"Received: {os.fspath(weights)!r}; {problem}."
        )
    for folder in folders():
        if (folder / known.file).is_file():
            return folder / known.file
    looked = ", ".join(str(folder.absolute()) for folder in folders()[1:])
    raise WeightsNotFoundError(
        f"The weights {known.name!r} are not on this machine: {known.file} was looked for in "
        f"{looked}. Get them with\n    "
        + "\n    ".join(known.get)
        + "\nor use weights='cifar10', which ship with the package."
    )
