"""Compare an int8 file with its weights on pictures that were not used for calibration."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfalexnet.evaluation.ground_truth import label_by_folder
from tfalexnet.exporters.export import calibration_pictures
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.folders import list_pictures
from tfalexnet.images.opening import PictureError
from tfalexnet.inference.pipeline import run_network
from tfalexnet.runtimes.network import Network, load_network

PICTURES = 1000  # At most so many are compared.


class HeldOut(NamedTuple):
    """Answers of two files for the same pictures.

    Attributes:
        count: number of pictures.
        same: percentage of pictures whose best class is the same.
        errors: top-1 errors of the weights and of the exported file in per cent; None without labels.
    """

    count: int
    same: float
    errors: tuple[float, float] | None


def compare_held_out(
    weights: str | os.PathLike | None, output: str | os.PathLike, folder: str | os.PathLike
) -> HeldOut | None:
    """Compare an exported file with its weights on the pictures of a folder that did not calibrate it.

    Args:
        weights: what was exported.
        output: the file.
        folder: the pictures that were given to `export`. Where its sub-folders are named by class, they are labels.

    Returns:
        None if all readable pictures of the folder calibrated the file.
    """
    used = set(calibration_pictures(folder))
    others = [path for path in list_pictures(folder) if path not in used]
    others = others[:: -(-len(others) // PICTURES) or 1]
    networks = [load_network(find_weights(weights)), load_network(output)]
    answers = [list(_best_classes(network, others)) for network in networks]
    readable = [index for index, answer in enumerate(answers[0]) if answer is not None]
    if not readable:
        return None
    best = np.array([[answer[index] for index in readable] for answer in answers])
    try:
        labels = dict(label_by_folder(folder, networks[0].spec.classes))
    except ValueError:  # The folder is not one of classes.
        errors = None
    else:
        truth = np.array([labels[others[index]] for index in readable])
        errors = tuple(100 * (best != truth).mean(axis=1))
    return HeldOut(len(readable), 100 * float((best[0] == best[1]).mean()), errors)


def _best_classes(network: Network, pictures: list[Path]) -> Iterator[int | None]:
    for outputs in run_network(network, pictures):
        yield None if isinstance(outputs, PictureError) else int(outputs[0].argmax())
