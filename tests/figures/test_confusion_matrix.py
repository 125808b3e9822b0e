"""The confusion matrix holds the counts of an evaluation's report."""

import json

import numpy as np
import pytest
from PIL import Image
from support.command import run
from support.pictures import noise

from tfalexnet import figures
from tfalexnet.figures.confusion_matrix import draw_confusion

pytest.importorskip("matplotlib")


def test_the_command_draws_the_report_of_evaluate(tmp_path, capsys):
    for number, picture in enumerate(noise(9)):
        folder = tmp_path / "photos" / ("ship", "cat", "dog")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    report = tmp_path / "report.json"
    result = run(capsys, "evaluate", tmp_path / "photos", "--weights", "cifar10", "--output", report)
    assert result.returncode == 0, result.stderr
    result = run(capsys, "figure", "confusion", report, "--output", tmp_path / "c.svg")
    assert result.returncode == 0, result.stderr
    axes, bar = figures.confusion(report).axes
    fields = json.loads(report.read_text())
    errors = [f"{entry['name']}  {entry['top1_error']:.1f} %" for entry in fields["per_class"].values()]
    assert [label.get_text() for label in axes.get_yticklabels()] == errors and len(errors) == 3
    written = sorted(int(text.get_text()) for text in axes.texts)
    assert sum(written) == 9 and bar.get_ylabel() == "colour: % of the row's pictures, root scale"
    shares = np.asarray(axes.get_images()[0].get_array())
    np.testing.assert_allclose(shares.sum(axis=1), 100)
    right = {label: count for label, best, count in fields["confusion"] if label == best}
    for place, label in enumerate(fields["per_class"]):
        assert shares[place, place] == pytest.approx(100 * right.get(int(label), 0) / 3)
    assert len(written) == len(shares) * len(shares[0]) and axes.get_title().startswith(
        "weights cifar10 of the network cifar10_18pct\n"
    )
    assert f"9 pictures, {fields['top1_error']:.2f} % top-1 error" in axes.get_title()


def test_many_classes_are_listed_by_their_confusions():
    names = {number: f"name{number}, other" for number in range(0, 200, 2)}
    counts = [(number, number, 5) for number in names] + [(4, 6, 3), (8, 7, 4)]
    axes, _ = draw_confusion("net", names, counts).axes
    assert axes.get_images()[0].get_array().shape == (100, 101) and not axes.texts
    assert axes.get_images()[0].get_array()[2, 3] == pytest.approx(100 * 3 / 8)
    assert axes.get_images()[0].get_array()[4, 100] == pytest.approx(100 * 4 / 9)
    assert axes.get_xlabel().splitlines()[1:] == ["4 × name8 → class 7", "3 × name4 → name6"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weights": "a", "per_class": {}, "confusion": [[0, 1, 2]]}'])
def test_other_files_are_refused(text, tmp_path):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match="Expected a report of `tfalexnet evaluate --output`"):
        figures.confusion(tmp_path / "r.json")
