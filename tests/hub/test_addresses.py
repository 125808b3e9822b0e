"""Addresses are asked by HEAD, at the same time: what each answers, and that nothing is downloaded."""

import socket
import time

import pytest
from support.servers import Answer

from tfalexnet.hub.addresses import addresses_table, check_addresses, missing_names
from tfalexnet.hub.digest import Digest
from tfalexnet.hub.download import DownloadError
from tfalexnet.hub.registry import REGISTRY, Accuracy, PublishedWeights, Source

SIZE = 1000
FILE = Answer(bytes(SIZE))


def published(name: str, *urls: str, size: int | None = SIZE) -> PublishedWeights:
    sources = tuple(Source((url,), Digest("sha1", "0" * 40), size) for url in urls)
    return PublishedWeights(name, "bvlc_alexnet", "", Accuracy(50.0, None, ""), sources)


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


# Answers of a server, and what is reported of them.
ANSWERS = {
    "file": ([FILE], f"alive, {SIZE:,} bytes"),
    "moved": ([Answer(status=302, headers={"Location": "/file"})], f"alive, {SIZE:,} bytes"),
    "without a length": ([Answer(headers={"Content-Length": None})], "alive, size not stated"),
    "with a wrong length": ([Answer(headers={"Content-Length": "many"})], "alive, size not stated"),
    "pointer": ([Answer(bytes(134))], f"another file: 134 bytes, expected {SIZE:,}"),
    "gone": ([], "HTTP 404 Not Found"),
    "busy": ([Answer(status=503)], "HTTP 503 Service Unavailable"),
    "head": ([Answer(status=405)], "HTTP 405 Method Not Allowed"),
    "circle": ([Answer(status=302, headers={"Location": "/circle"})], "infinite loop"),
    "local": ([Answer(status=302, headers={"Location": "file:///etc/passwd"})], "is not allowed"),
    "no http": ([Answer(raw=b"220 ftp ready\r\n")], "220 ftp ready"),
}


@pytest.mark.parametrize("path", ANSWERS)
def test_an_answer_is_reported_and_no_file_is_requested(path, server):
    answers, expected = ANSWERS[path]
    server.url("file", FILE)
    path = path.replace(" ", "-")
    (address,) = check_addresses([published("net", server.url(path, *answers))])
    assert expected in str(address) and (address.problem == "") == expected.startswith("alive")
    assert path in server.heads and server.requests == []


def test_an_address_without_a_known_size_may_have_any(server):
    (address,) = check_addresses([published("net", server.url("file", FILE), size=None)])
    assert str(address) == f"alive, {SIZE:,} bytes"


def test_all_are_asked_at_the_same_time_and_none_is_waited_for_longer(server):
    slow = Answer(raw=b"HTTP/1.0 200 OK\r\nContent-Le", meanwhile=server.stall)
    urls = [server.url(f"slow{number}", slow) for number in range(20)]
    begin = time.monotonic()
    addresses = check_addresses([published("net", *urls, server.url("file", FILE))], timeout=2)
    assert time.monotonic() - begin < 20
    assert all(address.problem for address in addresses[:-1]) and str(addresses[-1]) == f"alive, {SIZE:,} bytes"
    assert {address.problem for address in addresses[:-1]} <= {"timed out", "no answer within 2 seconds"}


def test_the_table_has_each_address_in_order_and_the_names_that_are_missing(server):
    dead = f"http://127.0.0.1:{closed_port()}/net.npy"
    one = published("one", dead, server.url("file", FILE), dead)
    two = published("two", server.url("gone"), dead)
    shipped = published("shipped")
    addresses = check_addresses([one, two, shipped])
    assert [(address.name, address.url) for address in addresses] == [
        (item.name, url) for item in (one, two) for source in item.sources for url in source.urls
    ]
    assert addresses[0].problem == addresses[4].problem == "no connection: Connection refused"
    assert missing_names(addresses) == ["two"]
    table = addresses_table(addresses)
    assert table.endswith("\n\n1 of 5 addresses have their file. No address has two.")
    assert f"one  alive, {SIZE:,} bytes" in table and "two  HTTP 404 Not Found" in table


def test_without_a_network_each_address_has_its_reason(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    addresses = check_addresses()
    assert [address.url for address in addresses] == [
        url for item in REGISTRY.values() for source in item.sources for url in source.urls
    ]
    assert {str(address) for address in addresses} == {"no connection: Name or service not known"}


def test_offline_no_address_is_asked(server, monkeypatch):
    monkeypatch.setenv("TFALEXNET_OFFLINE", "1")
    with pytest.raises(DownloadError, match="TFALEXNET_OFFLINE=1 forbids it"):
        check_addresses([published("net", server.url("file", FILE))])
    assert server.heads == server.requests == []
