"""Files of features: one table of suffixes and writers, each of which streams the rows or states its bound."""

import csv
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tfalexnet.io.files import PART, atomic_write, check_output, require_absent
from tfalexnet.io.packages import require_packages

AT_ONCE = 1 << 24  # Bytes of rows in memory while a file is written.
METADATA = 1 << 20  # Bytes of a file beside its rows and names, more than attributes and groups take.
MAT_BYTES = (1 << 31) - 1  # Of a variable in the format of MATLAB 5, the last one that SciPy writes.


class Table(NamedTuple):
    """The features of many pictures.

    Attributes:
        attributes: how they were computed, as JSON holds it.
        files: the name of the picture of each row.
        unreadable: names of pictures that cannot be read, and the reasons.
        rows: a structured array with a float32 field for each layer, in memory or in a mapped file.
    """

    attributes: dict[str, Any]
    files: list[str]
    unreadable: dict[str, str]
    rows: np.ndarray

    def description(self) -> dict[str, Any]:
        """Return everything but the rows, as JSON holds it."""
        shapes = {layer: self.rows.dtype[layer].shape for layer in self.rows.dtype.names}
        return {"attributes": self.attributes, "shapes": shapes, "files": self.files, "unreadable": self.unreadable}

    def texts(self) -> dict[str, list[str]]:
        """Return the names and reasons, in columns."""
        return {
            "files": self.files,
            "unreadable/files": list(self.unreadable),
            "unreadable/reasons": list(self.unreadable.values()),
        }

    def flat_attributes(self) -> dict[str, Any]:
        """Return the attributes with those that have parts as JSON."""
        return self.attributes | {"preprocessing": json.dumps(self.attributes["preprocessing"])}


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        write: writes a table to a path.
        extra, package: the optional package that it requires, and the extra that installs it.
        beside: whether names and attributes are in a second file, the JSON of `description`.
        one_layer: whether it holds one array.
        max_bytes: largest size of a layer, None if there is no bound.
    """

    write: Callable[[Path, Table], None]
    extra: str = ""
    package: str = ""
    beside: bool = False
    one_layer: bool = False
    max_bytes: int | None = None


def check_feature_file(output: Path, overwrite: bool) -> None:
    """Raise unless the output can be written: known suffix, packages installed, no file in the way.

    Raises:
        ValueError: the suffix is unknown, or a package is not installed.
        FileExistsError: it exists, and `overwrite` is false.
    """
    check_output(output, FORMATS, overwrite)
    form = FORMATS[output.suffix]
    if form.package:
        require_packages(form.extra, form.package)
    if form.beside:  # If the process is killed between the two, only this one exists, and the job continues.
        require_absent(_beside(output), overwrite or output.with_name(output.name + PART).exists())


def check_layers(output: Path, row: np.dtype, count: int) -> None:
    """Raise `ValueError` if the format cannot hold so many rows of these layers."""
    form = FORMATS[output.suffix]
    if form.one_layer and len(row.names) > 1:
        raise ValueError(
            f"Expected one layer for {output.suffix}. Received: {', '.join(row.names)}; write a .npz or .h5"
        )
    for layer in row.names if form.max_bytes else ():
        size = row[layer].itemsize * count
        if size > form.max_bytes:
            expected = f"Expected at most {form.max_bytes:,} bytes of a layer for {output.suffix}"
            raise ValueError(f"{expected}. Received: {size:,} of {layer}; write a .h5, which MATLAB reads with h5read")


def write_features(output: Path, table: Table) -> None:
    """Write a file in the format of its suffix, completely or not at all."""
    check_layers(output, table.rows.dtype, len(table.rows))
    form = FORMATS[output.suffix]
    size = (
        table.rows.nbytes + METADATA + sum(64 + 4 * len(text) for column in table.texts().values() for text in column)
    )
    with atomic_write(output, size) as temporary:
        form.write(temporary, table)
        if form.beside:
            with atomic_write(_beside(output)) as description:
                description.write_text(json.dumps(table.description(), indent=1), "utf-8")


def _beside(output: Path) -> Path:
    return output.with_name(f"{output.name}.json")


def _blocks(column: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of a layer in contiguous blocks of about AT_ONCE bytes."""
    step = max(1, AT_ONCE // (4 * math.prod(column.shape[1:])))
    for start in range(0, len(column), step):
        yield np.ascontiguousarray(column[start : start + step])


def _printable(texts: Iterable[str]) -> list[str]:
    r"""Return texts in which a byte of a name that is not UTF-8 is written as \udcNN."""
    return [text.encode("utf-8", "backslashreplace").decode() for text in texts]


def _write_hdf5(path: Path, table: Table) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs.update(table.flat_attributes())
        for layer in table.rows.dtype.names:
            column, start = table.rows[layer], 0
            dataset = file.create_dataset(layer, column.shape, "f4")
            for block in _blocks(column):
                dataset[start : start + len(block)] = block
                start += len(block)
        for name, texts in table.texts().items():
            encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
            file.create_dataset(name, (len(encoded),), h5py.string_dtype(), encoded or None)


def _write_array(file: BinaryIO | zipfile.ZipExtFile, column: np.ndarray) -> None:
    """Write a layer as NumPy's .npy."""
    header = {"descr": np.lib.format.dtype_to_descr(column.dtype), "fortran_order": False, "shape": column.shape}
    np.lib.format.write_array_header_1_0(file, header)
    for block in _blocks(column):
        file.write(block.data)


def _write_npy(path: Path, table: Table) -> None:
    (layer,) = table.rows.dtype.names
    with path.open("wb") as file:
        _write_array(file, table.rows[layer])


def _write_npz(path: Path, table: Table) -> None:
    texts = table.texts() | {"attributes": json.dumps(table.attributes)}
    with zipfile.ZipFile(path, "w") as archive:
        for layer in table.rows.dtype.names:
            with archive.open(f"{layer}.npy", "w", force_zip64=True) as file:
                _write_array(file, table.rows[layer])
        for name, content in texts.items():
            with archive.open(f"{name.replace('/', '_')}.npy", "w") as file:
                np.lib.format.write_array(file, np.array(content, str), allow_pickle=False)


def _write_csv(path: Path, table: Table) -> None:
    layers = table.rows.dtype.names
    names = [f"{layer}_{index}" for layer in layers for index in range(math.prod(table.rows.dtype[layer].shape))]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *names])
        for name, row in zip(_printable(table.files), table.rows, strict=True):
            # Text of a float32 is the shortest from which the same float32 is read.
            writer.writerow([name, *(value for layer in layers for value in row[layer].ravel().astype(str))])


def _write_mat(path: Path, table: Table) -> None:
    import scipy.io

    variables = {layer.replace(":", "_").replace(".", "_"): table.rows[layer] for layer in table.rows.dtype.names}
    for name, texts in table.texts().items():
        variables[name.replace("/", "_")] = cells = np.empty(len(texts), object)
        cells[:] = _printable(texts)
    with path.open("wb") as file:
        variables["attributes"] = table.flat_attributes()
        scipy.io.savemat(file, variables, long_field_names=True, oned_as="column")


def _write_parquet(path: Path, table: Table) -> None:
    import pyarrow
    from pyarrow import parquet

    row = table.rows.dtype
    sizes = {layer: math.prod(row[layer].shape) for layer in row.names}
    types = {layer: pyarrow.list_(pyarrow.float32(), size) for layer, size in sizes.items()}
    description = table.description()
    description.pop("files")
    schema = pyarrow.schema({"file": pyarrow.string()} | types, {"tfalexnet": json.dumps(description)})
    step = max(1, AT_ONCE // row.itemsize)
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, len(table.rows), step):
            rows = table.rows[start : start + step]
            columns = [
                pyarrow.FixedSizeListArray.from_arrays(np.ascontiguousarray(rows[layer]).ravel(), size)
                for layer, size in sizes.items()
            ]
            files = pyarrow.array(_printable(table.files[start : start + step]), pyarrow.string())
            writer.write_table(pyarrow.Table.from_arrays([files, *columns], schema=schema))


FORMATS = {
    **dict.fromkeys((".h5", ".hdf5"), Format(_write_hdf5)),
    ".npy": Format(_write_npy, beside=True, one_layer=True),
    ".npz": Format(_write_npz),
    ".csv": Format(_write_csv, beside=True),
    ".mat": Format(_write_mat, extra="mat", package="scipy", max_bytes=MAT_BYTES),
    ".parquet": Format(_write_parquet, extra="parquet", package="pyarrow"),
}
