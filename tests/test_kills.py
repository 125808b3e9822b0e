"""Commands that are killed at random moments end with the output of a complete run."""

import random

import pytest
from support import kill_commands


@pytest.mark.slow
def test_kills_do_not_change_outputs(capsys):
    assert kill_commands.main(["--kills", "4", "convert", "predict", "evaluate", "export"]) == 0, (
        capsys.readouterr().out
    )


def test_an_output_that_a_kill_changed_is_a_failure(tmp_path, monkeypatch):
    (tmp_path / "pictures").mkdir()
    results = iter([(0, "complete"), (None, ""), (0, "complete"), (None, ""), (0, "other")])

    def run(folder, *_):
        status, content = next(results)
        (folder / "out.jsonl").write_text(content)
        return status

    monkeypatch.setattr(kill_commands, "run", run)
    killed, compared, failures = kill_commands.kill_often("predict", tmp_path, 2, random.Random(0))
    assert (killed, compared, len(failures)) == (2, 2, 1) and "predict, kills 2 to 2: status 0" in failures[0]
