"""Labelled pictures for training: the public names of `tfalexnet.data`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfalexnet.checkpoints.spec import published_preprocessing
from tfalexnet.data.augmentation import AUGMENTATIONS
from tfalexnet.data.datasets import Labelled, from_arrays, read
from tfalexnet.networks.catalog import ARCHITECTURES

if TYPE_CHECKING:
    from tfalexnet.data.batching import COLOURS, Skipped, batches, colours_of, from_folder, prepared
    from tfalexnet.images.preprocessing import Preprocessing

    PREPARED: dict[str, Preprocessing]

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


def __getattr__(name: str) -> Any:
    """Import TensorFlow, or read the preprocessing of all networks, when a name that needs it is used."""
    if name == "PREPARED":
        return {architecture: published_preprocessing(architecture) for architecture in ARCHITECTURES}
    if name in __all__:
        return getattr(import_module("tfalexnet.data.batching"), name)
    raise AttributeError(f"module 'tfalexnet.data' has no attribute {name!r}")
