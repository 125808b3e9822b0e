"""The curves of trainings hold the numbers of their logs."""

import csv
import json
from pathlib import Path

import pytest
from support.command import run

from tfalexnet import figures
from tfalexnet.figures.training_curves import draw_curves, epochs_to_target

pytest.importorskip("matplotlib")


def history(epochs: int, shift: float = 0) -> list[dict[str, float]]:
    columns = ("epoch", "error", "validation_error", "learning_rate")
    rows = [(i + 1, 50 - i + shift, 60 - i + shift, 10.0 ** -(2 + i // 5)) for i in range(epochs)]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def write_log(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("epochs", [1, 2, 3, 40])
def test_few_epochs_are_points_and_the_axis_shows_whole_epochs(epochs):
    (axes,) = draw_curves({"net": [row | {"learning_rate": 0.1} for row in history(epochs)]}).axes
    assert {line.get_marker() for line in axes.get_lines()} == {"o" if epochs < 40 else "None"}
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert len(axes.get_legend().get_texts()) == 2


def test_the_curve_of_one_run(tmp_path):
    write_log(tmp_path / "run" / "log.csv", history(11))
    (axes,) = figures.curves(tmp_path / "run").axes
    training, validation, change, second_change = axes.get_lines()
    assert list(training.get_xdata()) == list(range(1, 12)) and list(training.get_ydata()) == list(range(50, 39, -1))
    assert list(validation.get_ydata()) == list(range(60, 49, -1))
    assert list(change.get_xdata()) == [6, 6] and list(second_change.get_xdata()) == [11, 11]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["training", "validation", "lower learning rate"]
    assert axes.get_title() == "run\n50.00 % validation error"


def test_a_rate_that_falls_after_each_epoch_is_not_marked():
    falling = [row | {"learning_rate": 0.1**number} for number, row in enumerate(history(6))]
    (axes,) = draw_curves({"net": falling}).axes
    assert len(axes.get_lines()) == 2


def test_several_runs_have_a_colour_each(tmp_path):
    runs = [write_log(tmp_path / name / "log.csv", history(4, number)) for number, name in enumerate("abc")]
    figure = figures.curves([runs[0].parent, runs[1], runs[2].parent])
    (axes,) = figure.axes
    lines = axes.get_lines()
    assert [line.get_label() for line in lines[::2]] == ["training, a", "training, b", "training, c"]
    assert [line.get_ydata()[0] for line in lines[1::2]] == [60, 61, 62]
    assert len({line.get_color() for line in lines}) == 3 and len(figure.legends[0].get_texts()) == 6
    assert {line.get_markerfacecolor() for line in lines[::2]} == {"white"}
    assert axes.get_title() == "3 trainings" and "mean over the steps of the epoch" in axes.get_xlabel()


def test_the_title_says_what_is_common_to_the_runs(tmp_path):
    for name, pictures in (("a", 1200), ("b", 1200), ("c", 60)):
        log = write_log(tmp_path / name / "log.csv", history(2))
        fields = {"architecture": "mnist_28", "training": {"pictures": pictures}}
        log.with_name("run.json").write_text(json.dumps(fields))
    runs = [tmp_path / name for name in "abc"]
    figure = figures.curves(runs[:2])
    (axes,) = figure.axes
    assert axes.get_title() == "2 trainings (mnist_28, 1,200 training pictures)"
    assert figure.legends[0].get_texts()[0].get_text() == "training, a"
    figure = figures.curves(runs)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert (
        figure.axes[0].get_title() == "3 trainings" and labels[-1] == "validation, c (mnist_28, 60 training pictures)"
    )
    (axes,) = figures.curves(runs[2] / "log.csv").axes
    assert axes.get_title() == "c (mnist_28, 60 training pictures)\n59.00 % validation error"


def test_figure_1_of_the_paper(tmp_path):
    accuracies = {"relu": (0.5, 0.7, 0.8), "tanh": (0.3, 0.5, 0.6, 0.7, 0.76)}
    logs = [
        write_log(
            tmp_path / f"{name}.csv",
            [{"epoch": i, "accuracy": value, "loss": 1, "val_loss": "NA"} for i, value in enumerate(values)],
        )
        for name, values in accuracies.items()
    ]
    (axes,) = figures.relu_vs_tanh(*logs).axes
    relu, relu_point, tanh, tanh_point, _ = axes.get_lines()
    assert list(relu.get_xdata()) == [1, 2, 3] and list(relu.get_ydata()) == pytest.approx([50, 30, 20])
    assert (relu_point.get_xdata()[0], tanh_point.get_xdata()[0]) == pytest.approx((2.5, 4 + 5 / 6))
    assert axes.get_title() == "In these trainings tanh needs 1.9 times as many epochs as ReLU"
    assert tanh.get_linestyle() == "--" and axes.get_ylabel() == "training error, mean over the epoch, %"
    assert epochs_to_target([80.0, 60.0]) == float("inf")


def test_the_commands_write_the_figures_and_name_mistakes(tmp_path, capsys):
    log = write_log(tmp_path / "run" / "log.csv", history(3))
    for arguments in (["curves", log.parent, log], ["relu-vs-tanh", log, log.parent]):
        output = tmp_path / f"{arguments[0]}.svg"
        result = run(capsys, "figure", *arguments, "--output", output)
        assert result.returncode == 0, result.stderr
        assert output.stat().st_size > 5000
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for wrong in ("missing", "other.csv"):
        result = run(capsys, "figure", "curves", tmp_path / wrong, "--output", tmp_path / "x.png")
        assert result.returncode == 1 and "Expected the folder of a training with log.csv" in result.stderr
