"""The registry of weights: whole, in agreement with the tables, and as its README says."""

import shutil

import numpy as np
import pytest
from support import ROOT

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import published_preprocessing
from tfalexnet.hub.cache import SHIPPED, cache_folder, default_weights, find_weights, locate_weights, weights_table
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.networks.catalog import ARCHITECTURES


@pytest.mark.parametrize("name", REGISTRY)
def test_an_entry_is_whole(name):
    known = REGISTRY[name]
    net = ARCHITECTURES[known.architecture]
    assert known.name == name and known.licence and known.accuracy.protocol
    assert 50 < known.accuracy.top1 < (known.accuracy.top5 or 100)
    assert published_preprocessing(known.architecture).shape == net.input_shape
    readme = (ROOT / "weights" / "README.md").read_text("utf-8")
    for source in known.sources:
        assert source.urls and source.digest.hexadecimal in readme
        assert all(url.startswith(("http://", "https://")) for url in source.urls)
        assert len({url.rsplit("/", 1)[-1] for url in source.urls}) == 1
    assert known.sources or (SHIPPED / known.file).is_file()


def test_the_size_of_deep_compressions_file_follows_from_its_counts():
    counts = (29388, 118492, 309138, 247913, 163904, 4665474, 1959380, 1061645)  # Its first 32 bytes.
    size = 4 * 8
    for count, (kernel, bias) in zip(counts, ARCHITECTURES["bvlc_alexnet"].parameter_shapes().values(), strict=True):
        bits = 8 if len(kernel) == 4 else 4
        size += 4 * 2**bits + 4 * bias[0] + -(-count * bits // 8) + -(-count * 4 // 8)
    assert size == REGISTRY["deep_compression"].sources[0].size


def test_where_files_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path / "home"))
    assert locate_weights("bvlc_alexnet") is None
    assert default_weights() == "deep_compression"
    for folder in ("home", "weights"):  # The nearer one last, as it comes first.
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bvlc_alexnet.weights.h5").touch()
        assert locate_weights("bvlc_alexnet").absolute() == tmp_path / folder / "bvlc_alexnet.weights.h5"
    assert default_weights() == "bvlc_alexnet"
    monkeypatch.delenv("TFALEXNET_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tfalexnet"


def test_a_name_is_no_name_for_other_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    shutil.copy(SHIPPED / "cifar10.weights.h5", tmp_path / "weights" / "bvlc_caffenet.weights.h5")
    with pytest.raises(CheckpointError, match="to hold weights of bvlc_caffenet.*Received: cifar10_18pct"):
        find_weights("bvlc_caffenet")
    assert find_weights(tmp_path / "weights" / "bvlc_caffenet.weights.h5").exists()


@pytest.mark.data
def test_the_means_are_caffes_and_in_its_order(data):
    mean = np.load(data / "caffe" / "ilsvrc_2012_mean.npy").mean(axis=(1, 2))  # BGR
    np.testing.assert_allclose(published_preprocessing(REGISTRY["bvlc_alexnet"].architecture).mean, mean, atol=1e-4)


def test_the_table_says_all_of_it():
    table = weights_table()
    for known in REGISTRY.values():
        assert known.licence in table and str(known.accuracy.top1) in table
        assert all(
            url in table and source.digest.hexadecimal in table for source in known.sources for url in source.urls
        )
    assert "stated by one source only" in table and "shorter side to 256, bilinear, antialiased" in table
