"""The command `features`: the rows of a folder, and its exit status if a picture cannot be read."""

import h5py
import numpy as np
from support.command import run


def test_rows_of_a_folder_with_an_unreadable_picture(folder, tmp_path, capsys):
    layers = ("--layer", "fc4", "--layer", "conv2:pre")
    arguments = ("features", folder, *layers, "--output", "f.h5", "--weights", "cifar10", "--batch", 1)
    result = run(capsys, *arguments, cwd=tmp_path)
    error = "tfalexnet: dog/bad.jpg: not a picture in a format that is read\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "fc4, conv2:pre written to f.h5\n", error)
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["fc4"].shape == (2, 10) and file["conv2:pre"].shape == (2, 16, 16, 32)
        assert file["fc4"][0].argmax() == 3


def test_a_layer_that_does_not_exist_is_one_line_with_the_names(folder, tmp_path, capsys):
    arguments = ("features", folder, "--layer", "fc7", "--output", "f.h5", "--weights", "cifar10")
    result = run(capsys, *arguments, cwd=tmp_path)
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "fc7" in result.stderr and "fc4" in result.stderr and list(tmp_path.iterdir()) == []


def test_files_lists_of_layers_pools_and_protocols(folder, tmp_path, capsys):
    photo = folder / "cat" / "chelsea.png"
    arguments = ("--layer", "fc4,pool3", "--pool", "max", "--resize", "caffe", "--crop", "none", "--weights", "cifar10")
    result = run(capsys, "features", photo, folder / "dog", *arguments, "--output", "f.npz", cwd=tmp_path)
    assert result.returncode == 1 and result.stdout == "fc4,pool3 written to f.npz\n"
    with np.load(tmp_path / "f.npz") as file:
        assert file["pool3"].shape == (2, 64) and file["fc4"].shape == (2, 10)
        assert file["files"].tolist() == [str(photo), str(folder / "dog" / "chelsea.png")]
    result = run(capsys, "features", photo, *arguments, "--output", "f.npy", cwd=tmp_path)
    assert result.returncode == 1 and "Expected one layer for .npy. Received: fc4, pool3" in result.stderr
