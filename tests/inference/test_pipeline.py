"""Pictures are prepared in memory that is used again, a few batches ahead, and answered in order."""

import dataclasses
import gc
import threading
import weakref

import numpy as np
import pytest
from support.pictures import noise

from tfalexnet import CheckpointError, PictureError
from tfalexnet.inference import pipeline
from tfalexnet.inference.pipeline import BATCHES_AHEAD, COMPUTED_AT_ONCE, run_network
from tfalexnet.runtimes.engine import ALIGNMENT, aligned_memory
from tfalexnet.runtimes.network import load_network


@pytest.fixture
def network(weights_file):
    return load_network(weights_file)


def test_answers_before_one_that_is_not_finite_are_returned(network):
    """What is in memory for a picture that cannot be read has no effect."""

    def function(x):
        bright = x.max(axis=(1, 2, 3)) > 0
        return [np.where(bright[:, None], network.function(x)[0], np.nan)]

    broken = dataclasses.replace(network, function=function)
    black = np.zeros((40, 50, 3), "uint8")
    answers = run_network(broken, ["none.jpg", *noise(2), black])
    assert [type(next(answers)) for _ in range(3)] == [PictureError, list, list]
    with pytest.raises(CheckpointError, match="answers a picture with NaN or infinity in prob"):
        next(answers)


def test_errors_that_wait_in_a_batch_hold_no_pixels(network, monkeypatch):
    images = []

    def fail(image):
        images.append(weakref.ref(image))
        raise OSError("truncated")

    monkeypatch.setattr("PIL.Image.Image.load", fail)
    for error in list(run_network(network, noise(3))):
        assert str(error) == "array: damaged picture (truncated)"
        assert error.__traceback__ is error.__cause__ is error.__context__ is None
    gc.collect()
    assert len(images) == 3 and not any(image() for image in images)


@pytest.mark.parametrize(("crops", "batch"), [(1, 32), (1, 12), (10, 32), (10, 40), (10, 10)])
def test_full_batches_are_computed_without_a_copy(network, monkeypatch, crops, batch):
    memory, computed = [], []

    def counted(shape):
        memory.append(aligned_memory(shape))
        return memory[-1]

    spy = dataclasses.replace(network, function=lambda x: computed.append(x) or network.function(x))
    monkeypatch.setattr(pipeline, "aligned_memory", counted)
    per_batch = batch // crops
    assert len(list(run_network(spy, noise(9 * per_batch), crops, batch))) == 9 * per_batch
    assert len(computed) == 9 and len(memory) <= BATCHES_AHEAD + COMPUTED_AT_ONCE
    for inputs in computed:
        assert any(np.may_share_memory(inputs, own) for own in memory)
        assert inputs.ctypes.data % ALIGNMENT == 0 and crops * per_batch <= len(inputs) <= batch


@pytest.mark.parametrize("crops", [1, 10])
def test_memory_that_is_used_again_has_no_effect_on_answers(network, crops):
    batch = 8 * crops
    pictures = noise(10 * 8)  # More than are in memory at a time.
    pictures[40] = pictures[70] = "none.jpg"
    for picture, answer in zip(pictures, run_network(network, pictures, crops, batch), strict=True):
        if isinstance(picture, str):
            assert isinstance(answer, PictureError)
        else:
            expected = network(network.spec.preprocessing.views(picture, crops))[0].mean(axis=0)
            np.testing.assert_allclose(answer[0], expected, atol=1e-6)


def test_closing_the_answers_stops_the_threads(network):
    before = threading.active_count()
    answers = run_network(network, (picture for picture in noise(500)))
    next(answers)
    answers.close()
    assert threading.active_count() == before


def test_only_a_few_batches_are_read_ahead(network):
    read = []
    answers = run_network(network, (read.append(1) or picture for picture in noise(300)), batch=8)
    next(answers)
    assert len(read) == 8 * BATCHES_AHEAD
    assert len(list(answers)) == 299
