"""A small network of ImageNet's classes, class folders of pictures, and the network's answers to them."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.evaluation import COUNT, NET, save, views

from tfalexnet import AlexNet, evaluate
from tfalexnet.exporters.export import export
from tfalexnet.images.classes import imagenet_classes


@pytest.fixture(scope="session")
def thin(tmp_path_factory) -> Path:
    """Random weights of a small network of ImageNet's classes."""
    return save(tmp_path_factory.mktemp("weights") / "thin.weights.h5", NET.with_classes(1000), imagenet_classes())


@pytest.fixture(scope="session")
def quick(thin, tmp_path_factory) -> Path:
    """The same weights for LiteRT, which another process loads without TensorFlow, if LiteRT is installed."""
    if not find_spec("ai_edge_litert"):
        return thin
    return export(thin, tmp_path_factory.mktemp("quick") / "thin.tflite", "litert")


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Pictures of the size that the network resizes to, of very different colours."""
    coarse = np.random.default_rng(0).integers(0, 256, (COUNT, 5, 5, 3), "uint8")
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="session")
def ranks(thin, images) -> dict[int, np.ndarray]:
    """By number of crops, the classes of each picture by descending mean probability of its crops."""
    model = AlexNet(NET.with_classes(1000), weights=thin)
    means = {}
    for crops in (1, 10):
        inputs = np.concatenate([views(image, crops) for image in images])
        means[crops] = model(inputs).numpy().reshape(COUNT, crops, 1000).mean(axis=1)
    return {crops: np.argsort(-mean, axis=1, kind="stable") for crops, mean in means.items()}


@pytest.fixture(scope="session")
def truth(ranks) -> np.ndarray:
    """The class of each picture: that of rank i % 10 in the answer to the centre crop of picture i."""
    return np.array([ranks[1][i, i % 10] for i in range(COUNT)])


@pytest.fixture(scope="session")
def original(tmp_path_factory, images, truth) -> Path:
    """A folder that contains the pictures in class folders, below `set`."""
    root = tmp_path_factory.mktemp("original")
    for i, image in enumerate(images):
        folder = root / "set" / imagenet_classes()[truth[i]].wnid
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    return root


@pytest.fixture
def folder(original, tmp_path, monkeypatch) -> Path:
    """The class folders as `set` in the working folder; the test may change them."""
    shutil.copytree(original / "set", tmp_path / "set")
    monkeypatch.chdir(tmp_path)
    return Path("set")


@pytest.fixture(scope="session")
def complete(original, thin) -> dict:
    """The report on the unchanged folder, without interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(original)
        return evaluate("set", thin)
