"""The drawings of networks hold the shapes, windows and numbers of their tables, to scale."""

import re

import numpy as np
import pytest
from support.command import run

import tfalexnet
from tfalexnet import figures
from tfalexnet.networks.catalog import ARCHITECTURES

pytest.importorskip("matplotlib")


FOLLOWING = {"Norm": "LRN", "Dropout": "dropout", "Flatten": "flattened"}


def boxes(figure) -> dict[str, np.ndarray]:
    """The corners of each polygon by its name, in inches."""
    (axes,) = figure.axes
    return {patch.get_gid(): patch.get_xy() for patch in axes.patches if patch.get_gid()}


def sizes(figure) -> dict[str, tuple[float, float]]:
    """The width and height of the front of each box."""
    fronts = {gid.removesuffix("/front"): xy for gid, xy in boxes(figure).items() if gid.endswith("/front")}
    return {name: tuple(np.ptp(xy, axis=0)) for name, xy in fronts.items()}


def columns(figure) -> dict[str, list[str]]:
    """The texts below each array, from its name downwards."""
    (axes,) = figure.axes
    found: dict[float, list[tuple[float, str]]] = {}
    for text in axes.texts:
        x, y = text.get_position()
        found.setdefault(x, []).append((-y, text.get_text()))
    stacked = [[text for _, text in sorted(column) if text] for column in found.values()]
    return {column[0]: column[1:] for column in stacked if len(column) > 1}


def net_rows(name: str) -> list[str]:
    return [row.name for row in ARCHITECTURES[name].layers]


def followed_by(net) -> dict[str, list[str]]:
    """The words for the rows without an array, by the array before them."""
    found: dict[str, list[str]] = {"input": []}
    for row in net.layers:
        kind, function = type(row).__name__, getattr(row, "activation", getattr(row, "function", None))
        if kind in ("Conv", "Pool", "Dense"):
            found[row.name] = []
        elif kind != "Activation":
            found[list(found)[-1]].append(FOLLOWING.get(kind, row.name))
        if function:
            found[list(found)[-1]].append("ReLU" if function == "relu" else function)
    return found


def crossings(figure) -> set[str]:
    (axes,) = figure.axes
    found = {text.get_gid() for text in axes.texts if text.get_gid()}
    return {gid.removesuffix("/crossing") for gid in found}


def test_figure_2_of_the_paper():
    figure = figures.architecture("krizhevsky2012")
    below = columns(figure)
    assert below["conv1"] == ["55×55", "48 + 48", "11×11", "4", "0", "34,944", "ReLU", "LRN"]
    assert below["conv3"] == ["13×13", "192 + 192", "3×3", "1", "1", "885,120", "ReLU"]
    assert below["fc8"] == ["1000", "4,097,000"] and below["input"] == ["227×227", "3"]
    # Section 3.5: the third layer and the fully connected ones read all maps before; the others those of their tower.
    assert crossings(figure) == {"pool2-conv3", "pool5-fc6", "fc6-fc7", "fc7-fc8"}
    shown = sizes(figure)
    assert {name.split("/")[0] for name in shown if name.endswith("/1")} == set(below) & {
        *net_rows("krizhevsky2012")
    } - {"fc8"}
    assert any("60,965,224 parameters" in text.get_text() for text in figure.axes[0].texts)
    for one, other, ratio in (("conv1", "pool1", 55 / 27), ("input", "conv3", 227 / 13)):
        assert shown[f"{one}/0"][1] / shown[f"{other}/0"][1] == pytest.approx(ratio)
    assert shown["conv2/1"][0] / shown["conv1/0"][0] == pytest.approx(128 / 48)
    assert shown["fc6/0"][1] / shown["fc8/0"][1] == pytest.approx(2048 / 1000)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "parameters (both towers)" in texts and "224×224 pixels" in texts[-1]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend == ["convolution", "pooling", "fully connected"]
    windows = {name: np.ptp(xy[:2], axis=0)[0] for name, xy in boxes(figure).items() if name.endswith("/window")}
    assert windows["conv1/window"] / windows["conv2/window"] == pytest.approx(11 / 5)


def test_normalisation_across_all_channels_reads_both_towers():
    crossing = crossings(figures.architecture("bvlc_alexnet"))
    assert {"conv1-pool1", "conv2-pool2", "pool2-conv3"} <= crossing and "pool1-conv2" not in crossing


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_is_drawn_with_the_shapes_and_parameters_of_its_keras_model(name):
    net = ARCHITECTURES[name]
    figure = figures.architecture(name)
    below, shown = columns(figure), sizes(figure)
    model = tfalexnet.AlexNet(net.with_zero_kernels()) if net.input_shape[0] < 100 else None
    for row, (height, width, channels) in net.output_shapes().items():
        if row not in below:
            continue
        assert (f"{height}×{width}" in below[row]) == (f"{row}/0" in shown and height * width > 1)
        parts = sum(map(int, re.split(r" \+ ", next(text for text in below[row] if re.fullmatch(r"[\d +]+", text)))))
        assert parts == channels
        if model is not None:
            layer = model.get_layer(row)
            assert np.prod(layer.output.shape[1:]) == height * width * channels
            assert (f"{layer.count_params():,}" in below[row]) == bool(layer.count_params())
    for name, words in followed_by(net).items():
        assert below[name][len(below[name]) - len(words) :] == words
    towers = {box.split("/")[1] for box in shown}
    assert len(towers) == (2 if any(getattr(row, "groups", 1) == 2 for row in net.layers) else 1)


@pytest.mark.parametrize("name", ["krizhevsky2012", "one_weird_trick", "cifar10_18pct"])
def test_the_graph_has_a_box_for_each_row(name):
    net = ARCHITECTURES[name]
    (axes,) = figures.architecture(net, "graph").axes
    assert [patch.get_gid() for patch in axes.patches if patch.get_gid()] == ["input", *net.output_shapes(), "softmax"]
    arrows = sum(bool(text.get_text() == "") for text in axes.texts if hasattr(text, "arrow_patch"))
    assert arrows == len(net.layers) + 1  # From each box to the next.
    texts = [text.get_text() for text in axes.texts]
    shapes = [
        "×".join(map(str, shape)) if shape[:2] != (1, 1) else str(shape[2]) for shape in net.output_shapes().values()
    ]
    assert [text for text in texts if text in shapes] == shapes
    expected = {
        "krizhevsky2012": "256 filters 5×5, stride 1, padding 2, 2 groups of channels, relu",
        "one_weird_trick": "64 filters 11×11, stride 4, padding 0, relu",
        "cifar10_18pct": "average of 3×3, stride 2, padding same",
    }
    assert expected[name] in texts


def test_the_command_takes_names_and_weights(tmp_path, capsys):
    for network in ([], ["mnist_28", "--style", "graph"], ["cifar10"]):
        output = tmp_path / "f.svg"
        result = run(capsys, "figure", "architecture", *network, "--output", output, "--overwrite")
        assert result.returncode == 0, result.stderr
        assert (network or ["krizhevsky2012"])[0].split("_")[0] in output.read_text("utf-8") or network == ["cifar10"]
    with pytest.raises(ValueError, match="`style` to be one of volumes, graph. Received: 'tree'"):
        figures.architecture("mnist_28", "tree")
