"""`.keras` files written by version 0.1.0 load, and give the outputs that version 0.1.0 computed.

The fixtures hold tiny networks with layers of every kind. `saved_models_0.1.0.npz` holds two pictures
(uint8) as `inputs` and the outputs of version 0.1.0 under the name of each file.
"""

import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import tfalexnet.networks.layers
import tfalexnet.networks.towers  # noqa: F401  Registers the layers of two towers.

FIXTURES = Path(__file__).parent / "fixtures"
NAMES = ["one_device_0.1.0", "two_towers_0.1.0", "two_towers_without_top_0.1.0"]


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_model_gives_the_outputs_of_the_version_that_wrote_it(name):
    with np.load(FIXTURES / "saved_models_0.1.0.npz") as stored:
        inputs, expected = stored["inputs"].astype("float32"), stored[name]
    model = keras.saving.load_model(FIXTURES / f"{name}.keras")
    np.testing.assert_allclose(model(inputs), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected[0] - expected[1]).max() > 1e-3  # The outputs depend on the picture.


def test_a_trained_model_keeps_its_optimizer():
    model = keras.saving.load_model(FIXTURES / "two_towers_0.1.0.keras")
    assert model.optimizer.iterations == 1
    momentum = [variable for variable in model.optimizer.variables if "momentum" in variable.path]
    assert len(momentum) == len(model.trainable_variables) == 18
    assert all(np.abs(variable.numpy()).max() > 0 for variable in momentum)


def test_the_fixtures_name_every_registered_layer():
    registered = set()
    for name in NAMES:
        with zipfile.ZipFile(FIXTURES / f"{name}.keras") as file:
            registered |= set(re.findall(r'"tfalexnet[.\w]*>\w+"', file.read("config.json").decode()))
    objects = keras.saving.get_custom_objects().items()
    assert registered == {f'"{name}"' for name, kind in objects if kind.__module__.startswith("tfalexnet.networks.")}
