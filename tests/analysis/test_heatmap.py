"""Grad-CAM equals the equation in NumPy, and occlusion the answers of `predict` to covered pictures."""

import numpy as np
import pytest
from support.nets import random_parameters, small
from support.pictures import noise
from support.weights import cifar_checkpoint, write_unprepared

import tfalexnet
from tfalexnet.analysis import heatmap
from tfalexnet.analysis.heatmap import cover, covering_squares, grad_cam, occlusion, scale_map
from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import numbered_classes
from tfalexnet.images.preprocessing import BVLC, TORCHVISION
from tfalexnet.networks.catalog import ARCHITECTURES


def equation(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Equations 1 and 2 of the paper."""
    return np.maximum(0, (activations * gradients.mean(axis=(0, 1))).sum(axis=-1))


def gradients_of_cifar10(kernel: np.ndarray, class_: int) -> np.ndarray:
    """∂logit/∂conv3 of cifar10_18pct: average pooling, with windows cut at the border, then one dense layer."""
    by_position = kernel[:, class_].reshape(4, 4, 64)
    gradients = np.zeros((8, 8, 64), np.float32)
    for row in range(4):
        for column in range(4):
            window = gradients[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            window += by_position[row, column] / (window.shape[0] * window.shape[1])
    return gradients


@pytest.mark.parametrize("class_", [0, "drei", "1"])
def test_grad_cam_is_the_equation_with_gradients_computed_by_hand(class_, weights_file):
    (picture,) = noise(1)
    kernel, _ = read_checkpoint(weights_file).parameters["fc4"]
    index = 2 if class_ == "drei" else int(class_)
    activations = tfalexnet.features(picture, "conv3", weights_file, engine="tensorflow")["conv3"]
    expected = equation(activations, gradients_of_cifar10(kernel, index))
    values = grad_cam(picture, weights_file, class_)
    assert values.dtype == np.float32 and values.shape == (8, 8) and values.max() > 0
    np.testing.assert_allclose(values, expected, atol=1e-6 * expected.max())
    without_mean = np.maximum(0, (activations * gradients_of_cifar10(kernel, index)).sum(axis=-1))
    assert abs(values - without_mean).max() > 0.1 * expected.max()


@pytest.mark.parametrize("layer", ["conv5", "norm1"])
def test_grad_cam_is_the_equation_with_the_gradients_of_the_whole_model(layer, tmp_path):
    import keras
    import tensorflow as tf

    net = small(ARCHITECTURES["bvlc_alexnet"])
    path = tmp_path / "net.weights.h5"
    write_checkpoint(path, Checkpoint(random_parameters(net), ModelSpec(net, BVLC, numbered_classes(10))))
    (picture,) = noise(1)
    model = tfalexnet.AlexNet(weights=path, classifier_activation=None)
    both = keras.Model(model.input, [model.get_layer(layer).output, model.output])
    with tf.GradientTape() as tape:
        activations, logits = both(BVLC(picture)[None])
        best = logits[:, int(tf.argmax(logits[0]))]
    expected = equation(activations[0].numpy(), tape.gradient(best, activations)[0].numpy())
    np.testing.assert_allclose(grad_cam(picture, path, layer=layer), expected, atol=1e-5 * expected.max())


def test_occlusion_is_predict_for_each_covered_picture(weights_file):
    (picture,) = noise(1, (60, 40))
    squares = list(covering_squares(read_checkpoint(weights_file).spec.preprocessing.seen_box(60, 40), 3, 0.5))
    assert len(squares) == 9

    def probability(pixels):
        answers = tfalexnet.predict(pixels, weights_file, top=6)
        return next(answer.score for answer in answers if answer.label == "two")

    expected = []
    for top, left, bottom, right in squares:
        covered = picture.copy()
        covered[top:bottom, left:right] = 128
        expected.append(probability(picture) - probability(covered))
    values = occlusion(picture, weights_file, "two", positions=3, share=0.5)
    assert values.dtype == np.float32 and abs(values).max() > 1e-4
    np.testing.assert_allclose(values.ravel(), expected, atol=1e-6)


def test_the_best_class_is_the_default(weights_file):
    (picture,) = noise(1)
    best = tfalexnet.predict(picture, weights_file)[0].index
    np.testing.assert_array_equal(grad_cam(picture, weights_file), grad_cam(picture, weights_file, best))
    values = [occlusion(picture, weights_file, class_, positions=2) for class_ in (None, best)]
    np.testing.assert_array_equal(*values)


def test_new_weights_under_the_same_name_are_read(weights_file):
    (picture,) = noise(1)
    before = grad_cam(picture, weights_file, 0)
    weights_file.unlink()
    write_checkpoint(weights_file, cifar_checkpoint(seed=1))
    assert abs(grad_cam(picture, weights_file, 0) - before).max() > 0


@pytest.mark.parametrize("preprocessing", [BVLC, TORCHVISION])
def test_the_seen_box_holds_all_pixels_that_the_input_depends_on(preprocessing):
    pixels = np.full((300, 500, 3), 200, np.uint8)
    top, left, bottom, right = (round(edge) for edge in preprocessing.seen_box(300, 500))
    outside, inside = pixels.copy(), pixels.copy()
    outside[: top - 2], outside[bottom + 2 :], outside[:, : left - 2], outside[:, right + 2 :] = 0, 0, 0, 0
    inside[top + 2 : top + 4] = 0
    np.testing.assert_array_equal(preprocessing(outside), preprocessing(pixels))
    assert (preprocessing(inside)[:4] != preprocessing(pixels)[:4]).any()


def test_squares_cover_the_box_and_stay_inside():
    covered = np.zeros((40, 60, 3), np.uint8)
    squares = list(covering_squares((4, 6, 36, 54), 4, 0.25))
    for square in squares:
        covered = cover(covered, square)
    assert (covered[4:36, 6:54] == heatmap.GREY).all() and np.count_nonzero(covered) == 32 * 48 * 3
    assert squares[:2] == [(4, 6, 12, 18), (4, 18, 12, 30)]
    blank = np.zeros((40, 60, 3), np.uint8)
    cover(blank, squares[0])
    assert not blank.any()  # It returns a copy.


def test_a_scaled_map_equals_opencv():
    cv2 = pytest.importorskip("cv2")
    values = np.random.default_rng(0).normal(size=(13, 9)).astype("f4")
    expected = cv2.resize(values, (90, 130), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(scale_map(values, 130, 90), expected, atol=1e-5)


def test_mistakes_are_named(weights_file):
    (picture,) = noise(1)
    with pytest.raises(ValueError, match=r"Expected a layer of cifar10_18pct .*: conv1, .*pool3. Received: 'fc4'"):
        grad_cam(picture, weights_file, layer="fc4")
    for function in (grad_cam, occlusion):
        with pytest.raises(ValueError, match="Expected the WordNet id, name or index"):
            function(picture, weights_file, "seven")
    with pytest.raises(ValueError, match=r"`share` in \(0, 1\]"):
        occlusion(picture, weights_file, share=0)
    with pytest.raises(ValueError, match="positive integer"):
        occlusion(picture, weights_file, positions=0)
    write_unprepared("own.weights.h5")
    with pytest.raises(tfalexnet.CheckpointError, match="expected to know the preprocessing of own_net"):
        grad_cam(picture, "own.weights.h5")
