"""The example train_cifar10.py: the weights that it writes are those of the published network in its units."""

import importlib.util
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from absl import flags
from support import ROOT

from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.networks.build import build_model
from tfalexnet.runtimes.network import load_network


@pytest.fixture
def example() -> Iterator[ModuleType]:
    """The example as a module; its flags, whose names other examples use too, exist during the test only."""
    others = {name: flags.FLAGS[name] for name in ("output", "epochs", "seed") if name in flags.FLAGS}
    for name in others:
        delattr(flags.FLAGS, name)
    before = set(flags.FLAGS)
    spec = importlib.util.spec_from_file_location("train_cifar10", ROOT / "examples" / "train_cifar10.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)
    for name, flag in others.items():
        flags.FLAGS[name] = flag


def test_the_written_file_answers_like_the_trained_model(example, tmp_path):
    model = build_model(example.training_table(), classifier_activation=None)
    mean = np.full((32, 32, 3), 120, np.float32)
    names = [f"class {i}" for i in range(10)]
    file = example.save(model, mean, names, tmp_path)
    spec = read_checkpoint(file).spec
    assert spec.architecture.name == "cifar10_18pct" and [entry.label for entry in spec.classes] == names
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), "uint8")
    logits = np.array(model((pictures - mean) / example.UNIT))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = load_network(file)(spec.preprocessing.normalize(pictures.astype(np.float32)))[0]
    np.testing.assert_allclose(answers, probabilities, rtol=1e-4, atol=1e-6)
    best = logits.argmax(axis=1)
    assert example.test_error(file, pictures, best) == 0 and example.test_error(file, pictures, (best + 1) % 10) == 1
