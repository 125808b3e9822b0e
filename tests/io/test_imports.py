"""Modules are imported after a package, whichever comes first, and never hinder its import."""

import importlib
import importlib.util
import sys

import pytest

from tfalexnet.io.imports import ImportAfter


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A package, a module that uses it, and one that cannot be imported."""
    for name, code in {
        "package_": "value = 1",
        "user_": "import package_\nvalue = package_.value",
        "bad_": "import no_",
    }.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    yield
    for name in ("package_", "user_"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize("first", [True, False])
def test_modules_are_imported_after_the_package(first):
    if first:
        importlib.import_module("package_")
    before = [*sys.meta_path]
    ImportAfter("package_", "bad_", "user_")
    assert importlib.util.find_spec("package_") and ("user_" in sys.modules) == first
    importlib.import_module("package_")
    assert sys.modules["user_"].value == 1 and "bad_" not in sys.modules and sys.meta_path == before
