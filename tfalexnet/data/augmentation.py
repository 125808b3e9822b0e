"""Training pictures varied at random: crops, mirror images, colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

# Directions times strengths of colour in ImageNet, of levels 0–1, R, G, B (facebook/fb.resnet.torch,
# datasets/imagenet.lua, after section 4.1 of the paper).
IMAGENET_COLOURS = np.float32(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * np.float32([0.2175, 0.0188, 0.0045])
COLOUR_DEVIATION = 0.1  # Of α in section 4.1.

Augmentation = Callable[[np.ndarray, np.random.Generator, int, np.ndarray], np.ndarray]
"""From a picture (height, width, channels), RGB or grey levels 0–255, float32, to another; after the generator
come the side that the network takes, and `principal_colours`."""


def crop(image: np.ndarray, random: np.random.Generator, side: int, _: np.ndarray) -> np.ndarray:
    """A side×side piece from anywhere in the picture, each place as likely as another."""
    top, left = (random.integers(0, length - side + 1) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def mirror(image: np.ndarray, random: np.random.Generator, _: int, __: np.ndarray) -> np.ndarray:
    """The picture, or in half of the cases its mirror image."""
    return image[:, ::-1] if random.random() < 0.5 else image


def colour(image: np.ndarray, random: np.random.Generator, _: int, colours: np.ndarray) -> np.ndarray:
    """The picture with [p₁ p₂ p₃][α₁λ₁ α₂λ₂ α₃λ₃]ᵀ added to each pixel, α ~ N(0, .1).

    Section 4.1 of the paper: once for each picture each time it is used. `colours` is [p₁λ₁ p₂λ₂ p₃λ₃],
    of levels 0–1; grey pictures are left alone.
    """
    if image.shape[2] != 3:
        return image
    alpha = random.normal(0, COLOUR_DEVIATION, 3).astype(np.float32)
    return image + 255 * (colours @ alpha)


AUGMENTATIONS: dict[str, tuple[Augmentation, ...]] = {
    "none": (),
    "mirror": (mirror,),
    "crop": (crop, mirror),
    "paper": (crop, mirror, colour),
}


def principal_colours(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Directions times strengths of colour, (3, 3), a column each, float32.

    They are eigenvectors times eigenvalues of the covariance of R, G and B over all pixels, strongest
    first (section 4.1 of the paper).

    Args:
        pictures: at least one, (height, width, 3), levels 0–255, which count as 0–1.
    """
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for picture in pictures:  # One by one: a thousand at once would be 1.5 GB.
        levels = np.asarray(picture, np.float64).reshape(-1, 3) / 255
        count, total, products = count + len(levels), total + levels.sum(0), products + levels.T @ levels
    mean = total / count
    strengths, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
    return (directions * strengths)[:, ::-1].astype(np.float32)
