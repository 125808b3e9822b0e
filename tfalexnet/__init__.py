"""AlexNet exactly as published, in Keras 3 on TensorFlow, with the published weights.

The public API is listed in `__init__.pyi`. Importing the package imports neither Keras nor TensorFlow: the first use
of a name imports what it needs. When Keras is imported, before or after, the layers and the optimizer are registered
with it, so that `keras.saving.load_model` finds them.
"""

import lazy_loader

from tfalexnet.io.imports import ImportAfter

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

ImportAfter("keras", "tfalexnet.networks.towers", "tfalexnet.training.optimizer")
