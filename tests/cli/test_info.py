"""The command `info`."""

from support.command import run


def test_the_contents_of_the_shipped_weights(capsys):
    result = run(capsys, "info", "cifar10")
    assert (result.returncode, result.stderr) == (0, "")
    for part in ("cifar10_18pct", "airplane", "5×5×3×32", "sha256"):
        assert part in result.stdout


def test_a_file_that_does_not_exist_is_one_line(capsys):
    result = run(capsys, "info", "none.npy")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("tfalexnet: ") and "none.npy" in result.stderr
