"""A line on stderr that shows how much of a long task is done, its speed and the time left."""

import contextlib
import shutil
import sys
import time
from datetime import timedelta
from typing import Self

REDRAW = 0.1  # Least seconds between two drawings; a terminal over ssh is slower than the work.
LONG = 10.0  # Seconds after which the end of a task is written to a log.
LOG_INTERVAL = 300.0  # Seconds between the lines that a log gets of a task that still runs.
BAR_WIDTH = 20
SCALES = {"B": (1e6, "MB")}  # {unit: (divisor, unit shown)}


class Progress:
    """A `with` block that shows the progress of its work on stderr.

    On a terminal one line is redrawn in place. In a log or a pipe a task of more than LONG seconds leaves a line at
    its end, and one every LOG_INTERVAL seconds before. Errors of stderr are ignored: the work continues without output.

    Args:
        total: count at the end; None if unknown. `advance` may exceed it.
        unit: what is counted, as `"pictures"`; `"B"` is bytes, shown in MB.
        start: count at the beginning, from an earlier run; excluded from the speed.
        note: text after the figures, until `advance` replaces it.
    """

    def __init__(self, total: int | None, unit: str, start: int = 0, note: str = "") -> None:
        self.total, self.start, self.note = total, start, note
        self.divisor, self.unit = SCALES.get(unit, (1, unit))
        self.count = start
        self.began = self.drawn = time.monotonic()
        self.terminal = False
        with contextlib.suppress(AttributeError, OSError, ValueError):  # stderr is None under pythonw, or closed.
            self.terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        self._draw()
        return self

    def advance(self, count: int, note: str = "") -> None:
        """Add to the count and redraw if it is time; a note replaces the previous one."""
        self.count += count
        self.note = note or self.note
        if time.monotonic() - self.drawn >= (REDRAW if self.terminal else LOG_INTERVAL):
            self._draw(log=True)

    def say(self, text: str) -> None:
        """Write a line above that of the progress."""
        clear = f"\r{' ' * _terminal_width()}\r" if self.terminal else ""
        _write(f"{clear}{text}\n")
        self._draw()

    def __exit__(self, *_: object) -> None:
        self._draw(ended=True, log=time.monotonic() - self.began > LONG)

    def _draw(self, ended: bool = False, log: bool = False) -> None:
        """Redraw the line on a terminal; elsewhere write it if `log`."""
        now = time.monotonic()
        if self.terminal:
            width = _terminal_width()
            _write(f"\r{self._line(now - self.began, ended, width):<{width}}" + "\n" * ended)
        elif log:
            _write(f"{self._line(now - self.began, ended)}\n")
        if self.terminal or log:
            self.drawn = now

    def _line(self, elapsed: float, ended: bool, width: int | None = None) -> str:
        """Return bar, share, count, speed, time and note; without bar and speed if the line is wider than `width`."""
        bar = share = of_total = speed = duration = ""
        rate = (self.count - self.start) / elapsed if elapsed > 0 else 0.0
        if self.total:
            done = max(0.0, min(1.0, self.count / self.total))
            bar, share = f"[{'=' * int(BAR_WIDTH * done):<{BAR_WIDTH}}] ", f"{int(100 * done):3d}%"
            of_total = f"/{self._figure(self.total)}"
        count = f"{self._figure(self.count)}{of_total} {self.unit}"
        if rate > 0:
            speed = f"{self._figure(rate)} {self.unit}/s"
        if ended:
            duration = f"in {_duration(elapsed)}"
        elif rate > 0 and self.total:
            duration = f"{_duration(max(0, self.total - self.count) / rate)} left"
        line = "  ".join(filter(None, (bar + share, count, speed, duration, self.note)))
        if width is not None and len(line) > width:
            line = "  ".join(filter(None, (share, count, self.note, duration)))[:width]
        return line

    def _figure(self, count: float) -> str:
        digits = 0 if self.divisor == 1 and (isinstance(count, int) or count >= 10) else 1
        return f"{count / self.divisor:.{digits}f}"


def _terminal_width() -> int:
    """Return the columns except the last: some terminals start a new line when that one is written."""
    return max(1, shutil.get_terminal_size().columns - 1)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=int(min(seconds, 1e9))))


def _write(text: str) -> None:
    # stderr may be None, closed, a terminal that has gone, or limited to ASCII.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
