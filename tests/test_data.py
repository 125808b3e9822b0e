"""Data in every form to batches; augmentation for what it does; order and randomness under a seed."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfalexnet
from tfalexnet import data
from tfalexnet.data import AUGMENTATIONS, PREPARED, Labelled, Skipped
from tfalexnet.preprocessing import PictureError, Preprocessing

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


def test_every_form_of_data_is_the_same_data(folder, tmp_path):
    wanted = data.read(folder)
    for separator, names in (("list", ("ant", "bee", "cat")), ("numbers", "012")):
        (tmp_path / separator).mkdir()
        for part, own in zip(("train", "val"), wanted, strict=True):
            lines = [
                f"../{file.relative_to(tmp_path)} {names[y]}"
                for file, y in zip(own.pictures, own.labels, strict=True)
            ]
            (tmp_path / separator / f"{part}.txt").write_text("\n".join(lines))
        for found, own in zip(data.read(tmp_path / separator), wanted, strict=True):
            assert [file.resolve() for file in found.pictures] == [file.resolve() for file in own.pictures]
            np.testing.assert_array_equal(found.labels, own.labels)
            assert found.classes == tuple(names)
    arrays = {}
    for part, own in zip(("train", "test"), wanted, strict=True):
        arrays[f"x_{part}"] = np.stack([np.asarray(Image.open(file)) for file in own.pictures])
        arrays[f"y_{part}"] = own.labels[:, None]
    np.savez(tmp_path / "data.npz", **arrays)
    archive = data.read(tmp_path / "data.npz")
    batch = [next(iter(data.batches(part, PREPARED["mnist_28"], 18)))[0] for part in (archive[0], wanted[0])]
    np.testing.assert_array_equal(*batch)


def test_a_tenth_validates_where_nobody_says(folder):
    training, validation = data.read(folder / "train", seed=1)
    assert (len(training), len(validation)) == (16, 2)
    assert not set(training.pictures) & set(validation.pictures)
    assert data.read(folder / "train", seed=1)[1].pictures == validation.pictures
    assert any(data.read(folder / "train", seed=seed)[1].pictures != validation.pictures for seed in range(2, 6))


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


def samples(augment: str, count: int = 600, picture=None) -> np.ndarray:
    """One picture, augmented many times, each time as another picture of the set would be."""
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3) if picture is None else picture
    many = Labelled(np.broadcast_to(picture, (count, *picture.shape)), np.zeros(count, int), ("a", "b"))
    return np.concatenate([x.numpy() for x, _, _ in data.batches(many, PLAIN, 100, augment, seed=1)])


def test_crops_and_mirror_images_are_equally_likely():
    picture = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    pieces = {}
    for top in range(3):
        for left in range(3):
            piece = picture[top : top + 6, left : left + 6].astype("f4")
            pieces[piece.tobytes()] = (top, left, 0)
            pieces[np.ascontiguousarray(piece[:, ::-1]).tobytes()] = (top, left, 1)
    seen = [pieces[np.ascontiguousarray(sample).tobytes()] for sample in samples("crop", 1800)]
    counts = np.array([seen.count(place) for place in pieces.values()])
    assert counts.sum() == 1800 and len(counts) == 18
    # Pearson's χ² with 17 degrees of freedom is below 41 in 999 of 1000 cases.
    assert ((counts - 100) ** 2 / 100).sum() < 41
    together = sum(a == b for a, b in itertools.pairwise(seen))
    assert 50 < together < 160  # One in eighteen, were neighbours independent.


def test_mirror_alone_mirrors_half():
    mirrored = [sample[0, 0, 0] > sample[0, -1, 0] for sample in samples("mirror")]
    assert 240 < sum(mirrored) < 360


def test_colours_are_the_papers_equation():
    grey = np.full((8, 8, 3), 100, np.uint8)
    shifts = samples("paper", 2000, grey) - 100
    assert np.ptp(shifts, axis=(1, 2)).max() < 1e-4  # The same for every pixel of a picture.
    covariance = np.cov(shifts[:, 0, 0], rowvar=False)
    expected = (25.5 * data.IMAGENET_COLOURS) @ (25.5 * data.IMAGENET_COLOURS).T
    np.testing.assert_allclose(covariance, expected, rtol=0.15, atol=0.1)
    assert abs(shifts.mean()) < 0.5
    directions = data.IMAGENET_COLOURS / np.linalg.norm(data.IMAGENET_COLOURS, axis=0)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=2e-3)


def test_colours_of_a_training_set_are_found():
    generator = np.random.default_rng(0)
    base = generator.normal(0, 1, (50, 4, 4, 3)) * [30, 10, 3]
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    pixels = (128 + base @ rotation.T).round().clip(0, 255).astype(np.uint8)
    found = data.colours(pixels)
    variances = np.square([30, 10, 3]) / 255**2
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), variances, rtol=0.2)
    unit = found / np.linalg.norm(found, axis=0)
    np.testing.assert_allclose(np.abs(np.sum(unit * rotation, axis=0)), 1, atol=0.02)


def test_grey_pictures_keep_their_grey():
    image = np.zeros((4, 4, 1), "f4")
    assert data.colour(image, np.random.default_rng(0), 4) is image


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


WRONG = {
    "no such place": (lambda f: f / "none", "Expected a folder of pictures, an .npz or one of mnist"),
    "no class folders": (
        lambda f: f / "train" / "ant",
        "expected a folder of pictures for each class; received none",
    ),
    "an empty class": (lambda f: (f / "train" / "dog").mkdir() or f, "dog: expected pictures"),
    "one class": (lambda f: one_class(f), "at least two classes; received ant alone"),
    "a class of validation alone": (
        lambda f: (f / "val" / "ant").rename(f / "val" / "dog") and f,
        "classes of validation among those of training; received dog",
    ),
    "floats": (
        lambda f: save(f / "x.npz", x_train=np.zeros((3, 4, 4)), y_train=np.arange(3)),
        r"Expected pictures of uint8.*float64 \(3, 4, 4\)",
    ),
    "other arrays": (lambda f: save(f / "x.npz", a=np.zeros(3)), "expected arrays x_train and y_train; received a"),
    "a list without classes": (lambda f: write(f / "train.txt", "a.png"), "line 1: expected a path and a class"),
}


def one_class(folder):
    for part in ("train", "val"):
        for name in ("bee", "cat"):
            (folder / part / name).rename(folder / f"{part}{name}")
    return folder


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def write(path, text):
    path.write_text(text)
    return path.parent


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_is_said(name, folder):
    make, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        data.read(make(folder))


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"batch of 1 to 30 pictures.*Received: 31"):
        data.batches(numbered(30), PLAIN, 31, "none")
    with pytest.raises(ValueError, match=r"`augment` to be one of none, mirror, crop, paper. Received: 'x'"):
        data.batches(numbered(30), PLAIN, 3, "x")
    with pytest.raises(ValueError, match="3 replicas share evenly. Received: 4"):
        data.batches(numbered(30), PLAIN, 4, "none", shard=(0, 3))
    assert set(AUGMENTATIONS) == {"none", "mirror", "crop", "paper"}
    assert set(PREPARED) == set(tfalexnet.ARCHITECTURES)


def test_classes_get_names_and_an_order(folder):
    training, _ = data.read(folder)
    other = data.called(training, ["cat", "ant", "bee"])
    assert [other.classes[y] for y in other.labels] == [training.classes[y] for y in training.labels]
    with pytest.raises(ValueError, match="Expected the classes ant, bee, cat, in any order. Received: ant, bee"):
        data.called(training, ["ant", "bee"])
    digits = data.from_arrays(np.zeros((3, 4, 4), "u1"), np.arange(3))
    assert data.called(digits, ["zero", "one", "two"]).classes == ("zero", "one", "two")
