"""Every text of a figure is inside the figure and beside the others, with long names too."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from support.nets import random_parameters, small
from support.pictures import noise

from tfalexnet import figures
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec, published_preprocessing
from tfalexnet.figures.training_curves import read_history
from tfalexnet.images.classes import classes_from_labels
from tfalexnet.networks.catalog import ARCHITECTURES

pytest.importorskip("matplotlib")

NAME = "tflearn_flowers17"  # A long name of a network.
CLASS = "American Staffordshire terrier"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights with long names of classes, photos in folders of long names, runs and a report."""
    folder = tmp_path_factory.mktemp("long")
    net = small(ARCHITECTURES[NAME])
    labels = [f"{CLASS} {number}" for number in range(net.classes)]
    spec = ModelSpec(net, published_preprocessing(NAME), classes_from_labels(labels))
    write_checkpoint(folder / "net.weights.h5", Checkpoint(random_parameters(net), spec))
    for number, picture in enumerate(noise(6, (60, 90))):
        photo = folder / "photos" / f"{CLASS} $_{number // 3}" / f"{number}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(photo)
    columns = ("epoch", "error", "validation_error", "learning_rate")
    for name in ("a", "fine_tuned_from_bvlc_alexnet_with_a_rate_of_0.0001"):
        (folder / name).mkdir()
        with (folder / name / "log.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, (1, 90, 80, 0.1), (2, 50, 60, 0.01)])
        pictures = 1281167 if name == "a" else 40
        fields = {"architecture": NAME, "training": {"pictures": pictures}}
        (folder / name / "run.json").write_text(json.dumps(fields))
    assert read_history(folder / "a", columns)
    names = {str(number): {"name": label} for number, label in enumerate(labels)}
    report = {"weights": "net.weights.h5", "architecture": NAME, "per_class": names, "confusion": [[0, 1, 3]]}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def runs(folder):
    return sorted(path.parent for path in folder.glob("*/run.json"))


FIGURES = {
    "heatmap": lambda f: figures.heatmap(noise(1, (60, 90))[0], f / "net.weights.h5"),
    "occlusion": lambda f: figures.heatmap(noise(1, (90, 60))[0], f / "net.weights.h5", 0, "occlusion"),
    "class-map": lambda f: figures.class_map(noise(1, (60, 90))[0], f / "net.weights.h5", size=260),
    "class-map of a panorama": lambda f: figures.class_map(noise(1, (60, 300))[0], f / "net.weights.h5", size=230),
    "top5": lambda f: figures.top5(noise(1, (60, 90)), f / "net.weights.h5", 3),
    "activations": lambda f: figures.activations(noise(1)[0], "conv1,conv2:pre", f / "net.weights.h5"),
    "receptive-field": lambda f: figures.receptive_field(noise(1, (60, 90))[0], "conv2", f / "net.weights.h5"),
    "neighbours": lambda f: figures.neighbours(noise(1)[0], f / "photos", f / "net.weights.h5", count=1),
    "rdm": lambda f: figures.rdm(f / "photos", "fc7", f / "net.weights.h5"),
    "rdm of layers": lambda f: figures.rdm(f / "photos", "conv1,conv2,fc7", f / "net.weights.h5"),
    "rdm, raw": lambda f: figures.rdm(f / "photos", "conv1,fc7", f / "net.weights.h5", "euclidean", "raw"),
    "filters": lambda f: figures.filters(f / "net.weights.h5"),
    "architecture": lambda _: figures.architecture(NAME),
    "graph": lambda _: figures.architecture(NAME, "graph"),
    "curves of one run": lambda f: figures.curves(runs(f)[1]),
    "curves of two runs": lambda f: figures.curves(runs(f)),
    "confusion": lambda f: figures.confusion(f / "report.json"),
    "relu-vs-tanh": lambda f: figures.relu_vs_tanh(*runs(f)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_texts_are_inside_and_titles_apart(name, folder):
    figure = FIGURES[name](folder)
    figure.canvas.draw()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) > -0.01 and drawn.x1 < width + 0.01 and drawn.y1 < height + 0.01
    titles = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    legends = [legend.get_window_extent() for legend in figure.legends]
    below = [axes.xaxis.label.get_window_extent() for axes in figure.axes if axes.get_xlabel()]
    bars = [bar.yaxis.label.get_window_extent() for axes in figure.axes for bar in axes.child_axes]
    assert all(box.height <= axes.get_window_extent().height + 1 for axes, box in zip(figure.axes, bars, strict=False))
    apart = [*titles, *legends, *below]
    if figure.get_suptitle():
        apart.append(figure._suptitle.get_window_extent())
    overlaps = [(i, j) for i in range(len(apart)) for j in range(i) if apart[i].overlaps(apart[j])]
    assert not overlaps, np.array([box.extents for box in apart]).round()
