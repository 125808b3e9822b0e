"""`.keras` files written by version 0.1.0 load, and give the outputs that version 0.1.0 computed.

The fixtures hold tiny networks with layers of every kind. `saved_models_0.1.0.npz` holds two pictures
(uint8) as `inputs` and the outputs of version 0.1.0 under the name of each file.
"""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from support.nets import small

from tfalexnet import AlexNet
from tfalexnet.networks.catalog import ARCHITECTURES

NET = small(ARCHITECTURES["krizhevsky2012"])
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
    ours = {name for name, kind in objects if kind.__module__.startswith("tfalexnet.networks.")}
    newer = {"tfalexnet>CaffePooling2D"}
    assert registered == {f'"{name}"' for name in ours - {"PlacedModel"} - newer}  # As Keras' old .h5 states it.


ORDERS = {"tfalexnet first": "import tfalexnet, keras", "keras first": "import keras, tfalexnet"}
LOAD = """
import sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
for path in sys.argv[1:]:
    model = keras.saving.load_model(path)
    keras.models.clone_model(model)
    print(path, float(model(np.ones((1, *model.input_shape[1:]))).numpy().max()))
"""


@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize("order", ["keras first", pytest.param("tfalexnet first", marks=pytest.mark.slow)])
def test_a_new_process_loads_models_that_keras_saved(order):
    """`.keras`, `.h5` and the file of a ModelCheckpoint."""
    expected = {}
    for name, net in {"one": small(ARCHITECTURES["cifar10_18pct"]), "two": NET}.items():
        model = AlexNet(net, devices=("/CPU:0", "/CPU:1") if name == "two" else None)
        model.compile("sgd", "sparse_categorical_crossentropy")
        checkpoint = keras.callbacks.ModelCheckpoint(f"{name}.best.keras")
        x = np.ones((1, *net.input_shape))
        model.fit(x, np.zeros(1), verbose=0, callbacks=[checkpoint])
        for suffix in (".keras", ".h5"):
            model.save(f"{name}{suffix}")
        answer = float(model(x).numpy().max())
        expected |= dict.fromkeys((f"{name}.keras", f"{name}.best.keras", f"{name}.h5"), answer)
    code = ORDERS[order] + LOAD
    run = subprocess.run([sys.executable, "-c", code, *expected], capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    received = dict(line.split() for line in run.stdout.splitlines())
    assert {name: float(value) for name, value in received.items()} == pytest.approx(expected, rel=1e-4)
