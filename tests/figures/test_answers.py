"""Bars are the probabilities of `predict`, and the bar of the true class is marked."""

import pytest
from PIL import Image
from support.command import run
from support.pictures import noise
from support.weights import write_small

import tfalexnet
from tfalexnet import figures
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.figures.answers import OTHER, TRUE
from tfalexnet.hub.cache import find_weights

pytest.importorskip("matplotlib")
from matplotlib.colors import to_hex


def bars(axes) -> list[tuple[float, str, str]]:
    """Length, colour and text of each bar, from above."""
    pairs = zip(axes.patches, axes.texts, strict=True)
    return [(bar.get_width(), to_hex(bar.get_facecolor()).upper(), text.get_text()) for bar, text in pairs]


@pytest.mark.parametrize("name", ["cifar10", "bvlc_alexnet", "one_weird_trick"])
def test_the_bars_are_the_five_best_classes(name, tmp_path):
    weights = name if name == "cifar10" else write_small(tmp_path / "net.weights.h5", name)
    photos = noise(5)
    answers = tfalexnet.predict(photos, weights)
    figure = figures.top5(photos, weights, true_classes=answers[0][1].index)
    panels = figure.axes
    assert len(panels) == 16  # Four columns, two rows of photos and two of bars.
    assert [axes.axison for axes in panels] == [True] * 8 + ([True] + [False] * 3) * 2
    for number, answer in enumerate(answers):
        axes = panels[4 + number if number < 4 else 12]
        assert [width for width, _, _ in bars(axes)] == pytest.approx([100 * entry.score for entry in answer])
        texts = [f"{entry.label}  {entry.score:.1%}" for entry in answer]
        assert [text for _, _, text in bars(axes)] == texts
        marked = [TRUE if entry.index == answers[0][1].index else OTHER for entry in answer]
        assert [colour for _, colour, _ in bars(axes)] == marked
        where = "orange" if TRUE in marked else "not among these"
        assert axes.get_title() == f"true class, {where}:\n{answers[0][1].label}"
        assert axes.yaxis_inverted() and axes.get_xlabel() == "probability, %"
        seen = panels[number if number < 4 else 8].patches[-1].get_bbox()
        box = read_spec(find_weights(weights)).preprocessing.seen_box(*photos[0].shape[:2])
        assert (seen.y0, seen.x0, seen.y1, seen.x1) == pytest.approx(box)


def test_the_true_class_is_that_of_the_folder(tmp_path):
    for folder in ("ship", "holidays"):
        (tmp_path / folder).mkdir()
        Image.fromarray(noise(1)[0]).save(tmp_path / folder / "$1_00.png")
    known = tmp_path / "ship" / "$1_00.png"
    photo, below = figures.top5(str(known), "cifar10").axes
    assert photo.get_title() == r"\$1_00.png" and below.get_title().endswith("\nship")
    _, below = figures.top5(tmp_path / "holidays" / "$1_00.png", "cifar10").axes
    assert below.get_title() == "" and {colour for _, colour, _ in bars(below)} == {OTHER}
    _, below = figures.top5(known, "cifar10", ["frog"]).axes
    assert below.get_title().endswith("\nfrog")


def test_true_classes_must_match_the_photos():
    with pytest.raises(ValueError, match="Expected one true class, or one for each of 3 photos. Received: 2"):
        figures.top5(noise(3), "cifar10", [1, 2])
    with pytest.raises(ValueError, match="Expected the WordNet id, name or index of a class"):
        figures.top5(noise(1), "cifar10", "zebra")


def test_the_command_writes_the_figure(photo, tmp_path, capsys):
    output = tmp_path / "f.png"
    arguments = ("figure", "top5", photo, photo, "--weights", "cifar10", "--output", output)
    result = run(capsys, *arguments, "--true", "cat", "--true", "dog")
    assert result.returncode == 0, result.stderr
    with Image.open(output) as image:
        assert image.size == (1080, 900)
    result = run(capsys, *arguments, "--overwrite", "--true", "zebra")
    assert result.returncode == 1 and "Received: 'zebra'" in result.stderr and "Traceback" not in result.stderr
