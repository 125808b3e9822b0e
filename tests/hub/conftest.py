"""A web server on this machine, and downloads without pauses or proxies."""

import pytest
from support.servers import Server

from tfalexnet.hub import download
from tfalexnet.io import locks


@pytest.fixture(autouse=True)
def quick_downloads(monkeypatch):
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "LIMIT", 5_000_000)
    monkeypatch.setattr(locks, "POLL", 0.01)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("TFALEXNET_OFFLINE", raising=False)


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def path(tmp_path):
    """The path of a download, in a folder that does not exist."""
    return tmp_path / "home" / "file"


@pytest.fixture
def part(path):
    """The path of an incomplete download, in a folder that exists."""
    path.parent.mkdir()
    return path.with_name("file.part")
