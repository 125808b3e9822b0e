"""The terminal: tables, bars and error lines."""

import io
from types import SimpleNamespace

import pytest
from support import ROOT

from tfalexnet.io import terminal
from tfalexnet.io.packages import require_packages
from tfalexnet.io.terminal import bar_character, escape, explain_os_error, format_table, print_error, print_text


def test_columns_of_a_table_are_aligned_without_trailing_spaces():
    rows = [("conv1", "96", "11×11"), ("fc8", "1000", "")]
    assert format_table(rows, right=(1,)) == "conv1    96  11×11\nfc8    1000"
    assert format_table(rows) == "conv1  96    11×11\nfc8    1000"
    assert format_table([]) == ""


def test_rows_of_different_lengths_are_an_error():
    with pytest.raises(ValueError, match="shorter"):
        format_table([("a", "b"), ("c",)])


@pytest.mark.parametrize(("encoding", "character"), [("utf-8", "█"), ("ascii", "#"), ("cp437", "█"), ("latin-1", "#")])
def test_bars_are_drawn_with_a_character_that_stdout_can_encode(encoding, character, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stdout=stdout))
    assert bar_character() == character


@pytest.mark.parametrize(
    ("error", "explanation"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.png"), "a.png: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("without a number"), "without a number"),
        (ValueError("Expected one."), "Expected one."),
    ],
)
def test_an_error_of_the_operating_system_is_explained_with_its_file(error, explanation):
    assert explain_os_error(error) == explanation


def test_an_error_line_starts_with_the_name_of_the_program(capsys):
    print_error("no such file")
    assert capsys.readouterr() == ("", "tfalexnet: no such file\n")


def test_a_missing_package_is_an_error_with_the_command_that_installs_it():
    require_packages("export", "numpy")
    with pytest.raises(ValueError, match=r"package no_such_package\. .* pip install 'tfalexnet\[export\]'"):
        require_packages("export", "numpy", "no_such_package")


def test_characters_that_could_control_the_terminal_are_escaped(capsys):
    hostile = "conv\x1b]0;title\x07\x1b[2J\r\x9b1A\u202eabc\udc80"
    shown = escape(hostile + "\n(verified)")
    assert shown.isprintable() and "\\x1b[2J" in shown and shown.endswith("\\n(verified)")
    names = "café\u00a0au lait 👩\u200d🔬 گربه\u200cها mush\u00adroom"
    assert escape(names) == names
    assert escape("x" * 300, limit=20) == "x" * 20 + "…"
    print_text(f"a\n{hostile}")
    print_error(hostile)
    out, err = capsys.readouterr()
    assert out == f"a\n{escape(hostile)}\n" and err == f"tfalexnet: {escape(hostile)}\n"


def test_commands_print_through_the_function_that_escapes():
    raw = [path.name for path in (ROOT / "tfalexnet" / "cli").glob("*.py") if " print(" in path.read_text("utf-8")]
    assert raw in ([], ["predict.py"])  # JSON, which escapes what it holds.
