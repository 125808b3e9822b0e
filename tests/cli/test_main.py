"""Help, version, suggestions, lazy imports, exit statuses and defaults of the command line."""

import dataclasses
import inspect
import os
import subprocess
import sys

import pytest
from support.command import parse, run_process
from support.command import run as run_command
from support.nets import random_parameters, small, write_npy

import tfalexnet
from tfalexnet.cli import features as cli_features
from tfalexnet.cli.main import COMMANDS, print_note, run
from tfalexnet.evaluation.evaluate import evaluate
from tfalexnet.exporters.export import export
from tfalexnet.images.preprocessing import CROPS, RESIZES
from tfalexnet.inference.features import POOLS, extract_features
from tfalexnet.inference.label import label
from tfalexnet.networks.catalog import BVLC_ALEXNET
from tfalexnet.tools.compress import compress

HEAVY = {"tensorflow", "keras", "h5py", "numpy", "PIL"}


def imported_by(*arguments: str) -> set[str]:
    """Return the modules that the process of a command has imported when it ends."""
    code = "import sys\nfrom tfalexnet.cli.main import run\nrun(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"
    process = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, encoding="utf-8")
    return set(process.stderr.split())


def test_no_arguments_print_the_help(capsys):
    assert run([]) == 2  # As a missing command: a usage error.
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("Usage: tfalexnet [OPTIONS] COMMAND")
    assert [line.split()[0] for line in output.err.split("Commands:\n")[1].split("\n\n")[0].splitlines()] == [*COMMANDS]


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("name", [None, *(name for name in COMMANDS if name != "train")])
def test_help_is_printed_on_stdout(flag, name, capsys):
    assert run([name, flag] if name else [flag]) == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"Usage: tfalexnet {name or '[OPTIONS]'}") and output.err == ""


def test_no_line_of_the_list_of_commands_is_cut(capsys):
    run(["--help"])
    assert "..." not in capsys.readouterr().out.split("Commands:")[1]


def test_the_help_of_train_ends_with_the_recipes(capsys):
    assert run(["train", "--help"]) == 0
    assert "\ncifar10_18pct         momentum 0.9   0.001    128     140  after 120" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag, capsys):
    assert run([flag]) == 0
    assert capsys.readouterr().out == f"tfalexnet {tfalexnet.__version__}\n"


SUGGESTIONS = {
    "command": (["predcit", "a.jpg"], "tfalexnet [OPTIONS]", "No such command 'predcit'. Did you mean 'predict'?"),
    "flag": (["predict", "a.jpg", "--jsn"], "tfalexnet predict", "No such option '--jsn'. Did you mean '--json'?"),
    "half a flag": (["evaluate", "a", "--crop", "1"], "tfalexnet evaluate", "Did you mean '--crops'?"),
    "nothing like it": (["zzz"], "tfalexnet [OPTIONS]", "No such command 'zzz'.\n"),
}


@pytest.mark.parametrize("name", SUGGESTIONS)
def test_unknown_names_are_answered_with_the_usage_and_a_suggestion(name, capsys):
    arguments, usage, message = SUGGESTIONS[name]
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Usage: {usage}") and message in error


def test_importing_the_command_line_is_light():
    modules = imported_by("--help")
    assert not HEAVY & modules and {f"tfalexnet.cli.{name}" for name in COMMANDS} <= modules


def test_a_command_does_not_import_the_others():
    commands = {f"tfalexnet.cli.{name}" for name in COMMANDS}
    assert commands & imported_by("predict", "--help") == {"tfalexnet.cli.predict"}


@pytest.mark.parametrize(
    "words, completions",
    [("tfalexnet e", ["plain,export", "plain,evaluate"]), ("tfalexnet train --aug", ["plain,--augment"])],
)
def test_the_shell_gets_completions_without_heavy_imports(words, completions):
    request = {"_TFALEXNET_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    process = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tfalexnet"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | request,
    )
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert (process.returncode, process.stdout.splitlines()) == (0, completions)
    assert "click" in imported and not HEAVY & imported


DEFAULTS = {  # The required arguments; the function; names of flags that are not those of its parameters.
    "predict": (["a.jpg"], label, {}),
    "compress": (["cifar10", "--output", "c.net"], compress, {}),
    "export": (["cifar10", "--format", "savedmodel"], export, {}),
    "features": (["photos", "--layer", "fc7", "--output", "f.h5"], extract_features, {}),
    "evaluate": (["photos"], evaluate, {}),
}
REQUIRED_OR_OF_THE_COMMAND_LINE = {"output", "layers"}


@pytest.mark.parametrize("name", DEFAULTS)
def test_flags_have_the_defaults_of_the_function_that_they_are_passed_to(name):
    arguments, function, renamed = DEFAULTS[name]
    flags = parse(name, *arguments)
    parameters = inspect.signature(function).parameters
    for flag in flags.keys() - REQUIRED_OR_OF_THE_COMMAND_LINE:
        parameter = parameters.get(renamed.get(flag, flag))
        if parameter and parameter.default is not inspect.Parameter.empty:
            assert flags[flag] == parameter.default, flag


def test_choices_of_features_are_those_of_the_function():
    assert tuple(POOLS) == cli_features.POOLS
    assert tuple(RESIZES) == cli_features.RESIZES and cli_features.CROPS == CROPS


def test_flags_of_train_have_the_defaults_of_its_options():
    from tfalexnet.training.plan import Options

    flags = parse("train", "DATA", "--output", "RUN")
    for field in dataclasses.fields(Options):
        assert flags[field.name] == field.default, field.name


def test_interruption_has_the_status_of_the_signal(monkeypatch, capsys):
    def interrupt(*_: object):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfalexnet.tools.convert.describe_checkpoint", interrupt)
    assert run(["info", "a.npy"]) == 130
    assert capsys.readouterr().err == "tfalexnet: interrupted\n"


MISTAKES = {
    "not a checkpoint": (["convert", "text.npy"], "text.npy: expected a checkpoint (.weights.h5, "),
    "other shapes": (["convert", "small.npy"], "conv1 kernel: expected (11, 11, 3, 96), received (11, 11, 3, 12)"),
    "no such file": (["convert", "none.npy"], "none.npy"),
    "no such network": (["convert", "small.npy", "--architecture", "vgg"], "Expected `architecture` to be one of"),
    "no such weights": (["predict", "text.npy", "--weights", "none"], "there is no such file"),
    "not on this machine": (["predict", "text.npy"], "tfalexnet convert FILE --architecture bvlc_alexnet"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_the_user_is_a_message_and_writes_nothing(name, tmp_path, capsys):
    (tmp_path / "text.npy").write_text("hello")
    write_npy(tmp_path / "small.npy", random_parameters(small(BVLC_ALEXNET)))
    arguments, message = MISTAKES[name]
    result = run_command(capsys, *arguments, cwd=tmp_path)
    assert result.returncode == 1 and message in result.stderr and "Traceback" not in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"small.npy", "text.npy"}


@pytest.mark.parametrize("arguments", ["bla", "predict", "predict a --top 0", "predict a --x"])
def test_wrong_usage_is_answered_with_the_usage(arguments, capsys):
    result = run_command(capsys, *arguments.split())
    assert result.returncode == 2 and result.stderr.startswith("Usage: tfalexnet") and result.stdout == ""


@pytest.mark.parametrize("arguments", [["info", "none.npy"], ["zzz"], ["--version"]])
def test_a_process_has_the_status_and_output_of_the_command(arguments, capsys):
    assert run_process(*arguments) == run_command(capsys, *arguments)


def test_warnings_are_notes_except_for_those_to_developers(capsys):
    print_note(UserWarning("left out 3 pictures"), UserWarning, "file.py", 1)
    for category in (DeprecationWarning, FutureWarning):
        print_note("an option of another package", category, "file.py", 1)
    assert capsys.readouterr().err == "tfalexnet: note: left out 3 pictures\n"
