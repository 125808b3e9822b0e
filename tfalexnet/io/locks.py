"""A lock file that one process at a time holds."""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tfalexnet.io.files import open_regular
from tfalexnet.io.terminal import print_error

POLL = 0.2  # Seconds between two attempts to take a lock that another process holds.


@contextlib.contextmanager
def file_lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock `<path>.lock` during a block; wait, with a line on stderr, while another process holds it.

    The operating system releases the lock of a process that ends, however it ends. Threads of one process exclude
    each other too; the lock is not re-entrant. On a file system without locks, as some network file systems,
    the block runs without one.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is false.
    """
    lock = path.with_name(f"{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    file = _try_lock(lock)
    if file is None and not wait:
        raise BlockingIOError(errno.EAGAIN, "Expected one command at a time to write it; another one does", str(path))
    if file is None:
        print_error(f"waiting for another process that is writing {path}")
    while file is None:
        time.sleep(POLL)
        file = _try_lock(lock)
    try:
        yield
    finally:
        if os.name == "nt":
            file.close()  # Windows does not delete an open file; elsewhere a closed one may be locked by another.
        with contextlib.suppress(OSError):  # On Windows another process may have opened it.
            lock.unlink()
        file.close()


def _try_lock(path: Path) -> BinaryIO | None:
    """Return the lock file opened and locked, None if another process holds the lock."""
    file = open_regular(path)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # The lock is held: POSIX raises the first, Windows the second.
        file.close()
        return None
    except OSError:  # The file system has no locks.
        pass
    with contextlib.suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            return file
    file.close()  # The previous holder deleted this file after it was opened here; its lock excludes nobody.
    return None
