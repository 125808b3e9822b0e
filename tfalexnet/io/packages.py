"""Optional packages: asked for by the command that installs them."""

from __future__ import annotations

import importlib.util


def require_packages(*packages: str) -> None:
    """Raises `ValueError` where one of these packages is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"Expected the package {package}. It is not installed: pip install 'tfalexnet[export]'")
