"""The preprocessing of training pictures for each network."""

from typing import Any

from tfalexnet.checkpoints.spec import default_preprocessing, published_preprocessing
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture


def __getattr__(name: str) -> Any:
    """Return `PREPARED`, the preprocessing of each network by name; one of them is read from disk."""
    if name != "PREPARED":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return {architecture: published_preprocessing(architecture) for architecture in ARCHITECTURES}


def prepared(architecture: str | Architecture) -> Preprocessing:
    """Return the preprocessing for a network with new weights; see `default_preprocessing`.

    Raises:
        ValueError: there is no network of this name, or its input is not square, of one channel or three.
    """
    return default_preprocessing(get_architecture(architecture))
