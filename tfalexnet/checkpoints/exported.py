"""The JSON that an exported network carries: its spec, and the layout of its inputs and outputs."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np

from tfalexnet.checkpoints.spec import ModelSpec

INPUTS, OUTPUTS = "inputs", "probabilities"  # Names of the input and the output in every format.
KEY = "tfalexnet"  # The name under which a format keeps the JSON.

Samples = Callable[[], Iterator[np.ndarray]]
"""Yields preprocessed pictures, (1, height, width, channels), to calibrate the ranges of activations."""


def describe_export(spec: ModelSpec, precision: str, layout: Literal["NHWC", "NCHW"], **source: str) -> str:
    """Return all that is needed to use an exported network, as JSON.

    Args:
        spec: of the exported weights; its JSON is part of the result.
        precision: of the file.
        layout: of the inputs: channels last, or first.
        source: further entries, such as the file of the weights.
    """
    net = spec.architecture
    height, width, channels = net.input_shape
    shape = {"NHWC": (height, width, channels), "NCHW": (channels, height, width)}[layout]
    interface = {
        "precision": precision,
        "inputs": {"name": INPUTS, "dtype": "float32", "layout": layout, "shape": ["batch", *shape]},
        "outputs": {"name": OUTPUTS, "dtype": "float32", "shape": ["batch", net.classes]},
        "words": spec.preprocessing and spec.preprocessing.summary(),
    }
    return json.dumps(spec.to_json() | interface | source, ensure_ascii=False)


def parse_description(text: str | bytes) -> tuple[ModelSpec, str]:
    """Return the spec and the precision of what `describe_export` wrote.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError: the JSON is damaged.
    """
    fields: dict[str, Any] = json.loads(text)
    return ModelSpec.from_json(fields), fields["precision"]
