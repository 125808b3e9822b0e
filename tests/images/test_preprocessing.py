"""NumPy's bilinear resizing against TensorFlow's and OpenCV's."""

import numpy as np
import pytest
import tensorflow as tf

from tfalexnet.images.preprocessing import resize_bilinear

SIZES = [((375, 500), (256, 256)), ((1, 1), (7, 5)), ((3, 2), (300, 256)), ((4000, 37), (256, 256)), ((32, 9), (32, 9))]


@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resizing_is_tensorflows(old, new, kind):
    pixels = (np.random.default_rng(0).random((*old, 3)) * 255).astype(kind)
    wanted = tf.raw_ops.ResizeBilinear(images=pixels[None], size=new, half_pixel_centers=True)[0].numpy()
    found = resize_bilinear(pixels, *new)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_resizing_is_opencvs(old, new):
    cv2 = pytest.importorskip("cv2")
    pixels = np.random.default_rng(0).random((*old, 3), np.float32) * 255
    wanted = cv2.resize(pixels, new[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resize_bilinear(pixels, *new), wanted, atol=1e-2)
    assert np.abs(resize_bilinear(pixels, *new) - wanted).mean() < 1e-3
