"""Training recipes: the public names of `tfalexnet.training`, listed in `__init__.pyi` and imported at first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
