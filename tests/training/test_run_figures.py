"""The figures of a run hold its log, its answers to the validation pictures, and its filters."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from support.runs import bars, read_log, train

import tfalexnet
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.figures.tiles import filters
from tfalexnet.training import run_figures
from tfalexnet.training.events import read_filters
from tfalexnet.training.run_figures import write_figures


def test_the_report_is_of_the_last_validation(two_epochs):
    report = json.loads((two_epochs / "validation.json").read_text())
    validation = bars(40, 1)
    answers = tfalexnet.predict(list(validation.pictures), two_epochs, top=1)
    pairs = [(int(label), answer[0].index) for label, answer in zip(validation.labels, answers, strict=True)]
    expected = [[label, best, pairs.count((label, best))] for label, best in sorted(set(pairs))]
    assert report["confusion"] == expected and len({best for _, best in pairs}) > 1
    assert [entry["name"] for entry in report["per_class"].values()] == ["down", "across", "none"]
    wrong = sum(count for label, best, count in report["confusion"] if label != best)
    assert float(read_log(two_epochs)[-1]["validation_error"]) == pytest.approx(100 * wrong / 40)


def test_the_filters_of_each_epoch_are_read_from_the_events(two_epochs):
    steps = [int(row["step"]) for row in read_log(two_epochs)]
    sheets = read_filters(two_epochs, "conv1")
    assert sorted(sheets) == steps
    kernel, _ = read_checkpoint(two_epochs / "model.weights.h5").parameters["conv1"]
    np.testing.assert_array_equal(sheets[steps[-1]], filters(kernel))
    assert (sheets[steps[0]] != sheets[steps[-1]]).any()


def test_the_figures_of_a_run(run, monkeypatch):
    pytest.importorskip("matplotlib")
    drawn, save = {}, run_figures.save

    def record(figure, path, overwrite):
        drawn[path.name] = figure
        save(figure, path, overwrite)

    monkeypatch.setattr(run_figures, "save", record)
    train(run, 8)  # The fixture of the package leaves out the figures.
    net = read_checkpoint(run / "model.weights.h5").spec.architecture
    history = [{name: float(value) for name, value in row.items()} for row in read_log(run)]
    write_figures(run, net, history)
    assert sorted(drawn) == ["confusion.png", "curve.png", "filters.png"]
    panels = [axes.get_title() for axes in drawn["filters.png"].axes]
    assert panels == [f"epoch {epoch}" for epoch in (1, 2, 4, 5, 7, 8)]
    rows = [label.get_text() for label in drawn["confusion.png"].axes[0].get_yticklabels()]
    assert [row.split()[0] for row in rows] == ["down", "across", "none"]
    for name in drawn:
        with Image.open(run / name) as image:
            assert len(image.convert("RGB").getcolors(1 << 16)) > 10


def test_without_matplotlib_the_message_names_the_package_to_install(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    write_figures(run, read_checkpoint(run / "model.weights.h5").spec.architecture, [{"epoch": 1, "error": 2}])
    assert "No figures: Expected the package matplotlib." in capsys.readouterr().out
    assert not (run / "curve.png").exists()
