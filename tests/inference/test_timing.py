"""The part of a job that limits its speed is found and reported."""

import dataclasses
import time

import pytest
from support.pictures import fill, noise

from tfalexnet import label
from tfalexnet.inference import pipeline, timing
from tfalexnet.inference.timing import BATCHES, Timing
from tfalexnet.runtimes.network import load_network


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    return now


def test_time_in_which_several_batches_are_computed_counts_once(clock):
    measured, steps = Timing(), (1.0, 3.0)
    for _ in range(BATCHES // 2):
        with measured.batch():
            clock[0] += steps[0]
            with measured.batch():  # As if of another thread.
                clock[0] += steps[1]
            clock[0] += steps[0]
        clock[0] += 5
    # Each of four rounds computes for 5 s; the 5 s after the last are not part of it: 20 of 35.
    assert measured.limit() == "limited by reading and preparing pictures (network busy 57%)"


def test_a_network_without_pauses_is_the_limit(clock):
    measured = Timing()
    clock[0] += 60  # Loading.
    for batch in range(BATCHES):
        assert measured.limit() == "", batch
        with measured.batch():
            clock[0] += 1
    assert measured.limit() == "limited by the network (network busy 100%)"


@pytest.mark.parametrize(
    ("slow", "limit"), [("network", "the network"), ("_prepare", "reading and preparing pictures")]
)
def test_the_slow_part_of_a_job_is_named(weights_file, monkeypatch, slow, limit):
    network, measured, prepare = load_network(weights_file), Timing(), pipeline._prepare

    def slowly(function):
        return lambda *arguments: (time.sleep(0.02), function(*arguments))[1]

    if slow == "network":
        network = dataclasses.replace(network, function=slowly(network.function))
    else:
        monkeypatch.setattr(pipeline, "_prepare", slowly(prepare))
    assert len(list(pipeline.run_network(network, noise(40), batch=4, timing=measured))) == 40
    assert measured.limit().startswith(f"limited by {limit} (")


def test_a_long_job_reports_its_speed_and_limit(weights_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tfalexnet.io.progress.LONG", 0)
    fill(folder := tmp_path / "photos", 32 * BATCHES)
    label(folder, tmp_path / "labels.jsonl", weights_file)
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"{32 * BATCHES} pictures" in line and " pictures/s " in line and "limited by " in line
