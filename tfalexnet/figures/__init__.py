"""Figures of networks, weights, photos and trainings; each public function returns a Matplotlib figure.

The public names are listed in `__init__.pyi`. The extra `plots` installs Matplotlib.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
