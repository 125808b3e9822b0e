"""Batches for `fit` and for resumed trainings: order, randomness and unreadable files under a seed."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfalexnet import data
from tfalexnet.data.batching import Labelled
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.catalog import MNIST_28

PLAIN = Preprocessing("squash", 8, 6, antialias=True, channels="RGB", mean=(0.0, 0.0, 0.0))


def numbered(count: int, side: int = 8) -> Labelled:
    """Pictures whose levels are their number."""
    levels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return Labelled(np.broadcast_to(levels, (count, side, side, 3)), np.arange(count) % 3, ("a", "b", "c"))


def order(dataset: tf.data.Dataset) -> list[int]:
    """The numbers of `numbered` pictures in the order of an epoch."""
    return np.concatenate([inputs[:, 0, 0, 0] for inputs, _, _ in dataset.as_numpy_iterator()]).astype(int).tolist()


def assert_equal(batch, other) -> None:
    for array, expected in zip(batch, other, strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.fixture
def folder(tmp_path):
    """Class folders of pictures, each class of its own colour."""
    for part, count in {"train": 6, "val": 2}.items():
        for level, name in enumerate(("ant", "bee", "cat")):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                colour = np.full((40, 50, 3), 40 * level + i, np.uint8)
                Image.fromarray(colour).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def test_the_batches_of_a_folder_are_accepted_by_fit(folder):
    dataset = data.from_folder(folder, dataclasses.replace(MNIST_28, name="mine"), batch=6, augment="crop")
    assert dataset.class_names == ["ant", "bee", "cat"] and dataset.cardinality() == 3
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    validation = data.from_folder(folder, "mnist_28", 6, part="validation")
    assert dataset.element_spec[0].shape[1:] == MNIST_28.input_shape == validation.element_spec[0].shape[1:]
    history = model.fit(dataset, validation_data=validation, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all() and np.isfinite(history.history["val_loss"]).all()
    labels = np.concatenate([y.numpy() for _, y in dataset])
    assert labels.dtype == np.int64 and sorted(labels) == [0] * 6 + [1] * 6 + [2] * 6


def test_validation_pictures_are_preprocessed_as_in_predict(folder):
    ((inputs, labels),) = data.from_folder(folder, "bvlc_alexnet", 6, part="validation")
    files = [folder / "val" / name / f"{i}.png" for name in ("ant", "bee", "cat") for i in range(2)]
    np.testing.assert_array_equal(inputs, np.stack([data.PREPARED["bvlc_alexnet"](file) for file in files]))
    np.testing.assert_array_equal(labels, [0, 0, 1, 1, 2, 2])


def test_the_colours_of_a_folder_are_those_asked_for(folder):
    imagenet, own = (
        next(iter(data.from_folder(folder, "cifar10_18pct", 4, colours=colours, seed=3)))[0].numpy()
        for colours in ("imagenet", "own")
    )
    assert np.abs(imagenet - own).max() > 1e-3


def test_each_epoch_has_every_picture_once_in_another_order():
    dataset = data.batches(numbered(30), PLAIN, 5, "none", seed=3)
    epochs = [order(dataset) for _ in range(3)]
    assert all(sorted(epoch) == list(range(30)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] and epochs[0] != sorted(epochs[0])
    assert order(data.batches(numbered(30), PLAIN, 5, "none", seed=3, epoch=2)) == epochs[2]


def test_pictures_are_shuffled_over_the_whole_set():
    """The mean distance between the old and the new index is a third of the length, as of a random permutation."""
    shuffled = np.array(order(data.batches(numbered(240), PLAIN, 240, "none")))
    assert 240 / 4 < np.abs(shuffled - np.arange(240)).mean() < 240 / 2.4


def test_validation_has_all_pictures_in_order():
    dataset = data.batches(numbered(8), PLAIN, 5)
    assert order(dataset) == order(dataset) == list(range(8))


def test_pictures_that_fill_no_batch_are_others_in_each_epoch():
    dataset = data.batches(numbered(8), PLAIN, 5, "none")
    epochs = [set(order(dataset)) for _ in range(4)]
    assert {len(epoch) for epoch in epochs} == {5} and set.union(*epochs) == set(range(8))


def test_an_epoch_can_be_resumed_at_any_batch():
    epoch = data.batches(numbered(30), PLAIN, 5, "paper", seed=3, epoch=1).as_numpy_iterator()
    first = list(itertools.islice(epoch, 2))
    start = int(first[-1][2][-1]) + 1
    rest = list(data.batches(numbered(30), PLAIN, 5, "paper", seed=3, epoch=1, start=start).as_numpy_iterator())
    assert start == 10 and len(rest) == 4
    for batch, expected in zip(rest, epoch, strict=True):
        assert_equal(batch, expected)


def test_workers_and_replicas_share_each_batch():
    complete = data.batches(numbered(32), PLAIN, 8, "paper", seed=3)
    shares = [data.batches(numbered(32), PLAIN, 8, "paper", seed=3, shard=(i, 2), replicas=2) for i in range(2)]
    pieces = [list(share.as_numpy_iterator()) for share in shares]
    for i, batch in enumerate(complete.as_numpy_iterator()):
        parts = [pieces[worker][2 * i + replica] for worker in range(2) for replica in range(2)]
        assert_equal(map(np.concatenate, zip(*parts, strict=True)), batch)


def test_the_number_of_threads_does_not_change_the_batches():
    """Every eighth picture takes much longer to resize, so that threads finish in another order."""
    pictures = [np.full((1500, 1500, 3) if i % 8 == 0 else (8, 8, 3), i, np.uint8) for i in range(32)]
    training = Labelled(pictures, np.arange(32), tuple(map(str, range(32))))
    runs = []
    for threads in (1, 7):
        options = tf.data.Options()
        options.threading.private_threadpool_size = threads
        dataset = data.batches(training, PLAIN, 8, "paper", seed=4).with_options(options)
        runs.append(list(dataset.as_numpy_iterator()))
    for batch, expected in zip(*runs, strict=True):
        assert_equal(batch, expected)


def test_unreadable_files_are_replaced_or_end_the_training(folder):
    (folder / "train" / "ant" / "0.png").write_text("no picture")
    (folder / "train" / "bee" / "0.png").unlink()
    (folder / "train" / "bee" / "0.png").symlink_to("nowhere")
    dataset = data.from_folder(folder, "cifar10_18pct", batch=4, augment="none")
    assert sum(len(y) for _, y in dataset) == 16 == dataset.cardinality() * 4
    assert len(dataset.skipped) == 2 and "not a picture" in dataset.skipped[str(folder / "train" / "ant" / "0.png")]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"PictureError: .*0\.png"):
        list(data.from_folder(folder, "cifar10_18pct", batch=4, augment="none", strict=True))


def test_a_folder_of_unreadable_files_gives_no_batch(folder):
    for file in folder.glob("train/*/*.png"):
        file.write_text("no picture")
    assert not list(data.from_folder(folder, "cifar10_18pct", 4))


def test_wrong_arguments_are_refused(folder):
    with pytest.raises(ValueError, match="`batch` to be an integer from 1 to 30, all pictures. Received: 31"):
        data.batches(numbered(30), PLAIN, 31, "none")
    for part, batch in itertools.product(("training", "validation"), (0, 2.5)):
        with pytest.raises(ValueError, match=f"`batch` to be an integer from 1 to .* Received: {batch}$"):
            data.from_folder(folder, "mnist_28", batch, part=part)
    with pytest.raises(ValueError, match=r"`augment` to be one of none, mirror, crop, paper. Received: 'x'"):
        data.batches(numbered(30), PLAIN, 3, "x")
    with pytest.raises(ValueError, match="3 replicas share evenly. Received: 4"):
        data.batches(numbered(30), PLAIN, 4, "none", shard=(0, 3))
    with pytest.raises(ValueError, match="`part` to be training or validation. Received: 'val'"):
        data.from_folder(folder, part="val")
