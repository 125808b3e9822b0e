"""Networks are loaded once, compute batches of few sizes, and are shared by threads."""

import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from support.answers import keras_case
from support.nets import random_parameters, small
from support.pictures import noise
from support.weights import write_unprepared

import tfalexnet
from tfalexnet import CheckpointError
from tfalexnet.checkpoints.spec import PREPROCESSING, ModelSpec
from tfalexnet.networks.catalog import BVLC_ALEXNET
from tfalexnet.runtimes import network
from tfalexnet.runtimes import tensorflow as engine
from tfalexnet.runtimes.network import Network, load_network
from tfalexnet.runtimes.selection import ENGINES


def test_batches_of_every_size_are_padded_to_few_sizes_and_traced_once():
    net, sizes = small(BVLC_ALEXNET), []
    function = tf.function(
        engine.freeze(net, random_parameters(net), ["prob"]), input_signature=[tf.TensorSpec((None, *net.input_shape))]
    )
    network = Network(
        spec=ModelSpec(net, PREPROCESSING["bvlc_alexnet"], ()),
        layers=("prob",),
        engine="tensorflow",
        precision="float32",
        function=lambda x: sizes.append(len(x)) or function(x),
        path=Path("net.weights.h5"),
        packages=("tensorflow",),
    )
    x = np.random.default_rng(0).standard_normal((45, *net.input_shape), np.float32) * 50
    (answers,) = network(x, 45)
    for count in (1, 2, 3, 5, 20, 32, 45):
        (some,) = network(x[:count])
        np.testing.assert_allclose(some, answers[:count], atol=1e-6)
    (tens,) = network(x, 10)
    np.testing.assert_allclose(tens, answers, atol=1e-6)
    assert len(network(x[:0])[0]) == 0
    assert set(sizes) == {1, 2, 4, 8, 10, 16, 32, 45}
    assert function.experimental_get_tracing_count() == 1


def test_weights_are_read_once_and_again_when_their_file_changes(weights_file, monkeypatch):
    first, reads, read = load_network(weights_file), [], network.read_checkpoint
    monkeypatch.setattr(network, "read_checkpoint", lambda *given: reads.append(given) or read(*given))
    for _ in range(3):
        tfalexnet.predict(noise(1)[0], weights=weights_file)
    assert reads == [] and load_network(weights_file) is first
    os.utime(weights_file, (1, 1))
    assert load_network(weights_file) is not first and len(reads) == 1


def test_another_file_of_the_same_size_and_time_is_read(weights_file):
    first, state = load_network(weights_file), weights_file.stat()
    weights_file.with_name("new").write_bytes(weights_file.read_bytes())
    os.utime("new", ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace("new", weights_file)
    assert load_network(weights_file) is not first


def test_threads_load_a_network_once(weights_file, monkeypatch):
    reads, read = [], network.read_checkpoint
    monkeypatch.setattr(network, "read_checkpoint", lambda *given: reads.append(given) or read(*given))
    with ThreadPoolExecutor(8) as pool:
        networks = set(map(id, pool.map(load_network, [weights_file] * 8)))
    assert len(reads) == len(networks) == 1


def test_a_network_in_memory_does_not_wait_for_another_that_is_loaded(weights_file, monkeypatch):
    first, started, proceed, read = (
        load_network(weights_file),
        threading.Event(),
        threading.Event(),
        network.read_checkpoint,
    )

    def slow(*given):
        started.set()
        assert proceed.wait(60)
        return read(*given)

    monkeypatch.setattr(network, "read_checkpoint", slow)
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(load_network, weights_file, ("fc4",))
        assert started.wait(60)
        try:
            assert pool.submit(load_network, weights_file).result(60) is first
        finally:
            proceed.set()
        assert other.result().layers == ("fc4",)
    assert network._LOADING == {}


FORKED = """
import os, signal, sys
import numpy as np
from tfalexnet.runtimes import network

loaded = network.load_network(sys.argv[1], engine=sys.argv[2])
x = np.zeros((1, *loaded.spec.architecture.input_shape), np.float32)
(answer,) = loaded(x)
for use in (lambda: network.load_network(sys.argv[1], engine=sys.argv[2])(x), lambda: loaded(x)):
    if os.fork() == 0:
        signal.alarm(60)  # Ends a process that waits.
        try:
            print(np.array_equal(use()[0], answer), flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)
    print(os.wait()[1], flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forked processes")
@pytest.mark.parametrize(
    ("file", "engine"),
    [("weights_file", "tensorflow"), ("weights_file", "openvino"), ("tflite", "litert"), ("xml", "openvino")],
)
def test_a_forked_process_computes_or_is_told_what_to_do(file, engine, request):
    pytest.importorskip(ENGINES[engine].package)
    command = [sys.executable, "-c", FORKED, request.getfixturevalue(file), engine]
    run = subprocess.run(command, capture_output=True, encoding="utf-8")
    library = {"tensorflow": "TensorFlow", "openvino": "OpenVINO"}.get(engine)
    refusal = (
        rf"Expected {library} in the process that computed with it first, \d+\. Received: the process \d+, forked from "
        r'it\. Start workers with multiprocessing\.get_context\("spawn"\), .*'
    )
    answer = refusal if library else "True"
    assert re.fullmatch(rf"(?:{answer}\n0\n){{2}}", run.stdout), run


def test_batches_of_every_size_are_traced_once(weights_file, monkeypatch):
    traced, freeze = [], engine.freeze

    def counted(*given):
        network = freeze(*given)
        return lambda x: traced.append(x) or network(x)

    monkeypatch.setattr(engine, "freeze", counted)
    for count in (1, 2, 5, 32, 33, 1):
        tfalexnet.predict(noise(count), weights=weights_file, engine="tensorflow")
    assert len(traced) == 1


def test_another_precision_is_refused(weights_file):
    with pytest.raises(ValueError, match=r"Expected `precision` to be one of float32, bfloat16, int8, auto\. .*'half'"):
        load_network(weights_file, precision="half")


def test_a_network_of_unknown_preprocessing_is_refused_with_a_way_out(tmp_path):
    write_unprepared(tmp_path / "own.weights.h5")
    with pytest.raises(
        CheckpointError, match=r"own\.weights\.h5: expected to know the preprocessing of own_net; .*Alex"
    ):
        load_network(tmp_path / "own.weights.h5")


@pytest.mark.parametrize("file", ["tflite", "xml"])
def test_threads_share_an_exported_network(file, request):
    network = load_network(request.getfixturevalue(file))
    *_, x, answers = keras_case("mnist_28")
    wrong = []

    def compute(count):
        for _ in range(20):
            if not np.allclose(network.function(x[:count])[0], answers[:count], atol=1e-5):
                wrong.append(count)

    threads = [threading.Thread(target=compute, args=(count,)) for count in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
