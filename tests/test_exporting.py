"""Each exported file in its own runtime, against Keras; and what travels with it."""

import dataclasses
import functools
import html
import io
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.nets import each_norm, random_parameters, small

import tfalexnet
from tfalexnet.checkpoints import match as fitting
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, read_spec, write_checkpoint
from tfalexnet.checkpoints.exported import describe_export, parse_description
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.exporters import litert, savedmodel
from tfalexnet.exporters import onnx as onnx_format
from tfalexnet.exporters import openvino as openvino_format
from tfalexnet.exporters.export import EXPORTERS, _calibration_pictures, export
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import classes_from_labels, imagenet_classes, numbered_classes
from tfalexnet.images.preprocessing import BVLC, TORCHVISION, Preprocessing
from tfalexnet.networks.build import build_model, set_parameters
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.runtimes import litert as litert_runtime
from tfalexnet.runtimes import openvino as openvino_runtime
from tfalexnet.runtimes.network import load_network

PACKAGES = {"savedmodel": "tensorflow", "litert": "ai_edge_litert", "onnx": "onnxruntime", "openvino": "openvino"}


@functools.cache
def case(name):
    """A small network, its weights, pictures, and what Keras answers: logits spread by 2, that errors show in."""
    net = small(ARCHITECTURES[name])
    parameters, last = random_parameters(net), net.classifier.name
    x = np.random.default_rng(0).standard_normal((3, *net.input_shape), np.float32) * 50
    reference = build_model(net)
    for _ in range(2):
        set_parameters(reference, parameters)
        answers = reference(x).numpy()
        kernel, bias = parameters[last]
        parameters[last] = kernel * np.float32(2 / np.log(answers).std()), bias
    parameters[last] = kernel, bias
    return net, parameters, x, answers


def checkpoint(name):
    net, parameters, _, _ = case(name)
    return Checkpoint(dict(parameters), ModelSpec(net, None, numbered_classes(net.classes)))


def written(path, name, format, precision="float32", process=None):
    """A file of a small network, written by the format alone."""
    module, found = EXPORTERS[format], dataclasses.replace(checkpoint(name), preprocessing=process)
    module.write(path, found, describe_export(found, precision, module.LAYOUT), precision, None)
    return path


def in_savedmodel(path, x):
    return tf.saved_model.load(path).signatures["probabilities"](inputs=tf.constant(x))["probabilities"].numpy()


def in_litert(path, x):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    entry, exit = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(entry, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry, x)
    interpreter.invoke()
    return interpreter.get_tensor(exit)


def in_onnx(path, x):
    import onnxruntime

    given = path if isinstance(path, bytes) else str(path)
    session = onnxruntime.InferenceSession(given, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"inputs": x.transpose(0, 3, 1, 2)})[0]


def in_openvino(path, x):
    import openvino

    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({"inputs": x.transpose(0, 3, 1, 2)})["probabilities"]


RUNTIMES = {"savedmodel": in_savedmodel, "litert": in_litert, "onnx": in_onnx, "openvino": in_openvino}


def installed(format):
    """Skips a test where what writes the format is not there."""
    for package in PACKAGES.get(format, ()):
        pytest.importorskip(package)


def output(folder, format):
    return folder / EXPORTERS[format].NAME.format("net")


def preprocessed(net):
    """BVLC's preprocessing for the pictures of a network."""
    side, _, channels = net.input_shape
    grey = {"channels": "L", "mean": (100.0,)} if channels == 1 else {}
    return dataclasses.replace(BVLC, size=side + side // 8, crop=side, **grey)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A file of a small network, a picture larger than it needs, and its answer."""
    monkeypatch.chdir(tmp_path)
    net = ARCHITECTURES["cifar10_18pct"].with_classes(6)
    process = dataclasses.replace(BVLC, size=36, crop=32)
    labels = classes_from_labels(["one", "two", "drei", "vier", "fünf", "six, half a dozen"])
    write_checkpoint("net.weights.h5", Checkpoint(random_parameters(net), ModelSpec(net, process, labels)))
    return tmp_path


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    """A small network for LiteRT."""
    pytest.importorskip("ai_edge_litert")
    path = tmp_path_factory.mktemp("lite") / "net.tflite"
    return written(path, "mnist_28", "litert", process=preprocessed(ARCHITECTURES["mnist_28"]))


@pytest.fixture(scope="module")
def intermediate(tmp_path_factory):
    """A small network for OpenVINO."""
    pytest.importorskip("openvino")
    path = tmp_path_factory.mktemp("openvino") / "net.xml"
    return written(path, "mnist_28", "openvino", process=preprocessed(ARCHITECTURES["mnist_28"]))


def pictures(count, size=(40, 50)):
    return list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), "uint8"))


def encoded(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", EXPORTERS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_answers_in_every_runtime_as_in_keras(name, format, tmp_path):
    pytest.importorskip(PACKAGES[format])
    process = preprocessed(ARCHITECTURES[name]) if format == "savedmodel" else None
    path = written(output(tmp_path, format), name, format, process=process)
    *_, x, answers = case(name)
    assert 0.15 < answers.max() < 0.999 and answers.std() > 0.03
    for count in (1, 3):
        np.testing.assert_allclose(RUNTIMES[format](path, x[:count]), answers[:count], atol=1e-5)


def test_onnx_is_valid_and_says_what_is_needed(tmp_path):
    onnx = pytest.importorskip("onnx")
    for name in ("bvlc_alexnet", "cifar10_18pct", "krizhevsky2012", "one_weird_trick"):
        path = written(tmp_path / f"{name}.onnx", name, "onnx")
        found = onnx.load(path)
        onnx.checker.check_model(found, full_check=True)
        outputs = {node.output[0] for node in found.graph.node}
        assert {row.name for row in case(name)[0].layers if not row.name.startswith("drop")} <= outputs
        side = found.graph.input[0].type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in side][:2] == ["batch", 3]
        (said,) = [json.loads(entry.value) for entry in found.metadata_props if entry.key == "tfalexnet"]
        assert said["inputs"]["layout"] == "NCHW" and said["inputs"]["shape"][1] == 3
        assert said["labels"] == [f"class {i}" for i in range(10)] and said["wnids"] is None


MUTANTS = {
    "alpha is not divided": ("bvlc_alexnet", {"divide_alpha": False}),
    "alpha is divided where it should not": ("single_tower_avgpool", {"divide_alpha": True}),
    "towers see each other": ("krizhevsky2012", {"groups": 1}),
    "across channels": ("cifar10_18pct", {"region": "across_channels"}),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_graph_with_another_normalisation_is_found_out(mutant):
    pytest.importorskip("onnxruntime")
    name, changes = MUTANTS[mutant]
    net, parameters, x, answers = case(name)
    right, wrong = (onnx_format.graph(table, parameters) for table in (net, each_norm(net, **changes)))
    assert np.abs(in_onnx(right.SerializeToString(), x) - answers).max() < 1e-5
    assert np.abs(in_onnx(wrong.SerializeToString(), x) - answers).max() > 1e-4


def test_a_graph_that_reads_the_last_picture_in_another_order_is_found_out(monkeypatch):
    pytest.importorskip("onnxruntime")
    net, parameters, x, answers = case("bvlc_alexnet")
    monkeypatch.setattr(fitting, "flattened", lambda parameters, *_: parameters)
    wrong = onnx_format.graph(net, parameters)
    assert np.abs(in_onnx(wrong.SerializeToString(), x) - answers).max() > 1e-2


def edited(graph, kind, **attributes):
    """The bytes of a graph whose nodes of a kind have other attributes."""
    from onnx import helper

    for node in graph.graph.node:
        if node.op_type == kind:
            for name, change in attributes.items():
                (old,) = [entry for entry in node.attribute if entry.name == name] or [None]
                value = change(helper.get_attribute_value(old)) if old else change(None)
                if old:
                    node.attribute.remove(old)
                node.attribute.append(helper.make_attribute(name, value))
    return graph.SerializeToString()


@pytest.mark.parametrize(
    ("name", "kind", "attributes"),
    [
        ("mnist_28", "MaxPool", {"pads": lambda pads: pads[2:] + pads[:2]}),
        ("cifar10_18pct", "MaxPool", {"pads": lambda pads: pads[2:] + pads[:2]}),
        ("cifar10_18pct", "AveragePool", {"count_include_pad": lambda _: 1}),
        ("cifar10_18pct", "AveragePool", {"count_include_pad": lambda _: 0}),
        ("bvlc_alexnet", "LRN", {"size": lambda size: size - 2}),
    ],
)
def test_a_graph_with_other_borders_is_found_out(name, kind, attributes):
    pytest.importorskip("onnxruntime")
    net, parameters, x, answers = case(name)
    wrong = edited(onnx_format.graph(net, parameters), kind, **attributes)
    assert np.abs(in_onnx(wrong, x) - answers).max() > 1e-5


@pytest.mark.parametrize(
    ("format", "precision"),
    [
        (format, precision)
        for format in EXPORTERS
        for precision in EXPORTERS[format].PRECISIONS[1:]
        if precision != "int8"
    ],
)
def test_half_the_bytes_answer_nearly_alike(format, precision, tmp_path):
    pytest.importorskip(PACKAGES[format])
    process, (*_, x, answers), sizes = preprocessed(ARCHITECTURES["bvlc_alexnet"]), case("bvlc_alexnet"), []
    for kind in ("float32", precision):
        path = output(tmp_path / kind, format)
        path.parent.mkdir(parents=True)
        written(path, "bvlc_alexnet", format, kind, process)
        found = RUNTIMES[format](path, x)
        weights = {"savedmodel": path / "variables/variables.data-00000-of-00001", "openvino": path.with_suffix(".bin")}
        sizes.append(weights.get(format, path).stat().st_size)
    assert 0 < np.abs(found - answers).max() < 0.05
    assert 0.4 < sizes[1] / sizes[0] < 0.6


def test_savedmodel_takes_pictures_in_a_process_that_does_not_know_us(files):
    export("net.weights.h5", "served/1")
    several = pictures(3)
    grey = np.array(several[1][..., 0])
    data = [encoded(several[0]), encoded(grey), encoded(several[2], "BMP"), encoded(several[0], "JPEG", quality=90)]
    data += [encoded(grey, "GIF"), encoded(grey, "JPEG")]
    for number, content in enumerate(data):
        (files / f"{number}.img").write_bytes(content)
    code = """if True:
        import sys, json, pathlib, tensorflow as tf
        model = tf.saved_model.load("served/1")
        data = [path.read_bytes() for path in sorted(pathlib.Path().glob("*.img"))]
        found = model.signatures["serving_default"](image_bytes=tf.constant(data))
        assert not any(name.startswith("tfalexnet") for name in sys.modules)
        classes = [[label.decode() for label in row] for row in found["classes"].numpy()]
        print(json.dumps([classes, found["indices"].numpy().tolist(), found["scores"].numpy().tolist()]))
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    labels, indices, scores = json.loads(run.stdout or run.stderr)
    wanted = tfalexnet.predict(data, weights="net.weights.h5")
    assert labels == [[answer.label for answer in row] for row in wanted]
    assert indices == [[answer.index for answer in row] for row in wanted]
    np.testing.assert_allclose(scores, [[answer.score for answer in row] for row in wanted], atol=1e-5)
    said = json.loads((files / "served/1/assets.extra/tfalexnet.json").read_text("utf-8"))
    assert said["labels"][4] == "fünf" and said["source"] == "net.weights.h5"


def test_savedmodel_has_wordnet_ids_its_matrices_beside_the_graph_and_no_xla(tmp_path):
    kernel = case("krizhevsky2012")[1]["fc6"][0].tobytes()
    entry = dataclasses.replace(checkpoint("krizhevsky2012"), preprocessing=BVLC, classes=imagenet_classes()[:10])
    savedmodel.write(tmp_path / "1", entry, "{}", "float32")
    graph = (tmp_path / "1/saved_model.pb").read_bytes()
    assert kernel in (tmp_path / "1/variables/variables.data-00000-of-00001").read_bytes()
    assert kernel not in graph and b"_XlaMustCompile" not in graph
    assert entry.parameters == {}
    loaded = tf.saved_model.load(tmp_path / "1")
    found = loaded.signatures["serving_default"](image_bytes=tf.constant([encoded(pictures(1)[0])]))
    wnids = [imagenet_classes()[index].wnid.encode() for index in found["indices"].numpy()[0]]
    assert found["wnids"].numpy()[0].tolist() == wnids
    assert len(found["scores"][0]) == 5 == len(set(wnids))


SIDES = [(375, 500), (500, 375), (64, 64), (20, 300), (61, 1)]


@pytest.mark.parametrize("size", SIDES)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"resize": "shorter side"},
        {"channels": "L", "mean": (100.0,)},
        {"mean": np.random.default_rng(0).random((64, 64, 3)) * 255, "std": (50.0, 60.0, 70.0), "scale": 0.5},
        {"size": 56},
    ],
)
def test_preprocessing_in_tensorflow_is_that_of_python(size, changes):
    process = dataclasses.replace(BVLC, **{"size": 64, "crop": 55} | changes)
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), "uint8")
    for data in (encoded(pixels), encoded(pixels, "JPEG"), encoded(pixels[..., 0])):
        wanted = process(data)
        found = savedmodel.preparation(process)(tf.constant(data)).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("size", SIDES)
def test_antialiased_preprocessing_is_within_a_level(size):
    process = Preprocessing("shorter side", 64, 55, antialias=True, channels="RGB", mean=(0.0, 0.0, 0.0))
    data = encoded(np.random.default_rng(1).integers(0, 256, (*size, 3), "uint8"))
    off = np.abs(savedmodel.preparation(process)(tf.constant(data)).numpy() - process(data))
    assert off.max() <= 1 and (off > 0).mean() < 0.25


@pytest.mark.usefixtures("files")
def test_litert_gives_its_network_without_tensorflow():
    pytest.importorskip("ai_edge_litert")
    path = export("net.weights.h5", format="litert")
    assert str(path) == os.path.join("weights", "net.tflite")
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines()[4:] == ["fünf", "six, half a dozen"]
    np.save("x.npy", np.stack([read_spec("net.weights.h5").preprocessing(picture) for picture in pictures(3)]))
    code = """if True:
        import pathlib, sys
        import numpy as np
        from tfalexnet.runtimes import litert
        path = pathlib.Path("weights/net.tflite")
        assert litert.recognises(path) and not litert.recognises(pathlib.Path("x.npy"))
        found, precision, function = litert.read(path)
        x = np.load("x.npy")
        np.save("y.npy", np.concatenate([function(x)[0], function(x[:1])[0]]))
        print(found.architecture.name, precision, found.classes[4].label, found.preprocessing.summary())
        sys.exit("tensorflow" in sys.modules or "keras" in sys.modules)
    """
    run = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    process = read_spec("net.weights.h5").preprocessing
    assert run.stdout == f"cifar10_18pct float32 fünf {process.summary()}\n"
    (wanted,) = load_network("net.weights.h5")(np.load("x.npy"))
    np.testing.assert_allclose(np.load("y.npy"), wanted[[0, 1, 2, 0]], atol=1e-5)


@pytest.mark.usefixtures("files")
def test_openvino_gives_its_network_without_tensorflow_and_tells_nobody():
    pytest.importorskip("openvino")
    export("net.weights.h5", "net.xml", "openvino")
    np.save("x.npy", np.stack([read_spec("net.weights.h5").preprocessing(picture) for picture in pictures(33)]))
    code = """if True:
        import pathlib, sys
        import numpy as np
        from tfalexnet.runtimes import openvino
        found, precision, function = openvino.read(pathlib.Path("net.xml"), "float32")
        x = np.load("x.npy")
        np.save("y.npy", np.concatenate([function(x[:count])[0] for count in (33, 1, 2, 33)]))
        print(found.architecture.name, precision, found.classes[4].label, found.preprocessing.summary())
        sys.exit(not {"tensorflow", "keras", "onnx", "openvino_telemetry"}.isdisjoint(sys.modules))
    """
    run = subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    process = read_spec("net.weights.h5").preprocessing
    assert run.stdout == f"cifar10_18pct float32 fünf {process.summary()}\n"
    (wanted,) = load_network("net.weights.h5")(np.load("x.npy"))
    np.testing.assert_allclose(np.load("y.npy"), wanted[[*range(33), 0, 0, 1, *range(33)]], atol=1e-5)


@pytest.mark.parametrize("weights", openvino_format.PRECISIONS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_openvino_answers_as_keras_and_nearly_so_in_bfloat16(name, weights, tmp_path):
    pytest.importorskip("openvino")
    path = written(tmp_path / "net.xml", name, "openvino", weights)
    net, _, x, answers = case(name)
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    found, precision, function = openvino_runtime.load(path)
    assert (found.architecture.name, found.preprocessing, precision) == (name, None, "float32")
    for inputs in (x, x[:1], strided, x.astype("f8"), np.broadcast_to(x[0], x.shape)):
        wanted = answers[:1] if inputs.strides[0] == 0 else answers[: len(inputs)]
        (scores,) = function(inputs)
        assert scores.dtype == np.float32 and scores.shape == (len(inputs), net.classes)
        np.testing.assert_allclose(scores - wanted, 0, atol=1e-5 if weights == "float32" else 0.05)
    _, precision, function = openvino_runtime.load(path, "bfloat16")
    off = np.abs(function(x)[0] - answers).max()
    assert off < 0.1 and (off > 1e-5 or precision == "float32")


def test_an_answer_of_openvino_is_its_callers_own(intermediate):
    *_, function = openvino_runtime.load(intermediate)
    *_, x, answers = case("mnist_28")
    x = x.copy()
    (first,) = function(x)
    x[...] = 0
    function(x)
    np.testing.assert_allclose(first, answers, atol=1e-5)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_signal_after_openvino_is_only_a_signal(intermediate):
    """Whoever let go of the network last: a Core that ends in another thread takes the stack for signals along."""
    code = """if True:
        import gc, os, pathlib, signal, sys, threading
        from tfalexnet.runtimes import openvino
        held, got = [openvino.read(pathlib.Path(sys.argv[1]))], []
        thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
        thread.start()
        thread.join()
        signal.signal(signal.SIGINT, lambda *_: got.append(_))
        os.kill(os.getpid(), signal.SIGINT)
        sys.exit(len(got) != 1)
    """
    run = subprocess.run([sys.executable, "-c", code, intermediate], capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(("engine", "file"), [(litert_runtime, "lite"), (openvino_runtime, "intermediate")])
def test_threads_share_a_network(engine, file, request):
    *_, function = engine.read(request.getfixturevalue(file))
    *_, x, answers = case("mnist_28")
    wrong = []

    def ask(count):
        for _ in range(20):
            if not np.allclose(function(x[:count])[0], answers[:count], atol=1e-5):
                wrong.append(count)

    threads = [threading.Thread(target=ask, args=(count,)) for count in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def damaged(path, **changes):
    """A copy of a file for LiteRT whose description says something else."""
    with zipfile.ZipFile(path) as archive:
        said = json.loads(archive.read("tfalexnet.json"))
    net = path.read_bytes()
    net = net[: net.index(b"PK\x03\x04")]
    other = path.with_name("damaged.tflite")
    other.write_bytes(net)
    if changes.get("drop"):
        return other
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("tfalexnet.json", changes.get("text") or json.dumps(said | changes))
    return other


def damaged_xml(path, **changes):
    """A copy of a file for OpenVINO whose description says something else."""
    text, mark = path.read_text("utf-8"), r'<tfalexnet value="(.*?)" />'
    (said,) = re.findall(mark, text)
    told = changes.get("text") or json.dumps(json.loads(html.unescape(said)) | changes)
    entry = "" if changes.get("drop") else f'<tfalexnet value="{html.escape(told)}" />'
    other = path.with_name("damaged.xml")
    other.write_text(re.sub(mark, lambda _: entry, text), "utf-8")
    other.with_suffix(".bin").write_bytes(path.with_suffix(".bin").read_bytes())
    return other


DAMAGES = [
    {"drop": True},
    {"text": "{"},
    {"text": "[" * 100_000},
    {"architecture": "vgg"},
    {"labels": ["one"]},
    {"labels": 3},
    {"labels": ["\ud800"] * 10},
    {"wnids": ["n1"]},
    {"wnids": [1] * 10},
    {"preprocessing": {"resize": "squash"}},
    {"architecture": "cifar10_18pct"},
    {"architecture": "d2l_fashion_mnist", "preprocessing": None},
]


@pytest.mark.parametrize("changes", DAMAGES)
def test_a_litert_file_whose_description_is_damaged(changes, lite):
    with pytest.raises(tfalexnet.CheckpointError, match=r"damaged\.tflite: expected"):
        litert_runtime.load(damaged(lite, **changes))


@pytest.mark.parametrize("changes", DAMAGES)
def test_an_openvino_file_whose_description_is_damaged(changes, intermediate):
    path = damaged_xml(intermediate, **changes)
    assert openvino_runtime.recognises(path)
    with pytest.raises(tfalexnet.CheckpointError, match=r"^.*damaged\.xml: expected [^\n]+$"):
        openvino_runtime.load(path)


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
def test_a_network_for_openvino_that_is_damaged(change, message, intermediate):
    path = intermediate.with_name("broken.xml")
    xml, weights = change(intermediate.read_bytes(), intermediate.with_suffix(".bin").read_bytes())
    path.write_bytes(xml)
    path.with_suffix(".bin").unlink(missing_ok=True)
    if weights is not None:
        path.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(tfalexnet.CheckpointError, match=rf"^[^\n]*broken\.xml: expected [^\n]*{message}[^\n]*$"):
        openvino_runtime.load(path)


def test_what_is_a_network_for_openvino(intermediate, lite, tmp_path):
    assert openvino_runtime.recognises(intermediate)
    for content in (b"", b"<", b"\xff" * 300, b"<?xml version='1.0'?><svg/>", b"<net name='a'>", lite.read_bytes()):
        (tmp_path / "other.xml").write_bytes(content)
        assert not openvino_runtime.recognises(tmp_path / "other.xml")
    assert not openvino_runtime.recognises(intermediate.with_suffix(".bin"))
    assert not openvino_runtime.recognises(intermediate)


def test_a_description_says_all_there_is():
    net = ARCHITECTURES["cifar10_18pct"]
    mean = np.random.default_rng(0).random((32, 32, 3)).astype("f4") * 255
    process = dataclasses.replace(TORCHVISION, size=40, crop=32, mean=mean)
    given = Checkpoint({}, ModelSpec(net, process, imagenet_classes()[:10]))
    found, precision = parse_description(describe_export(given, "int8", "NHWC"))
    assert (found.architecture, found.classes, precision) == (net, imagenet_classes()[:10], "int8")
    assert found.preprocessing == process
    nobody, _ = parse_description(
        describe_export(Checkpoint({}, ModelSpec(net, None, numbered_classes(10))), "float32", "NCHW")
    )
    assert nobody.preprocessing is None and nobody.classes == numbered_classes(10)


@pytest.mark.parametrize("format", [format for format in EXPORTERS if format != "savedmodel"])
def test_the_shipped_model_answers_photos_alike_everywhere(format, tmp_path, photo):
    pytest.importorskip(PACKAGES[format])
    path = export("cifar10", output(tmp_path, format), format)
    network = load_network("cifar10")
    x = network.spec.preprocessing(photo)[None]
    np.testing.assert_allclose(RUNTIMES[format](path, x), network(x)[0], atol=1e-5)


@pytest.mark.usefixtures("files")
def test_openvino_keeps_the_description():
    openvino = pytest.importorskip("openvino")
    path = export("net.weights.h5", format="openvino")
    said = json.loads(openvino.Core().read_model(path).get_rt_info("tfalexnet").astype(str))
    assert said["labels"][4] == "fünf" and said["preprocessing"]["mean"] == pytest.approx(BVLC.mean)
    assert path.with_suffix(".bin").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "torch"}, "Expected `format` to be one of savedmodel, litert, onnx, openvino.*'torch'"),
        ({"format": "onnx", "precision": "int8"}, "of onnx to be one of float32, float16.*'int8'"),
        ({"format": "openvino", "precision": "bfloat16"}, "of openvino to be one of float32, float16.*'bfloat16'"),
        ({"format": "litert", "precision": "int8"}, r"Expected pictures \(--pictures DIR\) for int8"),
        ({"format": "litert", "precision": "int8", "pictures": ["no.jpg"]}, "Received 1, none of which can be read"),
        ({"format": "onnx", "output": "a.tflite"}, r"ends in \.onnx\. Received: a\.tflite"),
        ({"format": "savedmodel", "output": "."}, "no folder of other things"),
        ({"format": "savedmodel", "output": ".", "overwrite": True}, "no folder of other things"),
    ],
)
def test_what_is_not_possible_is_said(given, message, files):
    installed(given["format"])
    before = sorted(files.rglob("*"))
    with pytest.raises(ValueError, match=message):
        export("net.weights.h5", **given)
    assert sorted(files.rglob("*")) == before


@pytest.mark.parametrize(("format", "package"), [("onnx", "onnx"), ("openvino", "openvino"), ("openvino", "onnx")])
def test_packages_that_are_not_there_are_named(format, package, files, monkeypatch):
    installed(format)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"the package {package}\. .*pip install 'tfalexnet\[export\]'$"):
        export("net.weights.h5", format=format)
    assert not [*files.glob("weights/*"), *files.glob("weights/.*")]


@pytest.mark.parametrize(("engine", "package"), [(litert, "ai_edge_litert"), (openvino_format, "openvino")])
def test_an_engine_names_its_package(engine, package, files, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"the package {package}\. .*pip install 'tfalexnet\[export\]'$"):
        engine.read(files / "net.weights.h5", "float32")


@pytest.mark.parametrize("format", EXPORTERS)
def test_an_output_is_replaced_whole_when_told_and_only_then(format, files, monkeypatch):
    pytest.importorskip(PACKAGES[format])
    path = export("net.weights.h5", output(files / "out", format), format)
    contents = {file: file.read_bytes() for file in (files / "out").rglob("*") if file.is_file()}
    with pytest.raises(FileExistsError, match="exists"):
        export("net.weights.h5", path, format)

    def stumble(path, *_):
        (path.mkdir() if format == "savedmodel" else path.write_bytes(b"half"))
        raise OSError("no room")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no room"):
        patch.setattr(EXPORTERS[format], "write", stumble)
        export("net.weights.h5", path, format, overwrite=True)
    assert {file: file.read_bytes() for file in (files / "out").rglob("*") if file.is_file()} == contents
    net = ARCHITECTURES["cifar10_18pct"].with_classes(6)
    other = read_checkpoint("net.weights.h5")
    write_checkpoint("net.weights.h5", dataclasses.replace(other, parameters=random_parameters(net, seed=1)))
    assert export("net.weights.h5", path, format, overwrite=True) == path
    x = np.random.default_rng(0).random((1, 32, 32, 3), np.float32) * 100
    np.testing.assert_allclose(RUNTIMES[format](path, x), load_network("net.weights.h5")(x)[0], atol=1e-5)
    assert {file for file in (files / "out").rglob("*") if file.is_file()} == set(contents)


@pytest.mark.usefixtures("files")
def test_each_precision_has_a_name_of_its_own():
    names = [export("net.weights.h5", None, "litert", precision) for precision in ("float32", "float16")]
    assert [path.as_posix() for path in names] == ["weights/net.tflite", "weights/net.float16.tflite"]
    with pytest.raises(tfalexnet.CheckpointError, match=r"`predict` and `evaluate` alone answer from a \.tflite"):
        read_checkpoint(names[0])


def test_new_weights_never_lie_beside_an_old_description(files, monkeypatch):
    pytest.importorskip("openvino")
    export("net.weights.h5", "a.xml", "openvino")
    replace = Path.replace

    def killed(self, target):
        replace(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        export("net.weights.h5", "a.xml", "openvino", overwrite=True)
    assert (files / "a.bin").exists() and not (files / "a.xml").exists()


def test_openvinos_second_file_is_not_overwritten_either(files):
    installed("openvino")
    (files / "a.bin").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"a\.bin"):
        export("net.weights.h5", "a.xml", "openvino")
    assert (files / "a.bin").read_bytes() == b"mine"


def test_weights_that_do_not_say_how_pictures_are_prepared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    net = ARCHITECTURES["cifar10_18pct"]
    write_checkpoint("n.weights.h5", Checkpoint(random_parameters(net), ModelSpec(net, None, numbered_classes(10))))
    for format, precision in (("savedmodel", "float32"), ("litert", "int8")):
        with pytest.raises(tfalexnet.CheckpointError, match="how cifar10_18pct wants its pictures"):
            export("n.weights.h5", None, format, precision, pictures(1))
    without = read_checkpoint("n.weights.h5")
    del without.parameters["fc4"]
    write_checkpoint("headless.weights.h5", dataclasses.replace(without, missing=("fc4",), classes=()))
    with pytest.raises(tfalexnet.CheckpointError, match="lacks fc4"):
        export("headless.weights.h5", "h.tflite", "litert")


@pytest.mark.data
def test_int8_agrees_on_99_of_100_pictures(data, tmp_path, monkeypatch):
    pytest.importorskip("ai_edge_litert")
    training = sorted((data / "cifar10" / "train").glob("*/*"))
    testing = sorted((data / "cifar10" / "test").glob("*/*"))[::5]
    network = load_network("cifar10")
    x = np.stack([network.spec.preprocessing(picture) for picture in testing])
    (answers,) = network(x)

    def agreement(path):
        *_, function = openvino_runtime.load(path)
        found = np.concatenate([function(x[start : start + 100])[0] for start in range(0, len(x), 100)])
        return (found.argmax(axis=1) == answers.argmax(axis=1)).mean()

    path = export("cifar10", tmp_path / "net.tflite", "litert", "int8", training)
    assert path.stat().st_size < 0.5 * find_weights("cifar10").stat().st_size
    assert agreement(path) > 0.985
    monkeypatch.setattr(litert, "IN_FLOAT", ())  # Normalisation in 8 bits too.
    assert agreement(export("cifar10", tmp_path / "all.tflite", "litert", "int8", training)) < 0.95


@pytest.mark.parametrize(("format", "package"), [("litert", "ai_edge_litert"), ("openvino", "openvino")])
def test_a_photo_is_labelled_without_tensorflow(photo, tmp_path, format, package):
    pytest.importorskip(package)
    file = export("cifar10", tmp_path / EXPORTERS[format].NAME.format("net"), format)
    code = (
        "import sys, tfalexnet\n"
        "for answer in tfalexnet.predict(sys.argv[1], weights=sys.argv[2]): print(answer.label, answer.score)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    command = [sys.executable, "-c", code, photo, file]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    wanted = tfalexnet.predict(photo, weights="cifar10")
    assert [line.split()[0] for line in lines] == [answer.label for answer in wanted]
    np.testing.assert_allclose([float(line.split()[1]) for line in lines], [a.score for a in wanted], atol=1e-5)
    with pytest.raises(ValueError, match=r"Expected the layer prob of an exported file. Received: fc4"):
        tfalexnet.features(photo, "fc4", file)


# What may be in an export's way, and pictures to calibrate with.


@pytest.mark.parametrize(
    ("format", "given", "message"),
    [
        ("savedmodel", "file", "new, or a folder. Received a file: file"),
        ("savedmodel", "file/1", "to make it in a folder. .*file is a file"),
        ("onnx", "model.onnx", "new, or a file. Received a folder: model.onnx"),
        ("onnx", "empty.onnx", "new, or a file. Received a folder: empty.onnx"),
        ("openvino", "file.xml", "new, or a file. Received a folder: file.bin"),
    ],
)
def test_a_file_is_no_folder(format, given, message, files):
    installed(format)
    (files / "file").write_bytes(b"mine")
    (files / "model.onnx").mkdir()
    (files / "model.onnx" / "saved_model.pb").touch()
    for name in ("empty.onnx", "file.bin"):
        (files / name).mkdir()
    before = sorted(files.rglob("*"))
    with pytest.raises((ValueError, OSError), match=message):
        export("net.weights.h5", given, format, overwrite=True)
    assert sorted(files.rglob("*")) == before and (files / "file").read_bytes() == b"mine"


def test_a_folder_that_is_empty_is_filled_and_what_a_kill_left_goes(files):
    killed, others = files / "served" / ".1.x3_abcde.part", files / "served" / ".2.x3_abcde.part"
    for folder in (files / "served" / "1", killed / "new" / "1", others):
        folder.mkdir(parents=True)
    path = export("net.weights.h5", "served/1", "savedmodel")
    assert (path / "saved_model.pb").is_file()
    assert {entry.name for entry in (files / "served").iterdir()} == {"1", others.name}


@pytest.mark.parametrize(("format", "package"), [("onnx", "onnx"), ("openvino", "openvino"), ("openvino", "onnx")])
def test_a_package_is_asked_for_before_the_weights(format, package, monkeypatch):
    installed(format)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"package {package}\. .*: pip install 'tfalexnet\[export\]'$"):
        export("nowhere.weights.h5", format=format)


@pytest.mark.parametrize("count", [1, 2, 101, 199, 200, 201, 399, 400, 401, 12_345])
def test_pictures_to_calibrate_with_are_evenly_spread(count):
    chosen = _calibration_pictures(f"{place}.png" for place in range(count))
    places = [int(name.removesuffix(".png")) for name in chosen]
    gaps = set(np.diff([*places, count]))
    assert len(places) == min(count, 200) and places[0] == 0
    assert max(gaps) - min(gaps) <= 1 and min(gaps) > 0


def test_a_folder_of_pictures_or_a_generator_calibrates(files):
    (files / "photos").mkdir()
    for number, pixels in enumerate(pictures(3)):
        Image.fromarray(pixels).save(files / "photos" / f"{number}.png")
    wanted = sorted((files / "photos").iterdir())
    for given in ("photos", files / "photos", wanted, (path for path in wanted), np.stack(pictures(3))):
        path = export("net.weights.h5", "net.tflite", "litert", "int8", given, overwrite=True)
        with zipfile.ZipFile(path) as archive:
            assert json.loads(archive.read("tfalexnet.json"))["precision"] == "int8"
    with pytest.raises(NotADirectoryError, match="nowhere"):
        export("nothing.weights.h5", "net.tflite", "litert", "int8", "nowhere")


@pytest.mark.parametrize(("mode", "bits"), [("RGB", 24), ("RGBA", 32), ("P", 8), ("L", 8), ("1", 1)])
def test_bitmaps_with_a_palette_are_refused_in_tensorflow(mode, bits):
    process = dataclasses.replace(BVLC, size=36, crop=32)
    buffer = io.BytesIO()
    Image.fromarray(pictures(1)[0]).convert(mode).save(buffer, "BMP")
    data = buffer.getvalue()
    prepare = tf.function(savedmodel.preparation(process), input_signature=[tf.TensorSpec((), tf.string)])
    if bits > 8:
        np.testing.assert_allclose(prepare(tf.constant(data)), process(data), atol=1e-4)
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match=rf"a BMP of 24 or 32 bits a pixel.*\[{bits}\]"):
            prepare(tf.constant(data))
