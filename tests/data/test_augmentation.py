"""Augmentation does what the paper says, with its own arithmetic."""

import itertools

import numpy as np
import pytest

from tfalexnet.data.augmentation import AUGMENTATIONS, IMAGENET_COLOURS, principal_colours

GREY = np.full((8, 8, 3), 100, np.uint8)
PICTURE = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)


def samples(augment: str, count: int = 600, picture=PICTURE, colours=IMAGENET_COLOURS) -> np.ndarray:
    """One picture, augmented many times."""
    generator, found = np.random.default_rng(1), []
    for _ in range(count):
        image = picture.astype("f4")
        for step in AUGMENTATIONS[augment]:
            image = step(image, generator, 6, colours)
        found.append(image)
    return np.stack(found)


def test_crops_and_mirror_images_are_equally_likely():
    pieces = {}
    for top in range(3):
        for left in range(3):
            piece = PICTURE[top : top + 6, left : left + 6].astype("f4")
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


def test_colours_of_imagenet_are_the_published_ones():
    """Σ (25.5·λ)² p pᵀ in levels 0–255, of the numbers in fb.resnet.torch; Gaussian, the same for each pixel."""
    strengths = 0.2175, 0.0188, 0.0045
    directions = (-0.5675, -0.5808, -0.5836), (0.7192, -0.0045, -0.6948), (0.4009, -0.8140, 0.4203)
    expected = sum((25.5 * s) ** 2 * np.outer(p, p) for s, p in zip(strengths, directions, strict=True))
    shifts = samples("paper", 6000, GREY) - 100
    assert np.ptp(shifts, axis=(1, 2)).max() < 1e-4
    np.testing.assert_allclose(np.cov(shifts[:, 0, 0], rowvar=False), expected, rtol=0.08)
    # Along each p the deviation is a tenth of its λ alone, also of the weakest.
    along = shifts[:, 0, 0] @ np.transpose(directions)
    np.testing.assert_allclose(along.std(axis=0), 25.5 * np.array(strengths), rtol=0.06)
    assert 0.66 < np.mean(np.abs(along[:, 0]) < along[:, 0].std()) < 0.705 and abs(shifts.mean()) < 0.3


def test_principal_colours_are_eigenvectors_of_the_covariance():
    generator = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    base = generator.normal(0, 1, (50, 12, 9, 3)) * [30, 10, 3]
    pictures = (128 + base @ rotation.T).round().clip(0, 255).astype(np.uint8)
    found = principal_colours(iter(pictures)).astype("f8")
    covariance = np.cov(pictures.reshape(-1, 3).T / 255)
    strengths = np.linalg.norm(found, axis=0)
    np.testing.assert_allclose(covariance @ found, strengths * found, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(strengths, np.square([30, 10, 3]) / 255**2, rtol=0.1)  # As they were made.
    np.testing.assert_allclose(np.abs(np.sum(found / strengths * rotation, axis=0)), 1, atol=0.02)


def test_other_colours_shift_other_ways():
    shifts = samples("paper", 4000, GREY, np.diag([0.0, 0.4, 0.1]).astype("f4")) - 100
    np.testing.assert_allclose(shifts[:, 0, 0].std(axis=0), [0, 10.2, 2.55], rtol=0.05)


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_grey_pictures_keep_their_grey(augment):
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert set(np.unique(samples(augment, 20, picture))) <= set(range(64))
