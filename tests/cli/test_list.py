"""The command `list`."""

import dataclasses

import pytest
from support.command import run
from support.servers import Answer, Server

from tfalexnet.hub.registry import REGISTRY


def test_it_prints_source_accuracy_and_licence(capsys):
    result = run(capsys, "list")
    assert result.returncode == 0
    for part in ("krizhevsky2012", "cifar10_18pct", "57.1 %", "released for unrestricted use", "layers-145.cfg"):
        assert part in result.stdout


@pytest.fixture
def server(monkeypatch):
    """A server that all addresses of the registry name, without their files at first."""
    monkeypatch.delenv("TFALEXNET_OFFLINE")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        for name, published in REGISTRY.items():
            sources = [
                dataclasses.replace(source, urls=(server.url(f"{name}/{source.file}"),), size=9)
                for source in published.sources
            ]
            monkeypatch.setitem(REGISTRY, name, dataclasses.replace(published, sources=tuple(sources)))
        yield server


def test_check_asks_each_address_and_fails_if_a_name_has_none(server, capsys):
    result = run(capsys, "list", "--check")
    assert (result.returncode, result.stderr) == (1, "")
    assert "No address has bvlc_alexnet, bvlc_caffenet, one_weird_trick, deep_compression." in result.stdout
    assert result.stdout.count("HTTP 404 Not Found") == len(server.heads) == len(server.answers) == 7
    for name, published in REGISTRY.items():
        for source in published.sources[:1]:
            server.url(f"{name}/{source.file}", Answer(b"123456789"))
    result = run(capsys, "list", "--check")
    assert result.returncode == 0 and "alive, 9 bytes" in result.stdout
    assert result.stdout.endswith("\n\n4 of 7 addresses have their file.\n")
    assert server.requests == []


def test_check_offline_is_one_line(capsys):
    result = run(capsys, "list", "--check")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("tfalexnet: ") and "TFALEXNET_OFFLINE=1" in result.stderr
