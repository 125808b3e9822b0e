"""The terminal: tables, bars and error lines."""

import io
from types import SimpleNamespace

import pytest

from tfalexnet.io import terminal
from tfalexnet.io.packages import require_packages
from tfalexnet.io.terminal import bar_character, explain_os_error, format_table, print_error


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
