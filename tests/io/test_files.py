"""Files: written completely or not at all, not overwritten by accident, identified by digests."""

import hashlib
import os
import subprocess
import sys

import pytest

from tfalexnet.io.files import atomic_write, names_digest, remove_stale_parts, require_absent, sha256


@pytest.fixture
def path(tmp_path):
    """A path in a folder that does not exist."""
    return tmp_path / "folder" / "file"


def test_a_file_appears_only_when_the_block_ends(path):
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent and not path.exists()
    assert path.read_text() == "new" and os.listdir(path.parent) == ["file"]


def test_an_error_leaves_the_old_file_unchanged(path):
    path.parent.mkdir()
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_text("new")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(path.parent) == ["file"]


@pytest.mark.skipif(os.name == "nt", reason="requires the modes of POSIX")
def test_a_file_has_the_mode_that_the_umask_leaves(path):
    before = os.umask(0o027)
    try:
        with atomic_write(path):
            pass
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="requires posix_fallocate")
def test_too_little_space_is_an_error_before_the_block(path, monkeypatch):
    def full(_descriptor, start, size):
        assert (start, size) == (0, 1000)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left on device.*file"), atomic_write(path, 1000):
        pytest.fail("the block ran")
    assert os.listdir(path.parent) == []


def test_temporary_files_of_processes_that_ended_are_removed(path):
    """Those of this path only, whatever its name means in a pattern, and those of running processes stay."""
    path = path.with_name("a[1].h5")
    path.parent.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    stale = [f".a[1].h5.{pid}.12345678.part" for pid in (ended.pid, os.getpid(), 10**30)]
    for name in stale:
        (path.parent / name).touch()
    (path.parent / ".a[1].h5.12345678.part").mkdir()  # Of version 0.1, or of an export.
    kept = [
        ".a1.h5.12345678.part",
        ".a[1].h5.part",
        "a[1].h5",
        "a[1].h5.part",
        f".a[1].h5.{os.getppid()}.12345678.part",
    ]
    for name in kept:
        (path.parent / name).touch()
    with atomic_write(path) as written:
        remove_stale_parts(path)
        assert sorted(os.listdir(path.parent)) == sorted([*kept, written.name])
    assert sorted(os.listdir(path.parent)) == sorted(kept)


def test_an_error_of_the_system_names_the_file(path):
    with pytest.raises(OSError) as caught, atomic_write(path):
        raise OSError(28, "No space left on device")
    assert (caught.value.errno, caught.value.filename) == (28, str(path)) and os.listdir(path.parent) == []


def test_an_existing_output_requires_overwrite(path):
    assert require_absent(path, overwrite=False) == path
    path.parent.mkdir()
    path.touch()
    assert require_absent(path, overwrite=True) == path
    with pytest.raises(FileExistsError, match="file to be new. It exists; .*--overwrite"):
        require_absent(path, overwrite=False)


def test_digests_are_those_of_the_bytes_and_of_the_list_of_names(path):
    path.parent.mkdir()
    path.write_bytes(b"abc")
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4.
    assert names_digest(["è", "\udcff"]) == hashlib.sha256("è".encode() + b"\0\xff\0").hexdigest()
    assert names_digest(["ab", "c"]) != names_digest(["a", "bc"])
