"""AlexNet exactly as published, in Keras 3 on TensorFlow, with the published weights.

The public API is the names below. Importing the package does not import TensorFlow: the first use of
a name imports what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfalexnet.alexnet import AlexNet
    from tfalexnet.checkpoints.formats import CheckpointError
    from tfalexnet.evaluation.evaluate import evaluate
    from tfalexnet.exporters.export import export
    from tfalexnet.hub.cache import WeightsNotFoundError
    from tfalexnet.images.decode import PictureError
    from tfalexnet.inference.features import features
    from tfalexnet.inference.label import label
    from tfalexnet.inference.predict import Prediction, decode_predictions, predict, preprocess_input
    from tfalexnet.networks.catalog import ARCHITECTURES
    from tfalexnet.networks.spec import Architecture
    from tfalexnet.tools.compare import diff
    from tfalexnet.tools.compress import compress
    from tfalexnet.tools.convert import convert
    from tfalexnet.tools.verify import verify

__version__ = "0.1.0"

_HOME = {
    "AlexNet": "alexnet",
    "predict": "inference.predict",
    "Prediction": "inference.predict",
    "features": "inference.features",
    "evaluate": "evaluation.evaluate",
    "preprocess_input": "inference.predict",
    "decode_predictions": "inference.predict",
    "convert": "tools.convert",
    "compress": "tools.compress",
    "diff": "tools.compare",
    "export": "exporters.export",
    "label": "inference.label",
    "verify": "tools.verify",
    "ARCHITECTURES": "networks.catalog",
    "Architecture": "networks.spec",
    "CheckpointError": "checkpoints.formats",
    "PictureError": "images.decode",
    "WeightsNotFoundError": "hub.cache",
}

__all__ = [
    "ARCHITECTURES",
    "AlexNet",
    "Architecture",
    "CheckpointError",
    "PictureError",
    "Prediction",
    "WeightsNotFoundError",
    "compress",
    "convert",
    "decode_predictions",
    "diff",
    "evaluate",
    "export",
    "features",
    "label",
    "predict",
    "preprocess_input",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"tfalexnet.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tfalexnet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
