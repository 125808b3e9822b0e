"""`.safetensors`: as safetensors and PyTorch read and write it."""

import pytest
from support.nets import random_parameters, small
from support.parameters import assert_equal
from support.pytorch import torch_module

from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import safetensors, state_dict
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.networks.catalog import ARCHITECTURES, ONE_WEIRD_TRICK


@pytest.mark.parametrize("name", ["one_weird_trick", "bvlc_alexnet"])
def test_a_written_file_is_a_state_dict_of_pytorch(name, tmp_path):
    torch = pytest.importorskip("torch")
    loading = pytest.importorskip("safetensors.torch")
    net = small(ARCHITECTURES[name])
    parameters = random_parameters(net)
    write_checkpoint(tmp_path / "net.safetensors", Checkpoint(parameters, ModelSpec(net, PREPROCESSING[name], ())))
    state = loading.load_file(tmp_path / "net.safetensors")
    if name == "one_weird_trick":
        expected = torch_module(net, parameters).state_dict()
        assert set(state) == set(expected)  # As `load_state_dict` requires.
        assert all(torch.equal(state[key], expected[key]) for key in expected)
    else:
        assert state["conv2.weight"].shape == (32, 6, 5, 5)
    loading.save_file(state, tmp_path / "other.safetensors")
    assert_equal(read_checkpoint(tmp_path / "other.safetensors", net).parameters, parameters)


def test_arrays_of_other_types_are_left_out_and_reported(tmp_path):
    torch = pytest.importorskip("torch")
    saving = pytest.importorskip("safetensors.torch")
    net = small(ONE_WEIRD_TRICK)
    state = torch_module(net, random_parameters(net)).state_dict()
    state = {name: tensor.bfloat16() for name, tensor in state.items()}
    others = ("int64", "int32", "int16", "int8", "uint8", "bool", "float8_e4m3fn")
    more = {f"bn.{kind}": torch.ones(2, 3).to(getattr(torch, kind)) for kind in others}
    more |= {"bn.num_batches_tracked": torch.tensor(3), "fc9.weight": torch.ones(2, 3, dtype=torch.int32)}
    saving.save_file(state | more, tmp_path / "x.safetensors")
    contents = safetensors.read(tmp_path / "x.safetensors")
    expected = state_dict.contents({name: tensor.float().numpy() for name, tensor in state.items()}).parameters
    assert_equal(contents.parameters, expected)
    assert sorted(entry.split()[0] for entry in contents.left_out) == sorted(more)
    assert "fc9.weight (int32, (2, 3)): not floats" in contents.left_out
    assert "bn.int64 (int64, (2, 3)): neither a kernel nor a bias" in contents.left_out
