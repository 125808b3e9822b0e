"""The implementations of bvlc_alexnet that are compared, each used as its documentation recommends."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from files import H5, LITERT, NPY, ONNX, TORCH, XML
from workers import CORES

from tfalexnet.networks import spec
from tfalexnet.networks.catalog import BVLC_ALEXNET as NET
from tfalexnet.runtimes.cpu import resolve_precision

Network = tuple[Callable[[np.ndarray], Any], Callable[[Any], np.ndarray]]
"""Two functions: from pictures, (batch, 227, 227, 3), to the layout in which the implementation is fastest (not timed),
and from these to probabilities (timed)."""


class Peer(NamedTuple):
    """An implementation: its precision, its package, and the function that builds it from files for a batch size."""

    precision: str
    package: str
    make: Callable[[Path, int], Network]


def this_package(folder: Path, _: int, precision: str = "float32", engine: str = "auto", file: str = H5) -> Network:
    from tfalexnet.runtimes import network as networks
    from tfalexnet.runtimes.engine import aligned_memory

    networks._load.cache_clear()  # A network for each size of batches: those of a job have one size.
    network = networks.load_network(folder / file, precision=precision, engine=engine)

    def aligned(x: np.ndarray) -> np.ndarray:
        inputs = aligned_memory(x.shape)
        inputs[...] = x
        return inputs

    return aligned, lambda x: network(x)[0]


def plain_tensorflow(folder: Path, _: int) -> Network:
    """The operations of the tf_alexnet script in one tf.function, with conv1 padded VALID."""
    import tensorflow as tf

    weights = _variables(folder)

    def conv(x: tf.Tensor, name: str, groups: int, stride: int = 1, padding: str = "SAME") -> tf.Tensor:
        kernel, bias = weights[name]
        pairs = zip(tf.split(x, groups, 3), tf.split(kernel, groups, 3), strict=True)
        return tf.nn.relu(tf.concat([tf.nn.conv2d(a, k, stride, padding) for a, k in pairs], 3) + bias)

    def norm_pool(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.max_pool2d(tf.nn.local_response_normalization(x, 2, 1.0, 2e-5, 0.75), 3, 2, "VALID")

    @tf.function(input_signature=[tf.TensorSpec((None, 227, 227, 3))])
    def network(x: tf.Tensor) -> tf.Tensor:
        x = norm_pool(conv(x, "conv1", 1, 4, "VALID"))
        x = norm_pool(conv(x, "conv2", 2))
        x = conv(conv(conv(x, "conv3", 1), "conv4", 2), "conv5", 2)
        x = tf.reshape(tf.nn.max_pool2d(x, 3, 2, "VALID"), (-1, 9216))
        x = tf.nn.relu(x @ weights["fc6"][0] + weights["fc6"][1])
        x = tf.nn.relu(x @ weights["fc7"][0] + weights["fc7"][1])
        return tf.nn.softmax(x @ weights["fc8"][0] + weights["fc8"][1])

    return tf.constant, lambda x: network(x).numpy()


@functools.cache
def _variables(folder: Path) -> dict:
    import tensorflow as tf

    arrays = np.load(folder / NPY, allow_pickle=True).item()
    return {name: [tf.Variable(array) for array in pair] for name, pair in arrays.items()}


def torch_layers() -> dict:
    """Return the layers of the network in PyTorch by name, from pictures to logits."""
    import torch
    from torch import nn

    class Norm(nn.LocalResponseNorm):
        """Computes in float32, since PyTorch has no normalisation in bfloat16."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.float()).to(x.dtype)

    torch.set_num_threads(CORES)
    layers: dict[str, nn.Module] = {}
    for row in NET.layers:
        depth = NET.input_shapes()[row.name][-1]
        match row:
            case spec.Conv(filters=filters, size=size, stride=stride, groups=groups):
                padding = size // 2 if row.padding == "same" else 0
                layers[row.name] = nn.Conv2d(depth, filters, size, stride, padding, groups=groups)
            case spec.Norm():
                layers[row.name] = Norm(row.size, row.alpha, row.beta, row.k)
            case spec.Pool():
                layers[row.name] = nn.MaxPool2d(row.size, row.stride)
            case spec.Flatten():
                layers[row.name] = nn.Flatten()
            case spec.Dense():
                layers[row.name] = nn.Linear(depth, row.units)
            case spec.Dropout():
                layers[row.name] = nn.Dropout(row.rate)
        if getattr(row, "activation", None):
            layers[f"{row.name}_relu"] = nn.ReLU(inplace=True)
    return layers


@functools.cache
def torch_module(folder: Path, precision: str):
    """Return the network channels last, which is the faster layout of PyTorch on a CPU."""
    import torch
    from torch import nn

    layers = collections.OrderedDict(torch_layers(), prob=nn.Softmax(1))
    module = nn.Sequential(layers).eval().requires_grad_(False)
    module.load_state_dict(torch.load(folder / TORCH))
    return module.to(dtype=getattr(torch, precision), memory_format=torch.channels_last)


def pytorch(folder: Path, _: int, precision: str = "float32", compiled: bool = False) -> Network:
    import torch

    module = torch_module(folder, precision)
    if compiled:
        import torch._inductor.config

        torch._inductor.config.freezing = True  # The weights get the layout of oneDNN at compile time.
        module = torch.compile(module, dynamic=False)

    def prepare(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).to(getattr(torch, precision))

    def network(x: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            return module(x).float().numpy()

    return prepare, network


def onnx_runtime(folder: Path, _: int) -> Network:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = CORES
    session = onnxruntime.InferenceSession(folder / ONNX, options, ["CPUExecutionProvider"])
    (inputs,) = session.get_inputs()
    return channels_first, lambda x: session.run(None, {inputs.name: x})[0]


def openvino(folder: Path, batch: int, precision: str = "f32") -> Network:
    import openvino

    model = openvino.Core().read_model(folder / ONNX)
    model.reshape([batch, 3, 227, 227])  # Fixed shapes give faster kernels.
    # Without the hint, OpenVINO computes in bfloat16 on processors that have it.
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": CORES, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.compile_model(model, "CPU", options)
    return channels_first, lambda x: compiled(x)[0]


def opencv(folder: Path, _: int) -> Network:
    import cv2

    cv2.setNumThreads(CORES)
    net = cv2.dnn.readNetFromONNX(str(folder / ONNX))

    def network(x: np.ndarray) -> np.ndarray:
        net.setInput(x)
        return net.forward()

    return channels_first, network


def litert(folder: Path, batch: int) -> Network:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / LITERT), num_threads=CORES)  # Uses XNNPACK by default.
    [into], [out] = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(into["index"], [batch, 227, 227, 3])
    interpreter.allocate_tensors()

    def network(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(into["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(out["index"])

    return np.ascontiguousarray, network


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def _ours(precision: str = "float32", **options: str) -> Peer:
    return Peer(precision, "tfalexnet", functools.partial(this_package, precision=precision, **options))


OURS = {"float32": "tfalexnet", "bfloat16": "tfalexnet, bfloat16", "int8": "tfalexnet, int8"}
"""The default of each precision: the engine "auto", which is OpenVINO here."""
BY_TENSORFLOW = "tfalexnet by TensorFlow"
TYPES = ("float32", "int8", *(["bfloat16"] if resolve_precision("auto") == "bfloat16" else []))
"""The precisions that are measured: bfloat16 only where the processor multiplies in it."""
ALL = {
    OURS["float32"]: _ours(),
    BY_TENSORFLOW: _ours(engine="tensorflow"),
    "tfalexnet from its .xml": _ours(file=XML),
    "tfalexnet from its .tflite": _ours(file=LITERT),
    "TensorFlow as in tf_alexnet": Peer("float32", "tensorflow", plain_tensorflow),
    "PyTorch": Peer("float32", "torch", pytorch),
    "PyTorch, compiled": Peer("float32", "torch", functools.partial(pytorch, compiled=True)),
    "ONNX Runtime": Peer("float32", "onnxruntime", onnx_runtime),
    "OpenVINO": Peer("float32", "openvino", openvino),
    "OpenCV": Peer("float32", "opencv-python-headless", opencv),
    "LiteRT": Peer("float32", "ai-edge-litert", litert),
    OURS["bfloat16"]: _ours("bfloat16"),
    f"{BY_TENSORFLOW}, bfloat16": _ours("bfloat16", engine="tensorflow"),
    "PyTorch, bfloat16": Peer("bfloat16", "torch", functools.partial(pytorch, precision="bfloat16")),
    "PyTorch, compiled, bfloat16": Peer(
        "bfloat16", "torch", functools.partial(pytorch, compiled=True, precision="bfloat16")
    ),
    "OpenVINO, bfloat16": Peer("bfloat16", "openvino", functools.partial(openvino, precision="bf16")),
    OURS["int8"]: _ours("int8"),
}
PEERS = {name: peer for name, peer in ALL.items() if peer.precision in TYPES}
