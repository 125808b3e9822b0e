"""Files of features, read by the library of each format, hold what `features` returns."""

import csv
import dataclasses
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.pictures import noise

import tfalexnet
from tfalexnet.inference import feature_files
from tfalexnet.inference.feature_files import FORMATS, check_layers
from tfalexnet.inference.features import extract_features

READABLE = ["a.png", "b.png", "deep/ü.png"]
LAYERS = ("fc4", "pool3", "conv3:pre")


@pytest.fixture
def folder(tmp_path):
    """Three pictures and a file that is none."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    for name, pixels in zip(READABLE, noise(3), strict=True):
        Image.fromarray(pixels).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    return tmp_path / "photos"


def read_hdf5(path):
    with h5py.File(path) as file:
        names = {name: file[name].asstr()[:] for name in ("files", "unreadable/files", "unreadable/reasons")}
        return {name: file[name][:] for name in LAYERS if name in file}, *map(list, names.values()), dict(file.attrs)


def read_npy(path):
    description = json.loads(Path(f"{path}.json").read_text("utf-8"))
    bad = description["unreadable"]
    arrays = {description["attributes"]["layers"]: np.load(path)}
    return arrays, description["files"], list(bad), list(bad.values()), description["attributes"]


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        texts = [file[name].tolist() for name in ("files", "unreadable_files", "unreadable_reasons")]
        return {name: file[name] for name in LAYERS}, *texts, json.loads(str(file["attributes"]))


def read_csv(path):
    description = json.loads(Path(f"{path}.json").read_text("utf-8"))
    with open(path, encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    arrays = {}
    for layer in LAYERS:
        columns = [index for index, name in enumerate(names) if name.rpartition("_")[0] == layer]
        assert [names[column] for column in columns] == [f"{layer}_{index}" for index in range(len(columns))]
        values = np.array([[row[column] for column in columns] for row in rows], np.float32)
        arrays[layer] = values.reshape(len(rows), *description["shapes"][layer])
    bad = description["unreadable"]
    return arrays, [row[0] for row in rows], list(bad), list(bad.values()), description["attributes"]


def read_mat(path):
    file = pytest.importorskip("scipy.io").loadmat(path, chars_as_strings=True)
    texts = [
        [str(cell.item()[0]) for cell in file[name]] for name in ("files", "unreadable_files", "unreadable_reasons")
    ]
    attributes = {name: file["attributes"][name].item().item() for name in file["attributes"].dtype.names}
    arrays = {layer: file[layer.replace(":", "_")] for layer in LAYERS}
    return arrays, *texts, attributes


def read_parquet(path):
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    description = json.loads(table.schema.metadata[b"tfalexnet"])
    bad = description["unreadable"]
    arrays = {
        layer: np.array(table[layer].to_pylist(), "f4").reshape(-1, *description["shapes"][layer]) for layer in LAYERS
    }
    return arrays, table["file"].to_pylist(), list(bad), list(bad.values()), description["attributes"]


READERS = {
    **dict.fromkeys((".h5", ".hdf5"), read_hdf5),
    ".npy": read_npy,
    ".npz": read_npz,
    ".csv": read_csv,
    ".mat": read_mat,
    ".parquet": read_parquet,
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_holds_rows_names_and_attributes(suffix, weights_file, folder, monkeypatch):
    if package := FORMATS[suffix].package:
        pytest.importorskip(package)
    monkeypatch.setattr(feature_files, "AT_ONCE", 8192)  # Two rows of pool3, one of conv3:pre.
    layers = LAYERS[1:2] if FORMATS[suffix].one_layer else LAYERS
    expected = tfalexnet.features([folder / name for name in READABLE], layers, weights_file)
    errors = extract_features(folder, f"f{suffix}", layers, weights_file, batch=2)
    arrays, files, bad, reasons, attributes = READERS[suffix](f"f{suffix}")
    assert files == READABLE and bad == [error.name for error in errors] == ["bad.jpg"]
    assert "not a picture" in reasons[0]
    assert list(arrays) == list(layers)
    for layer in layers:
        assert arrays[layer].dtype == np.float32
        np.testing.assert_allclose(arrays[layer], expected[layer], rtol=1e-5, atol=1e-5)
    assert attributes["architecture"] == "cifar10_18pct" and attributes["layers"] == ", ".join(layers)
    preprocessing = attributes["preprocessing"]
    preprocessing = json.loads(preprocessing) if isinstance(preprocessing, str) else preprocessing
    assert preprocessing["size"] == 36 and preprocessing["resize"] == "squash"
    beside = {f"f{suffix}.json"} if FORMATS[suffix].beside else set()
    assert {path.name for path in Path().glob("f*")} | {path.name for path in Path().glob(".*")} == {
        f"f{suffix}",
        *beside,
    }
    with pytest.raises(FileExistsError):
        extract_features(folder, f"f{suffix}", layers, weights_file)
    extract_features(folder, f"f{suffix}", layers, weights_file, overwrite=True)


def test_texts_of_a_csv_give_the_same_float32(weights_file, folder):
    extract_features(folder, "f.csv", LAYERS, weights_file)
    extract_features(folder, "f.h5", LAYERS, weights_file)
    arrays, *_ = read_csv("f.csv")
    with h5py.File("f.h5") as file:
        for layer in LAYERS:
            np.testing.assert_array_equal(arrays[layer], file[layer])


def test_a_description_of_other_rows_is_not_overwritten(weights_file, folder):
    Path("f.npy.json").write_text("mine")
    with pytest.raises(FileExistsError, match=r"f\.npy\.json"):
        extract_features(folder, "f.npy", "fc4", weights_file)
    assert Path("f.npy.json").read_text() == "mine" and not Path("f.npy").exists()


def test_a_kill_between_the_two_files_does_not_stop_the_job(weights_file, folder, monkeypatch):
    def write(*_):
        Path("f.npy.json").write_text("of the killed job")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(FORMATS, ".npy", dataclasses.replace(FORMATS[".npy"], write=write))
        extract_features(folder, "f.npy", "fc4", weights_file)
    extract_features(folder, "f.npy", "fc4", weights_file)
    assert np.load("f.npy").shape == (3, 6) and read_npy("f.npy")[1] == READABLE


def test_layers_that_a_format_cannot_hold_are_refused_before_the_work(weights_file, folder, monkeypatch):
    with pytest.raises(ValueError, match=r"Expected one layer for \.npy\. Received: fc4, pool3; write a \.npz"):
        extract_features(folder, "f.npy", "fc4,pool3", weights_file)
    row = np.dtype([("fc7", "f4", (4096,)), ("conv1", "f4", (55, 55, 96))])
    check_layers(Path("f.mat"), row, 1848)  # 1 MB less than 2 GiB of conv1.
    with pytest.raises(ValueError, match=r"at most 2,147,483,647 bytes .* for \.mat\. .*2,147,798,400 of conv1"):
        check_layers(Path("f.mat"), row, 1849)
    check_layers(Path("f.h5"), row, 10**6)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"package scipy\. It is not installed: pip install 'tfalexnet\[mat\]'"):
        extract_features(folder, "f.mat", "fc4", weights_file)
    assert not list(Path().glob("*.part"))


def test_a_name_that_is_not_utf8_is_written_to_every_format(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    rows = np.zeros(1, [("fc4", "f4", (2,))])
    table = feature_files.Table({"preprocessing": None, "layers": "fc4"}, [name], {}, rows)
    for suffix, form in FORMATS.items():
        if form.package:
            pytest.importorskip(form.package)
        feature_files.write_features(tmp_path / f"f{suffix}", table)
    assert json.loads((tmp_path / "f.npy.json").read_text("utf-8"))["files"] == [name]
    with np.load(tmp_path / "f.npz") as file:
        assert file["files"].tolist() == [name]
    assert "caf\\udce9.png" in (tmp_path / "f.csv").read_text("utf-8")
