"""The benchmarks without their timing: sections of a report, counts of work, workers, ratios."""

import itertools
import sys
import types
from pathlib import Path

import pytest
from support.worker_tasks import make_tasks

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import campaign
import report
import roofline
import rounds
import workers

from tfalexnet.networks.catalog import BVLC_ALEXNET


def test_a_section_is_replaced_and_the_others_stay():
    before = "# Results\n\nOld words.\n\n## Inference\n\nold\n\n### Part\n\nold\n\n## Reading\n\nkept\n"
    after = report.replace_section(before, "Results", "Inference", "new")
    assert after == "# Results\n\n## Inference\n\nnew\n\n## Reading\n\nkept\n"
    assert report.replace_section(after, "Results", "Inference", "new") == after
    assert report.replace_section("", "Results", "Inference", "new") == "# Results\n\n## Inference\n\nnew\n"
    assert "## Inference of training\n\nkept" in report.replace_section(
        "## Inference of training\n\nkept", "Results", "Inference", "new"
    )


@pytest.mark.parametrize(
    ("value", "bounds", "cells"),
    [
        (1.7, {"at_least": 1.6}, ["≥ 1.6", "yes"]),
        (1.5, {"at_least": 1.6}, ["≥ 1.6", "**no**"]),
        (1.5, {"at_most": 1.3}, ["≤ 1.3", "**no**"]),
        (0, {"at_most": 0}, ["≤ 0", "yes"]),
        (1.5, {}, ["", ""]),
        (float("nan"), {"at_most": 1.3}, ["≤ 1.3", "**no**"]),
    ],
)
def test_a_figure_states_whether_its_bound_is_met(value, bounds, cells):
    assert report.Figure("x", value, **bounds).cells()[2:] == cells


def test_work_and_weights_are_those_published():
    products, sizes = (sum(each) for each in zip(*roofline.layers("float32"), strict=True))
    # V. Sze et al., "Efficient Processing of Deep Neural Networks", Proceedings of the IEEE 2017, table II.
    assert round(products / 1e6) == 724
    assert sizes == 60_965_224 * 4
    classifier = 4096 * BVLC_ALEXNET.classes + BVLC_ALEXNET.classes
    assert sum(size for _, size in roofline.layers("bfloat16")) == (60_965_224 + classifier) * 2


def test_a_batch_takes_at_least_the_time_of_each_layer():
    reading = roofline.shortest_time("float32", 1, bandwidth=1e9, multiplied=float("inf"))
    assert reading == pytest.approx(0.243860896)
    multiplying = roofline.shortest_time("float32", 32, bandwidth=float("inf"), multiplied=1e9)
    assert multiplying == pytest.approx(32 * 0.724406816)
    # Convolutions multiply, fully connected layers read.
    both = roofline.shortest_time("float32", 32, 1e8, 1e9)
    assert max(10 * reading, multiplying) < both < 10 * reading + multiplying


def test_a_training_step_multiplies_three_times_except_for_the_gradient_of_the_pictures():
    (conv1, _), *_ = roofline.layers("float32")
    assert conv1 == 55 * 55 * 96 * 11 * 11 * 3
    assert round(roofline.step_products(128) / 1e9) == round(128 * (3 * 724.4 - 105.4) / 1e3)


def test_rounds_are_counted_without_the_first_and_compared_in_pairs():
    slow, fast = iter([100.0, 2.0, 4.0, 9.0]), iter([100.0, 1.0, 1.0, 3.0])
    seconds = rounds.paired({"slow": lambda: next(slow), "fast": lambda: next(fast)}, 3)
    assert seconds == {"slow": [2, 4, 9], "fast": [1, 1, 3]}
    assert rounds.ratio(seconds, "slow", "fast") == 3


def test_a_worker_answers_or_states_the_reason():
    with workers.Worker(make_tasks, "complete") as worker:
        assert worker("double", 21) == 42
        assert worker.memory("VmHWM") >= worker.memory("RssAnon") > 1
        with pytest.raises(workers.NotMeasured, match="ZeroDivisionError: division by zero"):
            worker("fail")
        assert worker("double", 2) == 4  # It continues.
        with pytest.raises(workers.NotMeasured, match="ended with code 3"):
            worker("end")


def test_a_missing_package_is_named():
    with pytest.raises(workers.NotMeasured, match="pip install there_is_no_such_package"):
        workers.Worker(make_tasks, "lacking")


@pytest.mark.slow
def test_the_short_campaign_finds_no_failure(tmp_path, capsys):
    results = tmp_path / "RESULTS.md"
    status = campaign.main(["--short", "--results", str(results), "--failed", str(tmp_path)])
    assert status == 0, capsys.readouterr().out
    assert "### Kills and full disks" in results.read_text("utf-8")


def test_wrong_answers_of_threads_are_counted(monkeypatch):
    answers = itertools.count()
    prediction = types.SimpleNamespace
    monkeypatch.setattr("tfalexnet.predict", lambda *_, **__: [prediction(index=0, score=float(next(answers) > 35))])
    text, failures = campaign.threads(20)
    assert "| wrong answers, of 20 in 8 threads | 16 | ≤ 0 | **no** |" in text and len(failures) == 16
