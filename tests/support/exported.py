"""Exported files of small networks, and the answers of each format's own runtime."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from support.answers import keras_case
from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.exported import describe_export
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.exporters.export import EXPORTERS
from tfalexnet.images.classes import numbered_classes
from tfalexnet.images.preprocessing import BVLC, Preprocessing
from tfalexnet.networks.spec import Architecture

PACKAGES = {
    "savedmodel": "tensorflow",
    "litert": "ai_edge_litert",
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "caffe": "cv2",
}
"""The package of each format's runtime."""


def require(format: str) -> None:
    """Skip a test if a package that writes the format, or its runtime, is not installed."""
    for package in (*EXPORTERS[format].PACKAGES, PACKAGES[format]):
        pytest.importorskip(package)


def output_path(folder: Path, format: str) -> Path:
    return folder / EXPORTERS[format].NAME.format("net")


def bvlc_for(net: Architecture) -> Preprocessing:
    """BVLC's preprocessing for the input shape of a network."""
    side, _, channels = net.input_shape
    grey = {"channels": "L", "mean": (100.0,)} if channels == 1 else {}
    return dataclasses.replace(BVLC, size=side + side // 8, crop=side, **grey)


def write_case(
    path: Path, name: str, format: str, precision: str = "float32", preprocessing: Preprocessing | None = None
) -> Path:
    """Write the network of `keras_case` with the exporter of a format."""
    net, parameters, *_ = keras_case(name)
    checkpoint = Checkpoint(dict(parameters), ModelSpec(net, preprocessing, numbered_classes(net.classes)))
    exporter = EXPORTERS[format]
    exporter.write(path, checkpoint, describe_export(checkpoint.spec, precision, exporter.LAYOUT), precision, None)
    return path


def in_savedmodel(path: Path, x: np.ndarray) -> np.ndarray:
    return tf.saved_model.load(path).signatures["probabilities"](inputs=tf.constant(x))["probabilities"].numpy()


def in_litert(path: Path, x: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    inputs, outputs = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(inputs, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(inputs, x)
    interpreter.invoke()
    return interpreter.get_tensor(outputs)


def in_onnx(graph: Path | bytes, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    graph = graph if isinstance(graph, bytes) else str(graph)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"inputs": x.transpose(0, 3, 1, 2)})[0]


def in_openvino(path: Path, x: np.ndarray) -> np.ndarray:
    import openvino

    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled({"inputs": x.transpose(0, 3, 1, 2)})["probabilities"]


RUNTIMES = {"savedmodel": in_savedmodel, "litert": in_litert, "onnx": in_onnx, "openvino": in_openvino}
