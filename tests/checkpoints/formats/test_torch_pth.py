"""PyTorch's `.pth`, read without PyTorch: both layouts, training checkpoints, and no code of the pickle runs."""

import argparse
import collections
import pathlib
import sys
import time
import zipfile
from importlib import import_module

import numpy as np
import pytest
from support.nets import random_parameters, small
from support.parameters import assert_equal
from support.pytorch import torch_module

from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import state_dict, torch_pth
from tfalexnet.networks.catalog import ONE_WEIRD_TRICK

OWT = small(ONE_WEIRD_TRICK)
OWT_PARAMETERS = random_parameters(OWT)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
def test_outputs_are_those_of_pytorch_where_torch_cannot_be_imported(zipped, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    module = torch_module(OWT, OWT_PARAMETERS)
    torch.save(module.state_dict(), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped)
    pictures = np.random.default_rng(0).normal(0, 1, (4, 224, 224, 3)).astype("float32")
    with torch.no_grad():
        expected = module(torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())).numpy()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError):
        import_module("torch")
    model = AlexNet(OWT, weights=tmp_path / "net.pth")
    np.testing.assert_allclose(model(pictures), expected, rtol=0, atol=1e-5)
    assert expected.std(axis=0).max() > 1e-3


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
    checkpoint = {"epoch": 9, "arch": "alexnet", "best_prec1": torch.tensor(1.0), "state_dict": state}
    checkpoint["optimizer"] = optimizer.state_dict()
    torch.save(checkpoint, tmp_path / "x.pth.tar", _use_new_zipfile_serialization=zipped)
    again = read_checkpoint(tmp_path / "x.pth.tar", OWT)
    assert_equal(again.parameters, OWT_PARAMETERS)
    assert "num_batches_tracked" in "".join(again.notes)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])
@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_other_objects_in_training_checkpoints_are_skipped(key, zipped, tmp_path):
    """Of torchvision's references/classification/train.py, and what others add."""
    torch = pytest.importorskip("torch")
    module = torch_module(OWT, OWT_PARAMETERS)
    optimizer = torch.optim.Adam(module.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 4])
    module(torch.zeros(1, 3, 224, 224)).sum().backward()
    optimizer.step()
    scheduler.step()
    checkpoint = {
        key: {**module.state_dict(), "best": np.float64(0.5), "type": torch.float32},
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(lr=0.1, path=pathlib.Path("x"), device=torch.device("cpu"), on={1, 2}, z=1j),
        "history": [np.float64(3), np.ones(3), collections.defaultdict(list, {1: [2]}), bytearray(b"x")],
        "generator": torch.get_rng_state(),
        "numpy": np.random.default_rng(0).bit_generator.state,
    }
    torch.save(checkpoint, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    contents = torch_pth.read(tmp_path / "x.pth")
    weights = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
    assert_equal(contents.parameters, state_dict.contents(weights).parameters)
    assert contents.left_out == ("best (object): no tensor", "type (object): no tensor")


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_halves_become_float32(kind, tmp_path):
    torch = pytest.importorskip("torch")
    state = {
        name: tensor.to(getattr(torch, kind)) for name, tensor in torch_module(OWT, OWT_PARAMETERS).state_dict().items()
    }
    torch.save(state, tmp_path / "half.pth")
    parameters = read_checkpoint(tmp_path / "half.pth", OWT).parameters
    expected = state["features.0.weight"].float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(parameters["conv1"][0], expected)


@pytest.mark.parametrize("nested", [False, True])
def test_the_two_lines_of_the_refusal_make_a_file_that_can_be_read(nested, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    module = torch.nn.Sequential(collections.OrderedDict(torch_module(OWT, OWT_PARAMETERS).named_children()))
    torch.save({"model": module} if nested else module, "module.pth")
    with pytest.raises(CheckpointError, match=r"refused: .*torch\.nn.* no code was executed. If you trust") as caught:
        torch_pth.read("module.pth")
    lines = [line.strip().replace("FILE", "module.pth") for line in str(caught.value).splitlines()[-2:]]
    if nested:
        lines[0] = lines[0].replace(")  # For a training checkpoint: …", ")")
    exec("\n".join(lines), {"torch": torch})
    assert_equal(read_checkpoint("weights.pth", OWT).parameters, OWT_PARAMETERS)


KEYS = [("net",), ("weights", "state_dict"), ("model_ema",), ("ema", "model"), ("model_ema", "module"), ()]


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model."])
def test_nested_state_dicts_with_prefixes(keys, prefix, tmp_path):
    torch = pytest.importorskip("torch")
    entries = {prefix + name: tensor for name, tensor in torch_module(OWT, OWT_PARAMETERS).state_dict().items()}
    for key in reversed(keys):
        entries = {"epoch": 3, key: entries, "optimizer": {"state": {}}}
    torch.save(entries, tmp_path / "x.pth")
    assert_equal(read_checkpoint(tmp_path / "x.pth", OWT).parameters, OWT_PARAMETERS)


def test_averaged_weights_beside_the_weights_are_left_out_and_named(tmp_path):
    """The file of torchvision's references/classification/train.py with --model-ema."""
    torch = pytest.importorskip("torch")
    module = torch_module(OWT, OWT_PARAMETERS)
    average = torch.optim.swa_utils.AveragedModel(module, avg_fn=lambda old, *_: old * 0.5)
    average.update_parameters(module)
    average.update_parameters(module)
    file = tmp_path / "x.pth"
    torch.save({"model": module.state_dict(), "model_ema": average.state_dict()}, file)
    checkpoint = read_checkpoint(file, OWT)
    assert_equal(checkpoint.parameters, OWT_PARAMETERS)
    assert "Left out: model_ema (dict): a moving average of the weights; model is used." in checkpoint.notes
    torch.save({"model_ema": average.state_dict()}, file)
    checkpoint = read_checkpoint(file, OWT)
    halves = {name: (kernel / 2, bias / 2) for name, (kernel, bias) in OWT_PARAMETERS.items()}
    assert_equal(checkpoint.parameters, halves)
    assert "n_averaged" in "".join(checkpoint.notes)


def test_no_code_of_the_pickle_runs(tmp_path, monkeypatch):
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
def test_only_replacements_are_created(body, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("net/data.pkl", b"\x80\x02" + body + b".")
    with pytest.raises(CheckpointError, match="refused"):
        torch_pth.read(tmp_path / "x.pth")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    many = torch.ones(1).expand(1 << 20, 1 << 10)  # A gigabyte on one number.
    torch.save({"fc8.weight": many, "fc8.bias": torch.ones(1 << 20)}, tmp_path / "bomb.pth")
    with pytest.raises(CheckpointError, match="within its storage"):
        torch_pth.read(tmp_path / "bomb.pth")


@pytest.mark.parametrize("counted", [True, False])
def test_a_flipped_bit_is_detected_where_there_are_checksums(counted, tmp_path):
    torch = pytest.importorskip("torch")
    state = torch_module(OWT, OWT_PARAMETERS).state_dict()
    torch.serialization.set_crc32_options(counted)
    try:
        torch.save(state, tmp_path / "net.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_equal(read_checkpoint(tmp_path / "net.pth", OWT).parameters, OWT_PARAMETERS)
    data = bytearray((tmp_path / "net.pth").read_bytes())
    data[data.index(state["classifier.4.weight"].numpy().tobytes()) + 4321] ^= 1
    (tmp_path / "net.pth").write_bytes(data)
    if counted:
        with pytest.raises(CheckpointError, match="damaged: .*data/.* does not match its checksum"):
            torch_pth.read(tmp_path / "net.pth")


def test_the_checksum_of_a_storage_is_computed_once(tmp_path):
    torch = pytest.importorskip("torch")
    storage = torch.ones(1 << 20)
    state = {f"{number}.{part}": storage[:1] for number in range(3000) for part in ("weight", "bias")}
    state = {name: one[None] if name.endswith("weight") else one for name, one in state.items()}
    torch.save(state, tmp_path / "x.pth")
    start = time.perf_counter()
    assert len(torch_pth.read(tmp_path / "x.pth").parameters) == 3000
    assert time.perf_counter() - start < 4


def test_bfloat16_may_double_in_size(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"fc8.weight": torch.ones(100, 100), "fc8.bias": torch.ones(100)}
    torch.save({name: tensor.bfloat16() for name, tensor in state.items()}, tmp_path / "x.pth")
    kernel, _ = torch_pth.read(tmp_path / "x.pth").parameters["fc8"]
    assert kernel.shape == (100, 100) and (kernel == 1).all()
