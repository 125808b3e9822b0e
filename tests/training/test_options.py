"""Options out of range are refused; the names of colours are those of the data."""

import pytest

from tfalexnet import data
from tfalexnet.training.options import COLOUR_NAMES, Options

OPTIONS = {"precision": "float16", "seed": -1, "log_interval": 0, "checkpoint_minutes": float("nan")}
OPTIONS |= {"class_weights": "auto", "early_stopping": 0}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be .* Received: "):
        Options(**{name: OPTIONS[name]})


def test_the_names_of_colours_are_those_of_the_data():
    assert tuple(data.COLOURS) == COLOUR_NAMES
