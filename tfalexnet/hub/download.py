"""Download a file from one of several addresses: resumed after a cut, and checked by its digest."""

import http.client
import os
import re
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from tfalexnet.hub.digest import Digest
from tfalexnet.io.files import open_regular
from tfalexnet.io.locks import file_lock
from tfalexnet.io.progress import Progress
from tfalexnet.io.terminal import print_error

STALL = 30.0  # Seconds after which a connection counts as cut if it sent no byte, or fewer than SLOWEST a second.
SLOWEST = 1000  # Bytes a second.
PAUSE = 1.0  # Seconds between two requests to one address.
ATTEMPTS = 3  # Requests in a row without a new byte after which the next address is tried.
LIMIT = 1 << 30  # Most bytes accepted from an address if the size of the file is unknown.
CHUNK = 1 << 18  # Most bytes read at once.
TEMPORARY = {408, 429, 500, 502, 503, 504}  # HTTP statuses after which the request is repeated: curl(1), --retry.


class _RedirectHandler(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):
        fp.close()  # urllib would read the body of the redirection to its end, however long it is.
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise _AddressError(f"it redirects from https to {newurl[:200]!r}, which anyone on the way can change")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        request.method = req.get_method()  # Before Python 3.13 urllib makes a GET of a HEAD.
        return request


# Without the handlers of ftp:, file: and data:, to which urllib.request's default opener follows redirections.
HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.UnknownHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    _RedirectHandler,
)


class DownloadError(OSError):
    """A file that no address provides; the message states the reason for each address."""


class _Cut(Exception):
    """A request that failed, or ended before the end of the file; it is worth repeating."""


class _AddressError(Exception):
    """An address that does not provide the file; the next one is tried."""


def forbidden() -> str:
    """Return the setting of the environment that forbids downloads, "" if none does."""
    offline = os.environ.get("TFALEXNET_OFFLINE", "")
    return "" if offline in ("", "0") else f"TFALEXNET_OFFLINE={offline}"


def announced_size(url: str, timeout: float) -> int | None:
    """Return the number of bytes that an address announces for its file, None if it announces none.

    The request is HEAD, whose answer has no body.

    Args:
        url: with http: or https:.
        timeout: seconds to wait for each answer; redirections are followed.

    Raises:
        DownloadError: the address does not have the file; the message is the reason.
    """
    try:
        with _open("HEAD", url, {}, timeout) as response:
            length = response.headers.get("Content-Length", "").strip()
    except HTTPError as error:
        error.close()
        raise DownloadError(f"HTTP {error.code} {_reason(error)}") from error
    except URLError as error:
        raise DownloadError(f"no connection: {getattr(error.reason, 'strerror', None) or _reason(error)}") from error
    except (OSError, ValueError, http.client.HTTPException, _AddressError) as error:
        raise DownloadError(_reason(error)) from error
    return int(length) if re.fullmatch(r"\d{1,18}", length, re.ASCII) else None


def download_file(urls: Sequence[str], path: Path, digest: Digest, size: int | None = None) -> Path:
    """Return `path` after downloading it if it does not exist; an existing file is checked too.

    The download is written to `<path>.part`, which a later call resumes, and is renamed when its digest is right.
    Only one process at a time downloads a path.

    Args:
        urls: http or https addresses of the same bytes, tried in this order.
        path: the file.
        digest: its expected digest.
        size: its number of bytes; None if unknown, which limits it to LIMIT.

    Raises:
        DownloadError: no address provides the file, TFALEXNET_OFFLINE forbids downloads, or `path` is another file.
        OSError: the file cannot be written, or its `.part` is a link.
    """
    if _is_present(path, digest):
        return path
    if not urls or any(urlsplit(url).scheme not in ("http", "https") for url in urls):
        raise ValueError(f"Expected `urls` to be addresses with http: or https:. Received: {urls!r}")
    if offline := forbidden():
        raise DownloadError(
            f"Expected {path}, as {offline} forbids downloads. Received: no such file. "
            "Unset the variable, or put the file there by hand, from\n    " + "\n    ".join(urls)
        )
    part = path.with_name(f"{path.name}.part")
    reasons = []
    with file_lock(path):
        if _is_present(path, digest):
            return path
        if os.path.lexists(part):
            open_regular(part).close()  # Raises if it is a link: it would become the file.
        for url in urls:
            try:
                _complete(part, url, digest, size, LIMIT if size is None else size)
            except _AddressError as error:
                reasons.append(f"{url}: {error}")
                continue
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            return part.replace(path)
    raise DownloadError(
        f"Expected one of these addresses to provide {path.name}. Received:\n    "
        + "\n    ".join(reasons)
        + f"\nTry again later; the download resumes where it ended. Or put the file there by hand: {path}"
    )


def _complete(part: Path, url: str, digest: Digest, size: int | None, bound: int) -> None:
    """Download what the part file lacks from one address, in as many requests as bring new bytes.

    Raises:
        _AddressError: ATTEMPTS requests in a row brought no new byte, or the file has another size or digest.
    """
    if digest.matches(part):
        return
    if size is not None and _length(part) >= size:
        part.unlink()
    print_error(f"downloading from {url}")
    longest, idle, restarted = _length(part), 0, False
    while True:
        cut = None
        try:
            start = _receive(url, part, size, bound)
        except _Cut as error:
            cut = error
        if digest.matches(part):  # Possible after a cut too: some servers announce more bytes than the file has.
            return
        length = _length(part)
        if cut:
            idle = 0 if length > longest else idle + 1
            longest = max(longest, length)
            if idle == ATTEMPTS:
                raise _AddressError(f"{cut}, {ATTEMPTS} times without a new byte") from cut
            time.sleep(PAUSE)
        elif start != 0 and not restarted:  # The part file may be the beginning of another file.
            part.unlink()
            longest, idle, restarted = 0, 0, True
        elif start is None:
            raise _AddressError(f"it does not resume after the {length} bytes that it sent")
        else:
            break
    if length > bound:
        problem = f"expected at most {bound} bytes, received more"
    elif size not in (None, length):
        problem = f"expected {size} bytes, received {length}"
    else:
        problem = digest.check(part, url)
    if problem:
        part.unlink()
        raise _AddressError(problem)


def _receive(url: str, part: Path, size: int | None, bound: int) -> int | None:
    """Append the answer to one request to the part file, until the file is complete or longer than `bound`.

    Returns:
        Position in the file where the answer starts; None if the server cannot continue the part file.
    """
    length = _length(part)
    with _open_url(url, length) as response:
        start, announced = _content_range(response)
        if start not in (0, length):
            if length:
                return None
            raise _AddressError("it sent a piece of the file although the whole was requested")
        problem = ""
        address = urlsplit(url)
        note = f"{address.hostname} {address.path.rsplit('/', 1)[-1]}"
        total = announced if size is None else size
        with open_regular(part) as file, Progress(total, "B", start=start, note=note) as progress:
            file.truncate(start)
            length, checked_length, checked = start, start, time.monotonic()
            while length <= bound:
                try:
                    # One byte beyond the bound tells a longer file from one that ends there.
                    chunk = response.read1(min(CHUNK, bound + 1 - length))
                except (OSError, http.client.HTTPException) as error:
                    problem = _reason(error)
                    break
                if not chunk:
                    break
                file.write(chunk)
                length += len(chunk)
                progress.advance(len(chunk))
                if time.monotonic() - checked >= STALL:
                    if length - checked_length < SLOWEST * STALL:
                        problem = f"fewer than {SLOWEST} bytes a second"
                        break
                    checked_length, checked = length, time.monotonic()
    ends = {size, announced} - {None}
    if length > bound or length in ends or not (problem or ends):
        return start
    raise _Cut(f"{problem or 'the connection ended'} after {length} of {max(ends, default='unknown')} bytes")


def _open_url(url: str, start: int) -> http.client.HTTPResponse | HTTPError:
    """Request a file from byte `start` on; return the answer, whose status may be 416 if `start` is not 0."""
    try:
        return _open("GET", url, {"Range": f"bytes={start}-"} if start else {}, STALL)
    except HTTPError as error:
        if start and error.code == 416:
            return error
        error.close()
        raise (_Cut if error.code in TEMPORARY else _AddressError)(f"HTTP {error.code} {_reason(error)}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        # Without a connection, or with a redirection to no address (ValueError), only a begun download is repeated.
        final = not start and isinstance(error, URLError | ValueError)
        raise (_AddressError if final else _Cut)(_reason(error)) from error


def _open(method: str, url: str, headers: dict[str, str], timeout: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": "tfalexnet", "Accept-Encoding": "identity"} | headers
    opener = urllib.request.OpenerDirector()
    for handler in HANDLERS:
        opener.add_handler(handler())
    return opener.open(urllib.request.Request(url, headers=headers, method=method), timeout=timeout)


def _content_range(response: http.client.HTTPResponse | HTTPError) -> tuple[int | None, int | None]:
    """Return where in the file an answer starts, and the length of the file; None for what it does not state."""
    if response.status == 416:
        return None, None
    if response.status != 206:
        return 0, response.length
    match = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", response.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    start = int(match[1])
    if match[2] != "*":
        return start, int(match[2])
    return start, None if response.length is None else start + response.length


def _reason(error: Exception) -> str:
    """Return an error as one printable line: some have no text, as `TimeoutError()`; others quote the server."""
    error = getattr(error, "reason", None) or error
    return re.sub(r"[\x00-\x20\x7f-\xa0]+", " ", str(error))[:200].strip() or type(error).__name__


def _is_present(path: Path, digest: Digest) -> bool:
    """Return whether the file exists; raise `DownloadError` if it is another one, which a user must have put there."""
    if not path.exists():
        return False
    if problem := digest.check(path, str(path)):
        raise DownloadError(f"{path}: {problem}. It is another file, or damaged; move it away.")
    return True


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
