"""Keras' `.weights.h5`: other layers, nested models, other types and hostile files."""

import subprocess
import sys
import time
import tracemalloc
import zlib

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from support import fuzz_readers, fuzz_seeds
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints.formats import Contents, hdf5, keras_h5


def keras_file(path, *layers):
    """A model of these layers on three numbers, and its weights, saved by Keras."""
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.save_weights(path)
    return model


def test_other_layers_are_left_out_and_reported(tmp_path):
    model = keras_file(
        tmp_path / "x.weights.h5",
        *(layers.Dense(5, name="fc6"), layers.BatchNormalization(name="bn"), layers.Dropout(0.5)),
        *(layers.Dense(4, use_bias=False, name="proj"), layers.Dense(2, name="fc8")),
    )
    contents = keras_h5.read(tmp_path / "x.weights.h5")
    assert_equal(contents.parameters, {name: model.get_layer(name).get_weights() for name in ("fc6", "fc8")})
    assert contents.left_out == (
        "bn (batch_normalization): not 2 variables but 4",
        "proj (dense_1): not 2 variables but 1",
    )


def test_layers_of_nested_models_are_read(tmp_path):
    backbone = AlexNet(NET, include_top=False)
    inner = keras.Sequential([backbone, keras.layers.Flatten(), keras.layers.Dense(3, name="fc9")])
    keras.Sequential([inner, keras.layers.Dense(2, name="fc10")]).save_weights(tmp_path / "x.weights.h5")
    parameters = keras_h5.read(tmp_path / "x.weights.h5").parameters
    assert set(parameters) == {"conv1", "conv2", "conv3", "conv4", "conv5", "fc9", "fc10"}
    for layer in (*backbone.layers, inner.get_layer("fc9")):
        if layer.weights:
            assert_equal({"x": parameters[layer.name]}, {"x": layer.get_weights()})


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_floats_become_float32(kind, tmp_path):
    model = keras_file(tmp_path / "x.weights.h5", layers.Dense(5, name="fc8", dtype=kind, bias_initializer="normal"))
    expected = [np.asarray(array).astype("f4") for array in model.get_layer("fc8").get_weights()]
    assert_equal(keras_h5.read(tmp_path / "x.weights.h5").parameters, {"fc8": expected})
    assert all(array.std() > 0 for array in expected)


def test_layers_without_a_name_have_that_of_their_group(tmp_path):
    keras_h5.write(tmp_path / "x.weights.h5", Contents(PARAMETERS))
    with h5py.File(tmp_path / "x.weights.h5", "r+") as file:
        del file["layers/dense_2/vars"].attrs["name"]
    assert_equal({"x": keras_h5.read(tmp_path / "x.weights.h5").parameters["dense_2"]}, {"x": PARAMETERS["fc8"]})


def test_a_compressed_dataset_is_refused(tmp_path):
    """A chunk of 20 kB would be 20 MB, and a filter could be any library."""
    keras_h5.write(tmp_path / "x.h5", Contents(fuzz_seeds.PARAMETERS))
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["layers/dense/vars/0"]
        kernel = file["layers/dense/vars"].create_dataset("0", (4, 3), "f4", chunks=(4, 3), compression="gzip")
        kernel.id.write_direct_chunk((0, 0), zlib.compress(bytes(20_000_000)))
    with pytest.raises(CheckpointError, match="in one piece, as Keras writes"):
        keras_h5.read(tmp_path / "x.h5")


def test_a_heap_in_which_libhdf5_would_loop_is_refused(tmp_path):
    keras_h5.write(tmp_path / "x.h5", Contents(fuzz_seeds.PARAMETERS))
    data = bytearray((tmp_path / "x.h5").read_bytes())
    heap = data.index(b"GCOL")
    data[heap + 24 : heap + 32] = ((1 << 64) - 16).to_bytes(8, "little")
    (tmp_path / "x.h5").write_bytes(data)
    code = "import sys; from tfalexnet.checkpoints.formats import keras_h5; keras_h5.read(sys.argv[1])"
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "x.h5"], capture_output=True, text=True, timeout=60)
    assert "CheckpointError" in run.stderr and "damaged: an object of" in run.stderr


def test_attributes_of_other_types_are_ignored(tmp_path):
    keras_h5.write(tmp_path / "x.h5", Contents(fuzz_seeds.PARAMETERS))
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file.attrs.update({"architecture": ["a", "b"], "mine": h5py.Empty("f4"), "it": file.ref, "classes": 3})
    assert keras_h5.read(tmp_path / "x.h5").attributes == {"classes": 3}


def test_kernels_are_floats_and_names_of_layers_are_unique(tmp_path):
    keras_h5.write(tmp_path / "x.h5", Contents(fuzz_seeds.PARAMETERS))
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        file["layers/dense/vars"].attrs["name"] = "conv1"
    with pytest.raises(CheckpointError, match="two layers are called 'conv1'"):
        keras_h5.read(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["layers/dense/vars/1"]
        file["layers/dense/vars"].attrs["name"] = "fc8"
        file["layers/dense/vars/1"] = np.ones(3, np.uint8)
    assert keras_h5.read(tmp_path / "x.h5").left_out == ("fc8 (dense): float32 and uint8, not floats",)
    for strange in (np.ones(3, "f4,f4"), np.ones(3, "c8"), [b"a", b"b", b"c"]):
        with h5py.File(tmp_path / "x.h5", "r+") as file:
            del file["layers/dense/vars/1"]
            file["layers/dense/vars/1"] = strange
        with pytest.raises(CheckpointError, match="/layers/dense/vars/1: expected numbers"):
            keras_h5.read(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["layers/dense/vars/1"], file["layers/conv2d"]
    with pytest.raises(CheckpointError, match=r"received fc8 \(dense\): not 2 variables but 1"):
        keras_h5.read(tmp_path / "x.h5")


def loop(file: h5py.File) -> None:
    file["layers/dense/layers"] = file["layers"]


def deep_tree(file: h5py.File) -> None:
    """Two links to the same group, on thirty levels."""
    for _ in range(30):
        children = file.create_group(None)
        children["layers/a"] = children["layers/b"] = file["layers/dense"]
        del file["layers/dense"]
        file["layers/dense"] = children


def shared(file: h5py.File) -> None:
    """float16, whose size doubles in float32."""
    file["half"] = np.ones((1000, 1000), "f2")
    for number in range(100):
        group = file.create_group(f"layers/dense_{number + 1}/vars")
        group["0"] = group["1"] = file["half"]


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (loop, "a second name of another layer"),
        (deep_tree, "a second name of another layer"),
        (shared, "no more numbers than the file holds"),
    ],
)
def test_links_within_a_file_are_refused(make, message, tmp_path):
    keras_h5.write(tmp_path / "x.h5", Contents(fuzz_seeds.PARAMETERS))
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        make(file)
    start = time.perf_counter()
    with pytest.raises(CheckpointError, match=message):
        keras_h5.read(tmp_path / "x.h5")
    assert time.perf_counter() - start < 5
    assert tracemalloc.get_traced_memory()[1] < 2 * (tmp_path / "x.h5").stat().st_size + fuzz_readers.SLACK


@pytest.mark.parametrize("kind", ["attributes", "layers", "nested layers"])
def test_the_number_of_entries_is_bounded(kind, tmp_path, monkeypatch):
    """h5py takes seconds for 20,000 attributes or groups."""
    monkeypatch.setattr(hdf5, "MAX_ENTRIES", 20)
    keras_h5.write(tmp_path / "x.weights.h5", Contents(PARAMETERS))
    with h5py.File(tmp_path / "x.weights.h5", "a") as file:
        for index in range(21):
            if kind == "attributes":
                file.attrs[f"a{index}"] = index
            else:
                file.create_group(f"layers/{'' if kind == 'layers' else f'm{index // 10}/layers/'}l{index}")
    with pytest.raises(CheckpointError, match=f"expected at most 20 {kind.split()[-1]}; received"):
        keras_h5.read(tmp_path / "x.weights.h5")
