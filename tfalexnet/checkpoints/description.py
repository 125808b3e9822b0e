"""Networks out to the files of other runtimes, a module per format.

Every module has `NAME`, the usual name of an output; `BESIDE`, the ends of files that come with it;
`LAYOUT` of its inputs; `PRECISIONS`, the first the usual one; and `write(path, checkpoint, description,
precision, samples)`, which may take the parameters out of the checkpoint to save memory. Each file takes
preprocessed pictures, float32 (a SavedModel by its signature `probabilities`), and carries the description
below, for whoever has nothing but the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.checkpoint import MOST_CLASSES, Checkpoint
from tfalexnet.images.classes import Class, classes_from_labels
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.catalog import get_architecture

INPUTS, OUTPUTS = "inputs", "probabilities"  # What goes in and what comes out, in every format.
KEY = "tfalexnet"  # Where a format keeps the description.

Samples = Callable[[], Iterator[np.ndarray]]
"""Gives preprocessed pictures, (1, height, width, channels), to find the ranges of activations with."""


def describe_export(checkpoint: Checkpoint, precision: str, layout: Literal["NHWC", "NCHW"], **said: str) -> str:
    """What is needed to use a network, as JSON.

    `preprocessing` has the fields of `tfalexnet.preprocessing.Preprocessing`, with the whole mean; it
    is null where nobody says.

    Args:
        checkpoint: the weights that are exported.
        precision: of the file.
        layout: of its inputs: channels last, or first.
        said: more to be kept, such as the source of the weights.
    """
    net, process = checkpoint.architecture, checkpoint.preprocessing
    height, width, channels = net.input_shape
    shape = {"NHWC": (height, width, channels), "NCHW": (channels, height, width)}[layout]
    fields = {
        "architecture": net.name,
        "precision": precision,
        "inputs": {"name": INPUTS, "dtype": "float32", "layout": layout, "shape": ["batch", *shape]},
        "outputs": {"name": OUTPUTS, "dtype": "float32", "shape": ["batch", net.classes]},
        "preprocessing": process and process.to_dict() | {"mean": np.asarray(process.mean).tolist()},
        "words": process and process.summary(),
        "labels": [label for _, label in checkpoint.classes],
        "wnids": wnids(checkpoint.classes),
    }
    return json.dumps(fields | said, ensure_ascii=False)


def parse_description(text: str | bytes) -> tuple[Checkpoint, str]:
    """A checkpoint without its weights, and the precision, of what `describe` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError: it is damaged.
    """
    fields: dict[str, Any] = json.loads(text)
    labels, ids, process = fields["labels"], fields["wnids"], fields["preprocessing"]
    for texts in (labels, labels if ids is None else ids):
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("expected names of classes")
    names = classes_from_labels(labels) if ids is None else tuple(map(Class, ids, labels))
    if not len(labels) == len(names) <= MOST_CLASSES:
        raise ValueError("expected as many WordNet ids as names")
    net = get_architecture(fields["architecture"]).with_classes(len(labels))
    if process is not None:
        process = Preprocessing(**process | {"mean": np.array(process["mean"]), "std": tuple(process["std"])})
        if process.shape != net.input_shape:
            raise ValueError(f"expected pictures of {net.input_shape}; received {process.shape}")
    return Checkpoint({}, net, process, names), fields["precision"]


def wnids(names: tuple[Class, ...]) -> list[str] | None:
    """The WordNet ids of classes that have them."""
    found = [wnid for wnid, _ in names if wnid]
    return found if len(found) == len(names) else None
