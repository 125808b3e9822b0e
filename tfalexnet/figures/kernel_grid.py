"""The kernels of a convolution as a grid: Figure 3 of the paper for conv1."""

import math
from typing import TYPE_CHECKING

import numpy as np

from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.figures.canvas import new_figure
from tfalexnet.figures.network_drawing import drawn_towers
from tfalexnet.figures.tiles import filters as sheet
from tfalexnet.figures.tiles import grid_columns, in_rgb
from tfalexnet.hub.cache import Weights, find_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 6.5  # Inches.
EPOCHS = 6  # Largest number of panels of `draw_epochs`.
PAPER_COLUMNS = 16  # Of Figure 3 of the paper; used for its multiples from 48 to 256.


def filters(weights: Weights | None = None, layer: str = "conv1", channel: int | None = None) -> "Figure":
    """Return a figure of the kernels of a convolution, all on one scale.

    The kernels of a network with two towers are in two panels, the first half above. Kernels that read red, green and
    blue are coloured; the others are grey.

    Args:
        weights: as for `tfalexnet.predict`.
        layer: the name of a convolution.
        channel: the input channel that is shown, from 0; None for the colours, or the mean over other channels.

    Raises:
        ValueError: the network has no such convolution or channel, or Matplotlib is not installed.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`.
    """
    checkpoint = read_checkpoint(find_weights(weights))
    net, preprocessing = checkpoint.spec.architecture, checkpoint.spec.preprocessing
    kernels = {name: kernel for name, (kernel, _) in checkpoint.parameters.items() if kernel.ndim == 4}
    if layer not in kernels:
        raise ValueError(f"Expected one of {', '.join(kernels)}. Received: {layer}")
    kernel = kernels[layer]
    height, width, channels, count = kernel.shape
    if channel is not None and not 0 <= channel < channels:
        raise ValueError(f"Expected `channel` from 0 to {channels - 1}. Received: {channel}")
    is_first = layer == net.weighted[0].name
    if channel is not None:
        kernel = kernel[:, :, channel, None]
    elif not (is_first and channels == 3):
        kernel = kernel.mean(axis=2, keepdims=True)
    else:
        kernel = in_rgb(kernel, preprocessing)
    towers = np.split(kernel, drawn_towers(net), axis=3)
    largest = float(np.abs(kernel).max())
    each = towers[0].shape[3]
    is_paper_size = 3 * PAPER_COLUMNS <= each <= PAPER_COLUMNS**2 and each % PAPER_COLUMNS == 0
    columns = PAPER_COLUMNS if is_paper_size else grid_columns(each)
    tall = WIDTH * math.ceil(each / columns) / columns * height / width + 0.3
    figure = new_figure(WIDTH + 0.6, tall * len(towers) + 0.45)
    figure.suptitle(f"{net.name}, {layer}: {count} kernels of {height}×{width}×{channels}")
    starts = range(0, each, columns)
    middles = [1 + place * (height + 1) + (height - 1) / 2 for place in range(len(starts))]
    for number, axes in enumerate(figure.subplots(len(towers), 1, squeeze=False)[:, 0]):
        axes.imshow(sheet(towers[number], 1, 1, columns, largest).squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set(xticks=[])
        axes.set_yticks(middles, [str(number * each + start) for start in starts], fontsize=8)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        if len(towers) == 2:
            axes.set_title(f"tower {number + 1}, kernels {number * each}–{(number + 1) * each - 1}", fontsize=9)
    if kernel.shape[2] == 3:
        what = "red, green and blue are the weights of these channels of the picture:\n"
    elif channel is not None:
        what = f"weights of input channel {channel}: "
    else:
        what = "weights: " if channels == 1 else "means of the weights over the input channels: "
    axes.set_xlabel(f"{what}darkest −{largest:.2g}, mid-grey 0, brightest +{largest:.2g}", fontsize=8)
    figure.supylabel("number of the first kernel of the row", fontsize=8)
    return figure


def draw_epochs(title: str, sheets: dict[int, np.ndarray]) -> "Figure":
    """Return a figure of the filters of a layer after a few epochs of a training.

    Args:
        title: of the figure.
        sheets: by epoch, uint8 (height, width, 1 or 3), as `tfalexnet.figures.tiles.filters` returns them. Of many,
            the first, the last and some between them, equally far apart, are shown.
    """
    epochs = sorted(sheets)
    chosen = sorted({epochs[round(place)] for place in np.linspace(0, len(epochs) - 1, EPOCHS)})
    columns = min(len(chosen), 3)
    rows = math.ceil(len(chosen) / columns)
    figure = new_figure(3 * columns, 3.3 * rows + 0.4)
    figure.suptitle(title)
    for number, epoch in enumerate(chosen):
        axes = figure.add_subplot(rows, columns, number + 1, title=f"epoch {epoch}", xticks=[], yticks=[])
        axes.imshow(sheets[epoch].squeeze(), cmap="gray", vmin=0, vmax=255)
    return figure
