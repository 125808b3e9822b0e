"""A process for each implementation, so that none disturbs the threads, memory or libraries of another."""

from __future__ import annotations

import multiprocessing
import os
import re
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

CORES = len(os.sched_getaffinity(0))  # Threads of every implementation.

Tasks = dict[str, Callable[..., Any]]


class NotMeasured(Exception):
    """The reason why an implementation is not measured."""


class Worker:
    """A process that holds the tasks that `make` returns, and sleeps until one is called by name.

    Raises:
        NotMeasured: `make`, or later a task, raised an error or ended the process.
    """

    def __init__(self, make: Callable[..., Tasks], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments))
        self._process.start()
        theirs.close()
        try:
            self._received()
        except NotMeasured:
            self.close()
            raise

    def __call__(self, task: str, *arguments: Any) -> Any:
        self._pipe.send((task, arguments))
        return self._received()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def memory(self, field: str) -> float:
        """Return MB: "RssAnon" is memory that the process wrote, "VmHWM" the largest resident size so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1e3

    def close(self) -> None:
        self._pipe.close()
        self._process.join(10)
        self._process.kill()

    def _received(self) -> Any:
        try:
            answered, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise NotMeasured(f"its process ended with code {self._process.exitcode}") from None
        if not answered:
            raise NotMeasured(answer)
        return answer


def _serve(pipe: Connection, make: Callable[..., Tasks], arguments: tuple) -> None:
    tasks: Tasks = {}
    task, function = None, make
    while True:
        try:
            answer = function(*arguments)
            if task is None:
                tasks, answer = answer, None
            pipe.send((True, answer))
        except ImportError as error:
            pipe.send((False, f"pip install {error.name}" if error.name else str(error)))
        except Exception as error:
            first, *_ = str(error).strip().splitlines() or [""]
            pipe.send((False, f"{type(error).__name__}: {first}"))
        try:
            task, arguments = pipe.recv()
        except EOFError:  # The parent has closed the pipe.
            return
        function = tasks[task]
