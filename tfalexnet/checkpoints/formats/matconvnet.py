"""Read the networks of MatConvNet (SimpleNN) from `.mat` files, with SciPy.

The file has the cell `layers`, a struct for each layer, beside the structs `meta` or, before 2015, `normalization` and
`classes`; training puts them into a struct `net`. A kernel is (height, width, in / groups, out); fully connected layers
are convolutions of the size of their input. Channels of pictures are R, G, B.
"""

import json
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.checkpoints import match
from tfalexnet.checkpoints.formats import SPEC, CheckpointError, Contents, mat_file, reading
from tfalexnet.checkpoints.formats.binary import map_file, starts_with
from tfalexnet.checkpoints.formats.matconvnet_rows import MatLayer, fields_of, numbers_of, read_rows, text_of
from tfalexnet.checkpoints.spec import mean_to_json
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.io.packages import require_packages
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.row_json import LONGEST_TEXT
from tfalexnet.networks.spec import Architecture, Dense, Parameters

FLATTEN = "HWC"
VARIABLES = ("net", "layers", "meta", "normalization", "classes")
WNID = re.compile(r"n\d{8}")
ADVICE = "Save its arrays with numpy.savez, see docs/formats.md"


def recognises(path: Path) -> bool:
    """Return whether the file is a MAT file of MATLAB 5 to 7.2."""
    return starts_with(path, mat_file.MAGIC)


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer, and the table, the preprocessing and the classes as the spec.

    Raises:
        CheckpointError: the file is damaged, or not a network of MatConvNet.
        ValueError: SciPy is not installed.
        OSError: the file cannot be opened.
    """
    require_packages("mat", "scipy")
    from scipy.io import loadmat

    with reading(path, "a network of MatConvNet"):
        mat_file.check(map_file(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of two variables with one name.
            variables = loadmat(os.fspath(path), variable_names=list(VARIABLES), appendmat=False)
        variables = fields_of(variables.get("net")) or variables
        if "layers" not in variables:
            raise CheckpointError(f"expected the layers of a MatConvNet network; received none. {ADVICE}")
        meta = fields_of(variables.get("meta")) or variables
        layers = [MatLayer(number, fields_of(entry)) for number, entry in enumerate(variables["layers"].flat, 1)]
        return _contents(layers, meta, Path(path).stem)


def _contents(layers: list[MatLayer], meta: dict[str, Any], stem: str) -> Contents:
    normalization = fields_of(meta.get("normalization"))
    shape = _input_shape(normalization, meta)
    name = re.sub(r"[/:]|[^ -~]", "_", stem)[: LONGEST_TEXT // 2]
    name = f"{name}_mat" if name in (*ARCHITECTURES, "input", "prob") else name
    net = Architecture(name, "a network of MatConvNet", shape, read_rows(layers, shape))
    named = match.known_network(net) or net
    weights = [layer.weights() for layer in layers if layer.kind == "conv"]
    parameters: Parameters = {}
    for row, (kernel, bias) in zip(named.weighted, weights, strict=True):
        parameters[row.name] = kernel.reshape(-1, row.units) if isinstance(row, Dense) else kernel, bias
    try:
        preprocessing, notes = _preprocessing(normalization, shape)
        stated = {"architecture": named.name, "table": named.to_dict(), "preprocessing": preprocessing}
    except ValueError as error:
        raise CheckpointError(str(error)) from None
    stated |= _classes(meta, net.classes)
    extras = {SPEC: np.frombuffer(json.dumps(stated).encode(), np.uint8)}
    return Contents(parameters, extras=extras, notes=tuple(notes))


def _input_shape(normalization: dict[str, Any], meta: dict[str, Any]) -> tuple[int, int, int]:
    """Return (height, width, channels) of the pictures; the third number may be absent."""
    size = numbers_of(normalization.get("imageSize")) or numbers_of(meta.get("inputSize"))
    height, width, channels = (int(side) for side in (*size[:3], *(0, 0, 3)[len(size) :]))
    if min(height, width, channels) < 1:
        raise CheckpointError("expected the size of pictures in meta.normalization.imageSize; received none")
    return height, width, channels


def _classes(meta: dict[str, Any], count: int) -> dict[str, Any]:
    """Return labels and WordNet ids, none unless there are as many as outputs."""
    classes = fields_of(meta.get("classes"))
    names, texts = ([text_of(entry) for entry in np.ravel(classes.get(key, []))] for key in ("name", "description"))
    labels = next((each for each in (texts, names) if len(each) == count), [])
    wnids = names if labels and len(names) == count and all(map(WNID.fullmatch, names)) else None
    return {"labels": labels, "wnids": wnids}


def _preprocessing(
    normalization: dict[str, Any], shape: tuple[int, int, int]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the JSON of what MatConvNet does to pictures, and notes about what is not stated or another way.

    It resizes them to the input and a border, cuts the centre and subtracts `averageImage`, a picture or numbers.
    """
    height, width, channels = shape
    if height != width or channels not in (1, 3):
        return None, []
    mean = np.asarray(normalization.get("averageImage", ()), np.float64)
    mean = mean.reshape(-1) if mean.size == channels else mean
    notes = []
    if mean.size < channels:
        mean = np.zeros(channels)
        notes.append("The file does not hold the mean of the pictures: give it with --mean.")
    border, cropped = (numbers_of(normalization.get(key)) for key in ("border", "cropSize"))
    size = round(width / cropped[0]) if cropped else width + int(sum(border[:1]))
    keeps = all(numbers_of(normalization.get("keepAspect")))  # The default of MatConvNet's scripts is true.
    resize, order = "shorter side" if keeps else "squash", "RGB" if channels == 3 else "L"
    preprocessing = Preprocessing(resize, size, width, antialias=True, channels=order, mean=mean)
    if text_of(normalization.get("interpolation")) == "bicubic":
        notes.append("Pictures are resized bilinearly, in MatConvNet bicubically: its answers differ a little.")
    return preprocessing.to_dict() | {"mean": mean_to_json(mean)}, notes
