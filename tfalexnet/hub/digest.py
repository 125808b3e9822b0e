"""`Digest`: the expected digest of a file, and the check of a file against it."""

import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# {algorithm: (hash, what is hashed before the bytes of the file)}. Git's: gitformat-pack(5), `git hash-object`.
ALGORITHMS = {"sha256": ("sha256", ""), "sha1": ("sha1", ""), "git": ("sha1", "blob {size}\0")}


@dataclass(frozen=True)
class Digest:
    """The expected digest of a file.

    Attributes:
        algorithm: `"git"` is the id of a file in a Git repository.
        hexadecimal: as `sha256sum`, `sha1sum` or `git hash-object` print it.
        certain: False if only one source states it; a file with another digest is then accepted with a warning.
    """

    algorithm: Literal["sha256", "sha1", "git"]
    hexadecimal: str
    certain: bool = True

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"Expected an algorithm of {', '.join(ALGORITHMS)}. Received: {self.algorithm!r}")
        digits = 2 * hashlib.new(ALGORITHMS[self.algorithm][0], usedforsecurity=False).digest_size
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", self.hexadecimal):
            raise ValueError(f"Expected {digits} digits 0-9a-f for {self.algorithm}. Received: {self.hexadecimal!r}")

    def of(self, path: Path) -> str:
        """Return the digest of a file by this algorithm, in hexadecimal."""
        name, prefix = ALGORITHMS[self.algorithm]
        prefix = prefix.format(size=path.stat().st_size).encode()
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.new(name, prefix, usedforsecurity=False)).hexdigest()

    def matches(self, path: Path) -> bool:
        """Return whether a file exists and has this digest."""
        return path.exists() and self.of(path) == self.hexadecimal

    def check(self, path: Path, origin: str) -> str:
        """Return how a file differs from this digest, "" if it does not; only warn if the digest is not certain."""
        received = self.of(path)
        if received == self.hexadecimal:
            return ""
        problem = f"expected {self.algorithm} {self.hexadecimal}, received {received}"
        if self.certain:
            return problem
        warnings.warn(
            f"{origin}: {problem}. Only one source states the expected digest, so the file is accepted. If its "
            "results are wrong, delete it and get it elsewhere.",
            stacklevel=4,
        )
        return ""
