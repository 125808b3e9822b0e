"""AlexNet exactly as published, in Keras 3 on TensorFlow, with the published weights.

The public API is the names below. Importing the package does not import TensorFlow: the first use of
a name imports what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfalexnet.activations import features
    from tfalexnet.alexnet import AlexNet
    from tfalexnet.architectures import ARCHITECTURES, Architecture
    from tfalexnet.comparison import diff
    from tfalexnet.compression import compress
    from tfalexnet.conversion import convert
    from tfalexnet.decoding import PictureError
    from tfalexnet.evaluation import evaluate
    from tfalexnet.exporting import export
    from tfalexnet.formats import CheckpointError
    from tfalexnet.labelling import label
    from tfalexnet.prediction import Prediction, decode_predictions, predict, preprocess_input
    from tfalexnet.verification import verify
    from tfalexnet.weights import WeightsNotFoundError

__version__ = "0.1.0"

_HOME = {
    "AlexNet": "alexnet",
    "predict": "prediction",
    "Prediction": "prediction",
    "features": "activations",
    "evaluate": "evaluation",
    "preprocess_input": "prediction",
    "decode_predictions": "prediction",
    "convert": "conversion",
    "compress": "compression",
    "diff": "comparison",
    "export": "exporting",
    "label": "labelling",
    "verify": "verification",
    "ARCHITECTURES": "architectures",
    "Architecture": "architectures",
    "CheckpointError": "formats",
    "PictureError": "decoding",
    "WeightsNotFoundError": "weights",
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
