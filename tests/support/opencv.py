"""Answers of OpenCV's Caffe importer, an implementation that shares no code with the package."""

import numpy as np

from support.caffe import caffemodel, prototxt
from tfalexnet.networks.spec import Architecture


def opencv_softmax(net: Architecture, parameters: dict, inputs: np.ndarray, layout: str = "new") -> np.ndarray:
    """Return the softmax of Caffe's form of a network for preprocessed pictures, (pictures, classes)."""
    import cv2

    text, model = prototxt(net).encode(), caffemodel(parameters, net, layout)
    network = cv2.dnn.readNetFromCaffe(np.frombuffer(text, np.uint8), np.frombuffer(model, np.uint8))
    rows = []
    for picture in inputs:
        network.setInput(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
        rows.append(network.forward().ravel().copy())
    return np.array(rows)


def opencv_layer(layer: str, x: np.ndarray) -> np.ndarray:
    """Return one layer of Caffe, given by its type and parameters, for an array in channels last."""
    pictures, height, width, channels = x.shape
    dims = " ".join(f"dim: {size}" for size in (pictures, channels, height, width))
    text = f'input: "data" input_shape {{ {dims} }} layer {{ name: "layer" bottom: "data" top: "layer" type: {layer} }}'
    return opencv_network(text, b"", x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)


def opencv_network(text: str, model: bytes, inputs: np.ndarray) -> np.ndarray:
    """Return the last blob of a network of Caffe for (pictures, channels, height, width)."""
    import cv2

    buffers = [np.frombuffer(buffer, np.uint8) for buffer in (text.encode(), model) if buffer]
    network = cv2.dnn.readNetFromCaffe(*buffers)
    network.setInput(np.ascontiguousarray(inputs))
    return network.forward().copy()
