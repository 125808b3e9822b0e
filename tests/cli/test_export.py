"""The command `export`: its call, and formats that exist."""

from pathlib import Path

from support.command import run

from tfalexnet.cli.export import command
from tfalexnet.exporters import export as export_module
from tfalexnet.exporters import held_out


def test_flags_are_passed_and_the_path_is_printed(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(export_module, "export", lambda **arguments: calls.append(arguments) or Path("out.tflite"))
    monkeypatch.setattr(held_out, "compare_held_out", lambda *_: None)
    flags = ("--format", "litert", "--precision", "int8", "--pictures", "photos", "--overwrite")
    result = run(capsys, "export", "cifar10", *flags)
    assert result[:2] == (0, "int8, for litert, written to out.tflite\n") and "all pictures calibrated" in result.stderr
    (arguments,) = calls
    assert arguments.pop("weights") == "cifar10" and arguments.pop("output") is None
    assert arguments == {"format": "litert", "precision": "int8", "pictures": Path("photos"), "overwrite": True}


def test_formats_of_the_flag_are_those_that_can_be_written():
    (formats,) = (option.type.choices for option in command.params if "--format" in option.opts)
    assert formats == tuple(export_module.EXPORTERS)


def test_a_precision_that_the_format_lacks_is_one_line(tmp_path, capsys):
    result = run(capsys, "export", "cifar10", "--format", "onnx", "--precision", "int8", cwd=tmp_path)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1 and "int8" in result.stderr
    assert not (tmp_path / "weights").exists()
