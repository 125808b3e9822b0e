"""The pictures to try are files that any weights answer."""

import numpy as np
from PIL import Image

from tfalexnet.demo.samples import DISTANCE, SIDE, draw_samples, stripes


def test_the_samples_are_pictures(tmp_path):
    paths = draw_samples(tmp_path)
    assert [path.stem for path in paths] == ["chelsea", "stripes", "colours", "traffic light"]
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) >= 227 and len(image.convert("RGB").getcolors(1 << 17)) > 4


def test_the_stripes_have_four_directions():
    """The strongest frequency of each field, up to its sign, in waves from top to bottom and from left to right."""
    levels, half = np.asarray(stripes(), float) - 127.5, SIDE // 2
    straight, oblique = half // DISTANCE, round(half / DISTANCE / 2**0.5)
    expected = [(0, straight), (straight, 0), (oblique, oblique), (oblique, -oblique)]
    fields = levels.reshape(2, half, 2, half).transpose(0, 2, 1, 3).reshape(4, half, half)
    for field, waves in zip(fields, expected, strict=True):
        peak = np.unravel_index(np.abs(np.fft.fft2(field)).argmax(), field.shape)
        assert tuple(peak) in {tuple(sign * wave % half for wave in waves) for sign in (1, -1)}
