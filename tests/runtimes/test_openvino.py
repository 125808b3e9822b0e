"""The engine OpenVINO computes exported files without TensorFlow, and refuses damaged ones."""

import html
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from support.answers import keras_case
from support.damage import DAMAGES, damaged_fields
from support.exported import write_case
from support.pictures import noise

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.exporters.export import export
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.runtimes import network
from tfalexnet.runtimes.network import load_network
from tfalexnet.runtimes.openvino import load
from tfalexnet.runtimes.selection import recognise_exported

pytest.importorskip("openvino")
pytest.importorskip("onnx")
DESCRIPTION = r'<tfalexnet value="(.*?)" />'


def test_a_file_is_computed_without_tensorflow_and_without_telemetry(weights_file):
    export(weights_file, "net.xml", "openvino")
    preprocessing = read_spec(weights_file).preprocessing
    np.save("x.npy", np.stack([preprocessing(picture) for picture in noise(33)]))
    code = """if True:
        import pathlib, sys
        import numpy as np
        from tfalexnet.runtimes import openvino
        spec, precision, function = openvino.load(pathlib.Path("net.xml"), ("prob",))
        x = np.load("x.npy")
        np.save("y.npy", np.concatenate([function(x[:count])[0] for count in (33, 1, 2, 33)]))
        print(spec.architecture.name, precision, spec.classes[4].label, spec.preprocessing.summary())
        others = {"tensorflow", "keras", "onnx", "openvino.tools.ovc", "openvino_telemetry"}
        sys.exit(not others.isdisjoint(sys.modules))
    """
    run = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"cifar10_18pct float32 fünf {preprocessing.summary()}\n"
    (expected,) = load_network(weights_file, engine="tensorflow")(np.load("x.npy"))
    np.testing.assert_allclose(np.load("y.npy"), expected[[*range(33), 0, 0, 1, *range(33)]], atol=1e-5)


@pytest.mark.parametrize("weights", ["float32", "float16"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_answers_as_in_keras_and_nearly_so_in_bfloat16(name, weights, tmp_path):
    path = write_case(tmp_path / "net.xml", name, "openvino", weights)
    net, _, x, answers = keras_case(name)
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    spec, precision, function = load(path, ("prob",))
    assert (spec.architecture.name, spec.preprocessing, precision) == (name, None, "float32")
    for inputs in (x, x[:1], strided, x.astype("f8"), np.broadcast_to(x[0], x.shape)):
        expected = answers[:1] if inputs.strides[0] == 0 else answers[: len(inputs)]
        (scores,) = function(inputs)
        assert scores.dtype == np.float32 and scores.shape == (len(inputs), net.classes)
        np.testing.assert_allclose(scores - expected, 0, atol=1e-5 if weights == "float32" else 0.05)
    _, precision, function = load(path, ("prob",), "bfloat16")
    error = np.abs(function(x)[0] - answers).max()
    assert error < 0.1 and (error > 1e-5 or precision == "float32")


def test_an_answer_stays_when_the_network_computes_the_next_one(xml):
    *_, function = load(xml, ("prob",))
    *_, x, answers = keras_case("mnist_28")
    x = x.copy()
    (first,) = function(x)
    x[...] = 0
    function(x)
    np.testing.assert_allclose(first, answers, atol=1e-5)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_does_not_crash_after_another_thread_deleted_the_network(xml):
    code = """if True:
        import gc, os, pathlib, signal, sys, threading
        from tfalexnet.runtimes import openvino
        networks, signals = [openvino.load(pathlib.Path(sys.argv[1]), ("prob",))], []
        thread = threading.Thread(target=lambda: (networks.clear(), gc.collect()))
        thread.start()
        thread.join()
        signal.signal(signal.SIGINT, lambda *_: signals.append(_))
        os.kill(os.getpid(), signal.SIGINT)
        sys.exit(len(signals) != 1)
    """
    run = subprocess.run([sys.executable, "-c", code, xml], capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_description_is_refused(damage, xml):
    text, changes = xml.read_text("utf-8"), DAMAGES[damage]
    fields = json.loads(html.unescape(re.search(DESCRIPTION, text)[1]))
    entry = ""
    if changes is not None:
        description = changes if isinstance(changes, str) else json.dumps(damaged_fields(fields, changes))
        entry = f'<tfalexnet value="{html.escape(description)}" />'
    path = xml.with_name("damaged.xml")
    path.write_text(re.sub(DESCRIPTION, lambda _: entry, text), "utf-8")
    path.with_suffix(".bin").write_bytes(xml.with_suffix(".bin").read_bytes())
    assert recognise_exported(path) == "openvino"
    with pytest.raises(CheckpointError, match=r"^.*damaged\.xml: expected [^\n]+$"):
        load(path, ("prob",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda xml, _: (xml, None), r"its weights beside it, in broken\.bin; there is no such file"),
        (lambda xml, weights: (xml, weights[:-4]), "received a damaged one .*Incorrect weights in bin file"),
        (lambda xml, _: (xml, b""), "received a damaged one .*Incorrect weights in bin file"),
        (lambda xml, weights: (xml[: len(xml) // 2], weights), "received a damaged one"),
        (lambda xml, weights: (xml[:60], weights), "received a damaged one"),
        (lambda xml, weights: (xml.replace(b"Convolution", b"Revolution"), weights), "operation with type: Revol"),
        (lambda xml, weights: (xml.replace(b'offset="0"', b'offset="99999999999"'), weights), "Incorrect weights"),
        (lambda xml, weights: (xml.replace(b'"?,1,', b'"7,1,'), weights), r"inputs and outputs of \[\?,1,.*\[7,1,"),
        (lambda xml, weights: (xml.replace(b'"inputs"', b'"images"'), weights), "received a damaged one .*inputs"),
    ],
)
def test_a_damaged_graph_or_damaged_weights_are_refused_in_one_line(change, message, xml):
    path = xml.with_name("broken.xml")
    graph, weights = change(xml.read_bytes(), xml.with_suffix(".bin").read_bytes())
    path.write_bytes(graph)
    path.with_suffix(".bin").unlink(missing_ok=True)
    if weights is not None:
        path.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(CheckpointError, match=rf"^[^\n]*broken\.xml: expected [^\n]*{message}[^\n]*$"):
        load(path, ("prob",))


def test_only_files_for_openvino_are_recognised(xml, tmp_path):
    assert recognise_exported(xml) == "openvino"
    for content in (b"", b"<", b"\xff" * 300, b"<?xml version='1.0'?><svg/>", b"<net name='a'>", b"\x1c\0\0\0TFL3"):
        (tmp_path / "other.xml").write_bytes(content)
        assert recognise_exported(tmp_path / "other.xml") != "openvino"
    assert recognise_exported(xml.with_suffix(".bin")) is None


def test_a_missing_package_is_named(xml, monkeypatch):
    network._load.cache_clear()  # Which may hold the file from another test.
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ValueError, match=r"the package openvino\. .*pip install 'tfalexnet\[fast\]'$"):
        load_network(xml)


def test_layers_other_than_the_probabilities_are_refused(xml):
    with pytest.raises(ValueError, match=r"Expected the layer prob of an exported file\. Received: fc4"):
        load(xml, ("fc4",))
