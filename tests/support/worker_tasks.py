"""Tasks for a benchmark's worker: its process imports this module, which needs the standard library only."""

import sys
from collections.abc import Callable


def make_tasks(kind: str) -> dict[str, Callable]:
    """Return the tasks, or fail as where a package is missing."""
    if kind == "lacking":
        import there_is_no_such_package  # noqa: F401
    return {"double": lambda x: 2 * x, "end": lambda: sys.exit(3), "fail": lambda: 1 / 0}
