"""A line that says how far and how long."""

from __future__ import annotations

import shutil
import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

REDRAW = 0.1  # Seconds between two drawings; a terminal over ssh is slower than the work.
LONG = 10.0  # Seconds after which work is worth a line in a log.
STILL_THERE = 300.0  # Seconds after which a log gets one more.
BAR = 20
SCALES = {"B": (1e6, "MB")}  # Units that are shown as multiples of themselves.


class Progress:
    """A block of work that redraws one line on a terminal; elsewhere long work leaves a line now and then.

    Drawing never disturbs the work: what stderr cannot take is not shown.

    Args:
        total: how many there will be in all; None where nobody knows. It may turn out wrong.
        unit: what is counted, `"pictures"`; `"B"` is bytes, shown in MB.
        start: how many were there before, which say nothing about the speed.
        note: what is shown behind the figures, until `advance` replaces it.
    """

    def __init__(self, total: int | None, unit: str, start: int = 0, note: str = "") -> None:
        self.total, self.start, self.note = total, start, note
        self.divisor, self.unit = SCALES.get(unit, (1, unit))
        self.count = start
        self.began = self.drawn = time.monotonic()
        self.terminal = False

    def __enter__(self) -> Self:
        self.began = self.drawn = time.monotonic()
        try:
            self.terminal = sys.stderr.isatty()
        except (AttributeError, OSError, ValueError):  # pythonw has no stderr, a daemon a closed one.
            self.terminal = False
        self._draw()
        return self

    def advance(self, count: int, note: str = "") -> None:
        """So many more are done; a note replaces the one before."""
        self.count += count
        self.note = note or self.note
        now = time.monotonic()
        if self.terminal and now - self.drawn >= REDRAW:
            self._draw()
        elif not self.terminal and now - self.drawn >= STILL_THERE:
            self.drawn = now
            _print(f"{self.line(now - self.began)}\n")

    def say(self, text: str) -> None:
        """A line of its own, above that of the work."""
        if self.terminal:
            _print(f"\r{' ' * _width()}\r")
        _print(f"{text}\n")
        self._draw()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed = time.monotonic() - self.began
        if self.terminal:
            self._draw(ended=True)
        elif elapsed > LONG:
            _print(f"{self.line(elapsed, ended=True)}\n")

    def line(self, elapsed: float, ended: bool = False, width: int | None = None) -> str:
        """The line after so many seconds: bar, share, count, speed, time left (or taken), note.

        Where that is wider than `width`, share, count, note and time.
        """
        bar = share = pace = clock = ""
        if self.total:
            done = max(0.0, min(1.0, self.count / self.total))
            bar, share = f"[{'=' * int(BAR * done):<{BAR}}] ", f"{int(100 * done):3d}%"
        of = f"/{self._figure(self.total)}" if self.total else ""
        count = f"{self._figure(self.count)}{of} {self.unit}"
        speed = (self.count - self.start) / elapsed if elapsed > 0 else 0.0
        if speed > 0:
            pace = f"{self._figure(speed)} {self.unit}/s"
        if ended:
            clock = f"in {_clock(elapsed)}"
        elif speed > 0 and self.total:
            clock = f"{_clock(max(0, self.total - self.count) / speed)} left"
        line = _joined(bar + share, count, pace, clock, self.note)
        return line if width is None or len(line) <= width else _joined(share, count, self.note, clock)[:width]

    def _figure(self, count: float) -> str:
        digits = 0 if self.divisor == 1 and (isinstance(count, int) or count >= 10) else 1
        return f"{count / self.divisor:.{digits}f}"

    def _draw(self, ended: bool = False) -> None:
        if self.terminal:
            self.drawn = time.monotonic()
            width = _width()
            line = self.line(self.drawn - self.began, ended, width).ljust(width)
            _print(f"\r{line}{chr(10) * ended}")


def _joined(*parts: str) -> str:
    return "  ".join(filter(None, parts))


def _width() -> int:
    """Columns but for the last: some terminals start a new line when that is written."""
    return max(1, shutil.get_terminal_size().columns - 1)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(min(seconds, 1e9))))


def _print(text: str) -> None:
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # None, a terminal that went away, closed or ASCII only.
        pass
