"""Optional packages, and the command that installs them."""

import importlib.util


def require_packages(extra: str, *packages: str) -> None:
    """Raise `ValueError` unless all packages are installed; the message names the extra that installs them."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"Expected the package {package}. It is not installed: pip install 'tfalexnet[{extra}]'")
