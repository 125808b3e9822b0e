"""A photo beside the pictures of a folder that are nearest to it: Figure 4 of the paper, right."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfalexnet.analysis.neighbours import last_hidden_layer
from tfalexnet.analysis.neighbours import neighbours as find_neighbours
from tfalexnet.checkpoints.checkpoint import read_spec
from tfalexnet.figures.canvas import new_figure, require_matplotlib
from tfalexnet.figures.photo_panel import file_name, open_photo, shortened, show_photo
from tfalexnet.hub.cache import Weights, find_weights
from tfalexnet.images.opening import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def neighbours(
    photo: Picture,
    folder: str | os.PathLike,
    weights: Weights | None = None,
    count: int = 6,
    layer: str | None = None,
    index: str | os.PathLike | None = None,
) -> "Figure":
    """Return a figure of a photo and the pictures of a folder whose features are nearest to those of the photo.

    Above each picture is the Euclidean distance. The arguments, errors and the index are those of
    `tfalexnet.analysis.neighbours.neighbours`.
    """
    require_matplotlib()
    path = find_weights(weights)
    found = find_neighbours(photo, folder, path, count, layer, index)
    net = read_spec(path).architecture
    figure = new_figure(2.2 * (1 + len(found)), 3.1)
    figure.suptitle(
        f"{net.name}: the nearest pictures\nby {layer or last_hidden_layer(net)}, Euclidean distance", fontsize=11
    )
    panels = figure.subplots(1, 1 + len(found), squeeze=False)[0]
    show_photo(panels[0], open_photo(photo), "photo")
    panels[0].set_xlabel(file_name(photo), fontsize=7)
    for axes, neighbour in zip(panels[1:], found, strict=True):
        digits = ".0f" if neighbour.distance >= 100 else ".3g"
        show_photo(axes, open_photo(neighbour.file), f"distance {neighbour.distance:{digits}}")
        axes.set_xlabel(shortened(neighbour.file.relative_to(Path(folder).resolve()).as_posix()), fontsize=7)
    for side in panels[0].spines.values():
        side.set_linewidth(3)
    return figure
