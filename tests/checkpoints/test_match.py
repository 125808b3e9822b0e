"""Layers of a file against those of a network: extra, renamed and missing ones."""

import numpy as np
import pytest
from support.parameters import NET, PARAMETERS, assert_equal

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import Contents, keras_h5


def test_extra_and_renamed_layers(tmp_path):
    extended = PARAMETERS | {"fc9": (np.ones((10, 3), "f4"), np.ones(3, "f4"))}
    keras_h5.write(tmp_path / "x.weights.h5", Contents(extended))
    checkpoint = read_checkpoint(tmp_path / "x.weights.h5", NET)
    assert_equal(checkpoint.parameters)
    assert checkpoint.notes == ("Left out: fc9, which is not a layer of bvlc_alexnet.",)

    other = {"first" if name == "conv1" else name: arrays for name, arrays in PARAMETERS.items()}
    other["scenes"] = other.pop("fc8")
    keras_h5.write(tmp_path / "x.weights.h5", Contents(other))
    with pytest.raises(CheckpointError, match="first: received, and not expected .--map first=… renames it"):
        read_checkpoint(tmp_path / "x.weights.h5", NET)
    checkpoint = read_checkpoint(tmp_path / "x.weights.h5", NET, {"first": "conv1"})
    assert_equal(checkpoint.parameters)
    assert checkpoint.notes == ("scenes is used as fc8: no other layer matches it.",)
    with pytest.raises(CheckpointError, match="expected the layers to rename among first, .*received nothing"):
        read_checkpoint(tmp_path / "x.weights.h5", NET, {"nothing": "conv1"})
    with pytest.raises(CheckpointError, match="same name after renaming"):
        read_checkpoint(tmp_path / "x.weights.h5", NET, {"first": "conv2"})


def test_names_of_layers_cannot_draw_lines_of_their_own(tmp_path):
    hostile = "x\x1b[2J\nsha256    0000 (verified)" + "y" * 200
    keras_h5.write(tmp_path / "x.weights.h5", Contents(PARAMETERS | {hostile: PARAMETERS["fc8"]}))
    (note,) = read_checkpoint(tmp_path / "x.weights.h5", NET).notes
    assert note.isprintable() and "x\\x1b[2J\\nsha256" in note and len(note) < 200
    assert Contents(PARAMETERS, left_out=("a\x1b\nb",)).left_out == ("a\\x1b\\nb",)


def test_a_missing_layer_before_others_is_refused(tmp_path):
    holed = {name: arrays for name, arrays in PARAMETERS.items() if name != "conv3"}
    keras_h5.write(tmp_path / "x.weights.h5", Contents(holed))
    with pytest.raises(CheckpointError, match="conv3: expected, and missing"):
        read_checkpoint(tmp_path / "x.weights.h5", NET)
