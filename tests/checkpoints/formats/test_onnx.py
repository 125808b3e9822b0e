"""ONNX files of this package, of the Model Zoo's layout, of PyTorch, of tf2onnx's layout, and quantised ones."""

from pathlib import Path

import numpy as np
import pytest
from support import onnx_files
from support.fuzz_seeds import NET as TINY
from support.fuzz_seeds import PARAMETERS as TINY_PARAMETERS
from support.nets import random_parameters, small
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints import match
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.exported import describe_export
from tfalexnet.checkpoints.formats import onnx as reader
from tfalexnet.checkpoints.formats import onnx_graph
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.exporters import onnx as exporter
from tfalexnet.images.classes import classes_from_labels
from tfalexnet.images.preprocessing import BVLC
from tfalexnet.networks.catalog import ARCHITECTURES, CIFAR10_18PCT, KRIZHEVSKY2012, ONE_WEIRD_TRICK

onnx = pytest.importorskip("onnx")


@pytest.fixture
def small_networks(monkeypatch):
    """The known networks with few filters."""
    monkeypatch.setattr(match, "get_architecture", lambda name: small(ARCHITECTURES[name]))
    monkeypatch.setattr(match, "ARCHITECTURES", {name: small(net) for name, net in ARCHITECTURES.items()})


@pytest.mark.parametrize("net", [KRIZHEVSKY2012, ONE_WEIRD_TRICK, CIFAR10_18PCT])
@pytest.mark.parametrize("precision", exporter.PRECISIONS)
def test_an_exported_file_is_read_back_with_its_spec(net, precision, tmp_path):
    net = small(net)
    parameters = random_parameters(net)
    preprocessing = BVLC if net.input_shape == (227, 227, 3) else None
    spec = ModelSpec(net, preprocessing, classes_from_labels(f"class {n}" for n in range(net.classes)))
    path = tmp_path / "net.onnx"
    exporter.write(path, Checkpoint(parameters, spec), describe_export(spec, precision, "NCHW"), precision)
    checkpoint = read_checkpoint(path)
    assert (checkpoint.spec.architecture, checkpoint.spec.classes, checkpoint.notes) == (net, spec.classes, ())
    assert preprocessing is None or checkpoint.spec.preprocessing == preprocessing
    rounded = {name: tuple(array.astype(precision).astype("f4") for array in pair) for name, pair in parameters.items()}
    assert_equal(checkpoint.parameters, rounded)


@pytest.mark.parametrize("kind", ["raw", "float16", "FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"])
def test_every_way_to_store_numbers_is_read_as_onnx_reads_it(kind, tmp_path):
    stores = {"raw": onnx_files.raw, "float16": lambda array, name: onnx_files.raw(array.astype("f2"), name)}
    store = stores.get(kind) or onnx_files.numbers(kind)
    model = onnx_files.model_zoo(NET, PARAMETERS, store)
    onnx.save(model, tmp_path / "x.onnx")
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    contents = reader.read(tmp_path / "x.onnx")
    assert list(contents.parameters) == list(PARAMETERS) and contents.flatten == "CHW"
    for name, (kernel, bias) in contents.parameters.items():
        axes = (2, 3, 1, 0) if kernel.ndim == 4 else (1, 0)
        np.testing.assert_array_equal(kernel, tensors[f"{name}_w_0"].transpose(axes).astype("f4"))
        np.testing.assert_array_equal(bias, tensors[f"{name}_b_0"].astype("f4"))


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("name", ["bvlc_alexnet", "bvlc_caffenet"])
def test_the_model_zoos_layout_answers_as_onnx_runtime_does(name, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    net = small(ARCHITECTURES[name])
    onnx.save(onnx_files.model_zoo(net, PARAMETERS), tmp_path / "x.onnx")
    checkpoint = read_checkpoint(tmp_path / "x.onnx")
    assert checkpoint.spec.architecture.name == name and not checkpoint.notes
    picture = np.random.default_rng(0).uniform(-120, 120, (1, 227, 227, 3)).astype("float32")
    session = runtime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    [expected] = session.run(None, {"data_0": np.ascontiguousarray(picture.transpose(0, 3, 1, 2))})
    np.testing.assert_allclose(AlexNet(weights=tmp_path / "x.onnx")(picture), expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("small_networks")
@pytest.mark.parametrize("bias_behind", [False, True])
def test_groups_that_are_split_are_joined(bias_behind, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    model = onnx_files.split(onnx_files.model_zoo(small(ARCHITECTURES["bvlc_alexnet"]), PARAMETERS), bias_behind)
    assert [node.op_type for node in model.graph.node].count("Conv") == 8
    onnx.save(model, tmp_path / "x.onnx")
    checkpoint = read_checkpoint(tmp_path / "x.onnx")
    assert checkpoint.spec.architecture.name == "bvlc_alexnet" and not checkpoint.notes
    assert_equal(checkpoint.parameters)
    picture = np.random.default_rng(0).uniform(-120, 120, (1, 227, 227, 3)).astype("float32")
    session = runtime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    [expected] = session.run(None, {"data_0": np.ascontiguousarray(picture.transpose(0, 3, 1, 2))})
    np.testing.assert_allclose(AlexNet(weights=tmp_path / "x.onnx")(picture), expected, rtol=0, atol=1e-5)


def test_the_order_of_the_layers_is_that_of_the_published_graph():
    """The wheel of onnx holds the Model Zoo's graph of bvlc_alexnet, without its weights."""
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / "light_bvlc_alexnet.onnx"
    graph = onnx_graph.read_graph(path)
    expected = onnx.load(path).graph
    assert [(node.kind, list(node.inputs), list(node.outputs)) for node in graph.nodes] == [
        (node.op_type, list(node.input), list(node.output)) for node in expected.node
    ]
    assert reader.recognises(path)
    with pytest.raises(CheckpointError, match=r"expected layers; received conv1 \(Conv\): its weights are computed"):
        reader.read(path)


@pytest.mark.usefixtures("small_networks")
def test_layers_without_names_are_matched_by_order_and_shape(tmp_path):
    onnx.save(onnx_files.model_zoo(NET, PARAMETERS, named=False), tmp_path / "x.onnx")
    checkpoint = read_checkpoint(tmp_path / "x.onnx", NET)
    assert_equal(checkpoint.parameters)
    assert "layer1 → conv1" in checkpoint.notes[0]


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_an_alexnet_that_pytorch_exported(dynamo, tmp_path):
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    relu, pool = torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [(3, 8, 11, 4, 2), (8, 24, 5, 1, 2), (24, 48, 3, 1, 1), (48, 32, 3, 1, 1), (32, 32, 3, 1, 1)]
            conv = [torch.nn.Conv2d(*size[:3], stride=size[3], padding=size[4]) for size in sizes]
            order = [conv[0], relu, pool, conv[1], relu, pool, conv[2], relu, conv[3], relu, conv[4], relu, pool]
            self.features = torch.nn.Sequential(*order)
            linear = [torch.nn.Linear(*size) for size in ((1152, 64), (64, 64), (64, 10))]
            drop = torch.nn.Dropout()
            self.classifier = torch.nn.Sequential(drop, linear[0], relu, drop, linear[1], relu, linear[2])

        def forward(self, x):
            return self.classifier(torch.flatten(self.features(x), 1))

    network, path = Network().eval(), tmp_path / "x.onnx"
    torch.onnx.export(network, torch.zeros(1, 3, 224, 224), str(path), dynamo=dynamo)
    net = small(ONE_WEIRD_TRICK)
    picture = np.random.default_rng(0).standard_normal((1, 224, 224, 3), "float32")
    checkpoint = read_checkpoint(path, net)
    assert not checkpoint.notes
    with torch.no_grad():
        expected = network(torch.tensor(np.ascontiguousarray(picture.transpose(0, 3, 1, 2)))).softmax(1)
    np.testing.assert_allclose(AlexNet(net, weights=path)(picture), expected, rtol=0, atol=1e-6)


def test_the_layout_of_tf2onnx(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    onnx.save(onnx_files.tf2onnx(TINY, TINY_PARAMETERS), tmp_path / "x.onnx")
    contents = reader.read(tmp_path / "x.onnx")
    assert contents.flatten == "HWC"
    assert_equal(contents.parameters, TINY_PARAMETERS)
    picture = np.random.default_rng(0).uniform(-9, 9, (1, 3, 3, 3)).astype("float32")
    session = runtime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    [expected] = session.run(None, {"data_0": picture})
    np.testing.assert_allclose(AlexNet(TINY, weights=tmp_path / "x.onnx")(picture), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.filterwarnings("ignore")
def test_quantised_weights_are_read_to_half_a_step_and_reported(form, kind, per_channel, tmp_path):
    quantization = pytest.importorskip("onnxruntime.quantization")

    picture = {"data_0": np.random.default_rng(0).uniform(-120, 120, (1, 3, 227, 227)).astype("f4")}

    class Pictures(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.rest = iter([picture])

        def get_next(self):
            return next(self.rest, None)

    onnx.save(onnx_files.model_zoo(NET, PARAMETERS), tmp_path / "x.onnx")
    layout = getattr(quantization.QuantFormat, form)
    number = getattr(quantization.QuantType, kind)
    options = {"quant_format": layout, "per_channel": per_channel, "weight_type": number, "activation_type": number}
    quantization.quantize_static(tmp_path / "x.onnx", tmp_path / "q.onnx", Pictures(), **options)
    checkpoint = read_checkpoint(tmp_path / "q.onnx", NET)
    for name, (kernel, bias) in PARAMETERS.items():
        read_kernel, read_bias = checkpoint.parameters[name]
        axes = tuple(range(kernel.ndim - 1)) if per_channel and kernel.ndim == 4 else None
        largest = np.abs(kernel).max(axes)
        assert (np.abs(read_kernel - kernel) <= largest / 127 * 0.51).all()
        np.testing.assert_allclose(read_bias, bias, rtol=0, atol=0.02)
    assert "De-quantised: conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8" in checkpoint.notes[0]


def test_numbers_in_another_file_are_refused(tmp_path):
    onnx.save(
        onnx_files.model_zoo(TINY, TINY_PARAMETERS), tmp_path / "x.onnx", save_as_external_data=True, size_threshold=0
    )
    with pytest.raises(CheckpointError, match=r"received the name of another file. Write one file .*onnx\.save"):
        read_checkpoint(tmp_path / "x.onnx")


def test_one_kernel_in_two_layers_is_refused(tmp_path):
    """Each use of an integer kernel would take its memory again."""
    model = onnx_files.model_zoo(NET, PARAMETERS)
    for node in model.graph.node:
        if node.op_type == "Gemm":
            node.input[1] = "fc7_w_0"
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(CheckpointError, match="two layers use the weights 'fc7_w_0'"):
        read_checkpoint(tmp_path / "x.onnx")


def test_other_nodes_with_weights_are_reported(tmp_path):
    model = onnx_files.model_zoo(NET, PARAMETERS)
    model.graph.node.append(onnx.helper.make_node("BatchNormalization", ["r0"], ["y"], "bn1"))
    model.graph.node[0].input.pop()
    onnx.save(model, tmp_path / "x.onnx")
    contents = reader.read(tmp_path / "x.onnx")
    assert contents.left_out == (
        "conv1 (Conv): no bias",
        "bn1 (BatchNormalization): neither a convolution nor fully connected",
    )


def test_a_truncated_file_is_named(tmp_path):
    data = onnx_files.model_zoo(TINY, TINY_PARAMETERS).SerializeToString()
    (tmp_path / "x.onnx").write_bytes(data[:-60])
    with pytest.raises(CheckpointError, match="truncated: a field has"):
        read_checkpoint(tmp_path / "x.onnx")
