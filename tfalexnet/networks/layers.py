"""Layers that Keras lacks: a grouped convolution by splitting, local response normalisation, Caffe's pooling."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfalexnet.networks import caffe_pooling

if keras.config.backend() != "tensorflow":
    raise ImportError(
        f"Expected Keras on TensorFlow. Received: the backend {keras.config.backend()!r}. Set the environment "
        "variable KERAS_BACKEND=tensorflow before Keras is imported."
    )

ACROSS_CHANNELS = "across_channels"
WITHIN_CHANNEL = "within_channel"


@keras.saving.register_keras_serializable(package="tfalexnet")
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with groups computed by `tf.split` and `tf.concat`.

    The channels of the input and the filters of the kernel are split into `groups` equal parts. Part g of
    the output is the convolution of part g of the input with part g of the kernel, whose shape is
    (height, width, in / groups, filters). Outputs, arguments and weights are those of Keras' layer, whose
    grouped convolution is slower on CPU and cannot be run by ONNX Runtime.

    The class has Keras' name because Keras addresses weights in a file by class name.
    """

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if self.groups == 1:
            return super().convolution_op(inputs, kernel)
        inputs, kernels = (tf.split(array, self.groups, axis=-1) for array in (inputs, tf.convert_to_tensor(kernel)))
        parts = map(super().convolution_op, inputs, kernels)
        return tf.concat(list(parts), axis=-1)


@keras.saving.register_keras_serializable(package="tfalexnet")
class LocalResponseNormalization(keras.layers.Layer):
    """Local response normalisation, `b = a / (k + c·Σ a²)^beta`.

    Across channels, the sum runs over the `size` channels centred on a's channel, at a's position; with
    `groups`, only over those in a's group. Within a channel, it runs over the `size`×`size` window centred
    on a. Values outside the array count as zeros.

    Implementations define alpha differently. With `divide_alpha=True`, as in Caffe and cuda-convnet,
    `c = alpha / size` across channels and `c = alpha / size²` within a channel. With
    `divide_alpha=False`, as in TensorFlow and in the paper's equation, `c = alpha`.

    Args:
        size: number of channels, or side of the window; odd.
        alpha: scale of the sum, positive; see above.
        beta: exponent, positive.
        k: constant added to the sum, positive.
        divide_alpha: whether alpha is divided by the number of summed terms.
        region: "across_channels" or "within_channel".
        groups: number of equal groups of channels; the sum across channels stays inside a group.

    Input and output: (batch, height, width, channels), any float dtype; computed in float32, the only
    dtype for which TensorFlow has a GPU kernel.

    Across channels, this is `tf.nn.local_response_normalization`. Without a GPU, the same sum is computed
    from slices that XLA compiles into one loop, forward and backward: several times as fast, equal
    within 1e-6. `LocalResponseNormalization.sliced = False` selects TensorFlow's kernel.

    Raises:
        ValueError: an argument is out of its range, or `groups` does not divide the number of channels.
        TypeError: `size` or `groups` is not an integer.

    Sources: Krizhevsky et al. 2012, section 3.3; Caffe's layer LRN; cuda-convnet's rnorm and cmrnorm.
    """

    sliced = True

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        divide_alpha: bool = True,
        region: str = ACROSS_CHANNELS,
        groups: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in {"size": size, "groups": groups}.items():
            if type(value) is not int:
                raise TypeError(f"Expected `{name}` to be an integer. Received: {name}={value!r}")
        for name, value in {"size": size, "groups": groups, "alpha": alpha, "beta": beta, "k": k}.items():
            if not 0 < value < float("inf"):
                raise ValueError(f"Expected `{name}` to be positive and finite. Received: {name}={value}")
        if size % 2 == 0:
            raise ValueError(f"Expected `size` to be odd. Received: size={size}")
        if region not in (ACROSS_CHANNELS, WITHIN_CHANNEL):
            raise ValueError(
                f"Expected `region` to be {ACROSS_CHANNELS!r} or {WITHIN_CHANNEL!r}. Received: region={region!r}"
            )
        self.size, self.region, self.groups = size, region, groups
        self.alpha, self.beta, self.k = float(alpha), float(beta), float(k)
        self.divide_alpha = bool(divide_alpha)

    @property
    def scale(self) -> float:
        """`c` of the equation, the factor of the sum of squares."""
        terms = self.size if self.region == ACROSS_CHANNELS else self.size**2
        return self.alpha / terms if self.divide_alpha else self.alpha

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if len(input_shape) != 4 or input_shape[-1] is None or input_shape[-1] % self.groups:
            raise ValueError(
                f"Expected an input of shape (batch, height, width, channels) with channels a "
                f"multiple of groups={self.groups}. Received: {tuple(input_shape)}"
            )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        across_channels = self.region == ACROSS_CHANNELS
        if across_channels and self.sliced and not tf.config.list_physical_devices("GPU"):
            constants = (self.size // 2, self.scale, self.beta, self.k, self.groups)
            return sliced(*constants, inputs.shape[-1], inputs.dtype)(inputs)
        normalize = self._across if across_channels else self._within
        return tf.cast(normalize(tf.cast(inputs, tf.float32)), inputs.dtype)

    def _across(self, a: tf.Tensor) -> tf.Tensor:
        groups = [
            tf.nn.local_response_normalization(
                part, depth_radius=self.size // 2, bias=self.k, alpha=self.scale, beta=self.beta
            )
            for part in tf.split(a, self.groups, axis=-1)
        ]
        return tf.concat(groups, axis=-1)

    def _within(self, a: tf.Tensor) -> tf.Tensor:
        # Averages over a zero-padded array divide by size² at the border too, as Caffe and cuda-convnet
        # do; SAME pooling would divide by the number of values inside the array.
        border = [self.size // 2] * 2
        squares = tf.pad(tf.square(a), [[0, 0], border, border, [0, 0]])
        mean = tf.nn.avg_pool2d(squares, self.size, strides=1, padding="VALID")
        return a * _power(self.k + self.scale * self.size**2 * mean, self.beta)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        names = ("size", "alpha", "beta", "k", "divide_alpha", "region", "groups")
        return super().get_config() | {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="tfalexnet")
class CaffePooling2D(keras.layers.Layer):
    """Pooling with Caffe's padding and number of windows, see `tfalexnet.networks.spec.Pool`.

    Args:
        size: side of the windows.
        stride: distance of the windows.
        pad: rows and columns that are added on each side, fewer than `size`.
        kind: "max" or "average".

    Input: (batch, height, width, channels) with a known height and width, any float dtype. Output: (batch, rows,
    columns, channels) with `caffe_pooling.window_count` of them.

    Source: Caffe's layer Pooling.
    """

    def __init__(self, size: int, stride: int, pad: int, kind: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size, self.stride, self.pad, self.kind = size, stride, pad, kind

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        height, width = (caffe_pooling.window_count(*side) for side in self._sides(inputs.shape))
        pooled = self._max(inputs) if self.kind == "max" else self._average(inputs)
        return pooled[:, :height, :width]

    def _sides(self, shape: Any) -> list[tuple[int, int, int, int]]:
        """Return the arguments of the functions of `caffe_pooling` for height and width."""
        return [(side, self.size, self.stride, self.pad) for side in shape[1:3]]

    def _max(self, x: tf.Tensor) -> tf.Tensor:
        # A window that reaches beyond the border holds the border, whose copies do not change its maximum. Padding
        # with −∞ would do the same, and spoil the range of 8-bit activations.
        for axis, side in enumerate(self._sides(x.shape), start=1):
            first, last = (tf.gather(x, [index], axis=axis) for index in (0, x.shape[axis] - 1))
            copies = [[1] * 4, [1] * 4]
            copies[0][axis], copies[1][axis] = self.pad, caffe_pooling.rows_after(*side)
            x = tf.concat([tf.tile(first, copies[0]), x, tf.tile(last, copies[1])], axis)
        return tf.nn.max_pool2d(x, self.size, self.stride, "VALID")

    def _average(self, x: tf.Tensor) -> tf.Tensor:
        borders = [(self.pad, caffe_pooling.rows_after(*side)) for side in self._sides(x.shape)]
        mean = tf.nn.avg_pool2d(tf.pad(x, [(0, 0), *borders, (0, 0)]), self.size, self.stride, "VALID")
        factor = self.size**2 / np.outer(*(caffe_pooling.counted_rows(*side) for side in self._sides(x.shape)))
        if (factor == 1).all():
            return mean
        height, width = factor.shape
        return mean[:, :height, :width] * tf.constant(factor[None, :, :, None], x.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        counts = (caffe_pooling.window_count(*side) for side in self._sides(input_shape))
        return (input_shape[0], *counts, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in ("size", "stride", "pad", "kind")}


@functools.cache
def sliced(
    reach: int, scale: float, beta: float, k: float, groups: int, channels: int, dtype: tf.DType
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function that normalises across channels by sums of slices, with its own gradient.

    With s = k + c·Σ a² and b = a·s^−β, the gradient with respect to a is
    da = db·s^−β − 2cβ·a·Σ db·a·s^(−β−1), where both sums run over the same neighbours.

    Args:
        reach: number of neighbouring channels on each side.
        scale: c of the equation.
        beta: its exponent.
        k: its constant.
        groups: number of groups of channels.
        channels: number of channels of the input.
        dtype: of input and output.
    """

    def sum_neighbours(a: tf.Tensor) -> tf.Tensor:
        shape, group_channels = tf.shape(a), channels // groups
        grouped = tf.reshape(a, tf.concat([shape[:-1], [groups, group_channels]], 0))
        padded = tf.pad(grouped, [[0, 0]] * 4 + [[reach, reach]])
        total = tf.add_n([padded[..., i : i + group_channels] for i in range(2 * reach + 1)])
        return tf.reshape(total, shape)

    signature = tf.TensorSpec((None, None, None, channels), dtype)  # One trace for pictures of all sizes.

    @tf.function(jit_compile=True, input_signature=[signature])
    def forward(a: tf.Tensor) -> tf.Tensor:
        x = tf.cast(a, tf.float32)
        return tf.cast(x * _power(k + scale * sum_neighbours(x * x), beta), a.dtype)

    @tf.function(jit_compile=True, input_signature=[signature, signature])
    def backward(a: tf.Tensor, db: tf.Tensor) -> tf.Tensor:
        x, dy = tf.cast(a, tf.float32), tf.cast(db, tf.float32)
        s = k + scale * sum_neighbours(x * x)
        power = _power(s, beta)
        dx = dy * power - (2 * scale * beta) * x * sum_neighbours(dy * x * power / s)
        return tf.cast(dx, a.dtype)

    @tf.custom_gradient
    def normalize(a: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return forward(a), lambda db: backward(a, db)

    return normalize


def _power(s: tf.Tensor, beta: float) -> tf.Tensor:
    """Return s^−β. For β = 0.75 two roots are exact and four times faster than a power."""
    if beta != 0.75:
        return s**-beta
    root = tf.math.rsqrt(s)
    return root * tf.sqrt(root)
