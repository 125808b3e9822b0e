"""Random crops, mirror images and colour shifts of training pictures."""

from collections.abc import Callable

import numpy as np

COLOUR_DEVIATION = 0.1  # Of α in section 4.1 of the paper.

Augmentation = Callable[[np.ndarray, np.random.Generator, int, np.ndarray], np.ndarray]
"""A function of a picture (height, width, channels), float32, RGB or grey levels 0–255, of a generator, of the side of
the network's input and of the colours (see `tfalexnet.data.colours`); it returns the changed picture."""


def crop(image: np.ndarray, random: np.random.Generator, side: int, _: np.ndarray) -> np.ndarray:
    """Return a side×side piece of the picture; all positions are equally likely."""
    top, left = (random.integers(0, length - side + 1) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def mirror(image: np.ndarray, random: np.random.Generator, _: int, __: np.ndarray) -> np.ndarray:
    """Return the picture or, with probability 1/2, its mirror image."""
    return image[:, ::-1] if random.random() < 0.5 else image


def colour(image: np.ndarray, random: np.random.Generator, _: int, colours: np.ndarray) -> np.ndarray:
    """Return the picture with [p₁ p₂ p₃][α₁λ₁ α₂λ₂ α₃λ₃]ᵀ added to each pixel, α ~ N(0, 0.1).

    The α are drawn once for each use of a picture (section 4.1 of the paper). `colours` is [p₁λ₁ p₂λ₂ p₃λ₃], for
    levels 0–1. Grey pictures are not changed.
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
