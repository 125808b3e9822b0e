"""What all formats share: errors of the system, errors of memory and headers with false sizes."""

import json

import numpy as np
import pytest
from support import caffe

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.formats import (
    caffe_npy,
    caffemodel,
    keras_h5,
    npz,
    reading,
    safetensors,
    state_dict,
    torch_pth,
)


@pytest.mark.parametrize("module", [caffe_npy, caffemodel, keras_h5, npz, safetensors, torch_pth])
def test_a_file_that_cannot_be_opened_is_not_called_damaged(module, tmp_path):
    with pytest.raises(IsADirectoryError):
        module.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        module.read(tmp_path / "nothing")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        module.read(tmp_path / "file" / "net")


def test_too_little_memory_is_not_an_error_of_the_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MemoryError), reading(tmp_path / "file", "a file"):
        raise MemoryError
    damaged = pytest.raises(CheckpointError, match="received a damaged one .OSError: truncated")
    with damaged, reading(tmp_path / "file", "a file"):
        raise OSError("truncated")  # An error of libhdf5.


def test_headers_with_false_sizes_are_refused(tmp_path):
    path = tmp_path / "x"
    header = {"fc8.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(CheckpointError, match=r"x: fc8.weight: expected \[1099511627776\] numbers"):
        safetensors.read(path)
    path.write_bytes((1 << 50).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="truncated"):
        safetensors.read(path)
    path.write_bytes(caffe.field(100, caffe.field(1, b"a"))[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        caffemodel.read(path)
    with pytest.raises(CheckpointError, match="expected arrays of floats called like conv1.weight"):
        state_dict.contents({"x": np.ones(3)})
