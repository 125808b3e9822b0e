"""Whether kernels are the published ones, from their sums: no picture is needed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.formats import keras_h5
from tfalexnet.checkpoints.formats.orientation import channels_first
from tfalexnet.hub.cache import identify_published
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.networks.spec import Parameters

# Largest difference of an equal array, in root mean squares of its numbers; of their sum, times √n. Half precision is
# within it; a kernel that differs by a few per cent is not.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Statistics:
    """Published numbers of an array.

    Attributes:
        layer: its layer.
        part: 0 for the kernel, 1 for the bias.
        total: the sum of its numbers.
        deviation: their standard deviation, √(mean((x − mean)²)).
        first: the first of them in Caffe's order, (out, in, height, width).
    """

    layer: str
    part: int
    total: float
    deviation: float
    first: tuple[float, ...]

    def difference(self, parameters: Parameters) -> str:
        """Return how an array differs from the published one, "" if it does not within TOLERANCE."""
        name = f"the {('kernel', 'bias')[self.part]} of {self.layer}"
        if self.layer not in parameters:
            return f"{name} is missing"
        array = parameters[self.layer][self.part]
        total, deviation = float(array.sum(dtype=np.float64)), float(array.std(dtype=np.float64))
        room = TOLERANCE * float(np.sqrt(self.deviation**2 + (self.total / array.size) ** 2))
        if abs(total - self.total) > room * array.size**0.5:
            return f"{name} has the sum {total:.6g}, published {self.total:.6g}"
        if abs(deviation - self.deviation) > room:
            return f"{name} has the standard deviation {deviation:.4g}, published {self.deviation:.4g}"
        ordered = channels_first(array) if array.ndim == 4 else array
        first = ordered.ravel()[: len(self.first)]
        if np.abs(first - np.array(self.first)).max() > room:
            numbers, published = (", ".join(f"{x:.4g}" for x in values) for values in (first, self.first))
            return f"{name} has the published sum, but another order: it begins with {numbers}, published {published}"
        return ""


# By published weights. The numbers that JunnanShan/AlexNet-FPGA-implementation, commit f2de6421, took from
# bvlc_reference_caffenet.caffemodel. Nobody published those of bvlc_alexnet.
PUBLISHED_KERNELS: dict[str, tuple[Statistics, ...]] = {
    "bvlc_caffenet": (
        Statistics("conv1", 0, -3.64726842, 0.05966127, (-0.00121359, 0.00323653, 0.00670563)),
        Statistics("conv1", 1, -34.4002077, 0.23970311, (-0.50421238,)),
        Statistics("conv2", 0, -414.170375, 0.02506046, (-0.01112582, 0.02185669)),
        Statistics("conv2", 1, 255.334911, 0.01010416, (0.98210293,)),
        Statistics("conv3", 1, -2.06380266, 0.0297008, (-0.00054737,)),
        Statistics("conv4", 1, 387.050855, 0.0723912, (0.88488448,)),
        Statistics("conv5", 1, 270.287212, 0.18222618, (0.98295677,)),
    )
}

# The weights that a file claims to hold, by its name without punctuation: bvlc_reference_caffenet.caffemodel,
# caffenet-12.onnx, bvlcalexnet-12.onnx.
CLAIMS: Mapping[str, str] = {"caffenet": "bvlc_caffenet", "bvlcalexnet": "bvlc_alexnet"}


def claimed_weights(path: Path, checkpoint: Checkpoint) -> str | None:
    """Return the BVLC weights that a file claims to hold: by its name, by its source, or by the network it states.

    A file with other classes than those of ImageNet does not claim to hold them.
    """
    spec = checkpoint.spec
    if spec.classes not in ((), imagenet_classes()):
        return None
    source = keras_h5.attributes(path).get("source", "") if keras_h5.recognises(path) else ""
    for text in (source, path.name):
        plain = re.sub(r"[^a-z0-9]", "", str(text).lower())
        for pattern, name in CLAIMS.items():
            if pattern in plain:
                return name
    return spec.architecture.name if spec.architecture.name in PUBLISHED_KERNELS else None


def compare_sums(path: Path, checkpoint: Checkpoint) -> str | None:
    """Return which published kernels a file has, or that it has not those that it claims, by their sums.

    None if it claims none whose sums are published. Only the arrays of `PUBLISHED_KERNELS` are compared: the other
    kernels of conv3 to conv5 and the fully connected layers may differ.
    """
    for name, statistics in PUBLISHED_KERNELS.items():
        if not any(item.difference(checkpoint.parameters) for item in statistics):
            read_as = checkpoint.spec.architecture.name
            wrong = "" if read_as == name else f", read as {read_as}; state --architecture {name}"
            return f"the published kernels of {name}, by their sums{wrong}"
    claimed = claimed_weights(path, checkpoint)
    differences = (item.difference(checkpoint.parameters) for item in PUBLISHED_KERNELS.get(claimed, ()))
    difference = next(filter(None, differences), None)
    return difference and f"not the published kernels of {claimed}: {difference}"


def identify_kernels(path: Path, checkpoint: Checkpoint) -> str | None:
    """Return whether a file has published kernels, by their sums, else by its hash; None if it does not claim so."""
    if found := compare_sums(path, checkpoint):
        return found
    published = identify_published(path, checkpoint.spec.architecture.name)
    if published:
        is_converted = keras_h5.recognises(path) and "source" in keras_h5.attributes(path)
        evidence = "by the source that the file states" if is_converted else "by the hash of the file"
        return f"the published kernels of {published.name}, {evidence}"
    claimed = claimed_weights(path, checkpoint)
    return claimed and f"unknown; nobody published sums of those of {claimed}. `tfalexnet verify` compares its answers"
