"""The result of `verify`: a row for each published answer, and the table of the report."""

from dataclasses import dataclass
from pathlib import Path

from tfalexnet.io.terminal import format_table
from tfalexnet.tools.fingerprints import Answers, Fingerprint


@dataclass(frozen=True)
class Row:
    """The result for one fingerprint.

    Attributes:
        fingerprint: what is expected.
        file: the picture; None if none was given.
        received: the numbers of the expected classes and of the best; None without a picture.
        mistakes: known mistakes whose published numbers were received. If the right ones were too, this picture does
            not distinguish them.
        cures: the mutants with which the right numbers are received.
        compressed: the weights have few values; they agree with the published ones only roughly.
    """

    fingerprint: Fingerprint
    file: Path | None
    received: Answers | None = None
    mistakes: tuple[str, ...] = ()
    cures: tuple[str, ...] = ()
    compressed: bool = False

    @property
    def right(self) -> bool:
        """Whether the published numbers were received."""
        return self.received is not None and self.fingerprint.agrees(self.received, self.fingerprint.expected)

    @property
    def wrong(self) -> bool:
        """Whether other numbers were received; those of compressed weights may differ, but only roughly agree."""
        return self.received is not None and not (self.right or self.accepts(self.received))

    def accepts(self, received: Answers) -> bool:
        """Return whether these weights may give such numbers."""
        return self.fingerprint.agrees(received, self.fingerprint.expected, roughly=self.compressed)

    def __str__(self) -> str:
        if self.received is None:
            return "no picture"
        if self.right:
            return f"ok, as also with {' or '.join(self.mistakes)}" if self.mistakes else "ok"
        if not self.wrong:
            return "compressed weights agree only roughly"
        parts = []
        for name in self.mistakes:
            scores = ", ".join(f"{score:.4f}" for score in self.fingerprint.mistakes[name].values())
            parts.append(f"matches {name} (published {scores})")
        if self.cures:
            parts.append(f"right with {' or '.join(self.cures)}")
        return "; ".join(parts) or "unknown"


@dataclass(frozen=True)
class Report:
    """The results for some weights.

    Attributes:
        weights: their name or file.
        rows: one for each fingerprint.
        notes: further results, each a sentence.
    """

    weights: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether pictures were compared, and none was wrong."""
        return any(row.received for row in self.rows) and not any(row.wrong for row in self.rows)


def report_table(report: Report) -> str:
    """Return the report as lines of text."""
    lines = [("picture", "class", "expected", "received", "difference", "")]
    sources: dict[str, list[str]] = {}
    for row in report.rows:
        name, verdict = row.fingerprint.picture, str(row)
        sources.setdefault(row.fingerprint.source, []).append(name)
        for index, score in row.fingerprint.expected.items():
            received = row.received and row.received[index]
            numbers = ("", "") if received is None else (f"{received:.4f}", f"{received - score:+.4f}")
            label = row.fingerprint.measure.label(index)
            lines.append((name, label, f"{score:.4f}", *numbers, verdict))
            name = verdict = ""  # Once for each picture.
    published = "\n".join(f"{', '.join(names)}: {source}" for source, names in sources.items())
    compared = sum(row.received is not None for row in report.rows)
    right = sum(row.right for row in report.rows)
    total = f"{right} of {compared} answers as published." if compared else "Nothing was compared."
    table = format_table(lines, right=(2, 3, 4))
    return "\n\n".join([f"Weights: {report.weights}", table, published, *report.notes, total])
