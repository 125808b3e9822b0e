"""The command line in tests: `run` and `parse` in this process, `run_process` as a shell runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from tfalexnet.cli import main as cli_main
from tfalexnet.io.terminal import print_error


class Result(NamedTuple):
    """Exit status and what was written, decoded."""

    returncode: int
    stdout: str
    stderr: str


def run(capsys: pytest.CaptureFixture[str], *arguments: object, cwd: Path | None = None) -> Result:
    """Run a command in this process, in the folder `cwd`; notes are printed on stderr as in a process of its own."""
    capsys.readouterr()
    before = Path.cwd()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, *_: print_error(f"note: {message}")
        try:
            os.chdir(cwd or before)
            status = cli_main.run([str(argument) for argument in arguments])
        finally:
            os.chdir(before)
    return Result(status, *capsys.readouterr())


def parse(name: str, *arguments: str) -> dict[str, Any]:
    """Return the values of a command's arguments and flags, by parameter.

    Raises:
        click.UsageError: as the command line shows it.
    """
    group = click.Context(
        cli_main.cli, **cli_main.cli.context_settings
    )  # A command stores the help flag it finds here.
    command = cli_main.cli.get_command(group, name)
    if isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.commands[name]
    return command.make_context(name, list(arguments), parent=group).params


def run_process(*arguments: object, cwd: Path | None = None, **environment: str) -> Result:
    """Run a command in a process of its own, for what concerns the process: signals, closed files, imports."""
    variables = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | environment
    command = [sys.executable, "-m", "tfalexnet", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, cwd=cwd, env=variables, encoding="utf-8")
    return Result(process.returncode, process.stdout, process.stderr)
