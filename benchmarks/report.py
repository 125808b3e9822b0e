"""Figures beside their bounds, as a section of RESULTS.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Figure(NamedTuple):
    """A measured number and what it must not fall below, or exceed; without either it is only told."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    def cells(self) -> list[str]:
        """Name, measured, bound, whether it is reached."""
        bounds = []
        if self.at_least is not None:
            bounds.append((f"≥ {self.at_least:g}", self.value >= self.at_least))
        if self.at_most is not None:
            bounds.append((f"≤ {self.at_most:g}", self.value <= self.at_most))
        words = ", ".join(bound for bound, _ in bounds)
        reached = ("yes" if all(held for _, held in bounds) else "**no**") if bounds else ""
        return [self.name, f"{self.value:.4g}", words, reached]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(found: Iterable[Figure]) -> str:
    """A table of figures and bounds."""
    return table(["", "measured", "must be", "reached"], [figure.cells() for figure in found])


def replaced(text: str, title: str, heading: str, content: str) -> str:
    """A document whose first section has this heading and content; its other sections stay as they are."""
    sections = re.split(r"(?m)^(?=## )", text)
    others = [each for each in sections if each.startswith("## ") and not each.startswith(f"## {heading}\n")]
    return "".join([f"# {title}\n\n## {heading}\n\n{content.strip()}\n", *(["\n"] if others else []), *others])


def write(path: Path, heading: str, content: str) -> None:
    """The section into a file, in place of what was measured before."""
    before = path.read_text("utf-8") if path.exists() else ""
    path.write_text(replaced(before, "Results", heading, content), "utf-8")
