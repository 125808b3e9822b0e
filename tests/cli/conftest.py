"""Fixtures that the tests of several commands use."""

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo) -> Path:
    """A folder for each of two classes; one picture cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        (folder / name / "chelsea.png").write_bytes(photo.read_bytes())
    (folder / "dog" / "bad.jpg").write_text("no picture")
    return folder


@pytest.fixture(autouse=True)
def offline(tmp_path_factory, monkeypatch) -> None:
    """An empty cache and no downloads."""
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path_factory.getbasetemp() / "empty cache"))
    monkeypatch.setenv("TFALEXNET_OFFLINE", "1")
