"""A web server on this machine whose answers are rows of a table, honest or not."""

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
    """What the server says to one request.

    Attributes:
        body: the whole file.
        status: None for 200, or 206 and a piece of the file to a request that has a Range.
        ranges: whether a Range is heeded.
        piece: no more bytes than these are given to a request; the headers say so.
        headers: in place of the honest ones; None leaves one out.
        raw: sent instead of a status line and headers.
        chunked: whether the body is sent in pieces whose sum is not told beforehand.
        pause: after so many bytes `meanwhile` is called.
        cut: the connection ends after so many bytes, whatever the headers promise.
        reset: it ends without a farewell.
        times: the body is sent so often.
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
    """Runs for the length of a `with` block.

    Attributes:
        answers: to the requests of a path, one after the other; the last one stays.
        requests: path and first byte asked for, of each request so far.
        over: set when the block ends.
        errors: of the server itself.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, int]] = []
        self.over = threading.Event()
        self.errors: list[BaseException | None] = []
        super().__init__(("127.0.0.1", port), _Handler)

    def __enter__(self) -> "Server":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.shutdown()
        self.server_close()
        assert not self.errors

    def handle_error(self, *_) -> None:
        self.errors.append(sys.exception())

    def gives(self, path: str, *answers: Answer) -> str:
        """From now on these are the answers, or 404; the address to ask."""
        self.answers[path] = list(answers) or [Answer(status=404)]
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"

    def asked(self, path: str) -> list[int]:
        """The first byte that each request of a path asked for."""
        return [first for other, first in self.requests if other == path]

    def stall(self) -> None:
        """For `meanwhile`: nothing more comes."""
        self.over.wait(20)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = self.path.removeprefix("/")
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.server.requests.append((path, int(match[1]) if match else 0))
        answers = self.server.answers[path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        with contextlib.suppress(ConnectionError):  # The client may have had enough.
            self._send(answer, int(match[1]) if match and answer.ranges else None)

    def _send(self, answer: Answer, first: int | None) -> None:
        partial = first is not None or answer.piece is not None
        first = first or 0
        body = answer.body[first:][: answer.piece]
        status = answer.status or ((206 if body else 416) if partial else 200)
        headers: dict[str, str | None] = {"Content-Length": str(len(body))}
        if answer.chunked:
            headers = {"Transfer-Encoding": "chunked"}
        if status == 206:
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{len(answer.body)}"
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
        for _ in range(answer.times):
            self.wfile.write(body[: answer.pause])
            answer.meanwhile()
            self.wfile.write(body[answer.pause : answer.cut])
        if answer.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_) -> None:
        pass
