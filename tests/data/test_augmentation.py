"""Crops, mirror images and colour shifts follow section 4.1 of the paper."""

import itertools

import numpy as np
import pytest

from tfalexnet.data.augmentation import AUGMENTATIONS
from tfalexnet.data.colours import IMAGENET_COLOURS

GREY = np.full((8, 8, 3), 100, np.uint8)
PICTURE = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def samples(augment: str, count: int = 600, picture=PICTURE, colours=IMAGENET_COLOURS) -> np.ndarray:
    """One picture, augmented `count` times to 6×6."""
    generator, augmented = np.random.default_rng(1), []
    for _ in range(count):
        image = picture.astype("f4")
        for step in AUGMENTATIONS[augment]:
            image = step(image, generator, 6, colours)
        augmented.append(image)
    return np.stack(augmented)


def test_the_names_of_the_augmentations():
    assert set(AUGMENTATIONS) == {"none", "mirror", "crop", "paper"}


def test_all_crops_and_mirror_images_are_equally_likely():
    pieces = {}
    for top in range(3):
        for left in range(3):
            piece = PICTURE[top : top + 6, left : left + 6].astype("f4")
            pieces[piece.tobytes()] = (top, left, 0)
            pieces[np.ascontiguousarray(piece[:, ::-1]).tobytes()] = (top, left, 1)
    drawn = [pieces[np.ascontiguousarray(sample).tobytes()] for sample in samples("crop", 1800)]
    counts = np.array([drawn.count(piece) for piece in pieces.values()])
    assert counts.sum() == 1800 and len(counts) == 18
    # Pearson's χ² with 17 degrees of freedom is below 41 with a probability of 0.999.
    assert ((counts - 100) ** 2 / 100).sum() < 41
    repeated = sum(a == b for a, b in itertools.pairwise(drawn))
    assert 50 < repeated < 160  # 100 are expected of independent draws.


def test_mirror_mirrors_half_of_the_pictures():
    mirrored = [sample[0, 0, 0] > sample[0, -1, 0] for sample in samples("mirror")]
    assert 240 < sum(mirrored) < 360


def test_the_shifts_by_imagenet_colours_have_the_published_covariance():
    """It is Σ (25.5·λ)² p pᵀ in levels 0–255, of the numbers in fb.resnet.torch; Gaussian, the same for each pixel."""
    eigenvalues = 0.2175, 0.0188, 0.0045
    eigenvectors = (-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203)
    expected = sum((25.5 * value) ** 2 * np.outer(p, p) for value, p in zip(eigenvalues, eigenvectors, strict=True))
    shifts = samples("paper", 6000, GREY) - 100
    assert np.ptp(shifts, axis=(1, 2)).max() < 1e-4
    np.testing.assert_allclose(np.cov(shifts[:, 0, 0], rowvar=False), expected, rtol=0.08)
    # Along each p the deviation is a tenth of its λ, also of the smallest.
    along = shifts[:, 0, 0] @ np.transpose(eigenvectors)
    np.testing.assert_allclose(along.std(axis=0), 25.5 * np.array(eigenvalues), rtol=0.06)
    assert 0.66 < np.mean(np.abs(along[:, 0]) < along[:, 0].std()) < 0.705 and abs(shifts.mean()) < 0.3


def test_the_shifts_by_other_colours_have_their_covariance():
    shifts = samples("paper", 4000, GREY, np.diag([0.0, 0.4, 0.1]).astype("f4")) - 100
    np.testing.assert_allclose(shifts[:, 0, 0].std(axis=0), [0, 10.2, 2.55], rtol=0.05)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_levels_of_grey_pictures_are_not_changed(augment):
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert set(np.unique(samples(augment, 20, picture))) <= set(range(64))
