"""Figures beside their bounds, as a section of RESULTS.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Figure(NamedTuple):
    """A measured number, and its lower and upper bound where there is one."""

    name: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    def cells(self) -> list[str]:
        """Return the name, the value, the bounds, and whether the value meets them."""
        bounds = []
        if self.at_least is not None:
            bounds.append((f"≥ {self.at_least:g}", self.value >= self.at_least))
        if self.at_most is not None:
            bounds.append((f"≤ {self.at_most:g}", self.value <= self.at_most))
        text = ", ".join(bound for bound, _ in bounds)
        met = ("yes" if all(is_met for _, is_met in bounds) else "**no**") if bounds else ""
        return [self.name, f"{self.value:.4g}", text, met]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures_table(figures: Iterable[Figure]) -> str:
    """Return figures and their bounds as a table."""
    return table(["", "measured", "goal", "met"], [figure.cells() for figure in figures])


def replace_section(text: str, title: str, heading: str, content: str) -> str:
    """Return a document whose first section has this heading and content; its other sections are unchanged."""
    sections = re.split(r"(?m)^(?=## )", text)
    others = [each for each in sections if each.startswith("## ") and not each.startswith(f"## {heading}\n")]
    return "".join([f"# {title}\n\n## {heading}\n\n{content.strip()}\n", *(["\n"] if others else []), *others])


def write(path: Path, heading: str, content: str) -> None:
    """Write the section to a file, in place of the one of this heading."""
    before = path.read_text("utf-8") if path.exists() else ""
    path.write_text(replace_section(before, "Results", heading, content), "utf-8")
