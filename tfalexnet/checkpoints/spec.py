"""ModelSpec: what is needed to use weights, and its JSON form in files of weights."""

import base64
import functools
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Self

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.images.classes import Class
from tfalexnet.images.preprocessing import BVLC, PAPER, TORCHVISION, Preprocessing
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Architecture

MAX_CLASSES = 1 << 16


@dataclass(frozen=True)
class ModelSpec:
    """A network, how its pictures are prepared, and what its outputs mean.

    Attributes:
        architecture: the table, with the number of classes of the weights.
        preprocessing: from a picture to the input; None where it is unknown.
        classes: the meaning of each output, in order; empty where the weights have no classifier.

    Raises:
        ValueError: the three contradict each other.
    """

    architecture: Architecture
    preprocessing: Preprocessing | None
    classes: tuple[Class, ...]

    def __post_init__(self) -> None:
        shape = self.architecture.input_shape
        if self.preprocessing is not None and self.preprocessing.shape != shape:
            raise ValueError(f"expected preprocessing to {shape}; received one to {self.preprocessing.shape}")
        expected = self.architecture.classes
        if self.classes and len(self.classes) != expected:
            raise ValueError(f"expected {expected} labels, as many as classes; received {len(self.classes)}")
        # Joiners, no-break spaces and soft hyphens belong to names. Lone surrogates cannot be written as UTF-8.
        for text in (text for entry in self.classes for text in entry if text is not None and not text.isprintable()):
            if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
                raise ValueError(f"expected names of classes without control characters; received {text!r}")

    def require_preprocessing(self, path: str | os.PathLike) -> Preprocessing:
        """Return the preprocessing, or raise `CheckpointError` if the file `path` does not state it."""
        if self.preprocessing is None:
            raise CheckpointError(
                f"{os.fspath(path)}: expected to know the preprocessing of {self.architecture.name}; the file does not "
                "state it. Convert it again with --mean, --channels and --size, or preprocess the pictures and "
                "call the model of AlexNet(weights=…) or features(…, preprocessed=True)."
            )
        return self.preprocessing

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON stores it; `from_json` is the inverse.

        `architecture` is the name and `table` all rows. `preprocessing` has the fields of `Preprocessing`, or is null;
        a mean picture is its shape and its numbers, float32, little-endian, in base64. `labels` and `wnids` have an
        entry for each class, and `wnids` is null where no class has a WordNet id.
        """
        wnids = [wnid for wnid, _ in self.classes]
        return {
            "architecture": self.architecture.name,
            "table": self.architecture.to_dict(),
            "preprocessing": self.preprocessing
            and self.preprocessing.to_dict() | {"mean": mean_to_json(self.preprocessing.mean)},
            "labels": [label for _, label in self.classes],
            "wnids": wnids if any(wnids) else None,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any], architecture: Architecture | None = None) -> Self:
        """Return the spec of `to_json`, checked: the JSON may come from any file.

        Args:
            fields: the JSON.
            architecture: used instead of the one that the JSON states.

        Raises:
            ValueError, TypeError, KeyError, AttributeError, OverflowError: the JSON is not that of a spec.
        """
        classes = _classes_from_json(fields)
        if architecture is None:
            architecture = architecture_from_json(fields)
            if architecture is None:
                raise ValueError(f"expected one of {', '.join(ARCHITECTURES)}; received {fields['architecture']!r}")
            architecture = architecture.with_classes(len(classes)) if classes else architecture
        preprocessing = fields["preprocessing"]
        if preprocessing is not None:
            mean, std = _mean_from_json(preprocessing["mean"]), tuple(preprocessing["std"])
            preprocessing = Preprocessing(**preprocessing | {"mean": mean, "std": std})
        return cls(architecture, preprocessing, classes)


def architecture_from_json(fields: Mapping[str, Any]) -> Architecture | None:
    """Return the table of a spec's JSON, None where it states no known network.

    Files of version 0.1 have the name of a known network and no table.
    """
    if "table" in fields:
        return Architecture.from_dict(fields["table"])
    return ARCHITECTURES.get(fields["architecture"])


def mean_to_json(mean: Sequence[float] | np.ndarray) -> Any:
    """Return a mean as JSON stores it. As decimals, a mean picture would take four times the bytes."""
    mean = np.asarray(mean)
    if mean.ndim == 1:
        return mean.tolist()
    return {"shape": mean.shape, "float32": base64.b64encode(mean.astype("<f4").tobytes()).decode()}


def _mean_from_json(value: Any) -> np.ndarray:
    """Return the mean of `mean_to_json`; lists of numbers are accepted for mean pictures too."""
    if isinstance(value, Mapping):
        return np.frombuffer(base64.b64decode(value["float32"], validate=True), "<f4").reshape(value["shape"])
    return np.array(value)


def _classes_from_json(fields: Mapping[str, Any]) -> tuple[Class, ...]:
    """Return the classes of a spec's JSON, none where it has no labels."""
    labels, wnids = fields["labels"], fields["wnids"]
    wnids = [None] * len(labels) if wnids is None else wnids
    if not isinstance(labels, list) or not isinstance(wnids, list):
        raise ValueError("expected lists of labels and WordNet ids")
    if not len(labels) == len(wnids) <= MAX_CLASSES:
        raise ValueError(f"expected a WordNet id, or null, for each of at most {MAX_CLASSES} labels")
    for text in (*labels, *(wnid for wnid in wnids if wnid is not None)):
        if not isinstance(text, str):
            raise ValueError("expected labels and WordNet ids of text")
    return tuple(map(Class, wnids, labels))


def wnids_of(classes: Sequence[Class]) -> list[str] | None:
    """Return the WordNet ids of classes, None unless every class has one."""
    wnids = [wnid for wnid, _ in classes if wnid]
    return wnids if len(wnids) == len(classes) else None


# The preprocessing that the source of each network describes. Levels are 0–1 where the source does not say.
_LEVELS = {"antialias": True, "scale": 1 / 255}
_COLOUR = {"channels": "RGB", "mean": (0.0,) * 3, **_LEVELS}
_GREY = {"channels": "L", "mean": (0.0,), **_LEVELS}
PREPROCESSING = {
    "krizhevsky2012": PAPER,
    "bvlc_alexnet": BVLC,
    "bvlc_caffenet": BVLC,
    "tf_alexnet": BVLC,
    "one_weird_trick": TORCHVISION,
    "single_tower": Preprocessing("shorter side", 227, 227, **_COLOUR),
    "single_tower_avgpool": Preprocessing("shorter side", 227, 227, **_COLOUR),
    "tflearn_flowers17": Preprocessing("squash", 227, 227, **_COLOUR),
    "d2l_fashion_mnist": Preprocessing("squash", 224, 224, **_GREY),
    "mnist_28": Preprocessing("squash", 28, 28, **_GREY),
}


@functools.cache
def published_preprocessing(name: str) -> Preprocessing | None:
    """Return the preprocessing that the source of a known network describes, None for other names."""
    if name != "cifar10_18pct":
        return PREPROCESSING.get(name)
    # Levels 0–255 minus the mean picture of the 50,000 training pictures, (32, 32, 3), R, G, B.
    source = resources.files("tfalexnet.checkpoints") / "cifar10_mean.npz"
    with resources.as_file(source) as path, np.load(path) as file:
        return Preprocessing("shorter side", 32, 32, antialias=True, channels="RGB", mean=file["mean"])


def matching_preprocessing(architecture: Architecture) -> Preprocessing | None:
    """Return the published preprocessing of a network, None if there is none for this shape of input."""
    published = published_preprocessing(architecture.name)
    return published if published is not None and published.shape == architecture.input_shape else None


def default_preprocessing(architecture: Architecture) -> Preprocessing:
    """Return the preprocessing for a network with new weights.

    It is the published one where there is one for this input. Other networks get levels 0–1 of the centre, which
    has the same share of the shorter side as in the paper, 227 of 256.

    Raises:
        ValueError: the input is not square, or has neither 1 nor 3 channels.
    """
    published = matching_preprocessing(architecture)
    if published is not None:
        return published
    height, width, channels = shape = architecture.input_shape
    if height != width or channels not in (1, 3):
        expected = f"Expected a square input of 1 or 3 channels for {architecture.name}"
        raise ValueError(f"{expected}. Received: {shape}; prepare its pictures yourself.")
    return Preprocessing("shorter side", width * 256 // 227, width, **(_COLOUR if channels == 3 else _GREY))
