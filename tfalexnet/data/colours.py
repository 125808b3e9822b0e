"""The principal components of colour that the paper's augmentation adds to pictures (section 4.1)."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tfalexnet.data.labelled import Labelled
from tfalexnet.images.opening import PictureError
from tfalexnet.images.preprocessing import Preprocessing

# Eigenvectors, a column each, times eigenvalues of the colours in ImageNet, for levels 0–1, rows R, G, B
# (facebook/fb.resnet.torch, datasets/imagenet.lua, after section 4.1 of the paper).
IMAGENET_COLOURS = np.float32(
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
) * np.float32([0.2175, 0.0188, 0.0045])
SAMPLE = 1000  # Pictures of a training set that its colours are computed from: 65 million pixels of 256×256.


def principal_colours(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """Return eigenvectors times eigenvalues of the covariance of R, G and B over all pixels (section 4.1).

    Args:
        pictures: (height, width, 3), levels 0–255, which are divided by 255.

    Returns:
        float32 (3, 3), a column for each eigenvector, the largest eigenvalue first.

    Raises:
        ValueError: there is no picture.
    """
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for picture in pictures:  # One by one: a thousand at once would need 1.5 GB.
        levels = np.asarray(picture, np.float64).reshape(-1, 3) / 255
        count, total, products = count + len(levels), total + levels.sum(0), products + levels.T @ levels
    if not count:
        raise ValueError("Expected pictures that can be read. Received none.")
    mean = total / count
    eigenvalues, eigenvectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    return (eigenvectors * eigenvalues)[:, ::-1].astype(np.float32)


def own_colours(data: Labelled, preprocessing: Preprocessing) -> np.ndarray:
    """Return the `principal_colours` of a training set, or of `SAMPLE` of its pictures if it has more.

    Raises:
        ValueError: the network takes grey pictures, or no picture can be read.
    """
    if preprocessing.channels == "L":
        raise ValueError("Expected a network of RGB pictures for colours='own'. Received: one of grey pictures.")
    chosen = np.random.default_rng(0).permutation(len(data))[:SAMPLE]
    return principal_colours(_readable(data, preprocessing, np.sort(chosen)))


COLOURS: dict[str, Callable[[Labelled, Preprocessing], np.ndarray]] = {
    "imagenet": lambda _, __: IMAGENET_COLOURS,
    "own": own_colours,
}


def colours_of(name: str, data: Labelled, preprocessing: Preprocessing) -> np.ndarray:
    """Return the colours that `augment="paper"` adds to training pictures, float32 (3, 3).

    Args:
        name: of `COLOURS`: "imagenet", or "own" for those of the training pictures.
        data: the training pictures.
        preprocessing: resizes them.

    Raises:
        ValueError: there is no such name, or see `own_colours`.
    """
    if name not in COLOURS:
        raise ValueError(f"Expected `colours` to be one of {', '.join(COLOURS)}. Received: {name!r}")
    return COLOURS[name](data, preprocessing)


def _readable(data: Labelled, preprocessing: Preprocessing, indices: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the resized pictures of these indices without those that cannot be read."""
    for index in indices:
        with contextlib.suppress(PictureError):
            yield preprocessing.resized(data.pictures[index])
