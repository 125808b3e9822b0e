"""The picture of a kernel shows every filter at its position."""

import numpy as np
import pytest

from tfalexnet.figures.tiles import filters, grid_columns


@pytest.mark.parametrize("channels", [1, 3])
def test_every_filter_is_shown_at_its_position(channels):
    kernel = np.random.default_rng(0).normal(size=(5, 4, channels, 7)).astype("f4")
    sheet = filters(kernel, scale=2, gap=1)
    assert sheet.dtype == np.uint8 and sheet.shape == (2 * (3 * 6 + 1), 2 * (3 * 5 + 1), channels)
    small = sheet[::2, ::2]
    np.testing.assert_array_equal(small.repeat(2, axis=0).repeat(2, axis=1), sheet)
    for i in range(7):
        top, left = 1 + i // 3 * 6, 1 + i % 3 * 5
        shown = small[top : top + 5, left : left + 4].astype(float) / 127.5 - 1
        np.testing.assert_allclose(shown, kernel[..., i] / np.abs(kernel).max(), atol=1 / 127)
    assert (small[13:, 6:] == 255).all()  # There is no eighth or ninth filter.


def test_zeros_are_mid_grey():
    assert (filters(np.zeros((2, 2, 3, 1), "f4"), 1, 0) == 128).all()


def test_filters_of_other_channels_are_shown_by_their_mean():
    kernel = np.random.default_rng(0).normal(size=(2, 2, 5, 4)).astype("f4")
    np.testing.assert_array_equal(filters(kernel), filters(kernel.mean(axis=2, keepdims=True)))


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (6, 3), (20, 5), (32, 8), (48, 8), (64, 8), (96, 12), (256, 16), (384, 24), (37, 7)]
)
def test_grids_have_no_empty_places_where_that_is_possible(count, columns):
    assert grid_columns(count) == columns
