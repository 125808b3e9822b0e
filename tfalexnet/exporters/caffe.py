"""Write a network for Caffe and OpenCV 4: a folder with `deploy.prototxt`, `weights.caffemodel` and the mean."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.exported import KEY, Samples
from tfalexnet.checkpoints.formats.caffe_mean import write_mean
from tfalexnet.networks import spec
from tfalexnet.networks.caffe_pooling import window_count
from tfalexnet.networks.layer_names import PROBABILITIES
from tfalexnet.networks.spec import Architecture, Parameters

DEFINITION, WEIGHTS, MEAN = "deploy.prototxt", "weights.caffemodel", "mean.binaryproto"
NAME, BESIDE, LAYOUT, MARKER = "{}-caffe", (), "NCHW", DEFINITION
PACKAGES: tuple[str, ...] = ()
PRECISIONS = ("float32",)
ACTIVATIONS = {"relu": "ReLU", "tanh": "TanH", "sigmoid": "Sigmoid"}
HOMOGENEOUS = (spec.Pad, spec.Pool, spec.Dropout, spec.Flatten)  # Layers f with f(c·x) = c·f(x) for positive c.


def write(path: Path, checkpoint: Checkpoint, description: str, _: str, __: Samples | None = None) -> None:
    """Write the folder. Its labels.txt and tfalexnet.json are for programs other than Caffe.

    Caffe subtracts the mean before it scales levels; `mean.binaryproto` is therefore in levels of 0–255.

    Raises:
        ValueError: Caffe has no layer that computes what a row states; the message names it.
    """
    model, preprocessing = checkpoint.spec, checkpoint.spec.preprocessing
    net, parameters = _with_k_of_one(model.architecture, checkpoint.parameters)
    path.mkdir()
    header = f"# Pictures: {preprocessing.summary()}.\n" if preprocessing else ""
    (path / DEFINITION).write_text(header + definition(net), "utf-8")
    write_checkpoint(path / WEIGHTS, replace(checkpoint, parameters=parameters))
    if preprocessing:
        mean = np.asarray(preprocessing.mean, np.float32) / np.float32(preprocessing.scale)
        write_mean(path / MEAN, np.broadcast_to(mean, preprocessing.shape) if mean.ndim == 1 else mean)
    (path / "labels.txt").write_text("".join(f"{label}\n" for _, label in model.classes), "utf-8")
    (path / f"{KEY}.json").write_text(description, "utf-8")


def definition(net: Architecture) -> str:
    """Return the deploy.prototxt of a table.

    Raises:
        ValueError: Caffe has no layer that computes what a row states; the message names it.
    """
    height, width, channels = net.input_shape
    shape = f"dim: 1 dim: {channels} dim: {height} dim: {width}"
    lines = [f'name: "{_escaped(net.name)}"', f'input: "data"\ninput_shape {{ {shape} }}']
    bottom = "data"
    for name, kind, parameters in _layers(net):
        top = bottom if kind in (*ACTIVATIONS.values(), "Dropout") else name
        blobs = f'bottom: "{_escaped(bottom)}" top: "{_escaped(top)}"'
        lines.append(f'layer {{\n  name: "{_escaped(name)}" type: "{kind}" {blobs}{parameters}\n}}')
        bottom = top
    return "\n".join(lines) + "\n"


def _layers(net: Architecture) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and parameters of each layer of Caffe."""
    pad, inputs = 0, net.input_shapes()
    for row in net.layers:
        height, width, _ = inputs[row.name]
        if pad and not (isinstance(row, spec.Conv) and row.padding == "valid"):
            raise _error(row, "padding only before a convolution without padding of its own")
        match row:
            case spec.Pad():
                pad = row.size
                continue
            case spec.Conv():
                pad = _conv_pad(row, (height, width)) if row.padding == "same" else pad
                window = f"kernel_size: {row.size} stride: {row.stride} pad: {pad} group: {row.groups}"
                yield row.name, "Convolution", f" convolution_param {{ num_output: {row.filters} {window} }}"
                pad = 0
            case spec.Dense():
                yield row.name, "InnerProduct", f" inner_product_param {{ num_output: {row.units} }}"
            case spec.Norm():
                yield row.name, "LRN", _norm(row)
            case spec.Pool():
                window = f"kernel_size: {row.size} stride: {row.stride} pad: {_pool_pad(row, (height, width))}"
                kind = {"max": "MAX", "average": "AVE"}[row.kind]
                yield row.name, "Pooling", f" pooling_param {{ pool: {kind} {window} }}"
            case spec.Activation():
                yield row.name, _activation(row, row.function), ""
            case spec.Flatten():
                yield row.name, "Flatten", ""
            case spec.Dropout():
                yield row.name, "Dropout", f" dropout_param {{ dropout_ratio: {row.rate!r} }}"
        if getattr(row, "activation", None):
            yield f"{row.name}_{row.activation}", _activation(row, row.activation), ""
    yield PROBABILITIES, "Softmax", ""


def _error(row: spec.Layer, expected: str) -> ValueError:
    return ValueError(f"Expected what Caffe can compute, {expected}. Received: {row}")


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _activation(row: spec.Layer, function: str) -> str:
    if function not in ACTIVATIONS:
        raise _error(row, f"an activation among {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[function]


def _norm(row: spec.Norm) -> str:
    across = row.region == "across_channels"
    if across and row.groups > 1:
        raise _error(row, "a normalisation across all channels")
    alpha = row.alpha if row.divide_alpha else row.alpha * (row.size if across else row.size**2)
    constants = f"local_size: {row.size} alpha: {alpha!r} beta: {row.beta!r}"
    return f" lrn_param {{ {constants} norm_region: {row.region.upper()} }}"


def _missing(row: spec.Conv | spec.Pool, length: int) -> int:
    """Return how many rows padding "same" adds along a side."""
    return max((-(-length // row.stride) - 1) * row.stride + row.size - length, 0)


def _conv_pad(row: spec.Conv, sides: tuple[int, int]) -> int:
    """Return the padding of a convolution with padding "same", which Caffe must add equally on all sides."""
    missing = {_missing(row, side) for side in sides}
    if len(missing) > 1 or max(missing) % 2:
        raise _error(row, f"the same padding on all sides; for {sides} it is not")
    return missing.pop() // 2


def _pool_pad(row: spec.Pool, sides: tuple[int, int]) -> int:
    """Return the padding with which Caffe has the same windows as the row."""
    if row.padding == "caffe":
        return row.pad
    before = {_missing(row, side) // 2 if row.padding == "same" else 0 for side in sides}
    pad = max(before)
    own = [-(-side // row.stride) if row.padding == "same" else (side - row.size) // row.stride + 1 for side in sides]
    if len(before) > 1 or own != [window_count(side, row.size, row.stride, pad) for side in sides]:
        raise _error(row, f"windows whose number is rounded up; for {sides} it is not")
    if pad and row.kind == "average":
        raise _error(row, "an average that counts its padding")
    return pad


def _with_k_of_one(net: Architecture, parameters: Parameters) -> tuple[Architecture, Parameters]:
    """Return a network that computes the same with k = 1 in each normalisation; OpenCV ignores another k.

    a / (k + c·Σ a²)^beta is k^−beta · a / (1 + c/k·Σ a²)^beta; the next kernel is multiplied by the factor.
    """
    rows, parameters, factor = {}, dict(parameters), 1.0
    for row in net.layers:
        if isinstance(row, spec.Conv | spec.Dense) and factor != 1:
            kernel, bias = parameters[row.name]
            parameters[row.name], factor = (kernel * np.float32(factor), bias), 1.0
        elif factor != 1 and not isinstance(row, HOMOGENEOUS):
            raise _error(row, "a normalisation with k = 1 before this layer")
        if isinstance(row, spec.Norm) and row.k != 1:
            rows[row.name], factor = replace(row, k=1.0, alpha=row.alpha / row.k), float(row.k**-row.beta)
    return net.replace_layers(**rows), parameters
