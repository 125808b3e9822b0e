"""The precision that is fastest on a processor."""

from pathlib import Path

import pytest

from tfalexnet.runtimes.cpu import resolve_precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stated_precision_is_used(precision):
    assert resolve_precision(precision) == precision


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fma amx_bf16", "bfloat16"), ("avx512_bf16", "bfloat16"), ("avx512_bf16_no", "float32"), ("", "float32")],
)
def test_auto_is_bfloat16_on_processors_with_such_products(flags, expected, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_: f"flags : {flags}")
    assert resolve_precision("auto") == expected


def test_auto_is_float32_where_the_system_does_not_list_flags(monkeypatch):
    def missing(*_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert resolve_precision("auto") == "float32"


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match=r"Expected `precision` to be one of float32, bfloat16, int8, auto\. .*'half'"):
        resolve_precision("half")
