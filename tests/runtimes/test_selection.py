"""The engine of a file: that of an export, else the requested one, else the fastest that this machine has."""

import importlib.util
import platform
import sys

import pytest
from support.pictures import noise

import tfalexnet
from tfalexnet.runtimes import selection
from tfalexnet.runtimes.network import load_network
from tfalexnet.runtimes.selection import ENGINES, Engine, select_engine


@pytest.fixture
def machine(monkeypatch):
    """Set the processor, and the packages that are installed."""

    def choose(processor, *packages):
        monkeypatch.setattr(platform, "machine", lambda: processor)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in packages else None)

    return choose


@pytest.mark.parametrize("processor", ["x86_64", "AMD64", "aarch64", "arm64"])
def test_auto_is_openvino_where_it_is_installed_and_the_processor_is_x86_or_arm(processor, machine, weights_file):
    machine(processor, "tensorflow", "openvino")
    assert select_engine(weights_file) == ("openvino", False)


@pytest.mark.parametrize(("processor", "packages"), [("riscv64", ["openvino"]), ("x86_64", ["ai_edge_litert"])])
def test_auto_is_tensorflow_elsewhere(processor, packages, machine, weights_file):
    machine(processor, "tensorflow", *packages)
    assert select_engine(weights_file) == ("tensorflow", False)


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_requested_engine_computes_weights_on_any_processor(engine, machine, weights_file):
    machine("riscv64", "tensorflow")
    assert select_engine(weights_file, engine) == (engine, False)


@pytest.mark.parametrize(("start", "exported"), [(b"\x1c\0\0\0TFL3", "litert"), (b"<?xml ?><net name='a'", "openvino")])
def test_an_exported_file_is_computed_by_its_engine_only(start, exported, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(start)
    assert select_engine(path) == select_engine(path, exported) == (exported, True)
    for other in ENGINES.keys() - {exported}:
        with pytest.raises(ValueError, match=rf"Expected engine='{exported}' or 'auto' for .*file.*'{other}'"):
            select_engine(path, other)


def test_an_engine_that_reads_exported_files_only_names_the_way_to_one(weights_file):
    with pytest.raises(ValueError, match=r"engine litert\. Received: net\.weights\.h5\. .*`tfalexnet export`"):
        select_engine(weights_file, "litert")


def test_an_unknown_engine_is_refused_in_every_function(weights_file):
    message = "Expected `engine` to be one of auto, tensorflow, openvino, litert. Received: 'onnx'"
    for call in (tfalexnet.predict, tfalexnet.features):
        with pytest.raises(ValueError, match=message):
            call(
                noise(1)[0],
                weights=weights_file,
                engine="onnx",
                **({"layers": "fc4"} if call is not tfalexnet.predict else {}),
            )


def test_a_missing_package_is_named_with_the_extra(weights_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert load_network(weights_file).engine == "tensorflow"
    with pytest.raises(ValueError, match=r"the package openvino\. .*pip install 'tfalexnet\[fast\]'$"):
        load_network(weights_file, engine="openvino")


def test_a_further_engine_is_one_line_of_the_table(monkeypatch, machine, weights_file):
    machine("x86_64", "tensorflow", "openvino", "later")
    monkeypatch.setattr(selection, "ENGINES", {"later": Engine("later")} | ENGINES)
    assert select_engine(weights_file) == ("later", False)
