"""A file comes whole and right, once, from servers that do all that servers do; or the reason is told."""

import contextlib
import dataclasses
import errno
import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.nets import random_parameters
from support.servers import Answer, Server

import tfalexnet
from tfalexnet.checkpoints.checkpoint import Checkpoint, keras_h5, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub import download
from tfalexnet.hub.cache import WeightsNotFoundError, find_weights, locate_weights
from tfalexnet.hub.download import Digest, DownloadError, download_file
from tfalexnet.hub.registry import REGISTRY, Accuracy, PublishedWeights, Source
from tfalexnet.images.classes import numbered_classes
from tfalexnet.io import locks, progress
from tfalexnet.io.locks import file_lock
from tfalexnet.tools.convert import convert

generator = np.random.default_rng(2012)
SIZE, SOME = 1_000_000, 400_000
BODY, OTHER = generator.bytes(SIZE), generator.bytes(SIZE)


def sha256(content: bytes, certain: bool = True) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest(), certain)


RIGHT = sha256(BODY)
GOOD = Answer(BODY)
UNTOLD = {"Content-Length": None}
LONGER = {"Content-Length": str(SIZE + 1000)}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "LIMIT", 5_000_000)
    monkeypatch.setattr(locks, "POLL", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("TFALEXNET_OFFLINE", raising=False)


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def path(tmp_path):
    """Where the file goes; its folder is made on the way."""
    return tmp_path / "home" / "file"


@pytest.fixture
def part(path):
    path.parent.mkdir()
    return path.with_name("file.part")


def beside(path) -> list[str]:
    return sorted(os.listdir(path.parent))


# The server's answers, the length that the caller states, what is in the part file, and the first byte
# that each request then asks for.
HABITS = {
    "honest": ([GOOD], None, b"", [0]),
    "honest, length known": ([GOOD], SIZE, b"", [0]),
    "says no length": ([Answer(BODY, headers=UNTOLD)], None, b"", [0]),
    "says no length, cut": ([Answer(BODY, headers=UNTOLD, cut=SOME), GOOD], SIZE, b"", [0, SOME]),
    "chunked": ([Answer(BODY, chunked=True)], None, b"", [0]),
    "cut": ([Answer(BODY, cut=SOME), GOOD], None, b"", [0, SOME]),
    "cut twice": ([Answer(BODY, cut=SOME)] * 2 + [GOOD], None, b"", [0, SOME, 2 * SOME]),
    "cut often": ([Answer(BODY, cut=100_000)], None, b"", list(range(0, SIZE, 100_000))),
    "cut twice without a new byte": (
        [*[Answer(BODY, cut=SOME), Answer(raw=b""), Answer(raw=b"")], GOOD],
        None,
        b"",
        [0] + [SOME] * 3,
    ),
    "cut, refuses ranges": ([Answer(BODY, cut=SOME), Answer(BODY, ranges=False)], None, b"", [0, SOME]),
    "gives pieces": ([Answer(BODY, piece=SOME)], None, b"", [0, SOME, 2 * SOME]),
    "gives pieces of an untold length, cut": (
        [
            Answer(BODY, cut=SOME),
            Answer(BODY, headers={"Content-Range": f"bytes {SOME}-{SIZE - 1}/*"}, cut=SOME),
            Answer(BODY, headers={"Content-Range": f"bytes {2 * SOME}-{SIZE - 1}/*"}),
        ],
        None,
        b"",
        [0, SOME, 2 * SOME],
    ),
    "gives another piece": (
        [Answer(BODY, headers={"Content-Range": f"bytes 5-{SIZE - 1}/{SIZE}"}), GOOD],
        None,
        BODY[:SOME],
        [SOME, 0],
    ),
    "gives a piece of a longer file": (
        [Answer(BODY, headers={"Content-Range": f"bytes {SOME}-{SIZE - 1}/{SIZE + 9}"}), GOOD],
        None,
        BODY[:SOME],
        [SOME],
    ),
    "gives the beginning": (
        [Answer(BODY, ranges=False, status=206, headers={"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"})],
        None,
        BODY[:SOME],
        [SOME],
    ),
    "does not say which piece": ([Answer(BODY, headers={"Content-Range": None}), GOOD], None, BODY[:SOME], [SOME, 0]),
    "counts beyond all numbers": (
        [Answer(BODY, headers={"Content-Range": f"bytes {'9' * 5000}-9/*"}), GOOD],
        None,
        BODY[:SOME],
        [SOME, 0],
    ),
    "promises more": ([Answer(BODY, headers=LONGER)], None, b"", [0]),
    "promises more, length known": ([Answer(BODY, headers=LONGER)], SIZE, b"", [0]),
    "promises more of a piece": (
        [Answer(BODY, headers={"Content-Range": f"bytes {SOME}-{SIZE}/{SIZE + 1}", **LONGER})],
        None,
        BODY[:SOME],
        [SOME],
    ),
    "busy": ([Answer(status=503), Answer(status=429), GOOD], None, b"", [0, 0, 0]),
    "part of another file": ([GOOD], None, OTHER[:SOME], [SOME, 0]),
    "part of another file, cut": ([GOOD, Answer(BODY, cut=SOME), GOOD], None, OTHER[:SOME], [SOME, 0, SOME]),
    "part longer than the file": ([GOOD], None, BODY + b"more", [SIZE + 4, 0]),
    "part longer than the file, length known": ([GOOD], SIZE, BODY + b"more", [0]),
    "part of another file, of the same length": ([GOOD], SIZE, OTHER, [0]),
    "part is the whole file": ([GOOD], None, BODY, []),
    "part is the whole file, length known": ([GOOD], SIZE, BODY, []),
}


@pytest.mark.parametrize("name", HABITS)
def test_the_file_is_right_whatever_the_server_does(name, server, path, part):
    answers, size, before, asked = HABITS[name]
    if before:
        part.write_bytes(before)
    assert download_file([server.gives("file", *answers)], path, RIGHT, size) == path
    assert path.read_bytes() == BODY
    assert server.asked("file") == asked
    assert beside(path) == ["file"]


# The server's answers, what the caller states, and what is told of them.
FAULTS = {
    "missing": ([Answer(status=404)], {}, "HTTP 404 Not Found"),
    "forbidden": ([Answer(status=403)], {}, "HTTP 403 Forbidden"),
    "busy": ([Answer(status=503)], {}, "HTTP 503 Service Unavailable, 3 times without a new byte"),
    "wrong": ([Answer(OTHER)], {}, f"expected sha256 {RIGHT.hexadecimal}, received {sha256(OTHER).hexadecimal}"),
    "wrong, then cut": ([Answer(OTHER, cut=SOME), GOOD, Answer(OTHER)], {}, f"received {sha256(OTHER).hexadecimal}"),
    "empty": ([Answer()], {}, f"received {sha256(b'').hexadecimal}"),
    "no content": ([Answer(status=204)], {}, f"received {sha256(b'').hexadecimal}"),
    "promises less": ([Answer(BODY, headers={"Content-Length": "5"})], {}, f"received {sha256(BODY[:5]).hexadecimal}"),
    "promises less, length known": (
        [Answer(BODY, ranges=False, headers={"Content-Length": "5"})],
        {"size": SIZE},
        f"expected {SIZE} bytes, received 5",
    ),
    "shorter than known": ([Answer(BODY[:-1])], {"size": SIZE}, f"expected {SIZE} bytes, received {SIZE - 1}"),
    "longer than known": ([Answer(BODY + b"!")], {"size": SIZE}, f"expected at most {SIZE} bytes, received more"),
    "endless": ([Answer(BODY, headers=UNTOLD, times=300)], {}, "expected at most 5000000 bytes, received more"),
    "endless, length known": (
        [Answer(BODY, headers=UNTOLD, times=300)],
        {"size": SIZE},
        f"expected at most {SIZE} bytes",
    ),
    "always cut": (
        [Answer(BODY, cut=SOME, ranges=False)],
        {},
        f"the connection ended after {SOME} of {SIZE} bytes, 3 times without",
    ),
    "always cut, chunked": ([Answer(BODY, cut=SOME, chunked=True, ranges=False)], {}, "of unknown bytes, 3 times"),
    "no answer": ([Answer(raw=b"")], {}, "closed connection without response, 3 times"),
    "no HTTP": ([Answer(raw=b"SSH-2.0-\x1b[31m\r\n")], {}, r"SSH-2.0- \[31m, 3 times"),
    "a piece unasked": (
        [Answer(BODY, status=206, headers={"Content-Range": f"bytes 5-{SIZE}/*"})],
        {},
        "it sent a piece of the file although the whole",
    ),
    "never the piece that was asked": (
        [Answer(BODY, cut=SOME), Answer(status=416)] * 2,
        {},
        f"does not resume after the {SOME} bytes",
    ),
    "redirected to a file": (
        [Answer(status=302, headers={"Location": "file:///etc/passwd"})],
        {},
        "'file:///etc/passwd' is not allowed",
    ),
    "redirected to ftp": (
        [Answer(status=301, headers={"Location": "ftp://127.0.0.1/file"})],
        {},
        "unknown url type: ftp",
    ),
    "redirected to data": ([Answer(status=307, headers={"Location": "data:,file"})], {}, "'data:,file' is not allowed"),
    "redirected nowhere": ([Answer(status=302)], {}, "HTTP 302 Found"),
    "redirected to no address": ([Answer(status=308, headers={"Location": "http://[bad/"})], {}, "Invalid IPv6 URL"),
    "redirected in a circle": ([Answer(status=302, headers={"Location": "/file"})], {}, "infinite loop. The last"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_and_the_next_address_asked(name, server, path):
    answers, stated, reason = FAULTS[name]
    url = server.gives("file", *answers)
    with pytest.raises(DownloadError, match=reason) as caught:
        download_file([url], path, RIGHT, **stated)
    told = str(caught.value)
    assert told.replace("\n", "").isprintable()
    assert f"\n    {url}: " in told and len(told.splitlines()) == 3
    assert set(beside(path)) <= {"file.part"}
    server.gives("file", *answers)
    assert download_file([url, server.gives("mirror", GOOD)], path, RIGHT, **stated).read_bytes() == BODY
    assert beside(path) == ["file"]
    assert len(server.asked("mirror")) <= 2


def test_wrong_bytes_are_not_kept(server, path):
    with pytest.raises(DownloadError):
        download_file([server.gives("file", Answer(OTHER))], path, RIGHT)
    assert beside(path) == []


def test_every_address_is_named_with_its_reason(server, path):
    with Server() as gone:
        nobody = gone.gives("file")
    urls = [server.gives("missing"), nobody, server.gives("wrong", Answer(OTHER))]
    with pytest.raises(DownloadError) as caught:
        download_file(urls, path, RIGHT)
    first, *reasons, last = str(caught.value).splitlines()
    assert first == "Expected one of these addresses to provide file. Received:"
    assert [reason.split(": ")[0].strip() for reason in reasons] == urls
    for reason, words in zip(reasons, ("404", "refused", "expected sha256"), strict=True):
        assert words in reason
        assert "times" not in reason  # A host that does not answer at all is asked once.
    assert str(path) in last


def test_a_second_address_goes_on_where_the_first_was_cut(server, path):
    first = server.gives("first", Answer(BODY, cut=SOME), Answer(status=404))
    download_file([first, server.gives("second", GOOD)], path, RIGHT)
    assert server.asked("second") == [SOME] and path.read_bytes() == BODY


def test_a_later_call_goes_on_where_all_were_cut(server, path):
    with pytest.raises(DownloadError, match="404"):
        download_file([server.gives("file", Answer(BODY, cut=SOME), Answer(status=404))], path, RIGHT)
    download_file([server.gives("again", GOOD)], path, RIGHT)
    assert server.asked("again") == [SOME] and path.read_bytes() == BODY


def test_a_stall_counts_as_a_cut(server, path, monkeypatch):
    monkeypatch.setattr(download, "STALL", 0.3)
    url = server.gives("file", Answer(BODY, pause=SOME, meanwhile=server.stall), GOOD)
    download_file([url], path, RIGHT)
    assert server.asked("file") == [0, SOME] and path.read_bytes() == BODY
    url = server.gives("never", Answer(BODY, meanwhile=server.stall))
    with pytest.raises(DownloadError, match="timed out after 0 of 1000000 bytes, 3 times"):
        download_file([url], path.with_name("never"), RIGHT)
    assert server.asked("never") == [0, 0, 0]


def test_a_connection_that_breaks(server, path):
    url = server.gives("file", Answer(BODY, cut=SOME, reset=True), GOOD)
    download_file([url], path, RIGHT)
    assert len(server.asked("file")) == 2 and path.read_bytes() == BODY


def test_a_network_that_goes_and_comes_back(path, monkeypatch):
    first = Server()
    port = first.server_address[1]
    with contextlib.ExitStack() as second, contextlib.ExitStack() as running:
        url = running.enter_context(first).gives("file", Answer(BODY, cut=SOME))

        def back():
            back = second.enter_context(Server(port))
            back.gives("file", GOOD)

        happens = iter([running.close, back])
        monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda _: next(happens)()))
        download_file([url], path, RIGHT)
    assert path.read_bytes() == BODY


def test_a_redirection_keeps_the_range_and_reads_no_endless_text(server, path, part):
    part.write_bytes(BODY[:SOME])
    read = []
    moved = Answer(
        BODY,
        status=302,
        headers={"Location": "/other", **UNTOLD},
        ranges=False,
        times=50,
        meanwhile=lambda: read.append(1),
    )
    server.gives("other", GOOD)
    download_file([server.gives("file", moved)], path, RIGHT)
    assert server.asked("file") == server.asked("other") == [SOME]
    assert path.read_bytes() == BODY
    assert len(read) < 50


def test_nothing_is_in_its_place_before_it_is_whole_and_checked(server, path):
    seen = []

    class Watching(Digest):
        def of(self, file):
            seen.append((file.name, *beside(path)))
            return super().of(file)

    url = server.gives("file", Answer(BODY, pause=SIZE - 1, meanwhile=lambda: seen.append(tuple(beside(path)))))
    download_file([url], path, Watching("sha256", RIGHT.hexadecimal))
    assert len(seen) == 2 and not any("file" in names for names in seen)
    assert seen[-1] == ("file.part", "file.lock", "file.part")


def test_what_is_there_is_not_asked_for(server, path, part, monkeypatch):
    path.write_bytes(BODY)
    monkeypatch.setenv("TFALEXNET_OFFLINE", "1")
    assert download_file([server.gives("file", GOOD)], path, RIGHT).read_bytes() == BODY
    path.write_bytes(b"put there by hand")
    with pytest.raises(DownloadError, match="another file, or damaged; move it away"):
        download_file([server.gives("file", GOOD)], path, RIGHT)
    with pytest.warns(UserWarning, match="Only one source states"):
        download_file([server.gives("file", GOOD)], path, dataclasses.replace(RIGHT, certain=False))
    assert path.read_bytes() == b"put there by hand"
    assert server.requests == [] and not part.exists()


def test_offline_asks_nobody_and_says_what_to_do(server, path, monkeypatch):
    url = server.gives("file", GOOD)
    for said in ("1", "yes"):
        monkeypatch.setenv("TFALEXNET_OFFLINE", said)
        with pytest.raises(DownloadError) as caught:
            download_file([url], path, RIGHT)
        for part in (f"TFALEXNET_OFFLINE={said}", str(path), url, "Unset the variable"):
            assert part in str(caught.value)
    assert server.requests == [] and not path.parent.exists()
    for said in ("0", ""):
        monkeypatch.setenv("TFALEXNET_OFFLINE", said)
        download_file([url], path, RIGHT).unlink()
    assert server.asked("file") == [0, 0]


def test_an_uncertain_digest_is_a_warning_that_shows_both(server, path):
    url = server.gives("file", Answer(OTHER))
    with pytest.warns(UserWarning) as caught:
        download_file([url], path, sha256(BODY, certain=False))
    (warning,) = caught
    for part in (url, RIGHT.hexadecimal, sha256(OTHER).hexadecimal):
        assert part in str(warning.message)
    assert path.read_bytes() == OTHER and beside(path) == ["file"]
    path.unlink()
    download_file([server.gives("file", GOOD)], path, sha256(BODY, certain=False))
    with pytest.raises(DownloadError, match="expected 5 bytes, received 4"):
        download_file([server.gives("file", Answer(b"four"))], path.with_name("short"), sha256(BODY, certain=False), 5)


def test_digests_as_published(tmp_path):
    # FIPS 180-4's examples; Pro Git, chapter 10.2.
    published = [
        (b"abc", "sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"abc", "sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (b"test content\n", "git", "d670460b4b4aece5915caf5c68d12f560a9fe3e4"),
    ]
    for content, algorithm, hexadecimal in published:
        (tmp_path / "file").write_bytes(content)
        assert Digest(algorithm, hexadecimal).of(tmp_path / "file") == hexadecimal


def test_what_is_no_digest_and_no_address(path):
    with pytest.raises(ValueError, match="an algorithm of sha256, sha1, git. Received: 'md5'"):
        Digest("md5", "0" * 32)
    for wrong in ("0" * 63, "A" * 64, "0" * 64 + "\n"):
        with pytest.raises(ValueError, match="Expected 64 digits 0-9a-f"):
            Digest("sha256", wrong)
    for urls in ([], ["file:///etc/passwd"], ["http://host/file", "ftp://host/file"], ["host/file"]):
        with pytest.raises(ValueError, match="addresses with http: or https:"):
            download_file(urls, path, RIGHT)
    assert not path.parent.exists()


def test_a_terminal_sees_how_far(server, path, part, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setenv("COLUMNS", "120")
    part.write_bytes(BODY[:SOME])
    download_file([server.gives("file", GOOD)], path, RIGHT)
    first, *_, last = terminal.getvalue().strip().split("\r")
    assert " 40%  0.4/1.0 MB" in first and "127.0.0.1 file" in first
    assert " 100%  1.0/1.0 MB" in f" {last.split('] ')[1]}"


def test_a_log_stays_clean(server, path, capfd):
    download_file([server.gives("file", Answer(BODY, cut=SOME), GOOD)], path, RIGHT)
    assert capfd.readouterr() == ("", "")


FETCH = """
import sys
from pathlib import Path
from tfalexnet.hub import download
from tfalexnet.io import locks
download.PAUSE = locks.POLL = 0.01
url, path, hexadecimal = sys.argv[1:]
download.download_file([url], Path(path), download.Digest("sha256", hexadecimal))
"""


def process(code: str, *arguments) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")


def test_two_processes_download_once(server, path):
    began, go = threading.Event(), threading.Event()
    url = server.gives("file", Answer(BODY, pause=SOME, meanwhile=lambda: began.set() or go.wait(20)))
    with process(FETCH, url, path, RIGHT.hexadecimal) as first:
        assert began.wait(20)
        with process(FETCH, url, path, RIGHT.hexadecimal) as second:
            assert second.stderr.readline() == f"tfalexnet: waiting for another process that is getting {path}\n"
            go.set()
            assert second.stderr.read() == first.stderr.read() == ""
    assert first.returncode == second.returncode == 0
    assert server.asked("file") == [0] and path.read_bytes() == BODY
    assert beside(path) == ["file"] or os.name == "nt"


def test_who_waited_tries_itself_when_the_other_failed(server, path):
    began, go = threading.Event(), threading.Event()
    wrong = Answer(OTHER, pause=SOME, meanwhile=lambda: began.set() or go.wait(20))
    url = server.gives("file", wrong, GOOD)
    with process(FETCH, url, path, RIGHT.hexadecimal) as first:
        assert began.wait(20)
        with process(FETCH, url, path, RIGHT.hexadecimal) as second:
            assert "waiting" in second.stderr.readline()
            go.set()
            assert second.stderr.read() == ""
            assert "received " + sha256(OTHER).hexadecimal in first.stderr.read()
    assert (first.returncode, second.returncode) == (1, 0)
    assert server.asked("file") == [0, 0] and path.read_bytes() == BODY


def test_a_killed_process_blocks_nobody_and_is_gone_on_from(server, path, part):
    url = server.gives("file", Answer(BODY, pause=SOME, meanwhile=server.stall), GOOD)
    with process(FETCH, url, path, RIGHT.hexadecimal) as killed:
        end = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
            time.sleep(0.01)
        killed.kill()
    assert killed.returncode != 0 and path.with_name("file.lock").exists()
    have = part.stat().st_size
    download_file([url], path, RIGHT)
    assert server.asked("file") == [0, have] and 0 < have <= SOME
    assert path.read_bytes() == BODY


def test_one_process_at_a_time(path):
    code = (
        "import sys; from pathlib import Path; from tfalexnet.io import locks; locks.POLL = 0.001\n"
        "path = Path(sys.argv[1])\n"
        "for _ in range(50):\n"
        "    with locks.file_lock(path):\n"
        "        path.write_text(str(int(path.read_text()) + 1 if path.exists() else 1))\n"
    )
    running = [process(code, path) for _ in range(4)]
    for one in running:
        one.communicate()
    assert path.read_text() == "200"
    assert beside(path) == ["file"] or os.name == "nt"


def test_threads_wait_for_each_other_too(server, path):
    url = server.gives("file", Answer(BODY, pause=SOME, meanwhile=lambda: time.sleep(0.1)))
    threads = [threading.Thread(target=download_file, args=([url], path, RIGHT)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked("file") == [0] and path.read_bytes() == BODY


def test_an_error_frees_the_lock(path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), file_lock(path):
            raise KeyboardInterrupt


@pytest.mark.skipif(os.name == "nt", reason="locks of POSIX")
def test_a_file_system_without_locks_stops_nobody(server, path, monkeypatch):
    import fcntl

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    assert download_file([server.gives("file", GOOD)], path, RIGHT).read_bytes() == BODY


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_is_no_fault_of_the_address(server, path, part):
    url, mirror = server.gives("file", GOOD), server.gives("mirror", GOOD)
    code = (
        "import resource, signal, sys; from pathlib import Path; from tfalexnet.hub import download\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "try: download.download_file(sys.argv[3:], Path(sys.argv[1]), download.Digest('sha256', sys.argv[2]))\n"
        "except OSError as error: sys.exit(f'{type(error).__name__} {error.errno}')\n"
    )
    with process(code, path, RIGHT.hexadecimal, url, mirror) as full:
        assert full.stderr.read() == f"OSError {errno.EFBIG}\n"
    assert part.stat().st_size == 300_000 and not path.exists()
    download_file([url], path, RIGHT)
    assert server.requests == [("file", 0), ("file", 300_000)] and path.read_bytes() == BODY


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(OSError) as caught:
        download_file([server.gives("file", GOOD)], tmp_path / "home" / "file", RIGHT)
    assert not isinstance(caught.value, DownloadError) and server.requests == []


# From here on by name: a name, its sources, the converted file.
NET = tfalexnet.ARCHITECTURES["cifar10_18pct"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of downloads, and a working folder without weights."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def published(folder: Path, seed: int, suffix: str) -> bytes:
    """A checkpoint with random numbers, as somebody would publish it."""
    folder.mkdir(exist_ok=True)
    checkpoint = Checkpoint(random_parameters(NET, seed), ModelSpec(NET, None, numbered_classes(NET.classes)))
    write_checkpoint(folder / f"{seed}{suffix}", checkpoint)
    return (folder / f"{seed}{suffix}").read_bytes()


@pytest.fixture
def named(monkeypatch):
    """Gives sources a name."""

    def register(*sources: Source) -> str:
        known = PublishedWeights("tested", NET.name, "", "", Accuracy(0.0, None, ""), sources)
        monkeypatch.setitem(REGISTRY, "tested", known)
        return "tested"

    return register


def assert_holds(path: Path, seed: int) -> None:
    read = read_checkpoint(path, NET).parameters
    for name, arrays in random_parameters(NET, seed).items():
        for array, expected in zip(read[name], arrays, strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_name_is_downloaded_and_converted_once(suffix, server, named, home, tmp_path):
    content = published(tmp_path / "published", 1, suffix)
    url = server.gives(f"net{suffix}", Answer(content))
    name = named(Source((url,), sha256(content), len(content)))
    for _ in range(2):
        model = tfalexnet.AlexNet(NET, weights=name)
        for layer, arrays in random_parameters(NET, 1).items():
            for array, expected in zip(model.get_layer(layer).get_weights(), arrays, strict=True):
                np.testing.assert_array_equal(array, expected)
        assert find_weights(name) == locate_weights(name) == home / "tested.weights.h5"
        assert server.asked(f"net{suffix}") == [0]
        assert os.listdir(home) == ["tested.weights.h5"] or os.name == "nt"
    said = keras_h5.read(home / "tested.weights.h5").attributes
    assert (said["source"], said["source_sha256"]) == (f"net{suffix}", sha256(content).hexadecimal)


def test_a_page_instead_of_an_uncertain_file_is_not_kept(server, named, home, tmp_path):
    page, content = b"<html>Please log in</html>", published(tmp_path / "published", 1, ".npy")
    wrong = Source((server.gives("page.npy", Answer(page)),), dataclasses.replace(sha256(content), certain=False))
    right = Source((server.gives("net.npy", Answer(content)),), sha256(content))
    with pytest.warns(UserWarning, match="Only one source states the expected digest"):
        assert_holds(find_weights(named(wrong, right)), 1)
    assert server.asked("page.npy") == server.asked("net.npy") == [0]
    (home / "tested.weights.h5").unlink()
    with (
        pytest.warns(UserWarning, match="Only one source"),
        pytest.raises(tfalexnet.WeightsNotFoundError, match=r"page\.npy: expected a checkpoint"),
    ):
        find_weights(named(wrong))
    assert not list(home.glob("page*"))


def test_a_file_that_was_put_there_by_hand(server, named, home, tmp_path):
    content, other = (published(tmp_path / "published", seed, ".npy") for seed in (1, 2))
    name = named(Source((server.gives("net.npy"),), sha256(content)))
    home.mkdir(exist_ok=True)
    (home / "net.npy").write_bytes(other)
    with pytest.raises(tfalexnet.WeightsNotFoundError, match="It is another file, or damaged; move it away"):
        find_weights(name)
    assert (home / "net.npy").read_bytes() == other
    (home / "net.npy").write_bytes(content)
    assert_holds(find_weights(name), 1)
    assert (home / "net.npy").read_bytes() == content and server.asked("net.npy") == []


def test_wrong_bytes_are_never_read_and_the_next_source_is_asked(server, named, home, tmp_path):
    wrong, right = (published(tmp_path / "published", seed, ".npy") for seed in (1, 2))
    first = Source((server.gives("first.npy", Answer(wrong)),), sha256(right))
    second = Source((server.gives("second.npy", Answer(right)),), sha256(right))
    assert_holds(find_weights(named(first, second)), 2)
    assert server.requests == [("first.npy", 0), ("second.npy", 0)]
    assert os.listdir(home) == ["tested.weights.h5"] or os.name == "nt"


def test_an_uncertain_source_is_used_with_a_warning(server, named, home, tmp_path):
    content = published(tmp_path / "published", 1, ".npy")
    url = server.gives("net.npy", Answer(content))
    with pytest.warns(UserWarning, match=f"{RIGHT.hexadecimal}, received {sha256(content).hexadecimal}"):
        assert_holds(find_weights(named(Source((url,), sha256(BODY, certain=False)))), 1)
    assert find_weights("tested") == home / "tested.weights.h5"


def test_no_source_gives_it(server, named, home):
    urls = [server.gives("missing"), server.gives("wrong", Answer(OTHER)), server.gives("busy", Answer(status=503))]
    name = named(Source(tuple(urls[:2]), RIGHT), Source((urls[2],), RIGHT))
    with pytest.raises(WeightsNotFoundError) as caught:
        tfalexnet.AlexNet(NET, weights=name)
    told = str(caught.value)
    for part in (*urls, "404", "received " + sha256(OTHER).hexadecimal, "503", str(home), str(Path.cwd() / "weights")):
        assert part in told
    assert not (home / "tested.weights.h5").exists()


def test_offline_the_way_by_hand_is_told_and_works(server, named, home, tmp_path, monkeypatch):
    content = published(tmp_path / "published", 1, ".npy")
    url = server.gives("net.npy", Answer(content))
    monkeypatch.setenv("TFALEXNET_OFFLINE", "1")
    name = named(Source((url,), sha256(content)))
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights(name)
    told = str(caught.value)
    output = Path("weights", "tested.weights.h5")
    command = f"tfalexnet convert FILE --architecture {NET.name} --output {output}"
    for part in ("TFALEXNET_OFFLINE=1", url, str(home), command):
        assert part in told
    convert(tmp_path / "published" / "1.npy", output, NET.name)
    assert find_weights(name) == output
    assert_holds(output, 1)
    output.unlink()
    (home / "net.npy").write_bytes(content)
    assert_holds(find_weights(name), 1)
    assert server.requests == []


FIND = """
import sys
from tfalexnet.hub import cache, registry
from tfalexnet.hub.download import Digest
from tfalexnet.io import locks
locks.POLL = 0.01
url, hexadecimal, architecture = sys.argv[1:]
source = registry.Source((url,), Digest("sha256", hexadecimal))
accuracy = registry.Accuracy(0, None, "")
registry.REGISTRY["tested"] = registry.PublishedWeights("tested", architecture, "", "", accuracy, (source,))
cache.find_weights("tested")
"""


def test_two_processes_convert_once(server, home, tmp_path):
    content = published(tmp_path / "published", 1, ".npy")
    began, go = threading.Event(), threading.Event()
    url = server.gives("net.npy", Answer(content, meanwhile=lambda: began.set() or go.wait(20)))
    with process(FIND, url, sha256(content).hexadecimal, NET.name) as first:
        assert began.wait(20)
        with process(FIND, url, sha256(content).hexadecimal, NET.name) as second:
            assert "waiting for another process" in second.stderr.readline()
            go.set()
            assert first.stderr.read() == second.stderr.read() == ""
    assert first.returncode == second.returncode == 0
    assert server.asked("net.npy") == [0]
    assert_holds(home / "tested.weights.h5", 1)
