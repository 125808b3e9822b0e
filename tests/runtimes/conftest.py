"""Exported files of a small network, each written once."""

from pathlib import Path

import pytest
from support.answers import keras_case
from support.exported import bvlc_for, require, write_case


def _write(tmp_path_factory, format: str, name: str) -> Path:
    require(format)
    path = tmp_path_factory.mktemp(format) / name
    return write_case(path, "mnist_28", format, preprocessing=bvlc_for(keras_case("mnist_28").net))


@pytest.fixture(scope="session")
def tflite(tmp_path_factory) -> Path:
    """A file for LiteRT."""
    return _write(tmp_path_factory, "litert", "net.tflite")


@pytest.fixture(scope="session")
def xml(tmp_path_factory) -> Path:
    """A file for OpenVINO; the .bin is beside it."""
    return _write(tmp_path_factory, "openvino", "net.xml")
