"""Downloads by several processes and threads, killed processes and full disks."""

import errno
import os
import threading
import time

import pytest
from support.downloads import BODY, BODY_DIGEST, COMPLETE, OTHER, OTHER_DIGEST, PART_SIZE, files_beside, start_python
from support.servers import Answer

from tfalexnet.hub.download import download_file

DOWNLOAD = """
import sys
from pathlib import Path
from tfalexnet.hub import digest, download
from tfalexnet.io import locks
download.PAUSE = locks.POLL = 0.01
url, path, hexadecimal = sys.argv[1:]
download.download_file([url], Path(path), digest.Digest("sha256", hexadecimal))
"""


def test_two_processes_download_once(server, path):
    started, proceed = threading.Event(), threading.Event()
    url = server.url("file", Answer(BODY, pause=PART_SIZE, meanwhile=lambda: started.set() or proceed.wait(20)))
    with start_python(DOWNLOAD, url, path, BODY_DIGEST.hexadecimal) as first:
        assert started.wait(20)
        with start_python(DOWNLOAD, url, path, BODY_DIGEST.hexadecimal) as second:
            assert second.stderr.readline() == f"tfalexnet: waiting for another process that is writing {path}\n"
            proceed.set()
            assert first.stderr.read() == f"tfalexnet: downloading from {url}\n"
            assert second.stderr.read() == ""
    assert first.returncode == second.returncode == 0
    assert server.starts("file") == [0] and path.read_bytes() == BODY
    assert files_beside(path) == ["file"] or os.name == "nt"


def test_a_waiting_process_downloads_if_the_other_failed(server, path):
    started, proceed = threading.Event(), threading.Event()
    wrong = Answer(OTHER, pause=PART_SIZE, meanwhile=lambda: started.set() or proceed.wait(20))
    url = server.url("file", wrong, COMPLETE)
    with start_python(DOWNLOAD, url, path, BODY_DIGEST.hexadecimal) as first:
        assert started.wait(20)
        with start_python(DOWNLOAD, url, path, BODY_DIGEST.hexadecimal) as second:
            assert "waiting" in second.stderr.readline()
            proceed.set()
            assert second.stderr.read() == f"tfalexnet: downloading from {url}\n"
            assert "received " + OTHER_DIGEST.hexadecimal in first.stderr.read()
    assert (first.returncode, second.returncode) == (1, 0)
    assert server.starts("file") == [0, 0] and path.read_bytes() == BODY


def test_the_download_of_a_killed_process_is_resumed(server, path, part):
    url = server.url("file", Answer(BODY, pause=PART_SIZE, meanwhile=server.stall), COMPLETE)
    with start_python(DOWNLOAD, url, path, BODY_DIGEST.hexadecimal) as killed:
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        killed.kill()
    assert killed.returncode != 0 and path.with_name("file.lock").exists()
    length = part.stat().st_size
    download_file([url], path, BODY_DIGEST)
    assert server.starts("file") == [0, length] and 0 < length <= PART_SIZE
    assert path.read_bytes() == BODY


def test_threads_download_once(server, path):
    url = server.url("file", Answer(BODY, pause=PART_SIZE, meanwhile=lambda: time.sleep(0.1)))
    threads = [threading.Thread(target=download_file, args=([url], path, BODY_DIGEST)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.starts("file") == [0] and path.read_bytes() == BODY


@pytest.mark.skipif(os.name == "nt", reason="requires limits of POSIX")
def test_a_full_disk_is_an_os_error_and_no_other_address_is_tried(server, path, part):
    url, mirror = server.url("file", COMPLETE), server.url("mirror", COMPLETE)
    code = (
        "import resource, signal, sys; from pathlib import Path; from tfalexnet.hub import digest, download\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try: download.download_file(sys.argv[3:], Path(sys.argv[1]), digest.Digest('sha256', sys.argv[2]))\n"
        "except OSError as error: sys.exit(f'{type(error).__name__} {error.errno}')\n"
    )
    with start_python(code, path, BODY_DIGEST.hexadecimal, url, mirror) as full:
        assert full.stderr.read() == f"tfalexnet: downloading from {url}\nOSError {errno.EFBIG}\n"
    assert part.stat().st_size == 300_000 and not path.exists()
    download_file([url], path, BODY_DIGEST)
    assert server.requests == [("file", 0), ("file", 300_000)] and path.read_bytes() == BODY
