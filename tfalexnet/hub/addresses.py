"""Ask the addresses of the registry whether they still have their files, without downloading them."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from tfalexnet.hub.download import DownloadError, announced_size, forbidden
from tfalexnet.hub.registry import REGISTRY, PublishedWeights
from tfalexnet.io.terminal import format_table

TIMEOUT = 6.0  # Seconds for all answers together; the addresses are asked at the same time.


@dataclass(frozen=True)
class Address:
    """The answer of an address.

    Attributes:
        name: the weights that it is a source of.
        url: the address.
        problem: why the file is not there, "" if it is.
        size: the announced number of bytes, None if the answer has none.
    """

    name: str
    url: str
    problem: str
    size: int | None = None

    def __str__(self) -> str:
        size = "size not stated" if self.size is None else f"{self.size:,} bytes"
        return self.problem or f"alive, {size}"


def check_addresses(weights: Iterable[PublishedWeights] = REGISTRY.values(), timeout: float = TIMEOUT) -> list[Address]:
    """Return the answer of each address of published weights.

    A file of another size than the registry states counts as missing: such an answer is a web page, or another file.

    Args:
        weights: whose sources are asked.
        timeout: seconds after which an address without an answer counts as dead.

    Raises:
        DownloadError: TFALEXNET_OFFLINE forbids requests.
    """
    if offline := forbidden():
        raise DownloadError(f"Expected a network connection. {offline} forbids it: unset it to ask the addresses.")
    asked = [(item.name, url, source.size) for item in weights for source in item.sources for url in source.urls]
    answers: dict[int, Address] = {}

    def ask(index: int, name: str, url: str, size: int | None) -> None:
        try:
            received = announced_size(url, timeout)
        except DownloadError as error:
            answers[index] = Address(name, url, str(error))
            return
        differs = None not in (size, received) and received != size
        problem = f"another file: {received:,} bytes, expected {size:,}" if differs else ""
        answers[index] = Address(name, url, problem, received)

    # Daemons: a name server that does not answer is waited for longer than `timeout`, and must not delay the exit.
    threads = [threading.Thread(target=ask, args=(index, *row), daemon=True) for index, row in enumerate(asked)]
    end = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    silent = f"no answer within {timeout:g} seconds"
    return [answers.get(index) or Address(name, url, silent) for index, (name, url, _) in enumerate(asked)]


def addresses_table(addresses: Iterable[Address]) -> str:
    """Return the answers as lines of text, and the names that no address has."""
    addresses = list(addresses)
    missing = missing_names(addresses)
    alive = sum(not address.problem for address in addresses)
    total = f"{alive} of {len(addresses)} addresses have their file."
    if missing:
        total += f" No address has {', '.join(missing)}."
    return f"{format_table([(a.name, str(a), a.url) for a in addresses])}\n\n{total}"


def missing_names(addresses: Iterable[Address]) -> list[str]:
    """Return the names of weights that no address has."""
    alive: dict[str, bool] = {}
    for address in addresses:
        alive[address.name] = alive.get(address.name, False) or not address.problem
    return [name for name, is_alive in alive.items() if not is_alive]
