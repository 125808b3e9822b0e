"""Read Caffe's `.caffemodel.h5` (`snapshot_format: HDF5`) without Caffe.

`/data/<layer>/0` is the kernel of a layer and `/data/<layer>/1` its bias, in the order of axes of a `.caffemodel`;
layers without weights are empty groups.
"""

import os
from collections.abc import Set
from pathlib import Path

from tfalexnet.checkpoints.formats import CheckpointError, Contents, hdf5, reading
from tfalexnet.checkpoints.formats.binary import is_float, map_file, to_float32
from tfalexnet.checkpoints.formats.orientation import channels_last
from tfalexnet.networks.spec import Parameters

FLATTEN = "CHW"


def has_signature(names: Set[str]) -> bool:
    """Return whether these are the names in the root of such a file."""
    return "data" in names and "layers" not in names


def recognises(path: Path) -> bool:
    """Return whether the file is HDF5 with the group of Caffe's layers."""
    return has_signature(hdf5.root_names(path) or frozenset())


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer; views of the mapped file.

    Raises:
        CheckpointError: the file is damaged or holds no layers.
        OSError: the file cannot be opened.
    """
    with reading(path, "weights of Caffe in HDF5"):
        data = map_file(path)
        parameters: Parameters = {}
        left_out = []
        remaining = data.size  # The layers of a hostile file may share one array.
        with hdf5.opened(data, path) as file:
            layers = hdf5.child(file, "data")
            hdf5.check_count(layers, "layers")
            for name in layers:
                blobs = hdf5.child(layers, name)
                if len(blobs) == 0:
                    continue
                if set(blobs) != {"0", "1"}:
                    left_out.append(f"{name}: not a kernel and a bias ({', '.join(list(blobs)[:4])})")
                    continue
                kernel, bias = (hdf5.array(data, blobs, number) for number in "01")
                remaining -= kernel.nbytes + bias.nbytes
                if remaining < 0:
                    raise CheckpointError("expected no more numbers than the file holds")
                if is_float(kernel) and is_float(bias) and kernel.ndim in (2, 4):
                    parameters[name] = channels_last(to_float32(kernel)), to_float32(bias)
                else:
                    left_out.append(f"{name} ({kernel.dtype}, {kernel.shape}): no kernel of 2 or 4 dimensions")
        return Contents(parameters, flatten=FLATTEN, left_out=tuple(left_out))
