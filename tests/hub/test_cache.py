"""Named weights: searched in the folders, downloaded and converted once; errors explain the manual way."""

import dataclasses
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from support import onnx_files
from support.downloads import BODY, BODY_DIGEST, OTHER, OTHER_DIGEST, sha256_digest, start_python
from support.nets import random_parameters, small
from support.servers import Answer

import tfalexnet
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError, keras_h5
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.hub.cache import (
    SHIPPED,
    WeightsNotFoundError,
    cache_folder,
    default_weights,
    find_weights,
    locate_weights,
    weights_table,
)
from tfalexnet.hub.registry import REGISTRY, Accuracy, PublishedWeights, Source
from tfalexnet.images.classes import numbered_classes
from tfalexnet.tools.convert import convert, describe_checkpoint

NET = tfalexnet.ARCHITECTURES["cifar10_18pct"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The cache folder, not yet created; the current folder has no weights."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("TFALEXNET_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def checkpoint_bytes(folder: Path, seed: int, suffix: str) -> bytes:
    """Return the content of a checkpoint file with random weights, written to `<folder>/<seed><suffix>`."""
    folder.mkdir(exist_ok=True)
    checkpoint = Checkpoint(random_parameters(NET, seed), ModelSpec(NET, None, numbered_classes(NET.classes)))
    write_checkpoint(folder / f"{seed}{suffix}", checkpoint)
    return (folder / f"{seed}{suffix}").read_bytes()


@pytest.fixture
def register(monkeypatch):
    """A function that adds weights with these sources to the registry and returns their name."""

    def register(*sources: Source) -> str:
        published = PublishedWeights("tested", NET.name, "", Accuracy(0.0, None, ""), sources)
        monkeypatch.setitem(REGISTRY, "tested", published)
        return "tested"

    return register


def assert_holds(path: Path, seed: int) -> None:
    """Check that a file holds the random weights of a seed."""
    assert_equal(read_checkpoint(path, NET).parameters, seed)


def assert_equal(parameters: dict, seed: int) -> None:
    for name, arrays in random_parameters(NET, seed).items():
        for array, expected in zip(parameters[name], arrays, strict=True):
            np.testing.assert_array_equal(array, expected)


def test_files_are_searched_in_the_folder_weights_and_then_in_the_cache(home, tmp_path, monkeypatch):
    assert locate_weights("bvlc_alexnet") is None
    assert default_weights() == "deep_compression"
    for folder in (home, Path("weights").absolute()):  # The one that is searched first is created last.
        folder.mkdir()
        (folder / "bvlc_alexnet.weights.h5").touch()
        assert locate_weights("bvlc_alexnet").absolute() == folder / "bvlc_alexnet.weights.h5"
    assert default_weights() == "bvlc_alexnet"
    monkeypatch.delenv("TFALEXNET_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tfalexnet"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("bvlc_alexnett", "'bvlc_alexnett'; there is no such file; did you mean bvlc_alexnet\\?"),
        ("nothing.npy", "'nothing.npy'; there is no such file\\.$"),
        (".", "'.'; it is a folder"),
        ("krizhevsky2012", "no weights are published for this network"),
    ],
)
def test_neither_a_file_nor_a_name_is_an_error(weights, message):
    with pytest.raises(WeightsNotFoundError, match=message):
        find_weights(weights)


@pytest.mark.usefixtures("home")
def test_a_file_with_the_name_of_other_weights_is_rejected():
    Path("weights").mkdir()
    file = Path("weights", "bvlc_caffenet.weights.h5")
    shutil.copy(SHIPPED / "cifar10.weights.h5", file)
    with pytest.raises(CheckpointError, match="to hold weights of bvlc_caffenet.*Received: cifar10_18pct"):
        find_weights("bvlc_caffenet")
    assert find_weights(file) == file


def test_the_table_states_all_facts_of_each_name():
    table = weights_table()
    for published in REGISTRY.values():
        assert published.licence in table and published.classes in table and str(published.accuracy.top1) in table
        for source in published.sources:
            assert source.digest.hexadecimal in table and all(url in table for url in source.urls)
            assert source.evidence in table
    assert "stated by one source only" in table and "shorter side to 256, bilinear, antialiased" in table
    assert str(SHIPPED / "cifar10.weights.h5") in table


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_name_is_downloaded_and_converted_once(suffix, server, register, home, tmp_path):
    content = checkpoint_bytes(tmp_path / "published", 1, suffix)
    url = server.url(f"net{suffix}", Answer(content))
    name = register(Source((url,), sha256_digest(content), len(content)))
    for _ in range(2):
        model = tfalexnet.AlexNet(NET, weights=name)
        assert_equal({layer.name: layer.get_weights() for layer in model.layers}, 1)
        assert find_weights(name) == locate_weights(name) == home / "tested.weights.h5"
        assert server.starts(f"net{suffix}") == [0]
        assert os.listdir(home) == ["tested.weights.h5"] or os.name == "nt"
    attributes = keras_h5.read(home / "tested.weights.h5").attributes
    assert (attributes["source"], attributes["source_sha256"]) == (f"net{suffix}", sha256_digest(content).hexadecimal)


def test_a_web_page_in_place_of_an_uncertain_file_is_deleted(server, register, home, tmp_path):
    page, content = b"<html>Please log in</html>", checkpoint_bytes(tmp_path / "published", 1, ".npy")
    wrong = Source((server.url("page.npy", Answer(page)),), dataclasses.replace(sha256_digest(content), certain=False))
    right = Source((server.url("net.npy", Answer(content)),), sha256_digest(content))
    with pytest.warns(UserWarning, match="Only one source states the expected digest"):
        assert_holds(find_weights(register(wrong, right)), 1)
    assert server.starts("page.npy") == server.starts("net.npy") == [0]
    (home / "tested.weights.h5").unlink()
    with (
        pytest.warns(UserWarning, match="Only one source"),
        pytest.raises(tfalexnet.WeightsNotFoundError, match=r"page\.npy: expected a checkpoint"),
    ):
        find_weights(register(wrong))
    assert not list(home.glob("page*"))


def test_a_file_that_the_user_put_there_is_checked_used_and_kept(server, register, home, tmp_path):
    content, other = (checkpoint_bytes(tmp_path / "published", seed, ".npy") for seed in (1, 2))
    name = register(Source((server.url("net.npy"),), sha256_digest(content)))
    home.mkdir(exist_ok=True)
    (home / "net.npy").write_bytes(other)
    with pytest.raises(tfalexnet.WeightsNotFoundError, match="It is another file, or damaged; move it away"):
        find_weights(name)
    assert (home / "net.npy").read_bytes() == other
    (home / "net.npy").write_bytes(content)
    assert_holds(find_weights(name), 1)
    assert (home / "net.npy").read_bytes() == content and server.starts("net.npy") == []


def test_a_file_that_is_there_comes_before_sources_that_would_be_downloaded(server, register, home, tmp_path):
    """A cache that was filled when another source was the first one still works, without a download."""
    first, there = (checkpoint_bytes(tmp_path / "published", seed, ".npy") for seed in (1, 2))
    name = register(
        Source((server.url("new.npy", Answer(first)),), sha256_digest(first)),
        Source((server.url("old.npy"),), sha256_digest(there)),
    )
    home.mkdir(exist_ok=True)
    (home / "old.npy").write_bytes(there)
    assert_holds(find_weights(name), 2)
    assert (home / "old.npy").read_bytes() == there and server.requests == []


def test_the_onnx_model_zoos_layout_is_converted(server, home, monkeypatch):
    """Of both networks, small ones, from a server on this machine that has the first source of the registry."""
    pytest.importorskip("onnx")
    for name in ("bvlc_alexnet", "bvlc_caffenet"):
        net = small(tfalexnet.ARCHITECTURES[name])
        parameters = random_parameters(net, 5)
        content = onnx_files.model_zoo(net, parameters).SerializeToString()
        source = REGISTRY[name].sources[0]
        url = server.url(f"{name}/{source.file}", Answer(content))
        source = dataclasses.replace(source, urls=(url,), digest=sha256_digest(content), size=len(content))
        monkeypatch.setitem(REGISTRY, name, dataclasses.replace(REGISTRY[name], architecture=net, sources=(source,)))
        path = find_weights(name)
        assert path == home / f"{name}.weights.h5" and server.starts(f"{name}/{source.file}") == [0]
        for layer, arrays in read_checkpoint(path).parameters.items():
            for array, expected in zip(arrays, parameters[layer], strict=True):
                np.testing.assert_array_equal(array, expected)


def test_wrong_bytes_are_never_read_and_the_next_source_is_tried(server, register, home, tmp_path):
    wrong, right = (checkpoint_bytes(tmp_path / "published", seed, ".npy") for seed in (1, 2))
    first = Source((server.url("first.npy", Answer(wrong)),), sha256_digest(right))
    second = Source((server.url("second.npy", Answer(right)),), sha256_digest(right))
    assert_holds(find_weights(register(first, second)), 2)
    assert server.requests == [("first.npy", 0), ("second.npy", 0)]
    assert os.listdir(home) == ["tested.weights.h5"] or os.name == "nt"


def test_an_uncertain_source_is_used_with_a_warning(server, register, home, tmp_path):
    content = checkpoint_bytes(tmp_path / "published", 1, ".npy")
    url = server.url("net.npy", Answer(content))
    with pytest.warns(UserWarning, match=f"{BODY_DIGEST.hexadecimal}, received {sha256_digest(content).hexadecimal}"):
        find_weights(register(Source((url,), sha256_digest(BODY, certain=False))))
    path = find_weights("tested")
    assert path == home / "tested.weights.h5"
    checkpoint = read_checkpoint(path)
    assert_equal({name: list(arrays) for name, arrays in checkpoint.parameters.items()}, 1)
    expected = "tested.weights.h5 is unverified: only one source states the digest of net.npy."
    assert expected in checkpoint.notes and expected in describe_checkpoint(path)
    assert f"{path}, unverified" in weights_table()


def test_the_error_names_all_sources_and_folders(server, register, home):
    urls = [server.url("missing"), server.url("wrong", Answer(OTHER)), server.url("busy", Answer(status=503))]
    name = register(Source(tuple(urls[:2]), BODY_DIGEST), Source((urls[2],), BODY_DIGEST))
    with pytest.raises(WeightsNotFoundError) as caught:
        tfalexnet.AlexNet(NET, weights=name)
    message = str(caught.value)
    for part in (*urls, "404", "received " + OTHER_DIGEST.hexadecimal, "503", str(home), str(Path.cwd() / "weights")):
        assert part in message
    assert not (home / "tested.weights.h5").exists()


def test_offline_the_error_explains_the_manual_way_which_works(server, register, home, tmp_path, monkeypatch):
    content = checkpoint_bytes(tmp_path / "published", 1, ".npy")
    url = server.url("net.npy", Answer(content))
    monkeypatch.setenv("TFALEXNET_OFFLINE", "1")
    name = register(Source((url,), sha256_digest(content)))
    with pytest.raises(WeightsNotFoundError) as caught:
        find_weights(name)
    message = str(caught.value)
    output = Path("weights", "tested.weights.h5")
    command = f"tfalexnet convert FILE --architecture {NET.name} --output {output}"
    for part in ("TFALEXNET_OFFLINE=1", url, str(home), command):
        assert part in message
    convert(tmp_path / "published" / "1.npy", output, NET.name)
    assert find_weights(name) == output
    assert_holds(output, 1)
    output.unlink()
    (home / "net.npy").write_bytes(content)
    assert_holds(find_weights(name), 1)
    assert server.requests == []


FIND = """
import sys
from tfalexnet.hub import cache, registry
from tfalexnet.hub.digest import Digest
from tfalexnet.io import locks
locks.POLL = 0.01
url, hexadecimal, architecture = sys.argv[1:]
source = registry.Source((url,), Digest("sha256", hexadecimal))
accuracy = registry.Accuracy(0, None, "")
registry.REGISTRY["tested"] = registry.PublishedWeights("tested", architecture, "", accuracy, (source,))
cache.find_weights("tested")
"""


def test_two_processes_convert_once(server, home, tmp_path):
    content = checkpoint_bytes(tmp_path / "published", 1, ".npy")
    started, proceed = threading.Event(), threading.Event()
    url = server.url("net.npy", Answer(content, meanwhile=lambda: started.set() or proceed.wait(20)))
    with start_python(FIND, url, sha256_digest(content).hexadecimal, NET.name) as first:
        assert started.wait(20)
        with start_python(FIND, url, sha256_digest(content).hexadecimal, NET.name) as second:
            assert "waiting for another process" in second.stderr.readline()
            proceed.set()
            assert first.stderr.read() == f"tfalexnet: downloading from {url}\n"
            assert second.stderr.read() == ""
    assert first.returncode == second.returncode == 0
    assert server.starts("net.npy") == [0]
    assert_holds(home / "tested.weights.h5", 1)


def test_a_cache_that_cannot_be_written_is_explained(server, register, home):
    home.write_text("a file")
    name = register(Source((server.url("net.npy"),), BODY_DIGEST))
    with pytest.raises(OSError, match=r"Downloaded weights are kept in .*home; TFALEXNET_HOME moves it"):
        find_weights(name)
    assert server.requests == []


def test_the_cache_is_found_for_a_tilde_and_without_a_home(monkeypatch):
    monkeypatch.setenv("TFALEXNET_HOME", "~/x")
    assert cache_folder() == Path.home() / "x"
    monkeypatch.delenv("TFALEXNET_HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # As for a uid without a name, and no HOME.
    assert cache_folder() == Path("weights")


def test_the_name_of_keras_applications_is_answered_with_ours():
    with pytest.raises(WeightsNotFoundError, match=r"'imagenet'; .*bvlc_alexnet are those"):
        locate_weights("imagenet")
