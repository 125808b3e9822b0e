"""The command `diff`: exit status 0 if nothing differs, 1 if something does, 2 on an error, as of diff(1)."""

import pytest
from support.command import run


@pytest.mark.parametrize(
    "arguments, status, text",
    [
        (["bvlc_alexnet", "bvlc_alexnet"], 0, ""),
        (["bvlc_alexnet", "bvlc_caffenet"], 1, "They differ."),
        (["cifar10", "cifar10", "--weights"], 0, "Nothing differs."),
        (["bvlc_alexnet", "none"], 2, ""),
        (["none.npy", "none.npy"], 2, ""),
    ],
)
def test_exit_status(arguments, status, text, capsys):
    result = run(capsys, "diff", *arguments)
    assert result.returncode == status and text in result.stdout
    assert bool(result.stderr) == (status == 2)
