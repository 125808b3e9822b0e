"""OpenVINO is imported without its converter, which others in the process still have."""

import builtins
import subprocess
import sys

import pytest

from tfalexnet.exporters.export import export
from tfalexnet.runtimes import openvino_library as library

pytest.importorskip("openvino")


def test_two_threads_may_import_openvino_at_the_same_time(monkeypatch):
    """The other thread ends its import while this one imports."""
    original = builtins.__import__

    def import_as_the_other_ends(name, *arguments, **options):
        if name == "openvino":
            sys.modules.pop(library.CONVERTER, None)
        return original(name, *arguments, **options)

    monkeypatch.setattr("builtins.__import__", import_as_the_other_ends)
    assert library.import_openvino().__name__ == "openvino"
    assert library.CONVERTER not in sys.modules


def test_others_in_the_process_have_the_converter_of_openvino(weights_file):
    pytest.importorskip("onnx")
    export(weights_file, "net.onnx", "onnx")
    code = """if True:
        import sys
        from tfalexnet.runtimes.openvino_library import import_openvino
        openvino = import_openvino()
        assert "openvino.tools.ovc" not in sys.modules
        print(openvino.convert_model("net.onnx", verbose=False).inputs[0].partial_shape)
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert run.stdout == "[?,3,32,32]\n", run.stderr
