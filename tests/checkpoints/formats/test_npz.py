"""`.npz`: archives of NumPy under several names, checksums, Python objects and bombs."""

import zipfile

import numpy as np
import pytest
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import Contents, npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", ["{}.kernel {}.bias", "{}/weights {}/biases", "{}/W {}/b"])
def test_archives_of_numpy_are_read(save, names, tmp_path):
    kernel_name, bias_name = names.split()
    arrays = {}
    for name, (kernel, bias) in PARAMETERS.items():
        arrays |= {kernel_name.format(name): np.asfortranarray(kernel), bias_name.format(name): bias.astype(">f8")}
    save(tmp_path / "net.npz", **arrays)
    assert_equal(read_checkpoint(tmp_path / "net.npz", NET).parameters)


def test_numpy_reads_what_is_written(tmp_path):
    npz.write(tmp_path / "net.npz", Contents(PARAMETERS))
    with np.load(tmp_path / "net.npz") as archive:
        np.testing.assert_array_equal(archive["conv2.kernel"], PARAMETERS["conv2"][0])


def test_objects_and_bombs_are_refused(tmp_path):
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


def test_a_skipped_layer_of_pytorch_does_not_transpose_the_others(tmp_path):
    arrays = {"norm.weight": np.ones(3, "f4"), "norm.bias": np.ones(3, "f4")}
    for name, (kernel, bias) in PARAMETERS.items():
        arrays |= {f"{name}.kernel": kernel, f"{name}.bias": bias}
    np.savez(tmp_path / "net.npz", **arrays)
    contents = npz.read(tmp_path / "net.npz")
    assert contents.flatten == "HWC"
    assert_equal(contents.parameters)
    assert contents.left_out == ("norm (norm.weight (3,), norm.bias (3,)): no kernel of 2 or 4 dimensions with a bias",)


def test_a_flipped_bit_is_detected(tmp_path):
    npz.write(tmp_path / "net.npz", Contents(PARAMETERS))
    data = bytearray((tmp_path / "net.npz").read_bytes())
    data[data.index(PARAMETERS["fc6"][0].tobytes()) + 4321] ^= 1
    (tmp_path / "net.npz").write_bytes(data)
    with pytest.raises(zipfile.BadZipFile), np.load(tmp_path / "net.npz") as archive:
        archive["fc6.kernel"]
    with pytest.raises(CheckpointError, match="damaged: fc6.kernel.npy does not match its checksum"):
        npz.read(tmp_path / "net.npz")
