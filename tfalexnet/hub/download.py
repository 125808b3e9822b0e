"""A file from one of several addresses, whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tfalexnet.io.progress import Progress

if sys.platform == "win32":
    pass
else:
    pass

from tfalexnet.io.locks import file_lock

STALL = 30.0  # Seconds without a byte after which a connection counts as cut.
PAUSE = 1.0  # Seconds between two tries at one address.
ATTEMPTS = 3  # Tries in a row without a new byte after which the next address is asked.
CHUNK = 1 << 18
TEMPORARY = {408, 429, 500, 502, 503, 504}  # Answers that may soon be others: curl(1), --retry.

# What is hashed before the bytes of the file; of Git's objects: gitformat-pack(5), `git hash-object`.
ALGORITHMS = {"sha256": ("sha256", ""), "sha1": ("sha1", ""), "git": ("sha1", "blob {size}\0")}


class _Redirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, *others):
        fp.close()  # Its text would be read to the end, however long.
        return super().redirect_request(req, fp, *others)


# No ftp:, file: or data:, which urllib.request's default opener follows redirections to.
HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.UnknownHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    _Redirect,
    urllib.request.HTTPErrorProcessor,
)


@dataclass(frozen=True)
class Digest:
    """What the bytes of a file must come to.

    Attributes:
        algorithm: `"git"` is the id of a file in a Git repository.
        hexadecimal: as `sha256sum`, `sha1sum` or `git hash-object` print it.
        certain: False where only one source states it: another digest is then a warning, no error.
    """

    algorithm: Literal["sha256", "sha1", "git"]
    hexadecimal: str
    certain: bool = True

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            known = ", ".join(ALGORITHMS)
            raise ValueError(f"Expected `algorithm` to be one of {known}. Received: {self.algorithm!r}")
        digits = 2 * hashlib.new(ALGORITHMS[self.algorithm][0], usedforsecurity=False).digest_size
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", self.hexadecimal):
            raise ValueError(
                f"Expected a digest by {self.algorithm} to be {digits} of the digits 0-9a-f. "
                f"Received: {self.hexadecimal!r}"
            )

    def of(self, path: Path) -> str:
        """What the bytes of a file do come to."""
        name, prefix = ALGORITHMS[self.algorithm]
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            state = hashlib.new(name, prefix.format(size=size).encode(), usedforsecurity=False)
            while chunk := file.read(CHUNK):
                state.update(chunk)
        return state.hexdigest()


class DownloadError(OSError):
    """No address gave the file; the message says why each did not."""


class _Cut(Exception):
    """A connection ended before the file did."""


class _Failed(Exception):
    """An address that need not be asked again."""


def download_file(
    urls: Sequence[str], path: Path, digest: Digest, size: int | None = None, limit: int = 1 << 30
) -> Path:
    """The file at `path`, which is downloaded once if it is not there; its digest is checked anyhow.

    It grows in `<path>.part`, from which a later call goes on, and takes its place when its digest is right.

    Args:
        urls: http or https addresses of the same bytes, asked in this order.
        path: where the file goes.
        digest: what its bytes must come to.
        size: how many bytes it has; None where nobody states it.
        limit: no more bytes than these are taken from an address where `size` is None.

    Raises:
        DownloadError: no address gave the file, TFALEXNET_OFFLINE forbids to ask, or another is in its place.
        OSError: the file cannot be written.
    """
    path = Path(path)
    if _there(path, digest):
        return path
    for url in urls or [""]:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"Expected `urls` to be addresses with http: or https:. Received: {urls!r}")
    offline = os.environ.get("TFALEXNET_OFFLINE", "")
    if offline not in ("", "0"):
        raise DownloadError(
            f"Expected {path}, as TFALEXNET_OFFLINE={offline} forbids to download. Received: no such file. "
            "Unset the variable, or put the file there by hand, from\n    " + "\n    ".join(urls)
        )
    with file_lock(path):
        if _there(path, digest):
            return path
        reasons = []
        for url in urls:
            part = _beside(path, ".part")
            try:
                _obtain(url, part, digest, size, limit)
            except _Failed as failure:
                reasons.append(f"{url}: {failure}")
                continue
            with part.open("rb+") as whole:
                os.fsync(whole.fileno())
            part.replace(path)
            return path
    raise DownloadError(
        f"Expected one of these addresses to give {path.name}. Received:\n    "
        + "\n    ".join(reasons)
        + f"\nTry again later: what was downloaded is kept, and resumed. Or put the file there by hand: {path}"
    )


def _obtain(url: str, part: Path, digest: Digest, size: int | None, limit: int) -> None:
    """Bring the part file to the right digest from one address, in as many tries as bring progress."""
    if _right(part, digest):
        return
    if size is not None and _length(part) >= size:
        part.unlink()
    best, idle, restarted = _length(part), 0, False
    while True:
        try:
            began = _receive(url, part, size, limit)
        except _Cut as cut:
            if _right(part, digest):  # More was promised than there is.
                return
            have = _length(part)
            best, idle = max(best, have), 0 if have > best else idle + 1
            if idle == ATTEMPTS:
                raise _Failed(f"{cut}, {ATTEMPTS} times without a new byte") from cut
            time.sleep(PAUSE)
            continue
        have, received = _length(part), digest.of(part)
        if received == digest.hexadecimal:
            return
        if began != 0 and not restarted:  # What was there may be the beginning of something else.
            part.unlink()
            best, idle, restarted = 0, 0, True
            continue
        if began is None:
            raise _Failed(f"it does not continue the {have} bytes that it sent")
        if have > (limit if size is None else size):
            wrong = f"expected at most {limit if size is None else size} bytes, received more"
        elif size not in (None, have):
            wrong = f"expected {size} bytes, received {have}"
        else:
            wrong = f"expected {digest.algorithm} {digest.hexadecimal}, received {received}"
            if not digest.certain:
                _accept(f"{url}: {wrong}.")
                return
        part.unlink()
        raise _Failed(wrong)


def _receive(url: str, part: Path, size: int | None, limit: int) -> int | None:
    """Append to the part file what one request gives, until the file is whole or too long.

    Returns:
        Where the answer began in the file; None: the address has nothing that continues the part file.
    """
    have = _length(part)
    bound = limit if size is None else size
    address = urlsplit(url)
    with _opened(url, have) as response:
        if response.status == 416:
            return None
        began, stated = _extent(response)
        if began not in (0, have):
            if have:
                return None
            raise _Failed("it sends a piece where the whole file was asked for")
        problem = ""
        note = f"{address.hostname} {address.path.rsplit('/', 1)[-1]}"
        total = stated if size is None else size
        with part.open("ab" if began else "wb") as file, Progress(total, "B", start=began, note=note) as progress:
            have = began
            while have <= bound:
                try:
                    # One byte beyond the bound tells a file that ends there from one that does not.
                    chunk = response.read1(min(CHUNK, bound + 1 - have))
                except (OSError, http.client.HTTPException) as error:
                    problem = _reason(error)
                    break
                if not chunk:
                    break
                file.write(chunk)
                have += len(chunk)
                progress.advance(len(chunk))
    ends = {size, stated} - {None}
    if have > bound or have in ends or not (problem or ends):
        return began
    raise _Cut(f"{problem or 'the connection ended'} after {have} of {max(ends, default='unknown')} bytes")


def _opened(url: str, have: int) -> http.client.HTTPResponse | urllib.error.HTTPError:
    """The answer to a request for what comes after the first `have` bytes."""
    headers = {"User-Agent": "tfalexnet", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    opener = urllib.request.OpenerDirector()
    for handler in HANDLERS:
        opener.add_handler(handler())
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=STALL)
    except urllib.error.HTTPError as error:
        if have and error.code == 416:
            return error
        error.close()
        raise (_Cut if error.code in TEMPORARY else _Failed)(f"HTTP {error.code} {_reason(error)}") from error
    except (urllib.error.URLError, ValueError) as error:  # ValueError: redirected to what is no address.
        raise (_Cut if have else _Failed)(_reason(error)) from error  # What has begun is worth another try.
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(_reason(error)) from error


def _extent(response: http.client.HTTPResponse) -> tuple[int | None, int | None]:
    """Where in the file an answer begins, and how long it says that the file is; None: it does not say."""
    if response.status != 206:
        return 0, response.length
    match = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", response.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    began = int(match[1])
    if match[2] != "*":
        return began, int(match[2])
    return began, None if response.length is None else began + response.length


def _reason(error: Exception) -> str:
    """An error in printable words: some have none, as `TimeoutError()`; others quote what a server sent."""
    error = getattr(error, "reason", None) or error
    return re.sub(r"[\x00-\x20\x7f-\xa0]+", " ", str(error))[:200].strip() or type(error).__name__


def _right(part: Path, digest: Digest) -> bool:
    return part.exists() and digest.of(part) == digest.hexadecimal


def _there(path: Path, digest: Digest) -> bool:
    """Whether the file is there; another in its place is refused, as it was put there by hand."""
    if not path.exists():
        return False
    received = digest.of(path)
    if received == digest.hexadecimal:
        return True
    wrong = f"Expected {path} to be {digest.algorithm} {digest.hexadecimal}. Received: {received}."
    if digest.certain:
        raise DownloadError(f"{wrong} It is another file, or damaged; move it away.")
    _accept(wrong)
    return True


def _accept(wrong: str) -> None:
    warnings.warn(
        f"{wrong} Only one source states the expected digest, so the file is accepted. If its answers are odd, "
        "delete it and get it elsewhere.",
        stacklevel=4,
    )


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
