"""The kernels of a convolution as a grid: Figure 3 of the paper for conv1."""

import os
from typing import TYPE_CHECKING

from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.figures.canvas import new_figure
from tfalexnet.figures.kernels import filters as sheet
from tfalexnet.hub.cache import find_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def filters(weights: str | os.PathLike | None = None, layer: str = "conv1") -> "Figure":
    """Return a figure of the kernels of a convolution.

    Args:
        weights: as for `tfalexnet.predict`.
        layer: the name of a convolution.

    Raises:
        ValueError: the network has no such convolution, or Matplotlib is not installed.
        WeightsNotFoundError, CheckpointError: see `tfalexnet.AlexNet`.
    """
    checkpoint = read_checkpoint(find_weights(weights))
    kernels = {name: kernel for name, (kernel, _) in checkpoint.parameters.items() if kernel.ndim == 4}
    if layer not in kernels:
        raise ValueError(f"Expected one of {', '.join(kernels)}. Received: {layer}")
    figure = new_figure(6, 6)
    axes = figure.add_subplot(title=f"{checkpoint.spec.architecture.name}, {layer}")
    axes.imshow(sheet(kernels[layer]).squeeze(), cmap="gray", interpolation="nearest")
    axes.set_axis_off()
    return figure
