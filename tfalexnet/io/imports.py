"""Imports that follow the import of another package."""

import contextlib
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class ImportAfter(MetaPathFinder):
    """A finder that imports `modules` as soon as `package` has been imported, at once if it has been already.

    A module that raises `ImportError` is left out: the import of the package must not fail for it.
    """

    def __init__(self, package: str, *modules: str) -> None:
        self.package, self.modules = package, modules
        if package in sys.modules:
            self._import_modules()
        else:
            sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec that the other finders give for the package; its loader imports the modules afterwards."""
        if fullname != self.package:
            return None
        specs = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, specs), None)
        if spec and spec.loader:
            execute = spec.loader.exec_module

            def execute_and_import(module: ModuleType) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                self._import_modules()

            spec.loader.exec_module = execute_and_import
        return spec

    def _import_modules(self) -> None:
        for module in self.modules:
            with contextlib.suppress(ImportError):
                import_module(module)
