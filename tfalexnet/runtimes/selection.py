"""Selection of the engine that computes a file: a table of the engines, and what this machine has."""

import importlib.util
import platform
import re
from pathlib import Path
from typing import NamedTuple

AUTO = "auto"


class Engine(NamedTuple):
    """What an engine computes, and where.

    Attributes:
        package: import name of the package that it requires.
        exported: pattern of the first bytes of files that `tfalexnet export` writes for it; None if there are none.
        checkpoints: whether it computes checkpoints, that is weights in any format.
        processors: the values of `platform.machine()` where "auto" selects it for checkpoints; None is all.
    """

    package: str
    exported: bytes | None = None
    checkpoints: bool = True
    processors: tuple[str, ...] | None = None


# By the names of the modules of this package, each of which has `PACKAGES`, `load` if there are exported files, and
# `compile_network` if it computes checkpoints. "auto" selects the first that can be used.
ENGINES = {
    # The identifier of a FlatBuffer stands at byte 4.
    "litert": Engine("ai_edge_litert", rb"(?s:....)TFL3", checkpoints=False),
    "openvino": Engine(
        "openvino", rb"<\?xml[^<]*<net\s", processors=("x86_64", "AMD64", "aarch64", "arm64", "ARM64", "armv7l")
    ),
    "tensorflow": Engine("tensorflow"),
}
ENGINE_NAMES = (AUTO, *reversed(ENGINES))


def check_engine(engine: str) -> None:
    """Raise `ValueError` unless there is such an engine."""
    if engine not in ENGINE_NAMES:
        raise ValueError(f"Expected `engine` to be one of {', '.join(ENGINE_NAMES)}. Received: {engine!r}")


def recognise_exported(path: Path) -> str | None:
    """Return the name of the engine that a file was exported for, None for other files."""
    with path.open("rb") as file:
        start = file.read(256)
    matching = (name for name, engine in ENGINES.items() if engine.exported and re.match(engine.exported, start))
    return next(matching, None)


def select_engine(path: Path, engine: str = AUTO) -> tuple[str, bool]:
    """Return the name of the engine that computes a file, and whether the file was exported for it.

    Args:
        path: the file.
        engine: a name, or "auto".

    Raises:
        ValueError: there is no such engine, or it does not compute this file.
    """
    check_engine(engine)
    exported = recognise_exported(path)
    if exported:
        if engine not in (AUTO, exported):
            raise ValueError(
                f"Expected engine={exported!r} or {AUTO!r} for {path}, which was exported for it. Received: {engine!r}"
            )
        return exported, True
    if engine == AUTO:
        return next(name for name in ENGINES if _is_usable(name)), False
    if not ENGINES[engine].checkpoints:
        raise ValueError(
            f"Expected a file that was exported for the engine {engine}. Received: {path}. Write one with "
            f"`tfalexnet export`."
        )
    return engine, False


def _is_usable(name: str) -> bool:
    engine = ENGINES[name]
    is_processor = engine.processors is None or platform.machine() in engine.processors
    return engine.checkpoints and is_processor and importlib.util.find_spec(engine.package) is not None
