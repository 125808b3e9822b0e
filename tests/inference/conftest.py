"""Many small pictures, some of which cannot be read, and the answers to them."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.exported import PACKAGES
from support.labels import COUNT, expected_row
from support.pictures import fill

from tfalexnet.exporters.export import export


@pytest.fixture(scope="session")
def original_photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("noise")
    fill(folder / "photos", COUNT)
    return folder


@pytest.fixture(scope="session")
def quick_weights(tmp_path_factory) -> str:
    """The shipped weights for LiteRT, which a process of its own loads without TensorFlow, if it is installed."""
    if not find_spec(PACKAGES["litert"]):
        return "cifar10"
    return str(export("cifar10", tmp_path_factory.mktemp("quick") / "cifar10.tflite", "litert"))


@pytest.fixture
def photos(original_photos, tmp_path, monkeypatch) -> Path:
    """The pictures in the folder `photos` of the working folder; the test may change them."""
    shutil.copytree(original_photos / "photos", tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return Path("photos")


@pytest.fixture(scope="session")
def rows(original_photos) -> list[dict]:
    """The answers of `predict`, one picture at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(original_photos)
        return [expected_row(str(path)) for path in sorted(Path("photos").rglob("*.png"), key=str)]
