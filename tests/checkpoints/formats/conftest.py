"""Memory that a test traces."""

import tracemalloc

import pytest


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()
