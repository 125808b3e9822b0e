"""Labelled pictures for training: the public names of `tfalexnet.data`, listed in `__init__.pyi`.

The first use of a name imports what it needs; only `batches` and `from_folder` import TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
