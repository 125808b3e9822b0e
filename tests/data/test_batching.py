"""Batches as `fit` and a restarted training want them: order, randomness and unreadable files under a seed."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfalexnet
from tfalexnet import data
from tfalexnet.data import PREPARED
from tfalexnet.data.batching import AUGMENTATIONS, Labelled, Skipped, prepared
from tfalexnet.images.decode import PictureError
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.catalog import BVLC_ALEXNET, MNIST_28

PLAIN = Preprocessing("squash", 8, 6, antialias=True, channels="RGB", mean=(0.0, 0.0, 0.0))


def numbered(count: int, side: int = 8) -> Labelled:
    """Pictures whose levels are their number."""
    levels = np.arange(count, dtype=np.uint8)[:, None, None, None]
    return Labelled(np.broadcast_to(levels, (count, side, side, 3)), np.arange(count) % 3, ("a", "b", "c"))


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


def test_a_folder_is_ready_for_fit(folder):
    dataset = data.from_folder(folder, "cifar10_18pct", batch=6, augment="crop")
    assert dataset.class_names == ["ant", "bee", "cat"]
    model = tfalexnet.AlexNet("cifar10_18pct", classes=3)
    model.compile("sgd", "sparse_categorical_crossentropy")
    validation = data.from_folder(folder, "cifar10_18pct", 6, part="validation")
    history = model.fit(dataset, validation_data=validation, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    labels = np.concatenate([y.numpy() for _, y in dataset])
    assert sorted(labels) == [0] * 6 + [1] * 6 + [2] * 6


def test_validation_pictures_are_what_predict_sees(folder):
    ((inputs, labels),) = data.from_folder(folder, "bvlc_alexnet", 6, part="validation")
    process = PREPARED["bvlc_alexnet"]
    files = [folder / "val" / name / f"{i}.png" for name in ("ant", "bee", "cat") for i in range(2)]
    np.testing.assert_array_equal(inputs, np.stack([process(file) for file in files]))
    np.testing.assert_array_equal(labels, [0, 0, 1, 1, 2, 2])


def test_every_picture_comes_once_an_epoch_in_another_order():
    dataset = data.batches(numbered(30), PLAIN, 5, "none", seed=3)
    epochs = [[int(x) for inputs, _, _ in dataset for x in inputs[:, 0, 0, 0]] for _ in range(3)]
    assert all(sorted(epoch) == list(range(30)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0] and epochs[0] != sorted(epochs[0])
    again = data.batches(numbered(30), PLAIN, 5, "none", seed=3, epoch=2)
    assert [int(x) for inputs, _, _ in again for x in inputs[:, 0, 0, 0]] == epochs[2]
    # Over the whole set: how far pictures travel is that of a permutation, a third of the length.
    many = data.batches(numbered(240), PLAIN, 240, "none")
    (order,) = [inputs[:, 0, 0, 0].numpy() for inputs, _, _ in many]
    assert 240 / 4 < np.abs(order - np.arange(240)).mean() < 240 / 2.4


def test_an_epoch_is_taken_up_anywhere():
    whole = [tuple(map(np.array, batch)) for batch in data.batches(numbered(30), PLAIN, 5, "paper", seed=3, epoch=1)]
    rest = [tuple(map(np.array, b)) for b in data.batches(numbered(30), PLAIN, 5, "paper", seed=3, epoch=1, start=10)]
    assert len(rest) == 4
    for ours, theirs in zip(rest, whole[2:], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_workers_share_a_batch():
    whole = data.batches(numbered(32), PLAIN, 8, "paper", seed=3)
    shares = [data.batches(numbered(32), PLAIN, 8, "paper", seed=3, shard=(i, 2), replicas=2) for i in range(2)]
    pieces = [list(share) for share in shares]
    for i, (inputs, labels, _) in enumerate(whole):
        own = [pieces[worker][2 * i + replica] for worker in range(2) for replica in range(2)]
        np.testing.assert_array_equal(np.concatenate([piece[0] for piece in own]), inputs)
        np.testing.assert_array_equal(np.concatenate([piece[1] for piece in own]), labels)


def test_threads_change_nothing(folder):
    code = (
        "import sys, tensorflow as tf, numpy as np\n"
        "tf.config.threading.set_inter_op_parallelism_threads(int(sys.argv[1]))\n"
        "tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))\n"
        "from tfalexnet import data\n"
        "x = [x.numpy() for x, _ in data.from_folder(sys.argv[2], 'cifar10_18pct', 6, seed=4)]\n"
        "print(repr(np.sum(np.concatenate(x) * np.arange(len(x) * 6)[:, None, None, None], dtype='f8')))\n"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code, threads, folder], capture_output=True, text=True).stdout
        for threads in ("1", "7")
    ]
    assert runs[0] == runs[1] and "." in runs[0]


def test_unreadable_files_are_named_and_left_out_or_end_all(folder):
    (folder / "train" / "ant" / "0.png").write_text("no picture")
    (folder / "train" / "bee" / "0.png").unlink()
    (folder / "train" / "bee" / "0.png").symlink_to("nowhere")
    dataset = data.from_folder(folder, "cifar10_18pct", batch=4, augment="none")
    assert sum(len(y) for _, y in dataset) == 16 == dataset.cardinality() * 4
    assert len(dataset.skipped) == 2 and "not a picture" in dataset.skipped[str(folder / "train" / "ant" / "0.png")]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"PictureError: .*0\.png"):
        list(data.from_folder(folder, "cifar10_18pct", batch=4, augment="none", strict=True))
    with pytest.raises(PictureError):
        Skipped(strict=True).add(PictureError("a", "b"))


def test_unreadable_files_are_counted(tmp_path):
    skipped = Skipped()
    assert skipped.report(9) == ""
    for name in ("b", "a", "b"):
        (tmp_path / name).touch()
        skipped.add(PictureError(str(tmp_path / name), "empty file"))
    assert skipped.report(1200).splitlines() == [
        "2 of 1,200 files could not be read",
        f"left out {tmp_path}/a: empty file",
        f"left out {tmp_path}/b: empty file",
    ]


def test_a_training_of_unreadable_files_ends(folder):
    for file in folder.glob("train/*/*.png"):
        file.write_text("no picture")
    assert not list(data.from_folder(folder, "cifar10_18pct", 4))


def of_colours(rotation, count=40) -> Labelled:
    """Pictures whose colours vary along three directions, by 40, 12 and 4 levels."""
    base = np.random.default_rng(0).normal(0, 1, (count, 9, 9, 3)) * [40, 12, 4]
    pixels = (128 + base @ rotation.T).round().clip(0, 255).astype(np.uint8)
    return Labelled(pixels, np.arange(count) % 2, ("a", "b"))


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_own_colours_shift_pictures_along_their_covariance(channels):
    rotation, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    training = of_colours(rotation)
    process = Preprocessing("squash", 9, 9, antialias=True, channels=channels, mean=(0.0,) * 3)
    own = data.colours_of("own", training, process)
    grey = Labelled(np.full((3000, 9, 9, 3), 100, np.uint8), np.arange(3000) % 2, ("a", "b"))
    found = data.batches(grey, process, 100, "paper", colours=own)
    shifts = np.concatenate([x[:, 0, 0].numpy() for x, _, _ in found]) - 100
    strengths, directions = np.linalg.eigh(np.cov(training.pictures.reshape(-1, 3).T / 255))
    expected = np.cov(shifts.T)
    ours = (directions * (25.5 * strengths) ** 2) @ directions.T
    if channels == "BGR":
        ours = ours[::-1, ::-1]
    np.testing.assert_allclose(expected, ours, rtol=0.1, atol=0.05 * np.abs(ours).max())
    default = np.concatenate([x[:, 0, 0].numpy() for x, _, _ in data.batches(grey, process, 100, "paper")]) - 100
    assert np.abs(default).mean() > 2 * np.abs(shifts).mean()  # ImageNet's are stronger.


def test_own_colours_are_of_the_pictures_that_can_be_read(folder):
    (folder / "train" / "ant" / "0.png").write_text("no picture")
    training, _ = data.read(folder)
    process = dataclasses.replace(PLAIN, size=40)
    pixels = [process.resized(file) for file in training.pictures[1:]]
    covariance = np.cov(np.concatenate([p.reshape(-1, 3) for p in pixels]).T / 255, ddof=0)
    own = data.colours_of("own", training, process).astype("f8")
    np.testing.assert_allclose(own @ np.linalg.pinv(own), np.linalg.pinv(covariance) @ covariance, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(own, axis=0), np.linalg.eigvalsh(covariance)[::-1], atol=1e-6)
    inputs, _ = next(iter(data.from_folder(folder, "one_weird_trick", 4, colours="own", seed=3)))
    other, _ = next(iter(data.from_folder(folder, "one_weird_trick", 4, seed=3)))
    assert np.abs(inputs - other).max() > 1e-3
    for file in training.pictures:
        file.write_text("no picture")
    with pytest.raises(ValueError, match="Expected pictures that can be read. Received none"):
        data.colours_of("own", training, process)


def test_own_colours_are_of_a_thousand_pictures_at_most():
    looked = []

    class Watched(list):
        def __getitem__(self, place):
            looked.append(place)
            return super().__getitem__(place)

    many = Watched([np.zeros((6, 6, 3), np.uint8)] * 1500)
    data.colours_of("own", Labelled(many, np.zeros(1500, int), ("a", "b")), PLAIN)
    assert len(set(looked)) == len(looked) == 1000 and 700 < np.mean(looked) < 800  # From all over the set.


def test_wrong_arguments(folder):
    with pytest.raises(ValueError, match=r"batch of 1 to 30 pictures.*Received: 31"):
        data.batches(numbered(30), PLAIN, 31, "none")
    for part, batch in itertools.product(("training", "validation"), (0, 2.5)):
        with pytest.raises(ValueError, match=f"a batch of 1 to .* a whole number .*Received: {batch}$"):
            data.from_folder(folder, "mnist_28", batch, part=part)
    with pytest.raises(ValueError, match=r"`augment` to be one of none, mirror, crop, paper. Received: 'x'"):
        data.batches(numbered(30), PLAIN, 3, "x")
    with pytest.raises(ValueError, match="3 replicas share evenly. Received: 4"):
        data.batches(numbered(30), PLAIN, 4, "none", shard=(0, 3))
    with pytest.raises(ValueError, match="`colours` to be one of imagenet, own. Received: 'x'"):
        data.colours_of("x", numbered(30), PLAIN)
    with pytest.raises(ValueError, match="network that sees colours.*Received: a grey one"):
        data.colours_of("own", numbered(30), PREPARED["mnist_28"])
    with pytest.raises(ValueError, match="`part` to be training or validation. Received: 'val'"):
        data.from_folder(folder, part="val")
    assert set(AUGMENTATIONS) == {"none", "mirror", "crop", "paper"}


def gradient(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 100 * np.sin(x / 7 + y / 5)], -1).astype("uint8")


def test_the_paper_prepares_the_central_256_of_the_shorter_side():
    """NIPS 2012, section 2; the mean is ILSVRC's, R, G, B."""
    picture = gradient(500, 375)
    resized = np.asarray(Image.fromarray(picture).resize((341, 256), Image.Resampling.BILINEAR), "f4")
    central = resized[:, 42:298]
    process = prepared("krizhevsky2012")
    np.testing.assert_array_equal(process.resized(picture), central)
    expected = central[14:241, 14:241] - np.float32([122.67891, 116.66877, 104.00699])
    np.testing.assert_allclose(process(picture), expected, atol=1e-4)
    one = Labelled(np.stack([picture] * 8), np.zeros(8, int), ("a", "b"))
    pieces = {
        (central[top : top + 227, left : left + 227, 0] - np.float32(122.67891)).tobytes()
        for top in range(30)
        for left in range(30)
    }
    for x, _, _ in data.batches(one, process, 8, "crop", seed=1):
        found = {
            min(p.tobytes(), np.ascontiguousarray(p[:, ::-1]).tobytes(), key=lambda b: b not in pieces)
            for p in x.numpy()[..., 0]
        }
        assert found <= pieces and len(found) > 4


@pytest.mark.data
def test_cifar10s_mean_is_that_of_its_training_pictures(data):
    files = sorted((data / "cifar10" / "train").glob("*/*"))[::50]
    mean = np.mean([np.asarray(Image.open(file), "f4") for file in files], axis=0)
    ours = PREPARED["cifar10_18pct"].mean
    assert ours.shape == (32, 32, 3) and np.abs(ours - mean).max() < 64 / np.sqrt(len(files)) * 5
    assert np.abs(ours - ours.mean((0, 1))).max() > 5  # A picture, no number a channel.


TABLES = {
    "known": (MNIST_28, "mnist_28", (28, 28, 1)),
    "own": (MNIST_28, "mine", (28, 28, 1)),
    "own, with colours": (BVLC_ALEXNET, "mine", (227, 227, 3)),
    "known, of another size": (BVLC_ALEXNET, "bvlc_alexnet", (99, 99, 3)),
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_its_pictures(name, folder):
    table, called, shape = TABLES[name]
    net = dataclasses.replace(table, name=called, input_shape=shape)
    process = prepared(net)
    assert process.shape == shape and set(PREPARED) == set(tfalexnet.ARCHITECTURES)
    assert (process is PREPARED.get(called)) == (name == "known")
    inputs, _ = next(iter(data.from_folder(folder, net, 2)))
    assert inputs.shape == (2, *shape)
    if name != "known":
        white = np.full((80, 300, 3), 255, np.uint8)
        assert process.size > process.crop and np.allclose(process(white), 1)


@pytest.mark.parametrize("shape", [(20, 30, 3), (20, 20, 2)])
def test_a_table_of_another_input_is_refused(shape):
    net = dataclasses.replace(MNIST_28, name="mine", input_shape=shape)
    with pytest.raises(ValueError, match=r"square input of 1 or 3 channels for mine. Received: \(20, "):
        prepared(net)
