"""Events that the interpreter audits while a file is read: a command, a socket, code, an import, another file."""

from __future__ import annotations

import functools
import os
import sys

FORBIDDEN = ("exec", "import", "socket.", "subprocess.", "os.", "shutil.", "ctypes.", "marshal.", "pickle.", "pty.",
             "urllib.", "webbrowser.", "code.", "builtins.input", "cpython.")  # fmt: skip
HARMLESS = {"os.listdir", "os.scandir"}
CLEANING = {"os.walk", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


class AuditedError(BaseException):
    """A forbidden event; no reader catches this."""


class Watch:
    """Raises for forbidden events that the interpreter audits while `path` is read."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.scratch: str | None = None  # A folder in which everything is allowed.
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple) -> None:
        if self.path is None:
            return
        if event == "open" and not isinstance(arguments[0], int):
            writes = (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            file = os.fsdecode(arguments[0])
            beside = file.startswith(f"{self.path}.data-")
            forbidden = not self.is_scratch(file) and (writes or not (file == self.path or beside))
        else:
            in_scratch = event in CLEANING and self.is_scratch(os.fsdecode(arguments[0]))
            forbidden = event.startswith(FORBIDDEN) and event not in HARMLESS and not in_scratch
        if forbidden:
            self.path = None
            raise AuditedError(f"{event}{arguments!r}"[:300])

    def is_scratch(self, file: str) -> bool:
        """Whether a file is in the folder in which everything is allowed; its removal names files relative to it."""
        return self.scratch is not None and (not os.path.isabs(file) or file.startswith(f"{self.scratch}{os.sep}"))


@functools.cache
def watch() -> Watch:
    """The one hook of this process; it cannot be removed."""
    return Watch()
