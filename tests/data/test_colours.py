"""Principal colours are eigenvectors of the covariance of a training set, and shift pictures along them."""

import numpy as np
import pytest
from PIL import Image

from tfalexnet import data
from tfalexnet.data.colours import IMAGENET_COLOURS, principal_colours
from tfalexnet.data.labelled import Labelled
from tfalexnet.images.preprocessing import Preprocessing


def squash(side: int, channels: str = "RGB") -> Preprocessing:
    return Preprocessing("squash", side, side, antialias=True, channels=channels, mean=(0.0,) * len(channels))


def coloured(deviations=(40, 12, 4), count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Pictures whose colours vary along three directions by `deviations`, and the directions."""
    generator = np.random.default_rng(5)
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    levels = 128 + (generator.normal(0, 1, (count, 9, 9, 3)) * deviations) @ rotation.T
    return levels.round().clip(0, 255).astype(np.uint8), rotation


def labelled(pictures) -> Labelled:
    return Labelled(pictures, np.arange(len(pictures)) % 2, ("a", "b"))


def test_principal_colours_are_eigenvectors_of_the_covariance():
    pictures, rotation = coloured(deviations=(30, 10, 3), count=70)
    colours = principal_colours(iter(pictures)).astype("f8")
    covariance = np.cov(pictures.reshape(-1, 3).T / 255)
    eigenvalues = np.linalg.norm(colours, axis=0)
    np.testing.assert_allclose(covariance @ colours, eigenvalues * colours, rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(eigenvalues, np.square([30, 10, 3]) / 255**2, rtol=0.1)  # As they were drawn.
    np.testing.assert_allclose(np.abs(np.sum(colours / eigenvalues * rotation, axis=0)), 1, atol=0.02)


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("name", ["own", "imagenet"])
def test_pictures_are_shifted_by_the_colours_times_random_numbers(name, channels):
    pictures, _ = coloured()
    preprocessing = squash(9, channels)
    colours = data.colours_of(name, labelled(pictures), preprocessing)
    grey = labelled(np.full((8, 9, 9, 3), 100, np.uint8))

    def shifts(colours: np.ndarray) -> np.ndarray:
        """The shifts of red, green and blue of each picture, levels 0–1."""
        ((inputs, _, _),) = data.batches(grey, preprocessing, 8, "paper", colours=colours)
        channels_last = inputs.numpy()[:, 0, 0] if channels == "RGB" else inputs.numpy()[:, 0, 0, ::-1]
        return (channels_last - 100) / 255

    alpha = shifts(np.eye(3, dtype="f4"))  # The same in both calls, which have the same seed.
    np.testing.assert_allclose(shifts(colours), alpha @ colours.T, atol=1e-6)
    assert np.abs(alpha @ colours.T).min(axis=0).min() > 1e-6
    expected = principal_colours(pictures) if name == "own" else IMAGENET_COLOURS
    np.testing.assert_array_equal(colours, expected)


def test_own_colours_leave_out_pictures_that_cannot_be_read(tmp_path):
    for level, name in enumerate(("ant", "bee")):
        (tmp_path / name).mkdir()
        for i in range(4):
            Image.new("RGB", (12, 9), (40 * level, 20 * i, 10 * i * i)).save(tmp_path / name / f"{i}.png")
    (tmp_path / "ant" / "0.png").write_text("no picture")
    files = sorted(tmp_path.glob("*/*"))
    preprocessing = squash(8)
    own = data.colours_of("own", labelled(files), preprocessing)
    np.testing.assert_array_equal(own, principal_colours(preprocessing.resized(file) for file in files[1:]))
    for file in files:
        file.write_text("no picture")
    with pytest.raises(ValueError, match="Expected pictures that can be read. Received none"):
        data.colours_of("own", labelled(files), preprocessing)


def test_own_colours_come_from_a_thousand_pictures_of_the_whole_set():
    read = []

    class Watched(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    many = Watched([np.zeros((6, 6, 3), np.uint8)] * 1500)
    data.colours_of("own", labelled(many), squash(6))
    assert len(set(read)) == len(read) == 1000 and 700 < np.mean(read) < 800


def test_unknown_colours_and_grey_networks_are_refused():
    pictures = labelled(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="`colours` to be one of imagenet, own. Received: 'x'"):
        data.colours_of("x", pictures, squash(4))
    with pytest.raises(ValueError, match="network of RGB pictures for colours='own'. Received: one of grey pictures"):
        data.colours_of("own", pictures, squash(4, "L"))
