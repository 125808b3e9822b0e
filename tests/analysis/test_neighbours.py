"""The nearest pictures are those of SciPy, and an index serves one folder and one file of weights."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.pictures import noise
from support.weights import cifar_checkpoint

import tfalexnet
from tfalexnet.analysis import neighbours as module
from tfalexnet.analysis.neighbours import nearest, neighbours
from tfalexnet.checkpoints.checkpoint import write_checkpoint


@pytest.fixture
def photos(in_tmp_path):
    """Nine pictures in a folder and one below it; the first is the photo."""
    (in_tmp_path / "photos" / "more").mkdir(parents=True)
    for number, picture in enumerate(noise(9)):
        Image.fromarray(picture).save(in_tmp_path / "photos" / ("more" if number % 2 else "") / f"{number}.png")
    return in_tmp_path / "photos"


@pytest.mark.parametrize("at_once", [1, 7, 1 << 22])
def test_nearest_is_scipy(at_once, monkeypatch):
    distance = pytest.importorskip("scipy.spatial.distance")
    monkeypatch.setattr(module, "VALUES_AT_ONCE", at_once)
    generator = np.random.default_rng(0)
    query, rows = generator.normal(size=(2, 3)).astype("f4"), generator.normal(size=(20, 2, 3)).astype("f4")
    rows[4] = rows[11]
    expected = distance.cdist(query.reshape(1, 6), rows.reshape(20, 6))[0]
    order, distances = nearest(query, rows, 30)
    np.testing.assert_array_equal(order, np.argsort(expected, kind="stable"))
    np.testing.assert_allclose(distances, np.sort(expected), rtol=1e-6)


@pytest.mark.parametrize("layer", [None, "pool3"])
def test_the_neighbours_are_those_by_the_features_of_each_picture(layer, photos):
    files = sorted(photos.rglob("*.png"))
    name = layer or "conv3"
    rows = tfalexnet.features(files, name, "cifar10")[name].reshape(9, -1)
    distances = dict(zip(files, np.linalg.norm(rows - rows[0], axis=1), strict=True))
    expected = sorted(files[1:], key=distances.get)[:4]
    for _ in range(2):  # The second time from the index.
        found = neighbours(files[0], photos, "cifar10", count=4, layer=layer)
        assert [entry.file for entry in found] == expected
        np.testing.assert_allclose([entry.distance for entry in found], [distances[f] for f in expected], rtol=1e-4)
    with h5py.File(photos.with_name(f"photos.{name}.h5")) as index:
        assert len(index["files"]) == 9
    assert len(neighbours(noise(1)[0], photos, "cifar10", count=20, layer=layer)) == 9


def test_an_index_of_something_else_is_refused_and_kept(photos):
    photo = noise(1)[0]
    neighbours(photo, photos, "cifar10", index="i.h5")
    content = Path("i.h5").read_bytes()
    write_checkpoint("other.weights.h5", cifar_checkpoint())
    with pytest.raises(ValueError, match="index made with these weights; it was made with cifar10.weights.h5"):
        neighbours(photo, photos, "other.weights.h5", index="i.h5")
    with pytest.raises(ValueError, match=r"i\.h5: expected an index of pool3\. Delete it, or give"):
        neighbours(photo, photos, "cifar10", layer="pool3", index="i.h5")
    state = os.stat(photos / "2.png")
    Image.fromarray(photo).save(photos / "2.png")
    with pytest.raises(ValueError, match="of the pictures in .*photos as they are; one has changed"):
        neighbours(photo, photos, "cifar10", index="i.h5")
    Image.fromarray(noise(9)[2]).save(photos / "2.png")
    os.utime(photos / "2.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    neighbours(photo, photos, "cifar10", index="i.h5")
    (photos / "0.png").rename(photos / "10.png")
    with pytest.raises(ValueError, match="of the pictures in .*photos; the folder has changed, or is another"):
        neighbours(photo, photos, "cifar10", index="i.h5")
    assert Path("i.h5").read_bytes() == content
    Path("text.h5").write_text("text")
    with pytest.raises(ValueError, match=r"text\.h5: expected an index in HDF5; it cannot be read"):
        neighbours(photo, photos, "cifar10", index="text.h5")
