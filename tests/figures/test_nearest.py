"""The nearest pictures are shown in order, with their distances."""

from pathlib import Path

import pytest
from PIL import Image
from support.command import run
from support.pictures import noise
from support.weights import write_small

from tfalexnet import figures
from tfalexnet.analysis.neighbours import neighbours

pytest.importorskip("matplotlib")


@pytest.fixture
def photos(in_tmp_path) -> Path:
    (in_tmp_path / "photos" / "more").mkdir(parents=True)
    for number, picture in enumerate(noise(4)):
        Image.fromarray(picture).save(in_tmp_path / "photos" / "more" / f"{number}.png")
    return in_tmp_path / "photos"


@pytest.mark.parametrize("name", ["cifar10", "bvlc_alexnet", "one_weird_trick"])
def test_the_panels_are_the_photo_and_its_neighbours(name, photos):
    weights = name if name == "cifar10" else write_small(Path("net.weights.h5"), name)
    photo = noise(1, (30, 30))[0]
    figure = figures.neighbours(photo, photos, weights, count=3)
    panels = figure.axes
    found = neighbours(photo, photos, weights, count=3)
    assert [axes.get_title() for axes in panels[:1]] == ["photo"]
    distances = [float(axes.get_title().removeprefix("distance ")) for axes in panels[1:]]
    assert distances == pytest.approx([entry.distance for entry in found], rel=5e-3) and distances == sorted(distances)
    assert [axes.get_xlabel() for axes in panels[1:]] == [f"more/{entry.file.name}" for entry in found]
    for axes, entry in zip(panels[1:], found, strict=True):
        (shown,) = axes.get_images()
        with Image.open(entry.file) as image:
            assert (shown.get_array() == image).all()
    layer = "conv3" if name == "cifar10" else "fc7"
    assert photos.with_name(f"photos.{layer}.h5").is_file()
    assert figure.get_suptitle().endswith(f": the nearest pictures\nby {layer}, Euclidean distance")


def test_the_command_writes_the_figure_and_refuses_the_index_of_other_weights(photos, capsys):
    arguments = ("figure", "neighbours", photos / "more" / "0.png", photos, "--index", "i.h5", "--output", "f.png")
    result = run(capsys, *arguments, "--weights", "cifar10")
    assert result.returncode == 0, result.stderr
    assert Path("f.png").is_file() and Path("i.h5").is_file()
    other = write_small(Path("net.weights.h5"), "cifar10_18pct")
    result = run(capsys, *arguments, "--weights", other, "--overwrite")
    assert result.returncode == 1 and "expected an index made with these weights" in result.stderr
