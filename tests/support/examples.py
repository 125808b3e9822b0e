"""The examples in this process, with flags of their own: several of them define flags of the same name."""

import functools
import runpy
from types import SimpleNamespace

import pytest
from absl import flags

from support import ROOT

KINDS = ("string", "bool", "integer", "float", "list", "enum")


def load_example(monkeypatch: pytest.MonkeyPatch, name: str) -> SimpleNamespace:
    """Return the names of examples/`name`, whose FLAGS are not the global ones."""
    own = flags.FlagValues()
    for kind in KINDS:
        define = getattr(flags, f"DEFINE_{kind}")
        monkeypatch.setattr(flags, f"DEFINE_{kind}", functools.partial(define, flag_values=own))
    monkeypatch.setattr(flags, "FLAGS", own)
    return SimpleNamespace(**runpy.run_path(str(ROOT / "examples" / name), run_name="example"))


def run_example(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Call the `main` of an example with these arguments."""
    example = load_example(monkeypatch, name)
    example.main(example.FLAGS([name, *map(str, arguments)]))
