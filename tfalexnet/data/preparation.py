"""The preprocessing of training pictures for each network.

Importing this module reads a mean picture from disk.
"""

from tfalexnet.checkpoints.spec import default_preprocessing, published_preprocessing
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture

PREPARED: dict[str, Preprocessing] = {name: published_preprocessing(name) for name in ARCHITECTURES}


def prepared(architecture: str | Architecture) -> Preprocessing:
    """Return the preprocessing for a network with new weights; see `default_preprocessing`.

    Raises:
        ValueError: there is no network of this name, or its input is not square, of one channel or three.
    """
    return default_preprocessing(get_architecture(architecture))
