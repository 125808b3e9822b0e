"""A small network and pictures for evaluations, and reports without what differs between runs."""

import dataclasses
from pathlib import Path

import numpy as np

from support.nets import random_parameters
from tfalexnet.checkpoints.checkpoint import Checkpoint, write_checkpoint
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import Class
from tfalexnet.images.preprocessing import TORCHVISION
from tfalexnet.networks.catalog import ARCHITECTURES
from tfalexnet.networks.spec import Architecture

NET = ARCHITECTURES["cifar10_18pct"]
PREPROCESSING = dataclasses.replace(TORCHVISION, size=40, crop=32)
COUNT = 60  # Pictures.
RESULTS = ("pictures", "read", "top1_error", "top5_error", "per_class", "confusion")


def save(
    path: Path, net: Architecture, classes: tuple[Class, ...], parameters: dict | None = None, **attributes: str
) -> Path:
    """Write a weights file; the parameters are random if none are given."""
    checkpoint = Checkpoint(parameters or random_parameters(net), ModelSpec(net, PREPROCESSING, classes))
    write_checkpoint(path, checkpoint, **attributes)
    return path


def constant_parameters(net: Architecture, logits: list[float]) -> dict:
    """Parameters with which the answer to every picture is the softmax of the same logits."""
    parameters = {name: (kernel * 0, bias * 0) for name, (kernel, bias) in random_parameters(net).items()}
    parameters[net.classifier.name][1][:] = logits
    return parameters


def results(report: dict) -> dict:
    """What a report states about the pictures, which depends on neither the files' order nor the runtime."""
    return {name: report[name] for name in RESULTS}


def stable(report: dict) -> dict:
    """A report without what an interruption changes."""
    return {name: value for name, value in report.items() if name not in ("seconds", "resumed_after")}


def views(image: np.ndarray, crops: int) -> np.ndarray:
    """The crops of a 40×40 picture by the definition in the paper: 32×32, four corners and the centre, mirrored."""
    corners = [(0, 0), (0, 8), (8, 0), (8, 8), (4, 4)] if crops == 10 else [(4, 4)]
    cut = [image[top : top + 32, left : left + 32] for top, left in corners]
    cut += [view[:, ::-1] for view in cut] if crops == 10 else []
    mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return ((np.stack(cut) / 255 - mean) / deviation).astype("float32")
