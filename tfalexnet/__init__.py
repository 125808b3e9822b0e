"""AlexNet exactly as published, in Keras 3 on TensorFlow, with the published weights.

The public API is listed in `__init__.pyi`. Importing the package imports neither Keras nor TensorFlow: the first use
of a name imports what it needs.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
