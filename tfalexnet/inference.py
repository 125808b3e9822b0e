"""Pictures through a network, batch by batch: the one place that builds a function to infer with."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet import checkpoints
from tfalexnet.architectures import Activation, Architecture, Layer
from tfalexnet.classes import Class
from tfalexnet.formats import CheckpointError
from tfalexnet.preprocessing import Picture, PictureError, Preprocessing
from tfalexnet.weights import find

BATCH = 32  # Pictures a step: more make a CPU no faster.
PROBABILITIES = "prob"  # Caffe's name for the softmax behind the last layer.
BEFORE = ":pre"  # fc7 is what leaves the ReLU, fc7:pre what enters it.

# torchvision's names for one_weird_trick: places in its two sequences, kernel and ReLU apart.
TORCHVISION = {
    "features.0": "conv1:pre",
    "features.1": "conv1",
    "features.2": "pool1",
    "features.3": "conv2:pre",
    "features.4": "conv2",
    "features.5": "pool2",
    "features.6": "conv3:pre",
    "features.7": "conv3",
    "features.8": "conv4:pre",
    "features.9": "conv4",
    "features.10": "conv5:pre",
    "features.11": "conv5",
    "features.12": "pool5",
    "features": "pool5",
    "avgpool": "pool5",
    "classifier.1": "fc6:pre",
    "classifier.2": "fc6",
    "classifier.4": "fc7:pre",
    "classifier.5": "fc7",
    "classifier.6": "fc8",
    "classifier": "fc8",
}


@dataclass(frozen=True)
class Network:
    """A network that is ready to answer.

    Attributes:
        architecture: its table.
        preprocessing: what its pictures become.
        classes: the names of its outputs.
        layers: whose numbers it gives.
        function: from (batch, height, width, channels) to a list of one tensor for each of `layers`.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    classes: tuple[Class, ...]
    layers: tuple[str, ...]
    function: Callable[[Any], list[Any]]

    def __call__(self, inputs: np.ndarray) -> list[np.ndarray]:
        """For each of `layers` an array, (batch, …), of preprocessed pictures."""
        return [output.numpy() for output in self.function(inputs)]


def listed(images: Picture | Sequence[Picture]) -> tuple[Sequence[Picture], bool]:
    """Pictures as a sequence, and whether they were one: a list, a tuple or an array of four dimensions."""
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 4)
    return (images, True) if several else ([images], False)


def run(
    network: Network, pictures: Iterable[Picture], crops: int = 1, batch: int = BATCH
) -> Iterator[list[np.ndarray] | PictureError]:
    """For each picture in order the numbers of each layer, or what is wrong with it.

    Args:
        network: from `load`.
        pictures: as many as there are; no more than a batch of them is held.
        crops: 1 for the centre; 10 for the four corners and the centre, mirrored too, of which the
            mean is given.
        batch: pictures a step.
    """
    pictures = iter(pictures)
    while found := [_prepared(network, picture, crops) for picture in itertools.islice(pictures, batch)]:
        inputs = [prepared for prepared in found if not isinstance(prepared, PictureError)]
        outputs = network(np.concatenate(inputs)) if inputs else []
        means = [output.reshape(-1, crops, *output.shape[1:]).mean(axis=1) for output in outputs]
        rows = zip(*means, strict=True)
        for prepared in found:
            yield prepared if isinstance(prepared, PictureError) else list(next(rows))


def load(weights: str | os.PathLike | None, layers: tuple[str, ...] = (PROBABILITIES,)) -> Network:
    """The network of these weights, giving these layers.

    The last two stay in memory while their files are unchanged.

    Raises:
        ValueError: the network has no such layer.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`.
    """
    path = find(weights)
    state = path.stat()
    return _load(path.absolute(), layers, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=2)
def _load(path: Path, layers: tuple[str, ...], *_: int) -> Network:
    import keras
    import tensorflow as tf

    from tfalexnet import model

    checkpoint = checkpoints.read(path)
    net = checkpoint.architecture
    for note in checkpoint.notes:
        warnings.warn(note, stacklevel=4)
    if checkpoint.preprocessing is None:
        raise CheckpointError(
            f"{os.fspath(path)}: expected to know how {net.name} wants its pictures; the file does not "
            f"say. Preprocess them yourself and call the model of AlexNet({net.name!r}, weights=…)."
        )
    places = [place(net, layer) for layer in layers]
    whole = model.build(exposed(net.blank()), classifier_activation=None)
    network = keras.Model(whole.inputs, [whole.get_layer(name).output for name in places])
    lacking = [layer.name for layer in network.layers if layer.name in checkpoint.missing]
    if lacking:
        raise CheckpointError(
            f"{os.fspath(path)}: expected {', '.join(lacking)}, without which there is no "
            f"{' or '.join(layers)}; the file does not hold it. `tfalexnet features` gives the layers before it."
        )
    model.fill(network, checkpoint.parameters)
    # keras.Model.predict costs tens of milliseconds a call; one fixed signature costs the network.
    signature = [tf.TensorSpec((None, *checkpoint.preprocessing.shape), tf.float32)]
    function = tf.function(lambda x: tf.nest.flatten(network(x, training=False)), input_signature=signature)
    return Network(net, checkpoint.preprocessing, checkpoint.classes, layers, function)


def exposed(net: Architecture) -> Architecture:
    """The table with every nonlinearity in a row of its own, and the softmax as the last one."""
    rows: list[Layer] = []
    for row in net.layers:
        function = getattr(row, "activation", None)
        if function is None:
            rows.append(row)
        else:
            rows += [dataclasses.replace(row, activation=None), Activation(_after(row.name), function)]
    return dataclasses.replace(net, layers=(*rows, Activation(PROBABILITIES, "softmax")))


def place(net: Architecture, layer: str) -> str:
    """The row of the exposed table that a layer's name means.

    Raises:
        ValueError: the network has no such layer.
    """
    known = TORCHVISION if net.name == "one_weird_trick" else {}
    rows = {row.name: getattr(row, "activation", None) for row in net.layers}
    name = known.get(layer, layer)
    if name == PROBABILITIES:
        return name
    if name in rows:
        return name if rows[name] is None else _after(name)
    plain = name.removesuffix(BEFORE)
    if name.endswith(BEFORE) and rows.get(plain):
        return plain
    names = [*rows, *(f"{row}{BEFORE}" for row, activation in rows.items() if activation), PROBABILITIES, *known]
    raise ValueError(f"Expected layers of {net.name}: {', '.join(names)}. Received: {layer!r}")


def _after(name: str) -> str:
    return f"{name}_activation"


def _prepared(network: Network, picture: Picture, crops: int) -> np.ndarray | PictureError:
    try:
        return network.preprocessing.views(picture, crops)
    except PictureError as error:
        return error
