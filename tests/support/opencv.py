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
