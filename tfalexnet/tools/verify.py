"""Outputs of weights against those that others published, and known mistakes that explain a difference."""

import gc
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.opening import PictureError
from tfalexnet.io.progress import Progress
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture, Parameters
from tfalexnet.tools.fingerprints import PUBLISHED, ROUGHLY, Answers, Fingerprint
from tfalexnet.tools.kernels import compare_sums
from tfalexnet.tools.mistakes import MUTANTS, Mutant
from tfalexnet.tools.verification import Report, Row

CODEBOOK = 256  # Most different values of a compressed kernel: 8 bits. Deep Compression's fc6 has 16.
LISTED = 5  # Names of pictures in a note.
BORROWED = {"tf_alexnet": "bvlc_alexnet"}  # Architectures that use the weights of another one.


class Runner:
    """Runs weights in networks.

    Args:
        nets: the network of each name of published weights.
        parameters: the weights.
    """

    def __init__(self, nets: Mapping[str, Architecture], parameters: Parameters) -> None:
        self.nets, self.parameters = nets, parameters
        self.models: dict[Architecture, Any] = {}  # The last two, which most mutants share.

    def answers(self, rows: Sequence[Row], mutant: Mutant | None = None) -> dict[int, Answers]:
        """Return the published numbers for the picture of each row, by the index of the row.

        Rows without a picture, and those whose network the mutant does not change, are omitted.
        """
        answers = {}
        groups: dict[tuple[str, str | None, bool], list[int]] = {}
        for index, row in enumerate(rows):
            if row.file:
                published = row.fingerprint
                groups.setdefault((published.weights, published.recipe, published.convolutional), []).append(index)
        for (weights, recipe, convolutional), indices in groups.items():
            network = self.nets[weights], self.parameters
            if recipe:
                network = MUTANTS[recipe](*network)
            net, parameters = mutant(*network) if mutant else network
            if mutant and net == network[0] and parameters is network[1]:
                continue
            inputs = np.stack([rows[index].fingerprint.protocol(rows[index].file) for index in indices])
            outputs = self.logits(net, parameters, inputs, convolutional)
            for index, logits in zip(indices, outputs, strict=True):
                numbers = rows[index].fingerprint.measure.compute(logits)
                classes = {*rows[index].fingerprint.expected, int(numbers.argmax())}
                answers[index] = {number: float(numbers[number]) for number in classes}
        return answers

    def logits(
        self, net: Architecture, parameters: Parameters, inputs: np.ndarray, convolutional: bool = False
    ) -> np.ndarray:
        """Return the logits for preprocessed pictures: (pictures, classes), if convolutional (…, rows, columns, …)."""
        from tfalexnet.networks.build import CONVOLUTIONAL, build_model, set_parameters

        if convolutional:
            net = net.convolutional()
            parameters = net.reshaped(parameters)
        if net not in self.models:
            if len(self.models) == 2:
                del self.models[next(iter(self.models))]
                gc.collect()  # Keras models are reference cycles, of 244 MB each.
            self.models[net] = build_model(
                net.with_zero_kernels(), CONVOLUTIONAL if convolutional else True, classifier_activation=None
            )
        set_parameters(self.models[net], parameters)
        return self.models[net](inputs, training=False).numpy()


def verify(
    pictures: str | os.PathLike | Iterable[str | os.PathLike],
    weights: str | os.PathLike | None = None,
    architecture: str | Architecture | None = None,
    fingerprints: Sequence[Fingerprint] = PUBLISHED,
) -> Report:
    """Compare outputs of weights with published ones, and name the known mistakes that explain differences.

    Args:
        pictures: files or folders; a picture is identified by its file's name without the suffix.
        weights: the name of published weights or a file; None as for `tfalexnet.predict`.
        architecture: the network to run the weights in; None is the one that their file states, or the first whose
            shapes match.
        fingerprints: published outputs.

    Raises:
        ValueError: nothing is published for these weights, or they do not match the architecture.
        PictureError: a picture does not exist or cannot be read.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`.
    """
    path = find_weights(weights)
    files = _files_by_stem(pictures)
    checkpoint = read_checkpoint(path)
    stated = checkpoint.spec.architecture
    own, foreign = _published(fingerprints, checkpoint, path)
    net = stated if architecture is None else get_architecture(architecture)
    if net.parameter_shapes() != stated.parameter_shapes():
        raise ValueError(f"Expected an architecture with kernels as those of {stated.name}. Received: {net.name}")
    runner = Runner(ARCHITECTURES | {own[0].weights: net}, checkpoint.parameters)
    notes = [*checkpoint.notes]
    if kernels := compare_sums(path, checkpoint):
        notes.append(f"Kernels: {kernels}.")
    first_dense = next(kernel for kernel, _ in checkpoint.parameters.values() if kernel.ndim == 2)
    compressed = 1 < np.unique(first_dense[:16]).size <= CODEBOOK  # Other kernels hardly repeat a value.
    if compressed:
        notes.append(
            "These weights are compressed: what is published of the originals holds roughly, "
            f"the best class and its probability within {ROUGHLY}."
        )
    rows = _compare(own, files, runner, compressed)
    if any(row.wrong for row in rows):
        rows = _diagnose(rows, runner)
        notes.append(_verdict(rows))
    others = [] if any(row.right for row in rows) else _compare(foreign, files, runner, compressed=False)
    found = dict.fromkeys((row.fingerprint.picture, row.fingerprint.weights) for row in others if row.right)
    notes += [f"{stem}: as published for {name}. These are its weights; read them as that." for stem, name in found]
    notes += _file_notes(files, {*(fingerprint.picture for fingerprint in own), *(stem for stem, _ in found)})
    return Report(os.fspath(path if weights is None else weights), tuple(rows), tuple(notes))


def _files_by_stem(pictures: str | os.PathLike | Iterable[str | os.PathLike]) -> dict[str, list[Path]]:
    """Return the files, each once, by their names without suffix; the first one of a name is compared."""
    files: dict[str, dict[Path, Path]] = {}
    for path in map(Path, [pictures] if isinstance(pictures, str | os.PathLike) else pictures):
        if not path.exists():
            raise PictureError(os.fspath(path), "no such file or folder")
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if not path.is_dir() or file.suffix.lower() in Image.registered_extensions():
                files.setdefault(file.stem, {}).setdefault(file.resolve(), file)
    return {stem: list(by_target.values()) for stem, by_target in files.items()}


def _file_notes(files: Mapping[str, Sequence[Path]], compared: set[str]) -> list[str]:
    """Return notes on files that were not compared."""
    notes = [
        f"Expected one file called {stem}; {used} was used, and not {' or '.join(map(str, unused))}."
        for stem, (used, *unused) in files.items()
        if stem in compared and unused
    ]
    names = sorted(file.name for stem, group in files.items() if stem not in compared for file in group)
    if names:
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        notes.append(f"Not compared: {', '.join(names[:LISTED])}{more}; nothing is published of them here.")
    return notes


def _published(
    fingerprints: Sequence[Fingerprint], checkpoint: Checkpoint, path: Path
) -> tuple[list[Fingerprint], list[Fingerprint]]:
    """Return the fingerprints of the weights, and those of other networks with kernels of the same shapes."""
    net = checkpoint.spec.architecture
    if checkpoint.missing:
        lacks = ", ".join(checkpoint.missing)
        raise CheckpointError(f"{path}: expected a classifier to verify; the file lacks {lacks}.")
    name = BORROWED.get(net.name, net.name)
    matching = [f for f in fingerprints if ARCHITECTURES[f.weights].parameter_shapes() == net.parameter_shapes()]
    own = [fingerprint for fingerprint in matching if fingerprint.weights == name]
    if not own:
        known = " or ".join(dict.fromkeys(fingerprint.weights for fingerprint in fingerprints))
        raise ValueError(
            f"{path}: expected weights of {known}, for which numbers are published; received those of "
            f"{net.name} with {net.classes} classes, for which none are."
        )
    return own, [fingerprint for fingerprint in matching if fingerprint.weights != name]


def _compare(
    fingerprints: Sequence[Fingerprint], files: Mapping[str, Sequence[Path]], runner: Runner, compressed: bool
) -> list[Row]:
    """Return a row for each fingerprint."""
    rows = [Row(f, files.get(f.picture, [None])[0], compressed=compressed) for f in fingerprints]
    for index, received in runner.answers(rows).items():
        fingerprint = rows[index].fingerprint
        mistakes = [name for name, scores in fingerprint.mistakes.items() if fingerprint.agrees(received, scores)]
        rows[index] = replace(rows[index], received=received, mistakes=tuple(mistakes))
    return rows


def _diagnose(rows: Sequence[Row], runner: Runner) -> list[Row]:
    """Return the rows, the wrong ones with the mutants that correct them."""
    wrong = [index for index, row in enumerate(rows) if row.wrong]
    rows = list(rows)
    with Progress(len(MUTANTS), "known mistakes") as progress:
        for name, mutant in MUTANTS.items():
            for position, received in runner.answers([rows[index] for index in wrong], mutant).items():
                row = rows[wrong[position]]
                if row.accepts(received):
                    rows[wrong[position]] = replace(row, cures=(*row.cures, name))
            progress.advance(1, name)
    return rows


def _verdict(rows: Sequence[Row]) -> str:
    """Return what all wrong rows have in common."""
    wrong = [row for row in rows if row.wrong]
    cures = [name for name in MUTANTS if all(name in row.cures for row in wrong)]
    mistakes = [name for name in MUTANTS if all(name in row.mistakes for row in wrong)]
    pictures = ", ".join(dict.fromkeys(row.fingerprint.picture for row in wrong))
    if cures:
        return (
            f"{pictures}: right with {' or '.join(cures)}. That is the one thing wrong with the "
            "weights, or with the network they are run in."
        )
    if mistakes:
        return f"{pictures}: the numbers of {' or '.join(mistakes)}."
    return f"{pictures}: no one known mistake explains the numbers. Are these the published weights?"
