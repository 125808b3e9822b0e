"""The pictures of a folder whose features are nearest to those of a photo, and the index of the folder."""

import json
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.hub.cache import Weights, find_weights
from tfalexnet.images.folders import list_pictures
from tfalexnet.images.opening import Picture
from tfalexnet.inference.features import extract_features, features
from tfalexnet.inference.pipeline import check_positive
from tfalexnet.io.files import file_state, names_digest, sha256
from tfalexnet.networks.spec import Architecture

VALUES_AT_ONCE = 1 << 22  # Numbers of an index in memory at a time.


class Neighbour(NamedTuple):
    """A picture, and the Euclidean distance of its features to those of the photo."""

    file: Path
    distance: float


def neighbours(
    picture: Picture,
    folder: str | os.PathLike,
    weights: Weights | None = None,
    count: int = 6,
    layer: str | None = None,
    index: str | os.PathLike | None = None,
) -> list[Neighbour]:
    """Return the pictures of a folder whose features are nearest to those of a photo, nearest first.

    The photo itself is left out if it is a file of the folder.

    Args:
        picture: as for `tfalexnet.predict`.
        folder: searched with all folders below it.
        weights: as for `tfalexnet.predict`.
        count: number of pictures; fewer if the folder has fewer.
        layer: as for `tfalexnet.features`; None is the last before the classifier, fc7 of AlexNet, as in the paper.
        index: the HDF5 file of the folder's features, which `extract_features` writes if there is none; None is
            `<folder>.<layer>.h5` beside the folder.

    Raises:
        ValueError: the index was made with other weights or of other pictures, or there is no such layer.
        PictureError, CheckpointError, WeightsNotFoundError: as for `tfalexnet.predict`.
        OSError: the index cannot be written.

    Source: Krizhevsky et al. 2012, section 6.1 and figure 4.
    """
    import h5py

    check_positive(count=count)
    path = find_weights(weights)
    layer = layer or last_hidden_layer(read_spec(path).architecture)
    outputs = features(picture, layer, path)
    if layer not in outputs or len(outputs) != 1:
        raise ValueError(f"Expected one layer. Received: {layer}")
    query, folder = outputs[layer], Path(folder).resolve()
    index = folder.with_name(f"{folder.name}.{layer}.h5") if index is None else Path(index)
    if index.exists():
        _check_index(index, layer, query.shape, path, folder)
    else:
        for error in extract_features(folder, index, layer, path):
            warnings.warn(str(error), stacklevel=2)
    itself = Path(picture).resolve() if isinstance(picture, str | os.PathLike) else None
    with h5py.File(index) as file:
        order, distances = nearest(query, file[layer], count + 1)
        names = [os.fsdecode(file["files"][number]) for number in order]
    found = [Neighbour(folder / name, float(distance)) for name, distance in zip(names, distances, strict=True)]
    return [entry for entry in found if itself is None or entry.file.resolve() != itself][:count]


def last_hidden_layer(net: Architecture) -> str:
    """Return the last layer with weights before the classifier."""
    if len(net.weighted) < 2:
        raise ValueError(f"Expected a layer before the classifier of {net.name}. Received: none")
    return net.weighted[-2].name


def nearest(query: np.ndarray, rows: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the rows nearest to a query, and their Euclidean distances, nearest first.

    Args:
        query: an array.
        rows: (n, …) with the shape of the query, an array or a dataset of h5py, of which a part is read at a time.
        count: number of rows; at most as many as there are.
    """
    step = max(1, VALUES_AT_ONCE // query.size)
    parts = []
    for start in range(0, len(rows), step):
        block = np.asarray(rows[start : start + step], np.float32).reshape(-1, query.size)
        parts.append(np.linalg.norm(block - query.reshape(-1), axis=1))
    distances = np.concatenate(parts)
    order = np.argsort(distances, kind="stable")[:count]
    return order, distances[order]


def _check_index(index: Path, layer: str, shape: tuple[int, ...], path: Path, folder: Path) -> None:
    """Raise `ValueError` unless an index holds this layer of these weights and of the pictures in the folder."""
    import h5py

    try:
        with h5py.File(index) as file:
            attributes, stored = dict(file.attrs), file[layer].shape[1:] if layer in file else None
    except OSError as error:
        raise ValueError(f"{index}: expected an index in HDF5; it cannot be read: {error}") from None
    paths = list_pictures(folder, keep_unreadable=True)
    files = [file.relative_to(folder).as_posix() for file in paths]
    preprocessing = json.dumps(read_spec(path).preprocessing.to_dict())
    if stored is None:
        expected = f"of {layer}"
    elif attributes.get("weights_sha256") != sha256(path):
        expected = f"made with these weights; it was made with {attributes.get('weights', 'others')}"
    elif attributes.get("files_sha256") != names_digest(files):
        expected = f"of the pictures in {folder}; the folder has changed, or is another"
    elif attributes.get("states_sha256") != names_digest(str(file_state(path)) for path in paths):
        expected = f"of the pictures in {folder} as they are; one has changed"
    elif stored != shape or json.loads(attributes["preprocessing"]) != json.loads(preprocessing):
        expected = "of pictures prepared as for these weights, without pooling"
    else:
        return
    raise ValueError(f"{index}: expected an index {expected}. Delete it, or give the name of another.")
