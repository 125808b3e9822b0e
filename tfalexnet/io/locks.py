"""A lock that one process at a time holds."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


POLL = 0.2  # Seconds between two looks at a lock that another process holds.


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """A block that one process at a time is in, by the lock `<path>.lock`.

    The others wait, and say so. The lock of a process that died is free. A process that enters twice
    waits for itself.
    """
    lock = path.with_name(f"{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        with lock.open("ab") as handle:
            if _take(handle.fileno()) and _is(handle.fileno(), lock):
                try:
                    yield
                finally:
                    if os.name != "nt":  # Windows deletes no open file; elsewhere a closed one is another's.
                        lock.unlink(missing_ok=True)
                break
        if not told:
            print(f"tfalexnet: waiting for another process that is getting {path}", file=sys.stderr)
            told = True
        time.sleep(POLL)
    if os.name == "nt":
        try:
            lock.unlink(missing_ok=True)
        except OSError:
            return  # Another process has it now.


def _take(handle: int) -> bool:
    """Whether nobody else has the lock; true where the file system knows none, as some network ones."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # As POSIX and Windows say that it is taken.
        return False
    except OSError:
        return True
    return True


def _is(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at a path, or was deleted by who held the lock before."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
