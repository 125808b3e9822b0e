"""Read and write Caffe's `.caffemodel`, of all years, without Caffe.

The file is a protocol buffer (caffe.proto, message NetParameter): a list of layers, each with a name, a type and its
blobs. Kernels of convolutions are (out, in, height, width), those of inner products (out, in). The file is mapped and
parsed in place, so that 244 MB take little more memory than the arrays.
"""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError, Contents, caffe_definition, reading
from tfalexnet.checkpoints.formats.binary import map_file, to_float32
from tfalexnet.checkpoints.formats.orientation import channels_first, channels_last
from tfalexnet.checkpoints.formats.protobuf import FIXED32, FIXED64, delimited, fields, integers, varint
from tfalexnet.io.files import atomic_write
from tfalexnet.networks.spec import Parameters

FLATTEN = "CHW"

NAME, LAYER = 1, 100  # Numbers of fields in NetParameter.
# Numbers of name, type and blobs in a layer: in `layers` of 2014 (field 2, V1LayerParameter), and in `layer`.
LAYOUTS = {2: (4, 5, 6), LAYER: (1, 2, 7)}
# The same in the layer of 2013 (V0LayerParameter), which is field 1 of the one of 2014.
INNER, INNER_LAYOUT = 1, (1, 2, 50)
# The enumeration in V1LayerParameter, and the types of 2013.
KINDS = {4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling"}
OLD_KINDS = {"conv": "Convolution", "innerproduct": "InnerProduct", "lrn": "LRN", "pool": "Pooling"}
# Networks by the name that Caffe's own files state; those that `write` wrote state the name of the catalog.
NETWORKS = {"AlexNet": "bvlc_alexnet", "CaffeNet": "bvlc_caffenet"}
RANKS = {"Convolution": 4, "InnerProduct": 2}  # Of the kernels.
# Fields of a blob. Before there was a shape, fields 1 to 4 were num, channels, height and width.
SHAPE, DATA, DOUBLE_DATA, RAW_DATA = 7, 5, 8, 12
FLOATS = {DATA: "<f4", DOUBLE_DATA: "<f8"}
# Writers without `packed` store each number as a field of its own; by the key of such a field.
RUNS = {DATA << 3 | FIXED32: "<f4", DOUBLE_DATA << 3 | FIXED64: "<f8"}
# Fields of a message and of a blob. Caffe's own networks have about a hundred layers, and blobs of five fields. A
# file that consists of fields would take minutes, and many times its size.
MAX_FIELDS = 1 << 10
MAX_BLOB_FIELDS = 16


def recognises(path: Path) -> bool:
    """Return whether the file begins as a NetParameter does: with a name, or with a layer that has a name."""
    with suppress(CheckpointError):
        for number, value in fields(map_file(path), MAX_FIELDS):
            if number in LAYOUTS and not isinstance(value, int):
                layer, layout = _unwrapped(value, LAYOUTS[number])
                return layout[0] in {inner for inner, _ in fields(layer, MAX_FIELDS)}
            if number > LAYER:
                return False
    return False


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer; views of the mapped file where a blob has float32 in one piece.

    Raises:
        CheckpointError: the file is damaged or holds no layers.
        OSError: the file cannot be opened.
    """
    with reading(path, "a .caffemodel"):
        parameters: Parameters = {}
        kinds, left_out, network = [], [], None
        data = map_file(path)
        for number, message in fields(data, MAX_FIELDS):
            if number == NAME and not isinstance(message, int):
                network = message.tobytes().decode("utf-8", "replace")
            if number not in LAYOUTS or isinstance(message, int):
                continue
            name, kind, blobs = _layer(message, LAYOUTS[number])
            kinds.append(kind)
            if kind in RANKS and len(blobs) == 2:
                if name in parameters:
                    raise CheckpointError(f"two layers are called {name!r}")
                parameters[name] = channels_last(read_blob(blobs[0], RANKS[kind])), read_blob(blobs[1], 1)
            elif blobs:
                why = "one blob, no bias" if len(blobs) == 1 else f"{len(blobs)} blobs, not two"
                left_out.append(f"{name} ({kind}): {why if kind in RANKS else 'no convolution or inner product'}")
        resembles = _resembles(kinds) or NETWORKS.get(network, network)
        try:
            definition = caffe_definition.read(data, MAX_FIELDS)
        except CheckpointError as error:  # The weights can be used without it.
            definition = str(error)
        return Contents(parameters, {}, {}, FLATTEN, resembles, definition, tuple(left_out))


def write(path: str | os.PathLike, contents: Contents) -> None:
    """Write the layout that Caffe and OpenCV 4 read. Attributes, except the architecture, and extras are not written.

    Raises:
        OSError: the file cannot be written; an older file stays as it was.
    """
    name_field, kind_field, blobs_field = LAYOUTS[LAYER]
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.writelines(delimited(NAME, str(contents.attributes.get("architecture", "")).encode()))
        for name, (kernel, bias) in contents.parameters.items():
            kind = "Convolution" if kernel.ndim == 4 else "InnerProduct"
            layer = delimited(name_field, name.encode()) + delimited(kind_field, kind.encode())
            for array in (channels_first(kernel), bias):
                layer += delimited(blobs_field, *blob(array))
            file.writelines(delimited(LAYER, *layer))


def blob(array: np.ndarray) -> list[bytes | memoryview]:
    """Return an array as the parts of a blob."""
    shape = delimited(1, b"".join(map(varint, array.shape)))
    numbers = memoryview(np.ascontiguousarray(array, "<f4")).cast("B")
    return [*delimited(SHAPE, *shape), *delimited(DATA, numbers)]


def _resembles(kinds: list[str]) -> str | None:
    """Return which of Caffe's two networks has layers in this order: AlexNet normalizes first, CaffeNet pools first."""
    if "LRN" not in kinds or "Pooling" not in kinds:
        return None
    return "bvlc_alexnet" if kinds.index("LRN") < kinds.index("Pooling") else "bvlc_caffenet"


def _layer(message: np.ndarray, layout: tuple[int, int, int]) -> tuple[str, str, list[np.ndarray]]:
    """Return name, type and blobs of a layer."""
    name, kind, blobs = "", "", []
    message, layout = _unwrapped(message, layout)
    for number, value in fields(message, MAX_FIELDS):
        if number == layout[0]:
            name = value.tobytes().decode()
        elif number == layout[1]:
            kind = KINDS.get(value, f"type {value}") if isinstance(value, int) else value.tobytes().decode()
            kind = OLD_KINDS.get(kind, kind)
        elif number == layout[2]:
            blobs.append(value)
    return name, kind, blobs


def _unwrapped(message: np.ndarray, layout: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return a layer and its layout; of 2013, the layer inside that of 2014."""
    if layout == LAYOUTS[LAYER]:
        return message, layout
    inner = (value for number, value in fields(message, MAX_FIELDS) if number == INNER and not isinstance(value, int))
    layer = next(inner, None)
    return (message, layout) if layer is None else (layer, INNER_LAYOUT)


def read_blob(message: np.ndarray, rank: int) -> np.ndarray:
    """Return the numbers of a blob, float32, in its shape, without the leading ones that the layout of 2014 adds.

    Raises:
        CheckpointError: the blob is damaged, or has another number of dimensions.
    """
    legacy, shape, parts = {}, None, []
    for number, value in fields(message, MAX_BLOB_FIELDS, RUNS):
        if isinstance(value, int):
            legacy[number] = value
        elif number == SHAPE:
            inner_fields = fields(value, MAX_BLOB_FIELDS)
            shape = [size for inner, sizes in inner_fields if inner == 1 for size in integers(sizes, MAX_BLOB_FIELDS)]
        elif number in FLOATS:
            parts.append(value.view(FLOATS[number]))
        elif number == RAW_DATA:
            kinds = "raw numbers, such as float16 of NVCaffe or OpenCV's shrinkCaffeModel"
            raise CheckpointError(f"expected numbers of float32 or float64; received {kinds}. Use the original file")
    numbers = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, "<f4")])
    if shape is None:
        shape = [legacy.get(number, 1) for number in (1, 2, 3, 4)]
    while len(shape) > rank and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != rank:
        raise CheckpointError(f"expected a blob of {rank} dimensions; received {shape[:8]}")
    return to_float32(numbers.reshape(shape))
