"""The engine LiteRT computes exported files without TensorFlow, and refuses damaged ones."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from support.answers import keras_case
from support.damage import DAMAGES, damaged_fields
from support.pictures import noise

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.exporters.export import export
from tfalexnet.runtimes import network
from tfalexnet.runtimes.litert import load
from tfalexnet.runtimes.network import load_network
from tfalexnet.runtimes.selection import recognise_exported

schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
flatbuffers = pytest.importorskip("flatbuffers")


def test_a_file_is_computed_without_tensorflow(weights_file):
    path = export(weights_file, format="litert")
    assert str(path) == os.path.join("weights", "net.tflite")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines()[4:] == ["fünf", "six, half a dozen"]
    preprocessing = read_spec(weights_file).preprocessing
    np.save("x.npy", np.stack([preprocessing(picture) for picture in noise(3)]))
    code = """if True:
        import pathlib, sys
        import numpy as np
        from tfalexnet.runtimes import litert
        path = pathlib.Path("weights/net.tflite")
        spec, precision, function = litert.load(path, ("prob",))
        x = np.load("x.npy")
        np.save("y.npy", np.concatenate([function(x)[0], function(x[:1])[0]]))
        print(spec.architecture.name, precision, spec.classes[4].label, spec.preprocessing.summary())
        sys.exit("tensorflow" in sys.modules or "keras" in sys.modules)
    """
    run = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"cifar10_18pct float32 fünf {preprocessing.summary()}\n"
    (expected,) = load_network(weights_file)(np.load("x.npy"))
    np.testing.assert_allclose(np.load("y.npy"), expected[[0, 1, 2, 0]], atol=1e-5)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_description_is_refused(damage, tflite):
    content = tflite.read_bytes()
    path, changes = tflite.with_name("damaged.tflite"), DAMAGES[damage]
    path.write_bytes(content[: content.index(b"PK\x03\x04")])
    with zipfile.ZipFile(tflite) as archive:
        fields = json.loads(archive.read("tfalexnet.json"))
    if changes is not None:
        text = changes if isinstance(changes, str) else json.dumps(damaged_fields(fields, changes))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("tfalexnet.json", text)
    with pytest.raises(CheckpointError, match=r"^.*damaged\.tflite: expected [^\n]+$"):
        load(path, ("prob",))


def test_a_graph_that_litert_refuses_is_a_damaged_file(tflite, tmp_path):
    """A convolution without a kernel."""
    content = tflite.read_bytes()
    end = content.index(b"PK\x03\x04")
    model = schema.ModelT.InitFromPackedBuf(content[:end])
    kinds = [code.builtinCode for code in model.operatorCodes]
    convolution = next(
        operator
        for operator in model.subgraphs[0].operators
        if kinds[operator.opcodeIndex] == schema.BuiltinOperator.CONV_2D
    )
    convolution.inputs = convolution.inputs[:1]
    builder = flatbuffers.Builder(end)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "damaged.tflite"
    path.write_bytes(builder.Output())
    with zipfile.ZipFile(tflite) as archive, zipfile.ZipFile(path, "a") as copy:
        copy.writestr("tfalexnet.json", archive.read("tfalexnet.json"))
    with pytest.raises(CheckpointError, match=r"damaged\.tflite: .*LiteRT cannot compute it: .*(CONV_2D|status)"):
        load(path, ("prob",))


@pytest.mark.parametrize(
    ("trial", "reason"),
    [("import os; os.abort()", "its process ended with status"), ("raise ValueError('a reason')", "ValueError: a re")],
)
def test_a_graph_that_ends_the_process_of_litert_is_refused(trial, reason, tflite, monkeypatch):
    """Which damages end the process depends on LiteRT's version, so the trial ends itself."""
    monkeypatch.setattr("tfalexnet.runtimes.litert.TRIAL", trial)
    with pytest.raises(CheckpointError, match=rf"net\.tflite: .*LiteRT cannot compute it: {reason}"):
        load(tflite, ("prob",))


def test_a_module_in_the_working_folder_is_not_run(tflite, in_tmp_path):
    (in_tmp_path / "numpy.py").write_text("raise SystemExit('this is not NumPy')")
    load(tflite, ("prob",))


def test_a_network_computes_after_its_file_was_deleted(tflite, tmp_path):
    path = shutil.copy(tflite, tmp_path / "deleted.tflite")
    spec, _, function = load(path, ("prob",))
    path.unlink()
    assert function(np.zeros((1, *spec.architecture.input_shape), np.float32))[0].shape == (
        1,
        spec.architecture.classes,
    )


def test_an_error_of_litert_is_one_of_the_file(tflite):
    _, _, function = load(tflite, ("prob",))
    with pytest.raises(CheckpointError, match=r"\.tflite: expected a network that tfalexnet exported for LiteRT"):
        function(np.zeros((1, 2, 3, 4), np.float32))


def test_a_description_that_is_too_large_is_not_read(tflite, monkeypatch):
    monkeypatch.setattr("tfalexnet.runtimes.litert.MAX_DESCRIPTION", 100)
    with pytest.raises(CheckpointError, match="a description of at most 100 bytes; received more"):
        load(tflite, ("prob",))


def test_only_files_for_litert_are_recognised(tflite, tmp_path):
    assert recognise_exported(tflite) == "litert"
    for content in (b"", b"TFL3", b"\x1c\0\0\0TFL2", b"<?xml version='1.0'?><net name='a'>"):
        (tmp_path / "other.tflite").write_bytes(content)
        assert recognise_exported(tmp_path / "other.tflite") != "litert"


def test_a_missing_package_is_named(tflite, monkeypatch):
    network._load.cache_clear()  # Which may hold the file from another test.
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(ValueError, match=r"the package ai_edge_litert\. .*pip install 'tfalexnet\[export\]'$"):
        load_network(tflite)


def test_layers_other_than_the_probabilities_are_refused(tflite):
    with pytest.raises(ValueError, match=r"Expected the layer prob of an exported file\. Received: fc4, prob"):
        load(tflite, ("fc4", "prob"))


def test_the_answers_are_those_of_keras(tflite):
    _, _, x, answers = keras_case("mnist_28")
    spec, precision, function = load(tflite, ("prob",), "bfloat16")  # The precision is that of the file.
    assert (spec.architecture.name, precision) == ("mnist_28", "float32")
    np.testing.assert_allclose(function(x[:, ::-1, ::-1][:, ::-1, ::-1])[0], answers, atol=1e-5)
