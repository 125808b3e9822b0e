"""The lock file: one holder at a time, released by errors and by processes that end."""

import errno
import os

import pytest
from support.downloads import files_beside, start_python

from tfalexnet.io.locks import file_lock

COUNT = """
import sys
from pathlib import Path
from tfalexnet.io import locks
locks.POLL = 0.001
path = Path(sys.argv[1])
for _ in range(50):
    with locks.file_lock(path):
        path.write_text(str(int(path.read_text()) + 1 if path.exists() else 1))
"""


@pytest.fixture
def path(tmp_path):
    """A path in a folder that does not exist."""
    return tmp_path / "home" / "file"


def test_one_process_at_a_time_holds_the_lock(path):
    processes = [start_python(COUNT, path) for _ in range(4)]
    for process in processes:
        process.communicate()
    assert path.read_text() == "200"
    assert files_beside(path) == ["file"] or os.name == "nt"


def test_an_error_releases_the_lock(path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), file_lock(path):
            assert files_beside(path) == ["file.lock"]
            raise KeyboardInterrupt
    assert files_beside(path) == []


def test_the_lock_file_of_a_killed_process_is_reused(path):
    code = "import os, sys; from pathlib import Path; from tfalexnet.io.locks import file_lock\n"
    with start_python(f"{code}with file_lock(Path(sys.argv[1])): os._exit(1)", path) as killed:
        assert killed.wait() == 1
    assert files_beside(path) == ["file.lock"]
    with file_lock(path):
        assert files_beside(path) == ["file.lock"]
    assert files_beside(path) == []


@pytest.mark.skipif(os.name == "nt", reason="requires locks of POSIX")
def test_a_file_system_without_locks_is_no_error(path, monkeypatch):
    import fcntl

    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with file_lock(path):
        assert files_beside(path) == ["file.lock"]
