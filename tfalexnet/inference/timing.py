"""Timing: the share of a job's time in which the network computes, and which part of the job limits its speed."""

import contextlib
import threading
import time
from collections.abc import Iterator

BATCHES = 8  # Least number of batches from which a limit is stated.
LIMITING = 0.9  # The network limits the speed if it computes for at least this share of the time.


class Timing:
    """Measures the time in which the network computes, in one thread or in several at once.

    The measured time begins with the first batch that is computed and ends with the last: loading the network, the
    first pictures and writing the output are not part of it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = self._batches = 0
        self._began = self._since = self._ended = self._computing = 0.0

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Measure the block in which a batch is computed."""
        with self._lock:
            now = time.perf_counter()
            self._began = self._began if self._batches else now
            self._since = self._since if self._running else now
            self._running, self._batches = self._running + 1, self._batches + 1
        try:
            yield
        finally:
            with self._lock:
                self._ended = time.perf_counter()
                self._running -= 1
                if not self._running:
                    self._computing += self._ended - self._since

    def limit(self) -> str:
        """Return which part limits the speed, empty for a job of few batches."""
        elapsed = self._ended - self._began
        if self._batches < BATCHES or elapsed <= 0:
            return ""
        share = self._computing / elapsed
        part = "the network" if share >= LIMITING else "reading and preparing pictures"
        return f"limited by {part} (network busy {share:.0%})"
