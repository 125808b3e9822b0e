"""The two layers give the results of their equations in NumPy, of Keras and of PyTorch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfalexnet.networks.layers import Conv2D, LocalResponseNormalization


def normalize(a, size, c, beta, k, region, groups=1):
    """Return a / (k + c·Σ a²)^beta in float64, with the sum term by term."""
    a = a.astype(np.float64)
    total = np.zeros_like(a)
    reach = size // 2
    _, height, width, channels = a.shape
    if region == "across_channels":
        share = channels // groups
        for i in range(channels):
            first = i // share * share
            for j in range(max(first, i - reach), min(first + share, i + reach + 1)):
                total[..., i] += a[..., j] ** 2
    else:
        for y in range(height):
            for x in range(width):
                rows = slice(max(0, y - reach), y + reach + 1)
                columns = slice(max(0, x - reach), x + reach + 1)
                total[:, y, x] = (a[:, rows, columns] ** 2).sum((1, 2))
    return a / (k + c * total) ** beta


CASES = [
    ({"size": 5, "alpha": 1e-4, "k": 1.0}, 2e-5),
    ({"size": 5, "alpha": 1e-4, "k": 2.0, "groups": 2}, 2e-5),
    ({"size": 5, "alpha": 1e-4, "k": 2.0, "divide_alpha": False}, 1e-4),
    ({"size": 11, "alpha": 1e-4, "beta": 0.5, "divide_alpha": False}, 1e-4),
    ({"size": 3, "alpha": 5e-5, "region": "within_channel"}, 5e-5 / 9),
    ({"size": 5, "alpha": 5e-5, "beta": 0.6, "k": 2.0, "region": "within_channel"}, 2e-6),
]


@pytest.mark.parametrize(("options", "c"), CASES)
def test_normalization_equals_its_equation(options, c):
    a = np.random.default_rng(0).normal(0, 300, (2, 7, 6, 12)).astype("float32")
    expected = normalize(
        a,
        options["size"],
        c,
        options.get("beta", 0.75),
        options.get("k", 1.0),
        options.get("region", "across_channels"),
        options.get("groups", 1),
    )
    layer = LocalResponseNormalization(**options)
    np.testing.assert_allclose(layer(a), expected, rtol=1e-5)
    restored = LocalResponseNormalization.from_config(layer.get_config())
    np.testing.assert_array_equal(restored(a), layer(a))


@pytest.mark.parametrize(
    ("options", "dtype"),
    [*((options, "float32") for options, _ in CASES if "region" not in options), (CASES[1][0], "bfloat16")],
)
def test_sums_of_slices_equal_tensorflows_kernel(options, dtype, monkeypatch):
    generator = np.random.default_rng(0)
    a = tf.cast(generator.normal(0, 300, (2, 7, 6, 12)), dtype)
    weights = tf.cast(generator.normal(size=a.shape), dtype)
    results = []
    for sliced in (True, False):
        monkeypatch.setattr(LocalResponseNormalization, "sliced", sliced)
        layer = LocalResponseNormalization(**options, dtype=dtype)
        with tf.GradientTape() as tape:
            tape.watch(a)
            b = layer(a)
        results.append([tf.cast(x, tf.float32).numpy() for x in (b, tape.gradient(b, a, weights))])
    for of_slices, of_kernel in zip(*results, strict=True):
        bound = 1e-6 if dtype == "float32" else 2**-7
        np.testing.assert_allclose(of_slices, of_kernel, rtol=bound, atol=bound * np.abs(of_kernel).max())


@pytest.mark.parametrize("options", [options for options, _ in CASES])
def test_the_gradient_is_that_of_the_equation(options):
    generator = np.random.default_rng(0)
    a = generator.normal(0, 300, (1, 4, 4, 12))
    direction = generator.normal(size=a.shape)
    layer = LocalResponseNormalization(**options)
    arguments = (options["size"], layer.scale, layer.beta, layer.k, layer.region, layer.groups)
    step = 1e-3
    numeric = (normalize(a + step * direction, *arguments) - normalize(a - step * direction, *arguments)) / (2 * step)
    weights = generator.normal(size=a.shape)
    x = tf.constant(a, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(layer(x) * tf.constant(weights, tf.float32))
    analytic = np.sum(tape.gradient(total, x).numpy() * direction)
    assert analytic == pytest.approx(np.sum(numeric * weights), rel=1e-4)


def test_normalization_equals_pytorch():
    torch = pytest.importorskip("torch")
    a = np.random.default_rng(0).normal(0, 300, (2, 5, 5, 16)).astype("float32")
    theirs = torch.nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1)(torch.from_numpy(a.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(
        LocalResponseNormalization()(a), theirs.numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"size": 4}, ValueError),
        ({"size": 0}, ValueError),
        ({"size": 5.0}, TypeError),
        ({"alpha": 0}, ValueError),
        ({"alpha": float("nan")}, ValueError),
        ({"beta": -1}, ValueError),
        ({"k": 0}, ValueError),
        ({"groups": 0}, ValueError),
        ({"groups": True}, TypeError),
        ({"region": "everywhere"}, ValueError),
    ],
)
def test_wrong_arguments_are_refused_with_what_is_expected(wrong, error):
    with pytest.raises(error, match="Expected .* Received"):
        LocalResponseNormalization(**wrong)


def test_channels_that_are_no_multiple_of_groups_are_refused():
    with pytest.raises(ValueError, match="multiple of groups=2"):
        LocalResponseNormalization(groups=2)(np.ones((1, 2, 2, 3), "float32"))


def test_bfloat16_is_computed_in_float32():
    a = np.random.default_rng(0).normal(0, 300, (1, 3, 3, 8)).astype("float32")
    low = tf.cast(a, tf.bfloat16)
    output = LocalResponseNormalization(dtype="bfloat16")(low)
    assert output.dtype == tf.bfloat16
    exact = normalize(tf.cast(low, tf.float32).numpy(), 5, 2e-5, 0.75, 1.0, "across_channels")
    # The error is that of one rounding to bfloat16, half of its last digit.
    np.testing.assert_allclose(tf.cast(output, tf.float32), exact, rtol=2**-8)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_grouped_convolution_equals_keras(groups, padding):
    x = np.random.default_rng(0).normal(size=(2, 9, 9, 8)).astype("float32")
    ours = Conv2D(12, 3, strides=2, padding=padding, groups=groups, activation="relu")
    theirs = keras.layers.Conv2D(12, 3, strides=2, padding=padding, groups=groups, activation="relu")
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)


def test_grouped_convolution_equals_pytorch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(2, 9, 9, 8)).astype("float32")
    layer = Conv2D(12, 5, groups=2, bias_initializer="normal")
    ours = layer(x).numpy()
    kernel, bias = (torch.from_numpy(array) for array in layer.get_weights())
    theirs = torch.nn.functional.conv2d(
        torch.from_numpy(x.transpose(0, 3, 1, 2)), kernel.permute(3, 2, 0, 1), bias, groups=2
    )
    np.testing.assert_allclose(ours, theirs.numpy().transpose(0, 2, 3, 1), atol=1e-5)
