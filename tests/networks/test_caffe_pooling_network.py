"""A network with Caffe's pooling is trained, saved by Keras and exported in 8 bits like any other."""

import keras
import numpy as np
import pytest
from support.exported import in_litert, require
from support.nets import random_parameters
from support.runs import bars

from tfalexnet import AlexNet
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.exported import describe_export
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.exporters import litert
from tfalexnet.images.classes import numbered_classes
from tfalexnet.networks.build import build_model, get_parameters, set_parameters
from tfalexnet.networks.spec import Architecture, Conv, Dense, Flatten, Pool
from tfalexnet.training import recipe
from tfalexnet.training.trainer import train

NET = Architecture(
    "pooled",
    "Maximum and average, with padding and windows beyond the border.",
    (15, 15, 3),
    (
        Conv("conv1", 8, 3, padding="same"),  # 15×15×8
        Pool("pool1", 3, 2, "max", "caffe", 1),  # 8×8×8
        Conv("conv2", 12, 3, padding="same"),
        Pool("pool2", 3, 2, "average", "caffe", 1),  # 5×5×12
        Pool("pool3", 2, 2, "max", "caffe"),  # 3×3×12
        Flatten(),
        Dense("fc", 4),
    ),
)
PARAMETERS = random_parameters(NET)
PARAMETERS["fc"] = tuple(40 * array for array in PARAMETERS["fc"])
INPUTS = np.random.default_rng(0).standard_normal((32, *NET.input_shape), np.float32)
LABELS = np.arange(32) % 4


@pytest.fixture
def model():
    model = build_model(NET)
    set_parameters(model, PARAMETERS)
    return model


def trained_by_pytorch(counts_padding: bool = True) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Parameters after two steps of SGD on the first and second half of the inputs."""
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    tensors = {}
    for name, (kernel, bias) in PARAMETERS.items():
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        tensors[name] = [torch.tensor(np.ascontiguousarray(array), requires_grad=True) for array in (kernel, bias)]
    optimizer = torch.optim.SGD([tensor for pair in tensors.values() for tensor in pair], lr=0.1)
    for half in (slice(0, 16), slice(16, 32)):
        x = torch.tensor(np.ascontiguousarray(INPUTS[half].transpose(0, 3, 1, 2)))
        x = functional.conv2d(x, *tensors["conv1"], padding=1).relu()
        x = functional.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        x = functional.conv2d(x, *tensors["conv2"], padding=1).relu()
        x = functional.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=counts_padding)
        x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
        logits = functional.linear(x.permute(0, 2, 3, 1).flatten(1), *tensors["fc"])
        optimizer.zero_grad()
        functional.cross_entropy(logits, torch.tensor(LABELS[half])).backward()
        optimizer.step()
    result = {}
    for name, (kernel, bias) in tensors.items():
        kernel = kernel.detach().numpy()
        result[name] = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T, bias.detach().numpy()
    return result


def test_two_steps_of_training_equal_those_of_pytorch(model):
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.fit(INPUTS, LABELS, batch_size=16, shuffle=False, verbose=0)
    ours, theirs = get_parameters(model), trained_by_pytorch()
    for name, pair in theirs.items():
        for array, expected, before in zip(ours[name], pair, PARAMETERS[name], strict=True):
            np.testing.assert_allclose(array, expected, rtol=0, atol=2e-6)
            assert np.abs(expected - before).max() > 1e-3
    mutant = trained_by_pytorch(counts_padding=False)
    assert all(np.abs(mutant[name][0] - kernel).max() > 1e-3 for name, (kernel, _) in theirs.items())


def test_tfalexnet_trains_it(tmp_path):
    net = Architecture("pooled", "", (28, 28, 1), NET.layers)
    path = train(bars(32), bars(16, 1), net, recipe("paper", net.name, epochs=1, batch=16), tmp_path / "run")
    assert read_checkpoint(path).spec.architecture.layers[1] == NET.layers[1]


def test_keras_saves_and_loads_it_and_convert_reads_its_table(model, tmp_path):
    for name in ("net.keras", "net.h5"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(keras.saving.load_model(tmp_path / name)(INPUTS), model(INPUTS))
        assert read_checkpoint(tmp_path / name).spec.architecture.layers == NET.layers
        np.testing.assert_array_equal(AlexNet(weights=tmp_path / name)(INPUTS), model(INPUTS))


def test_int8_differs_little(model, tmp_path):
    require("litert")
    checkpoint = Checkpoint(PARAMETERS, ModelSpec(NET, None, numbered_classes(4)))
    description = describe_export(checkpoint.spec, "int8", "NHWC")
    litert.write(tmp_path / "net.tflite", checkpoint, description, "int8", lambda: (x[None] for x in INPUTS))
    answers = model(INPUTS).numpy()
    ours = in_litert(tmp_path / "net.tflite", INPUTS)
    assert answers.max(axis=1).min() > 0.26 and answers.std() > 0.1
    assert 0 < np.abs(ours - answers).max() < 0.05
