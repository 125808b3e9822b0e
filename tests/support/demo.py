"""The page of `tfalexnet demo` in a process of its own."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def served(errors: Path, *flags: object, **environment: str) -> Iterator[str]:
    """Serve the page and yield its address; Ctrl-C ends it with status 0, and leaves no folder behind.

    Args:
        errors: the file of what is written to stderr.
        flags: of the command.
        environment: variables beside those of this process.
    """
    command = [sys.executable, "-m", "tfalexnet", "demo", *map(str, flags)]
    with errors.open("wb") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, env=os.environ | environment)
    try:
        yield process.stdout.readline().decode().strip()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
