"""Packages that prepare pictures faster are imported for jobs of many pictures only, if they are installed."""

import subprocess
import sys

import pytest

from tfalexnet.images import fast

LOADED = """
import numpy, tfalexnet
from tfalexnet.images import fast
tfalexnet.predict([numpy.zeros((40, 40, 3), "uint8")] * {count}, weights="cifar10")
print(len(fast._loaded))
"""


@pytest.mark.parametrize(("count", "loaded"), [(31, 0), (32, 2)])
def test_a_job_of_many_pictures_loads_the_packages(count, loaded):
    for name in fast.PACKAGES:
        pytest.importorskip(name)
    code = LOADED.format(count=count)
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == f"{loaded}\n"


def test_a_package_that_is_not_installed_is_not_used(monkeypatch):
    monkeypatch.setattr(fast, "_loaded", {})
    monkeypatch.setitem(sys.modules, "cv2", None)
    fast.load_packages.__wrapped__()
    assert fast.loaded("cv2") is None
