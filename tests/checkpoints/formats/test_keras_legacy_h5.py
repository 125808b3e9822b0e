"""The .h5 files of Keras 1 and 2: written by Keras 3 in their layout, and by h5py as the older versions wrote them."""

import json

import h5py
import keras
import numpy as np
import pytest
from support.nets import small
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import AlexNet, CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import keras_legacy_h5
from tfalexnet.networks.build import get_parameters
from tfalexnet.networks.catalog import ARCHITECTURES

pytestmark = [pytest.mark.usefixtures("in_tmp_path"), pytest.mark.filterwarnings("ignore::UserWarning")]


def write(path, weights: dict, config: dict | None = None, **attributes: str) -> None:
    """As Keras 1 and 2 did: texts are bytes. `weights` are arrays by name, by layer."""
    with h5py.File(path, "w") as file:
        group = file
        if config:
            file.attrs["model_config"] = json.dumps(config).encode()
            group = file.create_group("model_weights")
        for name, text in attributes.items():
            group.attrs[name] = text.encode()
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            folder = group.create_group(layer)
            folder.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                folder.create_dataset(name, data=array)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_models_of_alexnet_have_the_table_and_the_weights(name):
    net = small(ARCHITECTURES[name])
    model = AlexNet(net)
    model.save("x.h5")
    checkpoint = read_checkpoint("x.h5")
    assert checkpoint.spec.architecture.layers == net.layers
    assert (checkpoint.spec.architecture.input_shape, checkpoint.notes) == (net.input_shape, ())
    assert_equal(checkpoint.parameters, get_parameters(model))


def sequential() -> keras.Sequential:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((19, 19, 3)),
            *(layers.ZeroPadding2D(1), layers.Conv2D(6, 5, strides=2, activation="relu"), layers.MaxPooling2D(3, 2)),
            *(layers.Conv2D(4, 3, padding="same"), layers.ReLU(), layers.AveragePooling2D(2)),
            *(
                layers.Flatten(),
                layers.Dense(7, activation="tanh", kernel_initializer=keras.initializers.VarianceScaling()),
            ),
            *(layers.Dropout(0.5), layers.Dense(3), layers.Activation("softmax")),
        ]
    )


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("functional", [False, True])
def test_a_plain_chain_of_the_users_own_answers_as_in_keras(suffix, functional):
    model = sequential()
    model = keras.Model(model.inputs, model.outputs) if functional else model
    model.save(f"x{suffix}")
    pictures = np.random.default_rng(0).normal(0, 1, (2, 19, 19, 3)).astype("f4")
    again = AlexNet(read_checkpoint(f"x{suffix}").spec.architecture, weights=f"x{suffix}")
    np.testing.assert_allclose(again(pictures), model(pictures), rtol=0, atol=1e-6)


def keras_2_config() -> dict:
    """The layers of `sequential`, as Keras 2.2 described them."""
    common = {"trainable": True, "dtype": "float32"}
    conv = {
        "dilation_rate": [1, 1],
        "use_bias": True,
        "data_format": "channels_last",
        "bias_initializer": {"class_name": "Zeros", "config": {}},
    }
    conv["kernel_initializer"] = {"class_name": "VarianceScaling", "config": {"scale": 1.0, "mode": "fan_avg"}}
    dense = {key: conv[key] for key in ("use_bias", "kernel_initializer", "bias_initializer")}
    pool = {"padding": "valid", "data_format": "channels_last"}
    layers = [
        (
            "ZeroPadding2D",
            {"batch_input_shape": [None, 19, 19, 3], "padding": [[1, 1], [1, 1]], "data_format": "channels_last"},
        ),
        (
            "Conv2D",
            conv | {"filters": 6, "kernel_size": [5, 5], "strides": [2, 2], "padding": "valid", "activation": "relu"},
        ),
        ("MaxPooling2D", pool | {"pool_size": [3, 3], "strides": [2, 2]}),
        (
            "Conv2D",
            conv | {"filters": 4, "kernel_size": [3, 3], "strides": [1, 1], "padding": "same", "activation": "linear"},
        ),
        ("Activation", {"activation": "relu"}),
        ("AveragePooling2D", pool | {"pool_size": [2, 2], "strides": [2, 2]}),
        ("Flatten", {"data_format": "channels_last"}),
        ("Dense", dense | {"units": 7, "activation": "tanh"}),
        ("Dropout", {"rate": 0.5, "noise_shape": None, "seed": None}),
        ("Dense", dense | {"units": 3, "activation": "softmax"}),
    ]
    named = [
        {"class_name": kind, "config": common | config | {"name": f"{kind.lower()}_{number}"}}
        for number, (kind, config) in enumerate(layers)
    ]
    return {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": named}}


@pytest.mark.parametrize("functional", [False, True])
def test_keras_2(functional):
    model, config = sequential(), keras_2_config()
    weighted = [layer for layer in model.layers if layer.weights]
    names = [
        layer["config"]["name"] for layer in config["config"]["layers"] if layer["class_name"] in ("Conv2D", "Dense")
    ]
    weights = {
        name: dict(zip((f"{name}/kernel:0", f"{name}/bias:0"), layer.get_weights(), strict=True))
        for name, layer in zip(names, weighted, strict=True)
    }
    if functional:
        layers, previous = config["config"]["layers"], "input_1"
        for layer in layers:
            layer["name"] = layer["config"]["name"]
            layer["inbound_nodes"] = [[[previous, 0, 0, {}]]]
            previous = layer["name"]
        shape = {"batch_input_shape": [None, 19, 19, 3], "name": "input_1"}
        layers.insert(0, {"class_name": "InputLayer", "config": shape, "name": "input_1", "inbound_nodes": []})
        config["class_name"] = "Model"
    write("x.h5", {"input_1": {}} | weights, config, keras_version="2.2.4", backend="tensorflow")
    pictures = np.random.default_rng(0).normal(0, 1, (2, 19, 19, 3)).astype("f4")
    again = AlexNet(read_checkpoint("x.h5").spec.architecture, weights="x.h5")
    np.testing.assert_allclose(again(pictures), model(pictures), rtol=0, atol=1e-6)
    write("w.h5", weights, keras_version="2.2.4", backend="tensorflow")
    assert_equal(
        read_checkpoint("w.h5", again_net := read_checkpoint("x.h5").spec.architecture).parameters,
        read_checkpoint("x.h5", again_net).parameters,
    )


@pytest.mark.parametrize("backend", ["theano", "tensorflow"])
def test_keras_1_with_channels_first(backend):
    """Theano mirrors kernels, which PyTorch does not."""
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(1)
    shapes = {"convolution2d_1": (4, 3, 3, 3), "dense_1": (4 * 4 * 4, 6), "dense_2": (6, 3)}
    arrays = {
        name: (
            generator.normal(0, 0.3, shape).astype("f4"),
            generator.normal(0, 1, shape[0] if len(shape) == 4 else shape[1]).astype("f4"),
        )
        for name, shape in shapes.items()
    }
    layers = [
        (
            "Convolution2D",
            {
                "nb_filter": 4,
                "nb_row": 3,
                "nb_col": 3,
                "subsample": [2, 2],
                "border_mode": "valid",
                "dim_ordering": "th",
                "bias": True,
                "init": "glorot_uniform",
                "activation": "relu",
                "batch_input_shape": [None, 3, 9, 9],
            },
        ),
        ("Flatten", {}),
        ("Dense", {"output_dim": 6, "activation": "relu", "init": "normal", "bias": True}),
        ("Dropout", {"p": 0.5}),
        ("Dense", {"output_dim": 3, "activation": "softmax", "bias": True}),
    ]
    names = ["convolution2d_1", "flatten_1", "dense_1", "dropout_1", "dense_2"]
    config = {
        "class_name": "Sequential",
        "config": [
            {"class_name": kind, "config": settings | {"name": name}}
            for (kind, settings), name in zip(layers, names, strict=True)
        ],
    }
    weights = {name: {f"{name}_W": kernel, f"{name}_b": bias} for name, (kernel, bias) in arrays.items()}
    write("x.h5", weights, config, keras_version="1.2.2", backend=backend)
    pictures = generator.normal(0, 1, (2, 9, 9, 3)).astype("f4")
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy())
    kernel, bias = map(torch.from_numpy, arrays["convolution2d_1"])
    kernel = kernel.flip(2, 3) if backend == "theano" else kernel
    x = torch.relu(torch.nn.functional.conv2d(x, kernel, bias, stride=2)).flatten(1)
    (kernel, bias), (kernel2, bias2) = arrays["dense_1"], arrays["dense_2"]
    x = np.maximum(x.numpy() @ kernel + bias, 0) @ kernel2 + bias2
    expected = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    again = AlexNet(read_checkpoint("x.h5").spec.architecture, weights="x.h5")
    np.testing.assert_allclose(again(pictures), expected, rtol=0, atol=1e-6)


def test_the_towers_of_keras_1_are_joined():
    """The layers of convnets-keras' alexnet_weights.h5: no backend is stated, kernels are channels first."""
    height, width, channels = NET.flattened
    weights = {}
    for name, (kernel, bias) in PARAMETERS.items():
        number = name[-1]
        if kernel.ndim == 2:
            if name == "fc6":
                kernel = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
            layer = f"dense_{int(number) - 5}"
            weights[layer] = {f"{layer}_W": kernel, f"{layer}_b": bias}
            continue
        parts = 2 if number in "245" else 1
        for part, (half, half_bias) in enumerate(
            zip(np.split(kernel, parts, -1), np.split(bias, parts), strict=True), 1
        ):
            layer = f"conv_{number}" + (f"_{part}" if parts == 2 else "")
            weights[layer] = {f"{layer}_W": np.moveaxis(half, (3, 2), (0, 1)), f"{layer}_b": half_bias}
    write("alexnet_weights.h5", {"input_1": {}} | weights)
    checkpoint = read_checkpoint("alexnet_weights.h5", NET)
    assert_equal(checkpoint.parameters)
    assert "conv_1 → conv1, conv_2 → conv2" in checkpoint.notes[0]


def test_code_and_hostile_files_are_refused():
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(keras.layers.Lambda(lambda x: x * 2)(inputs))
    keras.Model(inputs, keras.layers.Dense(3)(flat)).save("x.h5")
    with pytest.raises(CheckpointError, match=r"builds; received Lambda \(.*\)\. Save only its weights"):
        read_checkpoint("x.h5")
    write("x.h5", {"fc8": {"fc8_W": np.ones((3, 2), "f4"), "fc8_b": np.ones(2, "f4")}})
    with h5py.File("x.h5", "r+") as file:
        del file["fc8/fc8_W"]
        file["fc8/fc8_W"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(CheckpointError, match="is a link; refused"):
        keras_legacy_h5.read("x.h5")
    with h5py.File("x.h5", "r+") as file:
        file.attrs["layer_names"] = [b"fc8"] * 2000
    with pytest.raises(CheckpointError, match="expected at most 1024 texts in layer_names"):
        keras_legacy_h5.read("x.h5")
