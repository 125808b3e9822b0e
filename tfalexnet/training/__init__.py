"""Training recipes: the public names of `tfalexnet.training`; `__init__.pyi` lists them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
