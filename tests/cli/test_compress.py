"""The command `compress`, and `info` on the file that it writes."""

from support.command import run


def test_a_compressed_file_states_network_and_classes_and_is_not_replaced(tmp_path, capsys):
    result = run(capsys, "compress", "cifar10", "--output", "c.net", "--energy", "0.99", cwd=tmp_path)
    assert result.returncode == 0 and "pictures of noise" in result.stdout
    result = run(capsys, "compress", "cifar10", "--output", "c.net", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1) and "c.net to be new" in result.stderr
    result = run(capsys, "info", "c.net", cwd=tmp_path)
    assert "cifar10_18pct" in result.stdout and "airplane" in result.stdout and "1024×10" in result.stdout
