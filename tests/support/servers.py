"""A web server on this machine that gives prepared answers, correct or faulty."""

import contextlib
import re
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler


@dataclass(frozen=True)
class Answer:
    """The answer to one request.

    Attributes:
        body: the complete file.
        status: None for 200, or for 206 and a piece of the file if the request has a Range.
        ranges: False to ignore the Range of the request.
        piece: most bytes of the file in one answer; the headers state so.
        headers: replace the correct ones; None leaves one out.
        raw: sent instead of the status line and the headers.
        chunked: whether the body is sent in chunks, without its length.
        pause: number of bytes after which `meanwhile` is called.
        meanwhile: called by the server in the middle of the answer.
        cut: number of bytes after which the connection ends, whatever the headers announce.
        reset: whether the connection ends with a reset.
        times: how often the body is sent.
    """

    body: bytes = b""
    status: int | None = None
    ranges: bool = True
    piece: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    raw: bytes | None = None
    chunked: bool = False
    pause: int = 0
    meanwhile: Callable[[], object] = lambda: None
    cut: int | None = None
    reset: bool = False
    times: int = 1


class Server(socketserver.ThreadingTCPServer):
    """A server that runs during a `with` block.

    Attributes:
        answers: {path: answers to its requests, in order; the last one is repeated}.
        requests: path and first requested byte of each request for a file so far.
        heads: path of each request for the headers alone so far.
        closing: set when the block ends.
        errors: exceptions of the server itself.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, int]] = []
        self.heads: list[str] = []
        self.closing = threading.Event()
        self.errors: list[BaseException | None] = []
        super().__init__(("127.0.0.1", port), _Handler)

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        assert not self.errors

    def handle_error(self, *_) -> None:
        self.errors.append(sys.exception())

    def url(self, path: str, *answers: Answer) -> str:
        """Set the answers for a path, 404 if there are none, and return its address."""
        self.answers[path] = list(answers) or [Answer(status=404)]
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def starts(self, path: str) -> list[int]:
        """Return the first requested byte of each request for a path."""
        return [start for requested, start in self.requests if requested == path]

    def stall(self) -> None:
        """Send nothing more; for `meanwhile`."""
        self.closing.wait(20)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if self.command == "HEAD":
            self.server.heads.append(path)
        else:
            self.server.requests.append((path, int(match[1]) if match else 0))
        answers = self.server.answers[path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with contextlib.suppress(ConnectionError):  # The client may close the connection early.
            self._send(answer, int(match[1]) if match and answer.ranges else None)

    do_HEAD = do_GET

    def _send(self, answer: Answer, start: int | None) -> None:
        partial = start is not None or answer.piece is not None
        start = start or 0
        body = answer.body[start:][: answer.piece]
        status = answer.status or ((206 if body else 416) if partial else 200)
        headers: dict[str, str | None] = {"Content-Length": str(len(body))}
        if answer.chunked:
            headers = {"Transfer-Encoding": "chunked"}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(answer.body)}"
        if answer.raw is None:
            self.send_response(status)
            for name, value in (headers | answer.headers).items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()
        else:
            self.wfile.write(answer.raw)
        if answer.chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        if self.command == "HEAD":
            body = b""
        for _ in range(answer.times):
            self.wfile.write(body[: answer.pause])
            answer.meanwhile()
            self.wfile.write(body[answer.pause : answer.cut])
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_) -> None:
        pass
