"""Labelled pictures for training: the public names of `tfalexnet.data`."""

from tfalexnet.data.augmentation import AUGMENTATIONS
from tfalexnet.data.batching import COLOURS, PREPARED, Skipped, batches, colours_of, from_folder, prepared
from tfalexnet.data.datasets import Labelled, from_arrays, read

__all__ = [
    "AUGMENTATIONS",
    "COLOURS",
    "PREPARED",
    "Labelled",
    "Skipped",
    "batches",
    "colours_of",
    "from_arrays",
    "from_folder",
    "prepared",
    "read",
]
