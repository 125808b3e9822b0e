"""Readers on mutated files, and the fuzz test itself on readers that break its rules."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from support import fuzz_readers

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.formats import Contents

PACKAGES = {"onnx": "onnx", "matconvnet": "scipy"}  # That write the seeds of a format.


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """The seeds of every format; made before memory is traced, because that slows imports down."""
    folder = tmp_path_factory.mktemp("seeds")
    for name in fuzz_readers.READERS:
        if importlib.util.find_spec(PACKAGES.get(name, "numpy")):
            fuzz_readers.make_seeds(name, folder)
    return folder


@pytest.fixture(autouse=True)
def _require_package(request):
    """Skip a format whose seeds need a package that is not installed."""
    name = request.node.callspec.params.get("name") if hasattr(request.node, "callspec") else None
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])


@pytest.mark.usefixtures("traced")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_readers_refuse_damaged_files(name, seeds):
    outcomes = list(fuzz_readers.attempts(name, seeds, range(20), seed=2012))
    assert [attempt for attempt in outcomes if attempt[1] == "failed"] == []
    assert "refused" in {outcome for _, outcome, _, _ in outcomes}  # Of the seeds, only failures are listed.


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_readers_refuse_damaged_files_in_a_process_of_their_own(name, seeds, tmp_path):
    row = fuzz_readers.fuzz(name, seeds, 500, 2012, tmp_path / "failed")
    assert row.failures == []
    assert row.accepted and row.refused


# Readers that break a rule of the fuzz test, and the reason that it must report.


def beyond(_: Path) -> Contents:
    two = np.ones(4, "f4")[2:]
    return Contents({"a": (np.lib.stride_tricks.as_strided(two, (3,)), two)})


def bomb(_: Path) -> None:
    raise MemoryError


def waste_memory(path: Path) -> None:
    bytes(3 << 20)
    raise CheckpointError(f"{path}: damaged")


def omit_the_name(_: Path) -> None:
    raise CheckpointError("damaged")


BROKEN = {
    "ZeroDivisionError": lambda _: 1 / 0,
    "os.system": lambda _: os.system("true"),
    "other": lambda path: path.with_name("other").open(),
    "'w'": lambda path: path.open("w"),
    "antigravity": lambda _: importlib.import_module("antigravity"),
    "AssertionError": lambda _: Contents({"a": (np.ones(1), np.ones(1))}),
    "beyond its bytes": beyond,
    "MemoryError": bomb,
    "bytes of Python": waste_memory,
    "not named": omit_the_name,
}


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("reason", BROKEN)
def test_the_fuzz_test_detects_a_broken_reader(reason, tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    monkeypatch.setattr(fuzz_readers.Reader, "read", lambda _, path: BROKEN[reason](path))
    outcome, message = fuzz_readers.attempt(fuzz_readers.READERS["npy"], path, 1)
    assert outcome == "failed" and reason in message
