"""Empty files of given names, for tests of names and folders."""

from pathlib import Path


def touch(*names: str) -> None:
    """Create empty files below the folder `set` of the working folder."""
    for name in names:
        path = Path("set", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
