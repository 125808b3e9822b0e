"""Every format: its own files and those of others, in and out to the bit, and told by content."""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pytest
from support.caffe import blob, field, prototxt
from support.caffe import caffemodel as caffes_own
from support.nets import random_parameters, small
from support.pytorch import torch_module

from tfalexnet import CheckpointError, convert
from tfalexnet.checkpoints.checkpoint import FORMATS, Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import (
    Contents,
    caffe_npy,
    caffemodel,
    deep_compression,
    keras_h5,
    npz,
    orientation,
    reading,
    safetensors,
    state_dict,
    torch_pth,
)
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.hub.cache import SHIPPED
from tfalexnet.networks.catalog import ARCHITECTURES, BVLC_ALEXNET, ONE_WEIRD_TRICK

NET = small(BVLC_ALEXNET)
PARAMETERS = random_parameters(NET)
SHAPES = NET.parameter_shapes()
WRITTEN = [suffix for suffix, module in FORMATS.items() if hasattr(module, "write")]


def equal(read: dict, expected: dict = PARAMETERS) -> None:
    assert set(read) == set(expected)
    for name, arrays in expected.items():
        for have, want in zip(read[name], arrays, strict=True):
            assert have.dtype == np.float32 and have.shape == want.shape
            np.testing.assert_array_equal(np.ascontiguousarray(have).view("u4"), want.view("u4"))


def few(parameters: dict) -> dict:
    """Kernels of few numbers, half of them 0, as compression leaves them."""
    return {
        name: ((np.round(kernel / np.abs(kernel).max() * 6) * np.float32(0.3)), bias)
        for name, (kernel, bias) in parameters.items()
    }


def odd(parameters: dict) -> dict:
    """Numbers that arithmetic would not leave alone."""
    kernel, bias = (array.copy() for array in parameters["fc6"])
    kernel[:2, 0], kernel[2, 0] = (-0.0, 1e-42), 3e38
    bias[0] = -0.0
    return parameters | {"fc6": (kernel, bias)}


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_round_trip_is_exact_to_the_bit(suffix, tmp_path):
    parameters = few(PARAMETERS) if suffix == ".net" else odd(PARAMETERS)
    parameters = {name: tuple(np.ascontiguousarray(array) for array in pair) for name, pair in parameters.items()}
    checkpoint = Checkpoint(parameters, ModelSpec(NET, PREPROCESSING["bvlc_alexnet"], ()))
    write_checkpoint(tmp_path / f"net{suffix}", checkpoint)
    (tmp_path / f"net{suffix}").rename(tmp_path / "file")  # Told by content, not by name.
    again = read_checkpoint(tmp_path / "file", NET)
    equal(again.parameters, parameters)
    assert again.spec.preprocessing == checkpoint.spec.preprocessing
    assert not again.notes


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_format_knows_its_own_files_alone(suffix, tmp_path):
    path = tmp_path / "file"
    module = FORMATS[suffix]
    module.write(path, Contents(few(PARAMETERS), flatten=module.FLATTEN))
    others = {m for m in FORMATS.values() if m is not deep_compression and m.recognises(path)}
    if deep_compression.classes(path, SHAPES):
        others.add(deep_compression)
    assert others == {module}


@pytest.mark.parametrize("suffix", [s for s in WRITTEN if s not in (".npy", ".caffemodel")])
def test_what_belongs_to_the_weights_travels_with_them(suffix, tmp_path):
    cifar10 = read_checkpoint(SHIPPED / "cifar10.weights.h5")
    compressed = Checkpoint(few(cifar10.parameters), cifar10.spec)
    write_checkpoint(tmp_path / f"net{suffix}", compressed, source="here")
    again = read_checkpoint(tmp_path / f"net{suffix}")
    assert again.spec == cifar10.spec


# Caffe.


@pytest.mark.data
def test_the_file_that_caffe_wrote(data):
    found = caffemodel.read(data / "caffe" / "lenet_iter_10000.caffemodel")
    shapes = {name: (kernel.shape, bias.shape) for name, (kernel, bias) in found.parameters.items()}
    assert shapes == {
        "conv1": ((5, 5, 1, 20), (20,)),
        "conv2": ((5, 5, 20, 50), (50,)),
        "ip1": ((800, 500), (500,)),
        "ip2": ((500, 10), (10,)),
    }
    cv2 = pytest.importorskip("cv2")
    folder = data / "caffe"
    theirs = cv2.dnn.readNetFromCaffe(str(folder / "lenet.prototxt"), str(folder / "lenet_iter_10000.caffemodel"))
    for name, (kernel, bias) in found.parameters.items():
        np.testing.assert_array_equal(orientation.channels_first(kernel), theirs.getParam(name, 0))
        np.testing.assert_array_equal(bias, theirs.getParam(name, 1).reshape(-1))


@pytest.mark.parametrize("layout", ["new", "old", "double", "unpacked"])
def test_every_layout_of_caffe(layout, tmp_path):
    (tmp_path / "net.caffemodel").write_bytes(caffes_own(PARAMETERS, NET, layout))
    equal(read_checkpoint(tmp_path / "net.caffemodel", NET).parameters)


def test_opencv_reads_what_is_written(tmp_path):
    cv2 = pytest.importorskip("cv2")
    checkpoint = Checkpoint(PARAMETERS, ModelSpec(NET, None, ()))
    write_checkpoint(tmp_path / "net.caffemodel", checkpoint)
    (tmp_path / "net.prototxt").write_text(prototxt(NET))
    theirs = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    picture = np.random.default_rng(0).uniform(-120, 120, (227, 227, 3)).astype("float32")
    theirs.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    from tfalexnet import AlexNet

    ours = AlexNet(NET, weights=tmp_path / "net.caffemodel")(picture[None])
    np.testing.assert_allclose(ours, theirs.forward(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kinds", "name"), [(["LRN", "Pooling"], "bvlc_alexnet"), (["Pooling", "LRN"], "bvlc_caffenet")]
)
def test_the_order_of_its_layers_tells_caffenet_from_alexnet(kinds, name, tmp_path):
    weights = caffes_own(random_parameters(NET), NET)
    others = b"".join(field(100, field(1, b"a") + field(2, kind.encode())) for kind in kinds)
    (tmp_path / "x.caffemodel").write_bytes(weights + others)
    assert caffemodel.read(tmp_path / "x.caffemodel").resembles == name
    real = ARCHITECTURES[name].with_classes(2)
    (tmp_path / "x.caffemodel").write_bytes(caffes_own(random_parameters(real), real) + others)
    checkpoint = read_checkpoint(tmp_path / "x.caffemodel")
    assert checkpoint.spec.architecture.name == name and not checkpoint.notes


def test_a_layer_of_caffe_without_a_bias_is_left_out_and_said(tmp_path):
    short = {name: pair for name, pair in PARAMETERS.items() if name != "fc8"}
    alone = field(1, b"fc8") + field(2, b"InnerProduct") + field(7, blob(PARAMETERS["fc8"][0].T))
    norm = field(1, b"bn1") + field(2, b"BatchNorm") + field(7, blob(np.ones(3, "f4"))) * 3
    (tmp_path / "x.caffemodel").write_bytes(caffes_own(short, NET) + field(100, alone) + field(100, norm))
    found = caffemodel.read(tmp_path / "x.caffemodel")
    assert list(found.parameters) == list(short)
    assert found.left_out == (
        "fc8 (InnerProduct): one blob, no bias",
        "bn1 (BatchNorm): no convolution or inner product",
    )


# Keras.


def keras_file(path, *layers):
    """A model of these layers on three numbers, and its weights, saved by Keras."""
    import keras

    model = keras.Sequential([keras.Input((3,)), *layers])
    model.save_weights(path)
    return model


def test_other_layers_of_keras_are_left_out_and_said(tmp_path):
    from keras import layers

    model = keras_file(
        tmp_path / "x.weights.h5",
        *(layers.Dense(5, name="fc6"), layers.BatchNormalization(name="bn"), layers.Dropout(0.5)),
        *(layers.Dense(4, use_bias=False, name="proj"), layers.Dense(2, name="fc8")),
    )
    found = keras_h5.read(tmp_path / "x.weights.h5")
    equal(found.parameters, {name: model.get_layer(name).get_weights() for name in ("fc6", "fc8")})
    assert found.left_out == (
        "bn (batch_normalization): not 2 variables but 4",
        "proj (dense_1): not 2 variables but 1",
    )


def test_a_network_within_a_model_of_keras(tmp_path):
    import keras

    from tfalexnet import AlexNet

    backbone = AlexNet(NET, include_top=False)
    inner = keras.Sequential([backbone, keras.layers.Flatten(), keras.layers.Dense(3, name="fc9")])
    keras.Sequential([inner, keras.layers.Dense(2, name="fc10")]).save_weights(tmp_path / "x.weights.h5")
    found = keras_h5.read(tmp_path / "x.weights.h5").parameters
    assert set(found) == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc9", "fc10"}
    for layer in (*backbone.layers, inner.get_layer("fc9")):
        if layer.weights:
            equal({"x": found[layer.name]}, {"x": layer.get_weights()})


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_keras_in_other_floats(kind, tmp_path):
    from keras import layers

    model = keras_file(tmp_path / "x.weights.h5", layers.Dense(5, name="fc8", dtype=kind, bias_initializer="normal"))
    wanted = [np.asarray(array).astype("f4") for array in model.get_layer("fc8").get_weights()]
    equal(keras_h5.read(tmp_path / "x.weights.h5").parameters, {"fc8": wanted})
    assert all(array.std() > 0 for array in wanted)


def test_layers_that_keras_did_not_name_are_called_by_their_group(tmp_path):
    keras_h5.write(tmp_path / "x.weights.h5", Contents(PARAMETERS))
    with h5py.File(tmp_path / "x.weights.h5", "r+") as file:
        del file["layers/dense_2/vars"].attrs["name"]
    equal({"x": keras_h5.read(tmp_path / "x.weights.h5").parameters["dense_2"]}, {"x": PARAMETERS["fc8"]})


# PyTorch.


def pytorch_file(path, net, parameters, **options):
    """A state dict under torchvision's names, saved by PyTorch."""
    torch = pytest.importorskip("torch")
    module = torch_module(net, parameters)
    torch.save(module.state_dict(), path, **options)
    return module


OWT = small(ONE_WEIRD_TRICK)
OWT_PARAMETERS = random_parameters(OWT)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
def test_pytorchs_outputs_where_torch_cannot_be_imported(zipped, tmp_path):
    torch = pytest.importorskip("torch")
    module = pytorch_file(tmp_path / "net.pth", OWT, OWT_PARAMETERS, _use_new_zipfile_serialization=zipped)
    pictures = np.random.default_rng(0).normal(0, 1, (4, 224, 224, 3)).astype("float32")
    with torch.no_grad():
        expected = module(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())).numpy()
    np.savez(tmp_path / "io.npz", pictures=pictures, expected=expected)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from support.nets import small; from tfalexnet import AlexNet, ARCHITECTURES\n"
        "io = np.load('io.npz'); net = AlexNet(small(ARCHITECTURES['one_weird_trick']), weights='net.pth')\n"
        "print(np.abs(net(io['pictures']).numpy() - io['expected']).max())"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=_environment())
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 1e-5
    assert expected.std(axis=0).max() > 1e-3


def _environment() -> dict[str, str]:
    import os
    from pathlib import Path

    return os.environ | {"PYTHONPATH": str(Path(__file__).parent)}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
def test_training_checkpoints_and_other_tensors(zipped, tmp_path):
    torch = pytest.importorskip("torch")
    state = torch_module(OWT, OWT_PARAMETERS).state_dict()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(3))], momentum=0.9)
    state = {
        name.replace("features.", "features.module."): torch.nn.Parameter(tensor) for name, tensor in state.items()
    }
    state["features.module.0.weight"] = state["features.module.0.weight"].detach().double()
    kernel = state["classifier.4.weight"].detach()
    state["classifier.4.weight"] = torch.cat([torch.zeros(1, kernel.shape[1]), kernel]).t().contiguous().t()[1:]
    state["classifier.bn.num_batches_tracked"] = torch.tensor(3)
    whole = {"epoch": 9, "arch": "alexnet", "best_prec1": torch.tensor(1.0), "state_dict": state}
    whole["optimizer"] = optimizer.state_dict()
    torch.save(whole, tmp_path / "x.pth.tar", _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(tmp_path / "x.pth.tar", OWT)
    equal(checkpoint.parameters, OWT_PARAMETERS)
    assert "num_batches_tracked" in "".join(checkpoint.notes)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_what_lies_beside_weights_in_training_checkpoints(key, zipped, tmp_path):
    """Of torchvision's references/classification/train.py, and what others add."""
    torch = pytest.importorskip("torch")
    module = torch_module(OWT, OWT_PARAMETERS)
    optimizer = torch.optim.Adam(module.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4])
    module(torch.zeros(1, 3, 224, 224)).sum().backward()
    optimizer.step()
    scheduler.step()
    whole = {
        key: {**module.state_dict(), "best": np.float64(0.5), "type": torch.float32},
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(lr=0.1, path=pathlib.Path("x"), device=torch.device("cpu"), on={1, 2}, z=1j),
        "history": [np.float64(3), np.ones(3), collections.defaultdict(list, {1: [2]}), bytearray(b"x")],
        "generator": torch.get_rng_state(),
        "numpy": np.random.default_rng(0).bit_generator.state,
    }
    torch.save(whole, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    found = torch_pth.read(tmp_path / "x.pth")
    weights = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    for name, (kernel, bias) in state_dict.contents(weights).parameters.items():
        equal({"x": found.parameters[name]}, {"x": (kernel, bias)})
    assert found.left_out == ("best (object): no tensor", "type (object): no tensor")


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_halves_become_float32(kind, tmp_path):
    torch = pytest.importorskip("torch")
    state = {
        name: tensor.to(getattr(torch, kind)) for name, tensor in torch_module(OWT, OWT_PARAMETERS).state_dict().items()
    }
    torch.save(state, tmp_path / "half.pth")
    found = read_checkpoint(tmp_path / "half.pth", OWT).parameters
    wanted = state["features.0.weight"].float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(found["conv1"][0], wanted)


def test_a_pickled_module_is_refused_with_the_way_out(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "whole.pth")
    with pytest.raises(CheckpointError, match=r"refused: .*torch\.nn.*save the weights alone: torch\.save\(model\.state"):
        torch_pth.read(tmp_path / "whole.pth")


def test_a_pickle_of_pytorchs_never_runs(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)

    class Runs:
        def __reduce__(self):
            return eval, ("__import__('pathlib').Path('ran').touch()",)

    for zipped in (True, False):
        torch.save({"a.weight": Runs()}, "x.pth", _use_new_zipfile_serialization=zipped)
        with pytest.raises(CheckpointError, match="refused: .*eval"):
            torch_pth.read("x.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"cargparse\nNamespace.__init__\n)R",
        b"cargparse\n_sys\n)R",
        b"cpathlib\nos.system\n)R",
        b"c__builtin__\ngetattr\n)R",
        b"cbuiltins\nobject\n)\x81",
        b"ccollections\nOrderedDict\n)\x81",
        b"ctorch\nSize\n)\x81",
        b"cargparse\nNamespace\n)}\x92",
        b"(cargparse\nNamespace\no",
        b"(iargparse\nNamespace\n",
        b"ctorch\nfloat32\n}b",
        b"ctorch\nSize\n)R}b",
    ],
)
def test_no_object_is_made_but_stand_ins(body, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02" + body + b".")
    with pytest.raises(CheckpointError, match="refused"):
        torch_pth.read(tmp_path / "x.pth")


def test_a_tensor_may_not_be_larger_than_its_storage(tmp_path):
    torch = pytest.importorskip("torch")
    many = torch.ones(1).expand(1 << 20, 1 << 10)  # A gigabyte on one number.
    torch.save({"fc8.weight": many, "fc8.bias": torch.ones(1 << 20)}, tmp_path / "bomb.pth")
    with pytest.raises(CheckpointError, match="within its storage"):
        torch_pth.read(tmp_path / "bomb.pth")


@pytest.mark.parametrize("name", ["one_weird_trick", "bvlc_alexnet"])
def test_safetensors_are_a_state_dict_of_pytorchs(name, tmp_path):
    torch = pytest.importorskip("torch")
    loading = pytest.importorskip("safetensors.torch")
    net = small(ARCHITECTURES[name])
    parameters = random_parameters(net)
    write_checkpoint(tmp_path / "net.safetensors", Checkpoint(parameters, ModelSpec(net, None, ())))
    state = loading.load_file(tmp_path / "net.safetensors")
    if name == "one_weird_trick":
        wanted = torch_module(net, parameters).state_dict()
        assert set(state) == set(wanted)
        assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    else:
        assert state["conv2.weight"].shape == (32, 6, 5, 5)
    loading.save_file(state, tmp_path / "theirs.safetensors")
    equal(read_checkpoint(tmp_path / "theirs.safetensors", net).parameters, parameters)


def test_other_types_in_safetensors(tmp_path):
    torch = pytest.importorskip("torch")
    saving = pytest.importorskip("safetensors.torch")
    state = {name: tensor.bfloat16() for name, tensor in torch_module(OWT, OWT_PARAMETERS).state_dict().items()}
    others = ("int64", "int32", "int16", "int8", "uint8", "bool", "float8_e4m3fn")
    more = {f"bn.{kind}": torch.ones(2, 3).to(getattr(torch, kind)) for kind in others}
    more |= {"bn.num_batches_tracked": torch.tensor(3), "fc9.weight": torch.ones(2, 3, dtype=torch.int32)}
    saving.save_file(state | more, tmp_path / "x.safetensors")
    found = safetensors.read(tmp_path / "x.safetensors")
    wanted = state_dict.contents({name: tensor.float().numpy() for name, tensor in state.items()}).parameters
    equal(found.parameters, wanted)
    assert sorted(entry.split()[0] for entry in found.left_out) == sorted(more)
    assert "fc9.weight (int32, (2, 3)): not floats" in found.left_out
    assert "bn.int64 (int64, (2, 3)): neither a kernel nor a bias" in found.left_out


# NumPy.


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", ["{}.kernel {}.bias", "{}/weights {}/biases", "{}/W {}/b"])
def test_archives_of_numpy(save, names, tmp_path):
    kernel_name, bias_name = names.split()
    arrays = {}
    for name, (kernel, bias) in PARAMETERS.items():
        arrays |= {kernel_name.format(name): np.asfortranarray(kernel), bias_name.format(name): bias.astype(">f8")}
    save(tmp_path / "net.npz", **arrays)
    equal(read_checkpoint(tmp_path / "net.npz", NET).parameters)


def test_numpy_reads_what_is_written(tmp_path):
    npz.write(tmp_path / "net.npz", Contents(PARAMETERS))
    with np.load(tmp_path / "net.npz") as archive:
        np.testing.assert_array_equal(archive["conv2.kernel"], PARAMETERS["conv2"][0])
    FORMATS[".npy"].write(tmp_path / "net.npy", Contents(PARAMETERS))
    entries = np.load(tmp_path / "net.npy", allow_pickle=True, encoding="latin1").item()
    for name, (kernel, bias) in PARAMETERS.items():
        np.testing.assert_array_equal(entries[name][0], kernel)
        np.testing.assert_array_equal(entries[name][1], bias)


def test_a_whole_keras_model_is_refused_with_the_way_out(tmp_path):
    from tfalexnet import AlexNet

    AlexNet("cifar10_18pct").save(tmp_path / "net.keras")
    with pytest.raises(CheckpointError, match="a whole model of Keras. Save only its weights: .*save_weights"):
        read_checkpoint(tmp_path / "net.keras")


def test_objects_and_bombs_in_an_archive(tmp_path):
    np.savez(tmp_path / "net.npz", **{"conv1.kernel": np.array({"a": 1}, dtype=object)})
    with pytest.raises(CheckpointError, match="expected numbers; received object"):
        npz.read(tmp_path / "net.npz")
    np.savez(tmp_path / "net.npz", **{"conv1.kernel": np.ones((4, 4))})
    with zipfile.ZipFile(tmp_path / "net.npz", "a") as archive:
        archive.writestr("x.npy", b"hello")
    with pytest.raises(CheckpointError, match="reading magic string, expected 8 bytes got 5"):
        npz.read(tmp_path / "net.npz")
    np.savez_compressed(tmp_path / "net.npz", **{"conv1.kernel": np.zeros((4000, 4000))})
    with pytest.raises(CheckpointError, match="expected at most 2 times the file.*numpy.savez"):
        npz.read(tmp_path / "net.npz")


def test_a_layer_of_pytorchs_that_is_left_out_does_not_turn_the_others(tmp_path):
    arrays = {"norm.weight": np.ones(3, "f4"), "norm.bias": np.ones(3, "f4")}
    for name, (kernel, bias) in PARAMETERS.items():
        arrays |= {f"{name}.kernel": kernel, f"{name}.bias": bias}
    np.savez(tmp_path / "net.npz", **arrays)
    found = npz.read(tmp_path / "net.npz")
    assert found.flatten == "HWC"
    equal(found.parameters)
    assert found.left_out == ("norm (kernel (3,), bias (3,)): no kernel of 2 or 4 dimensions with a bias",)


def test_a_flipped_bit_does_not_pass_a_checksum(tmp_path):
    npz.write(tmp_path / "net.npz", Contents(PARAMETERS))
    data = bytearray((tmp_path / "net.npz").read_bytes())
    data[data.index(PARAMETERS["fc6"][0].tobytes()) + 4321] ^= 1
    (tmp_path / "net.npz").write_bytes(data)
    with pytest.raises(zipfile.BadZipFile), np.load(tmp_path / "net.npz") as archive:
        archive["fc6.kernel"]
    with pytest.raises(CheckpointError, match="damaged: fc6.kernel.npy does not match its checksum"):
        npz.read(tmp_path / "net.npz")


@pytest.mark.parametrize("counted", [True, False])
def test_the_checksums_of_pytorch(counted, tmp_path):
    torch = pytest.importorskip("torch")
    state = torch_module(OWT, OWT_PARAMETERS).state_dict()
    torch.serialization.set_crc32_options(counted)
    try:
        torch.save(state, tmp_path / "net.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    equal(read_checkpoint(tmp_path / "net.pth", OWT).parameters, OWT_PARAMETERS)
    data = bytearray((tmp_path / "net.pth").read_bytes())
    data[data.index(state["classifier.4.weight"].numpy().tobytes()) + 4321] ^= 1
    (tmp_path / "net.pth").write_bytes(data)
    if counted:
        with pytest.raises(CheckpointError, match="damaged: .*data/.* does not match its checksum"):
            torch_pth.read(tmp_path / "net.pth")


# Deep Compression.


def decoded(data: bytes, shapes: dict) -> dict:
    """The published decoder's loop, number by number."""
    counts = np.frombuffer(data, "<u4", len(shapes)).tolist()
    position = 4 * len(shapes)
    found = {}

    def take(count: int, kind: str) -> np.ndarray:
        nonlocal position
        array = np.frombuffer(data, kind, count, position)
        position += array.nbytes
        return array

    for (name, (kernel, bias)), count in zip(shapes.items(), counts, strict=True):
        bits = 8 if len(kernel) == 4 else 4
        codebook, biases = take(2**bits, "<f4"), take(bias[0], "<f4")
        codes, gaps = take((count - 1) // (8 // bits) + 1, "u1"), take((count - 1) // 2 + 1, "u1")
        flat = np.full(np.prod(kernel), codebook[0])
        place = -1
        for i in range(count):
            place += (gaps[i // 2] >> 4 * (i % 2) & 15).item() + 1
            flat[place] = codebook[codes[i] if bits == 8 else codes[i // 2] >> 4 * (i % 2) & 15]
        order = (3, 2, 0, 1) if len(kernel) == 4 else (1, 0)
        found[name] = orientation.channels_last(flat.reshape([kernel[axis] for axis in order])), biases
    return found


def test_deep_compression_is_the_published_decoders(tmp_path):
    generator = np.random.default_rng(0)
    shapes = {"conv1": ((3, 3, 2, 5), (5,)), "conv2": ((1, 1, 5, 7), (7,)), "fc8": ((70, 9), (9,))}
    for density in (0, 0.01, 0.3, 1):
        parameters = {}
        for name, (kernel, bias) in shapes.items():
            values = generator.normal(size=10).astype("f4")
            kept = generator.random(kernel) < density
            parameters[name] = (np.where(kept, generator.choice(values, kernel), np.float32(0)), np.ones(bias, "f4"))
        deep_compression.write(tmp_path / "x.net", Contents(parameters, flatten="CHW"))
        equal(decoded((tmp_path / "x.net").read_bytes(), shapes), parameters)
        equal(deep_compression.read(tmp_path / "x.net", shapes).parameters, parameters)


def test_a_codebook_need_not_begin_with_zero(tmp_path):
    shapes = {"fc8": ((4, 1), (1,))}
    codebook = np.arange(16, dtype="<f4") + 0.5
    data = np.array([2], "<u4").tobytes() + codebook.tobytes() + np.ones(1, "<f4").tobytes()
    data += bytes([3 | 4 << 4]) + bytes([1 | 0 << 4])  # Codes 3 and 4, after 1 and 0 others.
    (tmp_path / "x.net").write_bytes(data)
    kernel, _ = deep_compression.read(tmp_path / "x.net", shapes).parameters["fc8"]
    assert kernel.ravel().tolist() == [0.5, 3.5, 4.5, 0.5]
    equal(decoded(data, shapes), deep_compression.read(tmp_path / "x.net", shapes).parameters)


def test_too_many_numbers_are_not_rounded_in_silence(tmp_path):
    with pytest.raises(CheckpointError, match="conv1: expected at most 255 different numbers.*tfalexnet compress"):
        deep_compression.write(tmp_path / "x.net", Contents(PARAMETERS, flatten="CHW"))
    assert not (tmp_path / "x.net").exists()


@pytest.mark.parametrize("classes", [1, 10, 365])
@pytest.mark.parametrize("described", [True, False])
def test_any_number_of_classes_is_found_by_size(classes, described, tmp_path):
    net = NET.with_classes(classes)
    parameters = few(random_parameters(net))
    attributes = {"architecture": "bvlc_alexnet"} if described else {}
    deep_compression.write(tmp_path / "x.net", Contents(parameters, attributes, flatten="CHW"))
    assert deep_compression.classes(tmp_path / "x.net", SHAPES) == classes
    assert not deep_compression.classes(tmp_path / "x.net", ARCHITECTURES["mnist_28"].parameter_shapes())


# Parts of networks.


def test_missing_layers_at_the_end_are_said(tmp_path):
    short = {name: PARAMETERS[name] for name in list(PARAMETERS)[:-1]}
    keras_h5.write(tmp_path / "x.weights.h5", Contents(short))
    checkpoint = read_checkpoint(tmp_path / "x.weights.h5", NET)
    assert checkpoint.missing == ("fc8",) and checkpoint.spec.classes == ()
    assert "holds conv1 … fc7 only; without fc8 it cannot classify" in checkpoint.notes[-1]
    output, _ = convert(tmp_path / "x.weights.h5", tmp_path / "y.safetensors", NET)
    assert read_checkpoint(output, NET).missing == ("fc8",)


def test_extra_and_renamed_layers(tmp_path):
    extended = PARAMETERS | {"fc9": (np.ones((10, 3), "f4"), np.ones(3, "f4"))}
    keras_h5.write(tmp_path / "x.weights.h5", Contents(extended))
    checkpoint = read_checkpoint(tmp_path / "x.weights.h5", NET)
    equal(checkpoint.parameters)
    assert checkpoint.notes == ("Left out: fc9, a layer that bvlc_alexnet has not.",)

    other = {"first" if name == "conv1" else name: arrays for name, arrays in PARAMETERS.items()}
    other["scenes"] = other.pop("fc8")
    keras_h5.write(tmp_path / "x.weights.h5", Contents(other))
    with pytest.raises(CheckpointError, match="first: received, and not expected .--map first=… renames it"):
        read_checkpoint(tmp_path / "x.weights.h5", NET)
    checkpoint = read_checkpoint(tmp_path / "x.weights.h5", NET, {"first": "conv1"})
    equal(checkpoint.parameters)
    assert checkpoint.notes == ("scenes is taken for fc8: nothing else could be.",)
    with pytest.raises(CheckpointError, match="expected the layers to rename among first, .*received nothing"):
        read_checkpoint(tmp_path / "x.weights.h5", NET, {"nothing": "conv1"})
    with pytest.raises(CheckpointError, match="same name after renaming"):
        read_checkpoint(tmp_path / "x.weights.h5", NET, {"first": "conv2"})


def test_a_hole_is_no_network(tmp_path):
    holed = {name: arrays for name, arrays in PARAMETERS.items() if name != "conv3"}
    keras_h5.write(tmp_path / "x.weights.h5", Contents(holed))
    with pytest.raises(CheckpointError, match="conv3: expected, and missing"):
        read_checkpoint(tmp_path / "x.weights.h5", NET)


# Files that are not the matter.


@pytest.mark.parametrize("module", [caffe_npy, caffemodel, keras_h5, npz, safetensors, torch_pth])
def test_what_cannot_be_opened_is_not_called_damaged(module, tmp_path):
    with pytest.raises(IsADirectoryError):
        module.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        module.read(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        module.read(tmp_path / "file" / "net")


def test_the_want_of_memory_is_not_a_files(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MemoryError), reading(tmp_path / "file", "a file"):
        raise MemoryError
    damaged = pytest.raises(CheckpointError, match="received a damaged one .OSError: truncated")
    with damaged, reading(tmp_path / "file", "a file"):
        raise OSError("truncated")  # As HDF5's library says it.


# Lies.


def test_headers_that_lie(tmp_path):
    path = tmp_path / "x"
    header = {"fc8.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(CheckpointError, match=r"x: fc8.weight: expected \[1099511627776\] numbers"):
        safetensors.read(path)
    path.write_bytes((1 << 50).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="truncated"):
        safetensors.read(path)
    path.write_bytes(field(100, field(1, b"a"))[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        caffemodel.read(path)
    with pytest.raises(CheckpointError, match="expected arrays called like conv1.weight"):
        state_dict.contents({"x": np.ones(3)})


@pytest.mark.parametrize("name", ["one_weird_trick", "single_tower", "mnist_28", "krizhevsky2012"])
def test_a_compressed_file_is_read_as_the_network_it_names(name, tmp_path):
    net = ARCHITECTURES[name]
    shapes = net.parameter_shapes()
    parameters = {layer: (np.zeros(kernel, "f4"), np.ones(bias, "f4")) for layer, (kernel, bias) in shapes.items()}
    for kernel, _ in parameters.values():
        kernel.reshape(-1)[::50] = 0.5
    write_checkpoint(tmp_path / "x.net", Checkpoint(parameters, ModelSpec(net, None, ())))
    again = read_checkpoint(tmp_path / "x.net")
    assert again.spec.architecture == net
    equal(again.parameters, parameters)


def test_a_compressed_file_needs_all_layers(tmp_path):
    parameters = {name: arrays for name, arrays in few(PARAMETERS).items() if name != "fc8"}
    checkpoint = Checkpoint(parameters, ModelSpec(NET, None, ()), missing=("fc8",))
    with pytest.raises(CheckpointError, match="Expected weights with all layers. A .net must hold them; the source lacks fc8"):
        write_checkpoint(tmp_path / "x.net", checkpoint)
