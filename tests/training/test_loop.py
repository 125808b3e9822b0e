"""The loop: interrupted runs resume to the same weights; unreadable pictures; losses that are not finite."""

import dataclasses
import gc
import os
import shutil
import signal
import traceback

import numpy as np
import pytest
import tensorflow as tf
from support.runs import (
    NET,
    RECIPE,
    assert_same_checkpoints,
    checkpoint_arrays,
    interrupt_at,
    read_log,
    train,
    write_folders,
)

from tfalexnet import data
from tfalexnet.alexnet import AlexNet
from tfalexnet.training import loop
from tfalexnet.training.loop import Stopped
from tfalexnet.training.run_folder import TrainingError

STOPS = {  # The step, after how many batches of two epochs of four and five, and the epoch of that moment.
    "at the end of an epoch": ("training", 4, 1),
    "in the last epoch": ("training", 6, 2),
    "in validation": ("validation", 2, 1),
    "in the last validation": ("validation", 7, 2),
}


@pytest.mark.parametrize("name", STOPS)
def test_an_interrupted_run_resumes_to_the_weights_of_an_uninterrupted_one(name, two_epochs, tmp_path, monkeypatch):
    function, count, epoch = STOPS[name]
    with monkeypatch.context() as patch:
        interrupt_at(function, count, patch)
        with pytest.raises(Stopped, match=f"stopped in epoch {epoch}; all is saved in"):
            train(tmp_path / "cut")
    assert len(read_log(tmp_path / "cut")) == epoch - 1 if epoch > 1 else not (tmp_path / "cut" / "log.csv").exists()
    monkeypatch.setattr(loop, "VALIDATION_BATCH", 8)
    train(tmp_path / "cut", log_interval=3)
    assert_same_checkpoints(tmp_path / "cut", two_epochs)
    assert read_log(tmp_path / "cut") == read_log(two_epochs)


def test_a_loss_of_nan_ends_the_training_with_the_last_checkpoint(run):
    before = checkpoint_arrays(run)
    with np.load(run / "checkpoint.npz") as archive:
        arrays = dict(archive)
    name = next(name for name, array in arrays.items() if array.shape == NET.parameter_shapes()["fc2"][0])
    arrays[name] = np.full_like(arrays[name], np.nan)
    np.savez(run / "checkpoint.npz", **arrays)
    with pytest.raises(TrainingError, match="Expected finite loss and weights.*by step .*smaller.* is older"):
        train(run, 2)
    after = checkpoint_arrays(run)
    for other, array in before.items():
        np.testing.assert_array_equal(after[other], arrays[other] if other == name else array)


def test_a_frozen_layer_that_changes_is_a_bug(tmp_path, monkeypatch):
    frozen = iter([{"fc2/kernel": np.zeros(1)}, {"fc2/kernel": np.ones(1)}])
    monkeypatch.setattr(loop, "_frozen_arrays", lambda _: next(frozen))
    with pytest.raises(RuntimeError, match="fc2/kernel is frozen and has changed"):
        train(tmp_path / "run", 1)


def test_unreadable_pictures_are_reported_at_once_and_at_the_end(tmp_path, capsys):
    write_folders(tmp_path / "d", 12)
    (tmp_path / "d" / "a" / "3.png").write_text("no picture")
    recipe = dataclasses.replace(RECIPE, batch=4)
    parts = data.read(tmp_path / "d")
    train(tmp_path / "run", 1, recipe, pictures=parts)
    error = capsys.readouterr().err
    assert error.startswith(f"tfalexnet: left out {tmp_path}/d/a/3.png: not a picture")
    assert "tfalexnet: 1 of 24 files could not be read" in error
    assert error.count("left out") == 2
    with pytest.raises(ValueError, match=r"a/3\.png: not a picture"):
        train(tmp_path / "strict", 1, recipe, pictures=parts, strict=True)
    assert capsys.readouterr().err == ""


def test_a_resumed_run_knows_the_pictures_that_could_not_be_read(tmp_path, capsys):
    write_folders(tmp_path / "d", 12)
    (tmp_path / "d" / "a" / "3.png").write_text("no picture")
    recipe, parts = dataclasses.replace(RECIPE, batch=4), data.read(tmp_path / "d")
    name = tmp_path / "d" / "a" / "3.png"
    sizes = [len(part) - (name in part.pictures) for part in parts]
    train(tmp_path / "run", 1, recipe, pictures=parts)
    assert "mnist_28: 22 pictures of 2 classes, 2 for validation" in capsys.readouterr().out
    train(tmp_path / "run", 2, recipe, pictures=parts)
    output = capsys.readouterr()
    assert f"mnist_28: {sizes[0]} pictures of 2 classes, {sizes[1]} for validation" in output.out
    assert output.err.count("left out") == 1 and "1 of 24 files could not be read" in output.err


def test_class_weights_are_factors_of_the_gradient_of_a_picture():
    model = AlexNet(NET, classes=3, classifier_activation=None, dropout=0.0)
    dataclasses.replace(RECIPE, optimizer="momentum", decay=0.0, learning_rate=0.1).compile(model)
    model.optimizer.build(model.trainable_variables)
    inputs, before = np.zeros((1, *NET.input_shape), "f4"), model.get_weights()  # All classes are equally probable.
    changes = []
    for weights in (None, np.float32([1, 3, 0])):
        step, _ = loop.make_step_functions(model, 1, tf.distribute.get_strategy(), weights)
        for label in (0, 1, 2):
            model.set_weights(before)
            step(inputs, tf.constant([label], tf.int64))
            changes.append(model.get_weights()[-1] - before[-1])
    for plain, weighted, factor in zip(changes[:3], changes[3:], (1, 3, 0), strict=True):
        np.testing.assert_allclose(weighted, factor * plain, rtol=1e-5, atol=1e-7)
        assert np.abs(plain).max() > 0.01


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_knows_the_signal(number, tmp_path, monkeypatch):
    interrupt_at("training", 1, monkeypatch, number)
    with pytest.raises(Stopped) as stopped:
        train(tmp_path / "run", 1)
    assert stopped.value.signal == number


def test_an_error_in_a_picture_leaves_no_iterator_whose_threads_block_the_exit(tmp_path, monkeypatch):
    write_folders(tmp_path / "d", 12)
    (tmp_path / "d" / "a" / "3.png").write_text("no picture")
    parts = data.read(tmp_path / "d")
    kind = type(iter(tf.data.Dataset.range(1)))

    def iterators_after_error() -> int:
        """Return how many iterators exist after a training that ends at the unreadable picture."""
        with pytest.raises(ValueError, match=r"a/3\.png: not a picture"):
            train(tmp_path / "run", 1, dataclasses.replace(RECIPE, batch=4), pictures=parts, strict=True)
        return sum(type(thing) is kind for thing in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        assert iterators_after_error() == 0
        monkeypatch.setattr(traceback, "clear_frames", lambda _: None)
        assert iterators_after_error() > 0  # What the test sees if frames are not cleared.
    finally:
        gc.enable()


def test_less_than_a_batch_of_readable_pictures_is_an_error(tmp_path):
    write_folders(tmp_path / "d", 6)
    parts = data.read(tmp_path / "d")
    for file in parts[0].pictures[:7]:
        file.write_text("no picture")
    with pytest.raises(ValueError, match="at least a batch of 8 readable training pictures. .* unreadable files: 7"):
        train(tmp_path / "run", 1, dataclasses.replace(RECIPE, batch=8), pictures=parts)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("left", ["nothing", "empty folders"])
def test_a_disk_that_is_gone_ends_the_training(left, strict, tmp_path, capsys):
    write_folders(tmp_path / "d" / "disk", 20)
    lines = [f"disk/{name}/{i}.png {name}" for name in ("a", "b") for i in range(20)]
    (tmp_path / "d" / "train.txt").write_text("\n".join(lines))
    parts = data.read(tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "disk")
    if left == "empty folders":
        for name in ("a", "b"):
            (tmp_path / "d" / "disk" / name).mkdir(parents=True)
    with pytest.raises(NotADirectoryError, match=r"d/disk.*: expected the pictures that were there; it is gone"):
        train(tmp_path / "run", 1, dataclasses.replace(RECIPE, batch=4), pictures=parts, strict=strict)
    assert not (tmp_path / "run" / "checkpoint.npz").exists() and "left out" not in capsys.readouterr().err
