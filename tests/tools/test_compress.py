"""Pruning and clustering: the remaining weights, the change of the outputs, and the size of the file."""

import dataclasses

import numpy as np
import pytest
from support.nets import random_parameters, small

from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import numbered_classes
from tfalexnet.networks.catalog import BVLC_ALEXNET
from tfalexnet.tools.compress import ROUNDS, cluster, compress, compression_table, prune

NET = small(BVLC_ALEXNET)
KERNEL = np.random.default_rng(0).standard_t(4, (5, 5, 6, 32)).astype("f4")


@pytest.mark.parametrize("energy", [0.5, 0.9, 0.999, 1.0])
def test_the_largest_weights_hold_the_energy(energy):
    pruned = prune(KERNEL, energy)
    remaining = pruned != 0
    np.testing.assert_array_equal(pruned[remaining], KERNEL[remaining])
    assert np.abs(KERNEL[~remaining]).max(initial=0) < np.abs(KERNEL[remaining]).min()
    total = np.square(KERNEL, dtype=np.float64).sum()
    energy_left = np.square(pruned, dtype=np.float64).sum()
    smallest = np.square(np.abs(KERNEL[remaining]).min(), dtype=np.float64)
    assert energy_left >= energy * total * (1 - 1e-12) > energy_left - smallest  # Fewer weights do not suffice.


def test_clusters_are_those_of_plain_k_means():
    clustered = cluster(KERNEL, 15)
    weights = KERNEL.reshape(-1).astype(np.float64)
    values = np.linspace(weights.min(), weights.max(), 15)
    for _ in range(ROUNDS):
        nearest = np.abs(weights[:, None] - values).argmin(axis=1)
        values = np.array([weights[nearest == i].mean() if (nearest == i).any() else values[i] for i in range(15)])
    nearest = np.abs(weights[:, None] - values).argmin(axis=1)
    np.testing.assert_allclose(clustered.reshape(-1), values[nearest], rtol=1e-6)
    assert len(np.unique(clustered)) <= 15


def test_kernels_of_few_values_are_unchanged():
    for kernel in (np.zeros((3, 4), "f4"), np.eye(5, dtype="f4"), np.sign(KERNEL)):
        np.testing.assert_array_equal(cluster(prune(kernel, 1), 15), kernel)
    zeros = cluster(prune(KERNEL, 0.5), 15) == 0
    np.testing.assert_array_equal(zeros, prune(KERNEL, 0.5) == 0)


def test_the_report_describes_the_file(tmp_path):
    parameters = random_parameters(NET)
    unnamed = dataclasses.replace(NET, name="small")  # Without a known name, without known preprocessing.
    write_checkpoint(tmp_path / "net.npz", Checkpoint(parameters, ModelSpec(unnamed, None, numbered_classes(10))))
    compression = compress(tmp_path / "net.npz", tmp_path / "net.net")
    again = read_checkpoint(compression.output, NET)
    assert compression.after == compression.output.stat().st_size < 0.4 * compression.before
    assert compression.before == (tmp_path / "net.npz").stat().st_size
    for row, (name, (kernel, bias)) in zip(compression.kernels, again.parameters.items(), strict=True):
        original, same = parameters[name]
        np.testing.assert_array_equal(bias, same)
        assert (row.layer, row.weights) == (name, original.size)
        assert row.remaining == np.count_nonzero(kernel) / kernel.size
        assert row.values == len(np.unique(kernel[kernel != 0])) <= (255 if kernel.ndim == 4 else 15)
        assert row.error == pytest.approx(np.linalg.norm(kernel - original) / np.linalg.norm(original))
    assert len(compression_table(compression).splitlines()) == 12


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match=r"`energy` in \(0, 1\]"):
        compress("cifar10", tmp_path / "x.net", 0)
    with pytest.raises(ValueError, match=r"ends in \.net"):
        compress("cifar10", tmp_path / "x.npz")
    (tmp_path / "bad.jpg").touch()
    with pytest.raises(ValueError, match="none of which can be read"):
        compress("cifar10", tmp_path / "x.net", pictures=[tmp_path / "bad.jpg"])


def test_the_change_of_the_outputs(tmp_path, photo):
    loss = compress("cifar10", tmp_path / "x.net", pictures=[photo, tmp_path / "none.jpg"]).loss
    assert (loss.pictures, loss.changed) == (1, 0) and 0 < loss.largest < 0.2
    with pytest.raises(FileExistsError):
        compress("cifar10", tmp_path / "x.net")
    strong = compress("cifar10", tmp_path / "x.net", 0.5, [photo], overwrite=True)
    assert strong.loss.largest > 0.2
    noise = compress("cifar10", tmp_path / "y.net")
    assert noise.loss.pictures == 32 and "pictures of noise" in compression_table(noise)
    assert noise.after < 0.35 * noise.before  # With a mean picture.


@pytest.mark.data
@pytest.mark.slow
def test_cifar10_keeps_its_error(tmp_path, data):
    from tfalexnet.evaluation.evaluate import evaluate

    output = compress("cifar10", tmp_path / "cifar10.net").output
    report = evaluate(data / "cifar10" / "test", output)
    assert report["top1_error"] == pytest.approx(16.91, abs=0.5)
