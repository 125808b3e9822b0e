"""Caffe's pooling gives the results of its equation in NumPy and of OpenCV; other rules do not."""

import numpy as np
import pytest
import tensorflow as tf
from support.opencv import opencv_layer

from tfalexnet.networks import caffe_pooling
from tfalexnet.networks.layers import CaffePooling2D

# Height, width, size, stride, padding; with rounding up, a window cut by the border, padding, and a window left out.
CASES = [(7, 6, 3, 2, 0), (8, 5, 2, 2, 0), (9, 7, 3, 3, 0), (7, 8, 3, 2, 1), (6, 6, 3, 1, 1), (5, 6, 2, 2, 1),
         (8, 7, 5, 3, 2), (9, 9, 4, 1, 3), (1, 4, 3, 2, 1), (6, 6, 6, 1, 0)]  # fmt: skip


def pooled(x, size, stride, pad, kind, rounding=np.ceil, divisor="padded"):
    """Return Caffe's pooling window by window, in float64."""

    def starts(length):
        count = int(rounding((length + 2 * pad - size) / stride)) + 1
        if pad and (count - 1) * stride >= length + pad:
            count -= 1
        return [index * stride - pad for index in range(count)]

    height, width = x.shape[1:3]
    rows = []
    for top in starts(height):
        rows.append([])
        for left in starts(width):
            inside = x[:, max(top, 0) : top + size, max(left, 0) : left + size].astype(np.float64)
            if kind == "max":
                rows[-1].append(inside.max((1, 2)))
                continue
            area = (min(top + size, height + pad) - top) * (min(left + size, width + pad) - left)
            area = {"padded": area, "inside": inside[0, ..., 0].size, "size": size**2}[divisor]
            rows[-1].append(inside.sum((1, 2)) / area)
    return np.array(rows).transpose(2, 0, 1, 3)


def picture(height, width):
    """Return negative numbers, so that zeros in the padding would be maxima."""
    return np.random.default_rng(0).normal(-3, 1, (2, height, width, 4)).astype("float32")


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(("height", "width", "size", "stride", "pad"), CASES)
def test_it_equals_its_equation_and_opencv(height, width, size, stride, pad, kind):
    x = picture(height, width)
    layer = CaffePooling2D(size, stride, pad, kind)
    ours = layer(x).numpy()
    np.testing.assert_allclose(ours, pooled(x, size, stride, pad, kind), rtol=1e-5)
    name = {"max": "MAX", "average": "AVE"}[kind]
    theirs = opencv_layer(
        f'"Pooling" pooling_param {{ pool: {name} kernel_size: {size} stride: {stride} pad: {pad} }}', x
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert tuple(layer.compute_output_shape((None, *x.shape[1:]))) == (None, *ours.shape[1:])
    np.testing.assert_array_equal(CaffePooling2D.from_config(layer.get_config())(x), ours)


@pytest.mark.parametrize(
    ("kind", "mutant"),
    [("max", {"rounding": np.floor}), ("average", {"divisor": "inside"}), ("average", {"divisor": "size"})],
)
def test_another_rule_is_far_off(kind, mutant):
    x = picture(8, 8)
    ours = CaffePooling2D(3, 2, 1, kind)(x).numpy()
    theirs = pooled(x, 3, 2, 1, kind, **mutant)
    assert ours.shape != theirs.shape or np.abs(ours - theirs).max() > 0.1


def test_the_gradient_of_a_maximum_at_the_border_goes_to_one_number():
    x = tf.constant(np.arange(16, dtype="float32").reshape(1, 4, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = CaffePooling2D(3, 2, 1, "max")(x)
    assert y.shape == (1, 3, 3, 1)
    expected = np.zeros((4, 4))
    for row in (1, 3, 3):
        for column in (1, 3, 3):
            expected[row, column] += 1
    np.testing.assert_array_equal(tape.gradient(y, x)[0, ..., 0], expected)


def test_a_window_of_an_average_counts_its_padding_but_nothing_beyond():
    assert caffe_pooling.counted_rows(8, 3, 2, 1).tolist() == [3, 3, 3, 3, 2]
    assert caffe_pooling.counted_rows(7, 3, 2, 0).tolist() == [3, 3, 3]
    assert caffe_pooling.counted_rows(8, 3, 2, 0).tolist() == [3, 3, 3, 2]
