"""The scores that others published for the real bvlc_alexnet.npy.

Requires that file in TFALEXNET_REAL_WEIGHTS and the pictures in TFALEXNET_TEST_DATA.
"""

import os

import numpy as np
import pytest
import tensorflow as tf

from tfalexnet import AlexNet, predict
from tfalexnet.caffe_classes import class_names
from tfalexnet.images.decode import decode

pytestmark = [pytest.mark.real_weights, pytest.mark.data]


@pytest.fixture(scope="module")
def file() -> str:
    path = os.environ.get("TFALEXNET_REAL_WEIGHTS")
    if not path:
        pytest.skip("TFALEXNET_REAL_WEIGHTS names no file")
    return path


# kratzert/finetune_alexnet_with_tensorflow, the notebook that validates its weights: resized to 227×227 at once.
SCORES = {"sealion.jpeg": ("sea lion", 0.9834), "llama.jpeg": ("llama", 0.9984), "zebra.jpeg": ("zebra", 1.0)}


@pytest.mark.parametrize("name", SCORES)
def test_the_scores_of_three_animals(name, file, data):
    label, score = SCORES[name]
    pixels = np.asarray(decode(data / "photos" / name))
    resized = tf.image.resize(pixels, (227, 227), antialias=False).numpy()
    answer = AlexNet(weights=file)((resized[..., ::-1] - np.array((104, 117, 124), "float32"))[None])[0]
    assert label in class_names[int(np.argmax(answer))]
    assert float(np.max(answer)) == pytest.approx(score, abs=2e-3)


# M. Guerzhoy, tf_alexnet: conv1 SAME, channels R, G, B, the mean of the picture subtracted.
TF_ALEXNET_SCORES = {
    "poodle.png": [("miniature poodle", 0.389), ("toy poodle", 0.223), ("Bedlington terrier", 0.173)],
    "laska.png": [("weasel", 0.331), ("polecat", 0.280), ("black-footed ferret", 0.210)],
}


@pytest.mark.parametrize("name", TF_ALEXNET_SCORES)
@pytest.mark.filterwarnings("ignore:.*written for")
def test_the_scores_that_tf_alexnet_printed(name, file, data):
    pixels = np.asarray(decode(data / "photos" / name).convert("RGB"), "float32")
    assert pixels.shape == (227, 227, 3)
    answer = AlexNet("tf_alexnet", weights=file)((pixels - pixels.mean())[None])[0].numpy()
    for label, score in TF_ALEXNET_SCORES[name]:
        index = next(i for i, other in enumerate(class_names) if other.startswith(label))
        assert answer[index] == pytest.approx(score, abs=5e-3)


def test_predict_names_a_cat(file, data):
    assert "cat" in predict(data / "photos" / "cat.jpg", weights=file)[0].label
