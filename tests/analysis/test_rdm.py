"""Dissimilarities equal those of SciPy, from arrays and files, in blocks of any size."""

import tracemalloc

import h5py
import numpy as np
import pytest

import tfalexnet
from tfalexnet.analysis import rdm as module
from tfalexnet.analysis.rdm import METRICS, percentiles, rdm

distance = pytest.importorskip("scipy.spatial.distance")


@pytest.fixture(scope="module")
def features():
    """Features after a ReLU, as AlexNet's, with a copy of a row, a scaled one, and one that is nearly a copy."""
    rows = np.maximum(np.random.default_rng(0).normal(size=(23, 50)) - 0.5, 0).astype("f4")
    rows[5], rows[7], rows[11] = rows[4], 3 * rows[6], rows[10] + np.float32(1e-4)
    return rows


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("most", [1, 2, 5, 23, 100])
def test_dissimilarities_equal_those_of_scipy(features, metric, most, monkeypatch):
    monkeypatch.setattr(module, "MOST_ROWS", most)
    expected = distance.pdist(features.astype("f8"), metric)
    received = rdm(features, metric)
    assert received.dtype == np.float64 and received.shape == (23 * 22 // 2,)
    np.testing.assert_allclose(received, expected, rtol=1e-12, atol=1e-14)
    full = rdm(features, metric, square=True)
    np.testing.assert_allclose(full, distance.squareform(expected), rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(full, full.T)


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
def test_distances_of_nearly_equal_rows_keep_their_digits(offset):
    rows = offset + np.random.default_rng(0).normal(size=(12, 40)) * np.logspace(-4, 0, 12)[:, None]
    np.testing.assert_allclose(rdm(rows, "euclidean"), distance.pdist(rows), rtol=1e-10)


@pytest.mark.parametrize(("metric", "odd"), [("correlation", 2.0), ("correlation", 0.0), ("cosine", 0.0)])
def test_rows_without_a_direction_are_nan_as_by_scipy(features, metric, odd):
    rows = features.copy()
    rows[3] = odd
    with np.errstate(invalid="ignore"):
        expected = distance.pdist(rows.astype("f8"), metric)
    assert np.isnan(expected).sum() == 22
    np.testing.assert_allclose(rdm(rows, metric), expected, rtol=1e-12, atol=1e-14)
    assert (np.diagonal(rdm(rows, metric, square=True)) == 0).all()


def test_distances_of_infinite_rows_are_those_of_scipy(features):
    rows = features.astype("f8")
    rows[1, 0], rows[2, 0], rows[3, 1] = np.inf, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        expected = distance.pdist(rows)
    assert np.isnan(expected).sum() == 1
    np.testing.assert_allclose(rdm(rows, "euclidean"), expected, rtol=1e-10)


def test_a_constant_row_whose_mean_is_rounded_is_nan():
    rows = np.random.default_rng(0).random((3, 7))
    rows[1] = 0.1  # The mean of seven times 0.1 is another number.
    assert np.isnan(rdm(rows)).tolist() == [True, False, True]


def test_files_of_features_and_maps(features, tmp_path):
    maps = features.reshape(23, 5, 5, 2)
    expected = distance.pdist(features.astype("f8"), "correlation")
    np.save(tmp_path / "f.npy", maps)
    np.savez(tmp_path / "f.npz", conv5=maps, fc7=features[:, :3], files=np.array(["a"]))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["conv5"], file["fc7"], file["files"] = maps, features[:, :3], [b"a"]
        file["unreadable/files"] = [b"b"]
    with h5py.File(tmp_path / "one.h5", "w") as file:
        file["conv5"], file["files"] = maps, [b"a"]
    for given in (
        maps,
        maps.tolist(),
        np.load(tmp_path / "f.npy", mmap_mode="r"),
        tmp_path / "f.npy",
        str(tmp_path / "one.h5"),
    ):
        np.testing.assert_allclose(tfalexnet.rdm(given), expected, rtol=1e-12, atol=1e-14)
    for name in ("f.h5", "f.npz"):
        np.testing.assert_allclose(rdm(tmp_path / name, layer="conv5"), expected, rtol=1e-12, atol=1e-14)
        with pytest.raises(ValueError, match=r"`layer` to be one of conv5, fc7 in .*Received: None"):
            rdm(tmp_path / name)
    with h5py.File(tmp_path / "f.h5") as file:
        np.testing.assert_allclose(rdm(file["conv5"]), expected, rtol=1e-12, atol=1e-14)


def test_the_result_may_be_a_mapped_file(features, tmp_path):
    out = np.lib.format.open_memmap(tmp_path / "rdm.npy", "w+", "f4", (253,))
    assert rdm(features, out=out) is out
    out.flush()
    expected = distance.pdist(features.astype("f8"), "correlation")
    np.testing.assert_allclose(np.load(tmp_path / "rdm.npy"), expected, rtol=1e-6, atol=1e-6)


def test_the_memory_does_not_grow_with_the_number_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 1 << 16)
    monkeypatch.setattr(module, "MOST_ROWS", 64)
    peaks = []
    for count in (200, 800):
        with h5py.File(tmp_path / f"{count}.h5", "w") as file:
            file["fc7"] = np.random.default_rng(0).random((count, 500), np.float32)
        out = np.lib.format.open_memmap(tmp_path / f"{count}.npy", "w+", "f4", (count * (count - 1) // 2,))
        tracemalloc.start()
        rdm(tmp_path / f"{count}.h5", out=out)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] < 800 * 500 * 4


def test_mistakes_are_answered_with_what_was_expected(features, tmp_path):
    for arguments, message in (
        ({"metric": "jaccard"}, "`metric` to be one of correlation, cosine, euclidean. Received: 'jaccard'"),
        ({"layer": "fc7"}, "`layer` for a .h5 or .npz file only"),
        ({"out": np.empty(3)}, r"`out` of shape \(253,\) for 23 rows, .* Received: \(3,\), float64"),
        ({"out": np.empty(253, int)}, r"a floating-point type. Received: \(253,\), int64"),
    ):
        with pytest.raises(ValueError, match=message):
            rdm(features, **arguments)
    with pytest.raises(ValueError, match=r"shape \(pictures, …\). Received: \(50,\)"):
        rdm(features[0])
    with pytest.raises(ValueError, match=r"a \.h5, \.npy or \.npz file"):
        rdm(tmp_path / "f.csv")
    assert rdm(features[:1]).shape == (0,) and rdm(features[:0], square=True).shape == (0, 0)


def test_percentiles_are_scipys_ranks():
    stats = pytest.importorskip("scipy.stats")
    values = np.array([[3.0, 1, 1], [np.nan, 7, 3], [0, 3, 9]])
    expected = (stats.rankdata(values, nan_policy="omit") - 1) / 7 * 100
    np.testing.assert_allclose(percentiles(values), expected.reshape(3, 3))
    assert percentiles(np.array([2.0])).tolist() == [0] and percentiles(np.zeros(3)).tolist() == [50] * 3
