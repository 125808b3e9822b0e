"""Commands that are killed, or whose disk is full, end with the output of a complete run when they run again."""

import random

import pytest
from support import kill_commands
from support.kill_commands import Complete, Run


@pytest.mark.slow
def test_kills_and_full_disks_do_not_change_outputs(capsys):
    arguments = ["--kills", "4", "--disks", "2", "convert", "predict", "evaluate", "export", "download"]
    assert kill_commands.main(arguments) == 0, capsys.readouterr().out


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "inputs"
    (folder / kill_commands.DISK).mkdir(parents=True)
    return folder


def complete(inputs, content):
    """What a run gives that writes this content."""
    out = inputs / kill_commands.DISK / "out.jsonl"
    out.write_text(content)
    digest = kill_commands.digest(out.parent)
    out.unlink()
    return Complete(0, 1.0, digest, len(content))


def replace_runs(monkeypatch, *results):
    """Let the runs of commands write these contents and end with these results."""
    remaining = iter(results)

    def run(folder, *_, **__):
        result, content = next(remaining)
        (folder / kill_commands.DISK / "out.jsonl").write_text(content)
        return result

    monkeypatch.setattr(kill_commands, "run", run)


def test_an_output_that_a_kill_changed_is_a_failure(inputs, monkeypatch):
    killed, ended = Run(None, ""), Run(0, "")
    replace_runs(monkeypatch, (killed, ""), (ended, "complete"), (killed, ""), (ended, "other"))
    expected = complete(inputs, "complete")
    compared, failures = kill_commands.kill_often("predict", inputs, expected, 2, random.Random(0))
    assert compared == 2 and len(failures) == 1
    assert failures[0].startswith("predict, killed after 0.") and "status 0, ['out.jsonl']" in failures[0]


@pytest.mark.parametrize(
    ("status", "errors", "again", "failing"),
    [
        (1, "out: No space left on device", "complete", 0),
        (1, "Traceback: No space left on device", "complete", 1),
        (-11, "No space left on device", "complete", 1),
        (1, "other", "complete", 1),
        (1, "No space left on device", "other", 1),
        (0, "", "complete", 1),
    ],
)
def test_a_full_disk_must_be_explained_and_the_same_command_must_continue(
    status, errors, again, failing, inputs, monkeypatch
):
    replace_runs(monkeypatch, (Run(status, errors), "part"), (Run(0, ""), again))
    full, failures = kill_commands.fill_disk("predict", inputs, complete(inputs, "complete"), 1)
    assert full == 1 and len(failures) == failing
