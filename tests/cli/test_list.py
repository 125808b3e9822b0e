"""The command `list`."""

from support.command import run


def test_it_prints_source_accuracy_and_licence(capsys):
    result = run(capsys, "list")
    assert result.returncode == 0
    for part in ("krizhevsky2012", "cifar10_18pct", "57.1 %", "released for unrestricted use", "layers-145.cfg"):
        assert part in result.stdout
