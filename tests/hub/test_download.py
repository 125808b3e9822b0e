"""Downloads from servers that answer correctly, break off, stall, redirect or send other files."""

import contextlib
import dataclasses
import gzip
import io
import os
import time
import urllib.request
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from support.downloads import (
    BODY,
    BODY_DIGEST,
    COMPLETE,
    OTHER,
    OTHER_DIGEST,
    PART_SIZE,
    SIZE,
    files_beside,
    sha256_digest,
)
from support.servers import Answer, Server

from tfalexnet.hub import download
from tfalexnet.hub.digest import Digest
from tfalexnet.hub.download import DownloadError, download_file
from tfalexnet.io import progress

NO_LENGTH = {"Content-Length": None}
TOO_LONG = {"Content-Length": str(SIZE + 1000)}
ANNOUNCED_LESS = Answer(BODY, headers={"Content-Length": "5"})
CUT = Answer(BODY, cut=PART_SIZE)
ENDLESS = Answer(BODY, headers=NO_LENGTH, times=300)


def with_range(content_range: str | None, **fields) -> Answer:
    """An answer with this Content-Range in place of the correct one."""
    return Answer(BODY, **{"headers": {"Content-Range": content_range}, **fields})


def redirection(location: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": location})


class Case(NamedTuple):
    """Answers after which the file is complete.

    Attributes:
        answers: of the server, in order.
        starts: first byte that each request asks for.
        part: content of the part file before.
        size: length of the file that the caller states.
    """

    answers: list[Answer]
    starts: list[int]
    part: bytes = b""
    size: int | None = None


RESUMED = BODY[:PART_SIZE]
COMPLETED = {
    "honest": Case([COMPLETE], [0]),
    "honest, known length": Case([COMPLETE], [0], size=SIZE),
    "without length": Case([Answer(BODY, headers=NO_LENGTH)], [0]),
    "without length, cut": Case([Answer(BODY, headers=NO_LENGTH, cut=PART_SIZE), COMPLETE], [0, PART_SIZE], size=SIZE),
    "chunked": Case([Answer(BODY, chunked=True)], [0]),
    "Content-Encoding of another body": Case([Answer(BODY, headers={"Content-Encoding": "gzip"})], [0]),
    "cut": Case([CUT, COMPLETE], [0, PART_SIZE]),
    "cut twice": Case([CUT, CUT, COMPLETE], [0, PART_SIZE, 2 * PART_SIZE]),
    "cut often": Case([Answer(BODY, cut=100_000)], list(range(0, SIZE, 100_000))),
    "cut twice without a new byte": Case([CUT, Answer(raw=b""), Answer(raw=b""), COMPLETE], [0] + [PART_SIZE] * 3),
    "cut, ranges ignored": Case([CUT, Answer(BODY, ranges=False)], [0, PART_SIZE]),
    "pieces": Case([Answer(BODY, piece=PART_SIZE)], [0, PART_SIZE, 2 * PART_SIZE]),
    "pieces of a file of unknown length, cut": Case(
        [
            CUT,
            with_range(f"bytes {PART_SIZE}-{SIZE - 1}/*", cut=PART_SIZE),
            with_range(f"bytes {2 * PART_SIZE}-{SIZE - 1}/*"),
        ],
        [0, PART_SIZE, 2 * PART_SIZE],
    ),
    "another piece": Case([with_range(f"bytes 5-{SIZE - 1}/{SIZE}"), COMPLETE], [PART_SIZE, 0], RESUMED),
    "piece of a longer file": Case([with_range(f"bytes {PART_SIZE}-{SIZE - 1}/{SIZE + 9}")], [PART_SIZE], RESUMED),
    "piece from the beginning": Case(
        [with_range(f"bytes 0-{SIZE - 1}/{SIZE}", ranges=False, status=206)], [PART_SIZE], RESUMED
    ),
    "piece without its position": Case([with_range(None), COMPLETE], [PART_SIZE, 0], RESUMED),
    "piece at a 5000-digit number": Case([with_range(f"bytes {'9' * 5000}-9/*"), COMPLETE], [PART_SIZE, 0], RESUMED),
    "announces more": Case([Answer(BODY, headers=TOO_LONG)], [0]),
    "announces more, known length": Case([Answer(BODY, headers=TOO_LONG)], [0], size=SIZE),
    "announces more of a piece": Case(
        [Answer(BODY, headers={"Content-Range": f"bytes {PART_SIZE}-{SIZE}/{SIZE + 1}", **TOO_LONG})],
        [PART_SIZE],
        RESUMED,
    ),
    "busy": Case([Answer(status=503), Answer(status=429), COMPLETE], [0, 0, 0]),
    "part of another file": Case([COMPLETE], [PART_SIZE, 0], OTHER[:PART_SIZE]),
    "part of another file, cut": Case([COMPLETE, CUT, COMPLETE], [PART_SIZE, 0, PART_SIZE], OTHER[:PART_SIZE]),
    "part longer than the file": Case([COMPLETE], [SIZE + 4, 0], BODY + b"more"),
    "part longer than the file, known length": Case([COMPLETE], [0], BODY + b"more", SIZE),
    "part of another file of the same length": Case([COMPLETE], [0], OTHER, SIZE),
    "part is the complete file": Case([COMPLETE], [], BODY),
    "part is the complete file, known length": Case([COMPLETE], [], BODY, SIZE),
}


@pytest.mark.parametrize("case", COMPLETED.values(), ids=COMPLETED)
def test_the_file_is_complete_after_any_of_these_answers(case, server, path, part):
    if case.part:
        part.write_bytes(case.part)
    assert download_file([server.url("file", *case.answers)], path, BODY_DIGEST, case.size) == path
    assert path.read_bytes() == BODY
    assert server.starts("file") == case.starts
    assert files_beside(path) == ["file"]


class Fault(NamedTuple):
    """Answers after which an address is given up, and a pattern of the reason."""

    answers: list[Answer]
    reason: str
    size: int | None = None


FAULTS = {
    "missing": Fault([Answer(status=404)], "HTTP 404 Not Found"),
    "forbidden": Fault([Answer(status=403)], "HTTP 403 Forbidden"),
    "busy": Fault([Answer(status=503)], "HTTP 503 Service Unavailable, 3 times without a new byte"),
    "other bytes": Fault(
        [Answer(OTHER)], f"expected sha256 {BODY_DIGEST.hexadecimal}, received {OTHER_DIGEST.hexadecimal}"
    ),
    "other bytes, cut": Fault(
        [Answer(OTHER, cut=PART_SIZE), COMPLETE, Answer(OTHER)], f"received {OTHER_DIGEST.hexadecimal}"
    ),
    "compressed bytes": Fault(
        [Answer(gzip.compress(BODY, 1, mtime=0), headers={"Content-Encoding": "gzip"})],
        f"received {sha256_digest(gzip.compress(BODY, 1, mtime=0)).hexadecimal}",
    ),
    "empty": Fault([Answer()], f"received {sha256_digest(b'').hexadecimal}"),
    "no content": Fault([Answer(status=204)], f"received {sha256_digest(b'').hexadecimal}"),
    "announces less": Fault([ANNOUNCED_LESS], f"received {sha256_digest(BODY[:5]).hexadecimal}"),
    "announces less, known length": Fault(
        [dataclasses.replace(ANNOUNCED_LESS, ranges=False)], f"expected {SIZE} bytes, received 5", SIZE
    ),
    "shorter than known": Fault([Answer(BODY[:-1])], f"expected {SIZE} bytes, received {SIZE - 1}", SIZE),
    "longer than known": Fault([Answer(BODY + b"!")], f"expected at most {SIZE} bytes, received more", SIZE),
    "endless": Fault([ENDLESS], "expected at most 5000000 bytes, received more"),
    "endless, known length": Fault([ENDLESS], f"expected at most {SIZE} bytes", SIZE),
    "always cut": Fault(
        [dataclasses.replace(CUT, ranges=False)],
        f"the connection ended after {PART_SIZE} of {SIZE} bytes, 3 times without",
    ),
    "always cut, chunked": Fault([dataclasses.replace(CUT, ranges=False, chunked=True)], "of unknown bytes, 3 times"),
    "no answer": Fault([Answer(raw=b"")], "closed connection without response, 3 times"),
    "no HTTP": Fault([Answer(raw=b"SSH-2.0-\x1b[31m\r\n")], r"SSH-2.0- \[31m, 3 times"),
    "unrequested piece": Fault(
        [with_range(f"bytes 5-{SIZE}/*", status=206)], "it sent a piece of the file although the whole"
    ),
    "does not resume": Fault([CUT, Answer(status=416)] * 2, f"does not resume after the {PART_SIZE} bytes"),
    "redirected to a file": Fault([redirection("file:///etc/passwd")], "'file:///etc/passwd' is not allowed"),
    "redirected to ftp": Fault([redirection("ftp://127.0.0.1/file", 301)], "unknown url type: ftp"),
    "redirected to data": Fault([redirection("data:,file", 307)], "'data:,file' is not allowed"),
    "redirected without an address": Fault([Answer(status=302)], "HTTP 302 Found"),
    "redirected to an invalid address": Fault([redirection("http://[bad/", 308)], "Invalid IPv6 URL"),
    "redirected in a circle": Fault([redirection("/file")], "infinite loop. The last"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_reported_and_the_next_address_is_tried(fault, server, path):
    url = server.url("file", *fault.answers)
    with pytest.raises(DownloadError, match=fault.reason) as caught:
        download_file([url], path, BODY_DIGEST, fault.size)
    message = str(caught.value)
    assert message.replace("\n", "").isprintable()
    assert f"\n    {url}: " in message and len(message.splitlines()) == 3
    assert set(files_beside(path)) <= {"file.part"}
    server.url("file", *fault.answers)
    assert download_file([url, server.url("mirror", COMPLETE)], path, BODY_DIGEST, fault.size).read_bytes() == BODY
    assert files_beside(path) == ["file"]
    assert len(server.starts("mirror")) <= 2


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://host:port", "nonnumeric port"),
        ("http://", "no host given"),
        ("socks5://127.0.0.1:1", "unknown url type: socks5"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_the_reason(proxy, reason, server, path, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(DownloadError, match=f"/file: .*{reason}"):
        download_file([server.url("file", COMPLETE)], path, BODY_DIGEST)
    assert server.requests == []


def test_wrong_bytes_are_deleted(server, path):
    with pytest.raises(DownloadError):
        download_file([server.url("file", Answer(OTHER))], path, BODY_DIGEST)
    assert files_beside(path) == []


def test_the_error_names_every_address_with_its_reason(server, path):
    with Server() as stopped:
        unreachable = stopped.url("file")
    urls = [server.url("missing"), unreachable, server.url("wrong", Answer(OTHER))]
    with pytest.raises(DownloadError) as caught:
        download_file(urls, path, BODY_DIGEST)
    first, *reasons, last = str(caught.value).splitlines()
    assert first == "Expected one of these addresses to provide file. Received:"
    assert [reason.split(": ")[0].strip() for reason in reasons] == urls
    for reason, expected in zip(reasons, ("404", "refused", "expected sha256"), strict=True):
        assert expected in reason
        assert "times" not in reason  # A host that cannot be reached is tried once.
    assert str(path) in last


def test_a_second_address_resumes_where_the_first_was_cut(server, path):
    first = server.url("first", CUT, Answer(status=404))
    download_file([first, server.url("second", COMPLETE)], path, BODY_DIGEST)
    assert server.starts("second") == [PART_SIZE] and path.read_bytes() == BODY


def test_a_later_call_resumes_where_all_addresses_were_cut(server, path):
    with pytest.raises(DownloadError, match="404"):
        download_file([server.url("file", CUT, Answer(status=404))], path, BODY_DIGEST)
    download_file([server.url("again", COMPLETE)], path, BODY_DIGEST)
    assert server.starts("again") == [PART_SIZE] and path.read_bytes() == BODY


def test_a_stall_counts_as_a_cut(server, path, monkeypatch):
    monkeypatch.setattr(download, "STALL", 0.3)
    url = server.url("file", Answer(BODY, pause=PART_SIZE, meanwhile=server.stall), COMPLETE)
    download_file([url], path, BODY_DIGEST)
    assert server.starts("file") == [0, PART_SIZE] and path.read_bytes() == BODY
    url = server.url("never", Answer(BODY, meanwhile=server.stall))
    with pytest.raises(DownloadError, match="timed out after 0 of 1000000 bytes, 3 times"):
        download_file([url], path.with_name("never"), BODY_DIGEST)
    assert server.starts("never") == [0, 0, 0]


def test_a_connection_that_sends_a_few_bytes_now_and_then_counts_as_cut(server, path, monkeypatch):
    monkeypatch.setattr(download, "STALL", 0.2)
    trickle = Answer(b"." * SIZE, cut=1, times=100, meanwhile=lambda: time.sleep(0.01))
    url = server.url("file", trickle, COMPLETE)
    download_file([url], path, BODY_DIGEST, SIZE)
    assert 1 <= server.starts("file")[1] < 100 and path.read_bytes() == BODY


def test_a_redirection_from_https_to_http_is_not_followed():
    body = io.BytesIO()
    request = urllib.request.Request("https://example.org/file")
    redirect = download._RedirectHandler().redirect_request
    with pytest.raises(download._AddressError, match="from https to 'http://example.org/other'"):
        redirect(request, body, 302, "Found", {}, "http://example.org/other")
    assert body.closed
    assert redirect(request, io.BytesIO(), 302, "Found", {}, "https://example.org/other").full_url.endswith("/other")


@pytest.mark.parametrize("suffix", [".part", ".lock"])
def test_links_and_pipes_in_the_place_of_our_files_are_not_opened(server, path, tmp_path, suffix):
    path.parent.mkdir()
    ours, foreign = path.with_name(f"file{suffix}"), tmp_path / "foreign"
    foreign.write_bytes(BODY)
    url = server.url("file", COMPLETE)
    ours.symlink_to(foreign)
    with pytest.raises(OSError, match="symbolic links"):
        download_file([url], path, BODY_DIGEST)
    ours.unlink()
    os.mkfifo(ours)
    with pytest.raises(OSError, match="Expected a regular file"):
        download_file([url], path, BODY_DIGEST)
    assert foreign.read_bytes() == BODY and not path.exists() and server.requests == []


def test_a_reset_connection_is_resumed(server, path):
    url = server.url("file", Answer(BODY, cut=PART_SIZE, reset=True), COMPLETE)
    download_file([url], path, BODY_DIGEST)
    assert len(server.starts("file")) == 2 and path.read_bytes() == BODY


def test_a_server_that_disappears_and_returns_is_resumed(path, monkeypatch):
    first = Server()
    port = first.server_address[1]
    with contextlib.ExitStack() as second, contextlib.ExitStack() as running:
        url = running.enter_context(first).url("file", CUT)

        def restart():
            second.enter_context(Server(port)).url("file", COMPLETE)

        events = iter([running.close, restart])
        monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda _: next(events)(), monotonic=time.monotonic))
        download_file([url], path, BODY_DIGEST)
    assert path.read_bytes() == BODY


def test_a_redirection_keeps_the_range_and_its_body_is_not_read(server, path, part):
    part.write_bytes(BODY[:PART_SIZE])
    sent = []
    moved = Answer(
        BODY,
        status=302,
        headers={"Location": "/other", **NO_LENGTH},
        ranges=False,
        times=50,
        meanwhile=lambda: sent.append(1),
    )
    server.url("other", COMPLETE)
    download_file([server.url("file", moved)], path, BODY_DIGEST)
    assert server.starts("file") == server.starts("other") == [PART_SIZE]
    assert path.read_bytes() == BODY
    assert len(sent) < 50


def test_the_file_appears_only_after_its_digest_was_checked(server, path):
    seen = []

    class Watching(Digest):
        def of(self, file):
            seen.append((file.name, *files_beside(path)))
            return super().of(file)

    url = server.url("file", Answer(BODY, pause=SIZE - 1, meanwhile=lambda: seen.append(tuple(files_beside(path)))))
    download_file([url], path, Watching("sha256", BODY_DIGEST.hexadecimal))
    assert len(seen) == 2 and not any("file" in names for names in seen)
    assert seen[-1] == ("file.part", "file.lock", "file.part")


def test_an_existing_file_is_checked_and_not_downloaded(server, path, part, monkeypatch):
    path.write_bytes(BODY)
    monkeypatch.setenv("TFALEXNET_OFFLINE", "1")
    assert download_file([server.url("file", COMPLETE)], path, BODY_DIGEST).read_bytes() == BODY
    path.write_bytes(b"put there by hand")
    with pytest.raises(DownloadError, match="another file, or damaged; move it away"):
        download_file([server.url("file", COMPLETE)], path, BODY_DIGEST)
    with pytest.warns(UserWarning, match="Only one source states"):
        download_file([server.url("file", COMPLETE)], path, dataclasses.replace(BODY_DIGEST, certain=False))
    assert path.read_bytes() == b"put there by hand"
    assert server.requests == [] and not part.exists()


def test_offline_sends_no_request_and_explains_what_to_do(server, path, monkeypatch):
    url = server.url("file", COMPLETE)
    for value in ("1", "yes"):
        monkeypatch.setenv("TFALEXNET_OFFLINE", value)
        with pytest.raises(DownloadError) as caught:
            download_file([url], path, BODY_DIGEST)
        for part in (f"TFALEXNET_OFFLINE={value}", str(path), url, "Unset the variable"):
            assert part in str(caught.value)
    assert server.requests == [] and not path.parent.exists()
    for value in ("0", ""):
        monkeypatch.setenv("TFALEXNET_OFFLINE", value)
        download_file([url], path, BODY_DIGEST).unlink()
    assert server.starts("file") == [0, 0]


def test_another_digest_than_an_uncertain_one_is_a_warning_with_both(server, path):
    uncertain = sha256_digest(BODY, certain=False)
    url = server.url("file", Answer(OTHER))
    with pytest.warns(UserWarning) as caught:
        download_file([url], path, uncertain)
    (warning,) = caught
    for part in (url, BODY_DIGEST.hexadecimal, OTHER_DIGEST.hexadecimal):
        assert part in str(warning.message)
    assert path.read_bytes() == OTHER and files_beside(path) == ["file"]
    path.unlink()
    download_file([server.url("file", COMPLETE)], path, uncertain)
    with pytest.raises(DownloadError, match="expected 5 bytes, received 4"):
        download_file([server.url("short", Answer(b"four"))], path.with_name("short"), uncertain, 5)


def test_invalid_digests_and_addresses_are_rejected(path):
    with pytest.raises(ValueError, match="an algorithm of sha256, sha1, git. Received: 'md5'"):
        Digest("md5", "0" * 32)
    for wrong in ("0" * 63, "A" * 64, "0" * 64 + "\n"):
        with pytest.raises(ValueError, match="Expected 64 digits 0-9a-f"):
            Digest("sha256", wrong)
    for urls in ([], ["file:///etc/passwd"], ["http://host/file", "ftp://host/file"], ["host/file"]):
        with pytest.raises(ValueError, match="addresses with http: or https:"):
            download_file(urls, path, BODY_DIGEST)
    assert not path.parent.exists()


def test_a_terminal_shows_the_progress(server, path, part, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setenv("COLUMNS", "120")
    part.write_bytes(BODY[:PART_SIZE])
    download_file([server.url("file", COMPLETE)], path, BODY_DIGEST)
    first, *_, last = terminal.getvalue().strip().split("\r")
    assert " 40%  0.4/1.0 MB" in first and "127.0.0.1 file" in first
    assert " 100%  1.0/1.0 MB" in f" {last.split('] ')[1]}"


def test_a_log_names_each_address_once_before_its_first_byte(server, path, capfd):
    written = []
    missing, url = server.url("missing"), server.url("file", Answer(BODY, meanwhile=lambda: None, cut=PART_SIZE))
    server.answers["file"].append(
        dataclasses.replace(COMPLETE, meanwhile=lambda: written.append(capfd.readouterr().err))
    )
    download_file([missing, url], path, BODY_DIGEST)
    assert written == [f"tfalexnet: downloading from {missing}\ntfalexnet: downloading from {url}\n"]
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_created_is_an_os_error(server, tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(OSError) as caught:
        download_file([server.url("file", COMPLETE)], tmp_path / "home" / "file", BODY_DIGEST)
    assert not isinstance(caught.value, DownloadError) and server.requests == []
