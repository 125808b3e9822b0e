"""Checkpoints of TensorFlow 1 and 2, written by TensorFlow and compared with what it reads and computes."""

import random

import numpy as np
import pytest
import tensorflow as tf
from support.command import run
from support.fuzz_mutations import byte, flip, integer
from support.nets import random_parameters, small
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import tensorflow_checkpoint
from tfalexnet.networks.catalog import MNIST_28, TFLEARN_FLOWERS17

tf1 = tf.compat.v1
LAYOUTS = {"single": 1, "bundle": 2}
FILES = {"single": "x.ckpt", "bundle": "x.ckpt.index"}


def save(path, variables: dict, layout: str = "bundle") -> None:
    """Write arrays as variables of these names."""
    with tf.Graph().as_default(), tf1.Session() as session:
        for name, array in variables.items():
            tf1.Variable(array, name=name, use_resource=False)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(write_version=LAYOUTS[layout]).save(session, str(path), write_meta_graph=True)


def named(parameters: dict, names=lambda layer: layer, parts=("weights", "biases")) -> dict:
    return {
        f"{names(layer)}/{part}": array
        for layer, arrays in parameters.items()
        for part, array in zip(parts, arrays, strict=True)
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fine_tuned_networks_with_the_variables_of_their_optimizer(layout, tmp_path):
    variables = named(PARAMETERS)
    slots = {f"{name}/Momentum": np.ones_like(array) for name, array in variables.items()}
    save(tmp_path / "x.ckpt", variables | slots | {"global_step": np.int64(3)}, layout)
    checkpoint = read_checkpoint(tmp_path / FILES[layout], NET)
    assert_equal(checkpoint.parameters)
    reference = tf.train.load_checkpoint(str(tmp_path / "x.ckpt"))
    for name, arrays in checkpoint.parameters.items():
        np.testing.assert_array_equal(arrays[0], reference.get_tensor(f"{name}/weights"))
        np.testing.assert_array_equal(arrays[1], reference.get_tensor(f"{name}/biases"))
    assert "Left out: 16 variables of the optimizer, or averages (Momentum)." in checkpoint.notes


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_of_tflearn(layout, tmp_path):
    net = small(TFLEARN_FLOWERS17)
    parameters = random_parameters(net)
    counts = {4: 0, 2: 0}
    names = {}
    for layer, (kernel, _) in parameters.items():
        number = counts[kernel.ndim]
        names[layer] = {4: "Conv2D", 2: "FullyConnected"}[kernel.ndim] + (f"_{number}" if number else "")
        counts[kernel.ndim] += 1
    variables = named(parameters, names.get, ("W", "b"))
    save(tmp_path / "x.ckpt", variables | {f"{name}/Momentum": array for name, array in variables.items()}, layout)
    checkpoint = read_checkpoint(tmp_path / FILES[layout], net)
    assert_equal(checkpoint.parameters, parameters)
    assert "Conv2D → conv1, Conv2D_1 → conv2" in "".join(checkpoint.notes)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tutorial_that_names_no_variable_answers_as_in_tensorflow(layout, tmp_path):
    net = small(MNIST_28)
    parameters = random_parameters(net)
    pictures = np.random.default_rng(0).normal(0, 1, (3, 28, 28, 1)).astype("f4")
    with tf.Graph().as_default(), tf1.Session() as session:
        kernels = [tf1.Variable(kernel, use_resource=False) for kernel, _ in parameters.values()]
        biases = [tf1.Variable(bias, use_resource=False) for _, bias in parameters.values()]
        x = tf.constant(pictures)
        for kernel, bias in zip(kernels[:3], biases[:3], strict=True):
            x = tf.nn.relu(tf.nn.conv2d(x, kernel, [1, 1, 1, 1], "SAME") + bias)
            x = tf1.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")
            x = tf1.nn.lrn(x, 4, bias=1.0, alpha=0.001 / 9.0, beta=0.75)
        x = tf.reshape(x, [-1, kernels[3].shape[0]])
        for kernel, bias in zip(kernels[3:5], biases[3:5], strict=True):
            x = tf.nn.relu(tf.matmul(x, kernel) + bias)
        answers = tf.nn.softmax(tf.matmul(x, kernels[5]) + biases[5])
        step = tf1.train.AdamOptimizer().minimize(tf.reduce_sum(answers * answers))
        session.run(tf1.global_variables_initializer())
        session.run(step)
        expected = session.run(answers)
        tf1.train.Saver(write_version=LAYOUTS[layout]).save(session, str(tmp_path / "x.ckpt"))
    with pytest.warns(UserWarning, match="Variable → conv1, .*Variable_5 → fc6|Left out"):
        model = AlexNet(net, weights=tmp_path / FILES[layout])
    np.testing.assert_allclose(model(pictures), expected, rtol=0, atol=1e-6)


def test_half_precision_and_double(tmp_path):
    for kind in (np.float16, np.float64, tf.bfloat16.as_numpy_dtype):
        save(tmp_path / "x.ckpt", {name: array.astype(kind) for name, array in named(PARAMETERS).items()})
        expected = PARAMETERS["fc7"][0].astype(kind).astype("f4")
        parameters = read_checkpoint(tmp_path / "x.ckpt.index", NET).parameters
        np.testing.assert_array_equal(parameters["fc7"][0], expected)


def test_objects_of_tensorflow_2(tmp_path):
    model = AlexNet(MNIST_28)
    tf.train.Checkpoint(model=model).write(str(tmp_path / "x"))
    checkpoint = read_checkpoint(tmp_path / "x.index")
    assert checkpoint.spec.architecture.name == "mnist_28"
    for name, arrays in checkpoint.parameters.items():
        for array, variable in zip(arrays, model.get_layer(name).weights, strict=True):
            np.testing.assert_array_equal(array, variable)


def test_every_name_of_the_files_is_accepted(tmp_path, capsys):
    parameters = random_parameters(MNIST_28)
    save(tmp_path / "model.ckpt-100", named(parameters))
    for name in ("model.ckpt-100", "model.ckpt-100.index", "model.ckpt-100.data-00000-of-00001"):
        result = run(capsys, "convert", name, "--output", f"{name}.npz", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert_equal(read_checkpoint(tmp_path / f"{name}.npz").parameters, parameters)
    for name, what in (("model.ckpt-100.meta", "a graph of TensorFlow"), ("checkpoint", "list of checkpoints")):
        with pytest.raises(CheckpointError, match=f"received .*{what}.*\\.index file"):
            read_checkpoint(tmp_path / name)
    (tmp_path / "model.ckpt-100.data-00000-of-00001").unlink()
    with pytest.raises(CheckpointError, match="expected model.ckpt-100.data-00000-of-00001 beside it"):
        read_checkpoint(tmp_path / "model.ckpt-100.index")


def test_parts_of_a_variable_are_left_out(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        parts = tf1.fixed_size_partitioner(2)
        tf1.get_variable("fc9/weights", (4, 3), partitioner=parts, use_resource=False)
        for name, array in named(PARAMETERS).items():
            tf1.Variable(array, name=name, use_resource=False)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "x.ckpt"))
    checkpoint = read_checkpoint(tmp_path / "x.ckpt.index", NET)
    assert_equal(checkpoint.parameters)
    assert "fc9/weights: a part of a variable" in "".join(checkpoint.notes)


def test_a_damaged_index_is_refused_or_read(tmp_path):
    """The index alone is damaged; the fuzz test of all readers has single files only."""
    save(tmp_path / "x.ckpt", named(random_parameters(MNIST_28)))
    original = (tmp_path / "x.ckpt.index").read_bytes()
    refused = 0
    for number in range(300):
        generator = random.Random(number)
        data = generator.choice((byte, flip, integer))(original, [], generator)
        (tmp_path / "x.ckpt.index").write_bytes(data)
        try:
            for kernel, bias in tensorflow_checkpoint.read(tmp_path / "x.ckpt.index").parameters.values():
                assert kernel.sum() + bias.sum() is not None
        except CheckpointError as error:
            refused += 1
            assert "x.ckpt.index" in str(error)
    assert refused > 100
