"""Files to download in tests, their digests, and Python processes that download them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from support.servers import Answer
from tfalexnet.hub.digest import Digest

SIZE, PART_SIZE = 1_000_000, 400_000  # Bytes of the file, and of an incomplete download of it.
_generator = np.random.default_rng(2012)
BODY, OTHER = _generator.bytes(SIZE), _generator.bytes(SIZE)
COMPLETE = Answer(BODY)


def sha256_digest(content: bytes, certain: bool = True) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest(), certain)


BODY_DIGEST, OTHER_DIGEST = sha256_digest(BODY), sha256_digest(OTHER)


def start_python(code: str, *arguments: object) -> subprocess.Popen:
    """Start a Python process that runs `code`; its stderr is a pipe of text."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8")


def files_beside(path: Path) -> list[str]:
    """Return the names in the folder of a path, sorted."""
    return sorted(os.listdir(path.parent))
