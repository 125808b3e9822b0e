"""Weights against the numbers that others published for them, and known mistakes by name."""

from __future__ import annotations

import dataclasses
import gc
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfalexnet.checkpoints.checkpoint import Checkpoint, read_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.hub.cache import find_weights
from tfalexnet.images.classes import imagenet_classes
from tfalexnet.images.decode import PictureError
from tfalexnet.io.progress import Progress
from tfalexnet.io.terminal import format_table
from tfalexnet.networks.catalog import ARCHITECTURES, get_architecture
from tfalexnet.networks.spec import Architecture, Dense, Norm, Parameters, Pool
from tfalexnet.tools.fingerprints import PUBLISHED, ROUGHLY, Fingerprint, Probabilities
from tfalexnet.tools.layouts import LAYOUTS

Mutant = Callable[[Architecture, Parameters], tuple[Architecture, Parameters]]

Softmax = Callable[[Architecture, Parameters, np.ndarray], np.ndarray]
"""From a network, its weights and preprocessed pictures to (pictures, classes)."""

# Real kernels hardly hold a number twice; 8 bits and less hold few: Deep Compression's fc6 16.
CODEBOOK = 256


@dataclass(frozen=True)
class Row:
    """One fingerprint, as it came out.

    Attributes:
        fingerprint: what was expected.
        file: the picture; None where none was given.
        received: the probabilities of the expected classes and of the best; None without a picture.
        mistakes: known mistakes whose published numbers these are. Beside the right numbers it means
            that this picture cannot tell.
        cures: the mutants under which the right numbers come out.
        compressed: the weights take few values: made from those published, they agree only roughly.
    """

    fingerprint: Fingerprint
    file: Path | None
    received: Probabilities | None = None
    mistakes: tuple[str, ...] = ()
    cures: tuple[str, ...] = ()
    compressed: bool = False

    @property
    def right(self) -> bool:
        """Whether the published numbers came out."""
        return self.received is not None and self.fingerprint.agrees(self.received, self.fingerprint.expected)

    @property
    def wrong(self) -> bool:
        """Whether others came out, of compressed weights such as do not even agree roughly."""
        return self.received is not None and not (self.right or self.accepts(self.received))

    def accepts(self, received: Probabilities) -> bool:
        """Whether such weights may give these for the published numbers."""
        return self.fingerprint.agrees(received, self.fingerprint.expected, roughly=self.compressed)

    def __str__(self) -> str:
        if self.received is None:
            return "no picture"
        if self.right:
            return f"ok, as also with {' or '.join(self.mistakes)}" if self.mistakes else "ok"
        if not self.wrong:
            return "compressed weights agree only roughly"
        parts = []
        for name in self.mistakes:
            scores = ", ".join(f"{score:.4f}" for score in self.fingerprint.mistakes[name].values())
            parts.append(f"matches {name} (published {scores})")
        if self.cures:
            parts.append(f"right with {' or '.join(self.cures)}")
        return "; ".join(parts) or "unknown"


@dataclass(frozen=True)
class Report:
    """What came out of some weights.

    Attributes:
        weights: which.
        rows: a fingerprint each.
        notes: what else is to be said, each a sentence.
    """

    weights: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether pictures were tried, and none came out wrong."""
        return any(row.received for row in self.rows) and not any(row.wrong for row in self.rows)


SHOWN = 5  # Names of pictures in a note.

# Architectures without weights of their own, and whose they use.
BORROWED = {"tf_alexnet": "bvlc_alexnet"}


def _pairs_exchanged(net: Architecture, first: type, second: type) -> Architecture:
    """Wherever a row of the first kind stands right before one of the second, they change places."""
    rows = list(net.layers)
    for i in range(len(rows) - 1):
        if isinstance(rows[i], first) and isinstance(rows[i + 1], second):
            rows[i : i + 2] = rows[i + 1], rows[i]
    return dataclasses.replace(net, layers=tuple(rows))


def _rows_changed(net: Architecture, kind: type, **changes: Any) -> Architecture:
    rows = {row.name: dataclasses.replace(row, **changes) for row in net.layers if isinstance(row, kind)}
    return net.replace_layers(**rows)


def _conv1_padded(net: Architecture, padding: str) -> Architecture:
    first = net.weighted[0]
    return net.replace_layers(**{first.name: dataclasses.replace(first, padding=padding)})


def _network(change: Callable[[Architecture], Architecture]) -> Mutant:
    return lambda net, parameters: (change(net), parameters)


def _layout(relaid: Callable) -> Mutant:
    """Inputs with channels reversed are kernels with channels reversed, so weights alone can mutate."""

    def mutant(net: Architecture, parameters: Parameters) -> tuple[Architecture, Parameters]:
        kernels = {row.name: relaid(parameters[row.name][0], row, net) for row in net.weighted}
        return net, {name: (kernels[name], bias) for name, (_, bias) in parameters.items()}

    return mutant


# Known mistakes, and their opposites. Each says the state that it makes; where that is so already,
# nothing changes. A mutant that gives the right numbers undoes a mistake of the weights or of the table.
MUTANTS: dict[str, Mutant] = {
    "pool before norm": _network(lambda net: _pairs_exchanged(net, Norm, Pool)),
    "norm before pool": _network(lambda net: _pairs_exchanged(net, Pool, Norm)),
    "alpha undivided": _network(lambda net: _rows_changed(net, Norm, divide_alpha=False)),
    "alpha divided": _network(lambda net: _rows_changed(net, Norm, divide_alpha=True)),
    "conv1 SAME": _network(lambda net: _conv1_padded(net, "same")),
    "conv1 VALID": _network(lambda net: _conv1_padded(net, "valid")),
    **{name: _layout(relaid) for name, relaid in LAYOUTS.items()},
}


def verify(
    pictures: str | os.PathLike | Iterable[str | os.PathLike],
    weights: str | os.PathLike | None = None,
    architecture: str | Architecture | None = None,
    fingerprints: Sequence[Fingerprint] = PUBLISHED,
) -> Report:
    """Run published fingerprints on weights, and name the known mistakes that explain wrong numbers.

    Args:
        pictures: files or folders; a picture is known by its file's name without the suffix.
        weights: a known name or a file; None as for `tfalexnet.predict`.
        architecture: the network to run the weights in; None is the one that their file says, or is
            taken for.
        fingerprints: what is published.

    Raises:
        ValueError: nothing is published for these weights, or they do not fit the architecture.
        PictureError: a picture that is needed is not there, or cannot be read.
        CheckpointError, WeightsNotFoundError: see `tfalexnet.AlexNet`.
    """
    path = find_weights(weights)
    files = _by_stem(pictures)
    checkpoint = read_checkpoint(path)
    own, foreign = _published(fingerprints, checkpoint, path)
    net = checkpoint.spec.architecture if architecture is None else get_architecture(architecture)
    if net.parameter_shapes() != checkpoint.spec.architecture.parameter_shapes():
        raise ValueError(
            f"Expected an architecture with kernels as those of {checkpoint.spec.architecture.name}. Received: "
            f"{net.name}"
        )
    softmax = _runner()
    rows = _rows(own, files, net, checkpoint.parameters, softmax)
    notes = list(checkpoint.notes)
    if _compressed(checkpoint):
        rows = [dataclasses.replace(row, compressed=True) for row in rows]
        notes.append(
            "These weights are compressed: what is published of the originals holds roughly, "
            f"the best class and its probability within {ROUGHLY}."
        )
    if any(row.wrong for row in rows):
        rows = _diagnosed(rows, net, checkpoint.parameters, softmax)
        notes.append(_verdict(rows))
    others = []
    if not any(row.right for row in rows):
        others = _right_as_others(foreign, files, checkpoint.parameters, softmax)
    notes += [f"{f.picture}: as published for {f.weights}. These are its weights; read them as that." for f in others]
    compared = {fingerprint.picture for fingerprint in (*own, *others)}
    notes += [
        f"Expected one file called {stem}; {found[0]} was used, and not {' or '.join(map(str, found[1:]))}."
        for stem, found in files.items()
        if stem in compared and len(found) > 1
    ]
    unmatched = [file.name for stem, found in files.items() if stem not in compared for file in found]
    if unmatched:
        more = f" and {len(unmatched) - SHOWN} more" if len(unmatched) > SHOWN else ""
        notes.append(f"Not compared: {', '.join(sorted(unmatched)[:SHOWN])}{more}; nothing is published of them here.")
    return Report(os.fspath(path if weights is None else weights), tuple(rows), tuple(notes))


def report_table(report: Report) -> str:
    """The report as lines of text."""
    lines = [("picture", "class", "expected", "received", "difference", "")]
    for row in report.rows:
        name, verdict = row.fingerprint.picture, str(row)
        for index, score in row.fingerprint.expected.items():
            received = ("", "")
            if row.received is not None:
                received = f"{row.received[index]:.4f}", f"{row.received[index] - score:+.4f}"
            label = imagenet_classes()[index].label.split(",")[0]
            lines.append((name, f"{index} {label}", f"{score:.4f}", *received, verdict))
            name = verdict = ""  # Once for each picture.
    sources: dict[str, list[str]] = {}
    for row in report.rows:
        sources.setdefault(row.fingerprint.source, []).append(row.fingerprint.picture)
    said = [f"{', '.join(names)}: {source}" for source, names in sources.items()]
    parts = [f"Weights: {report.weights}", format_table(lines, right=(2, 3, 4)), "\n".join(said), *report.notes]
    tried = sum(row.received is not None for row in report.rows)
    right = sum(row.right for row in report.rows)
    return "\n\n".join([*parts, f"{right} of {tried} pictures as published." if tried else "Nothing was compared."])


def _by_stem(pictures: str | os.PathLike | Iterable[str | os.PathLike]) -> dict[str, list[Path]]:
    """The files by their names without suffix, each once; of several that share one, the first is used."""
    files: dict[str, dict[Path, Path]] = {}
    for given in [pictures] if isinstance(pictures, str | os.PathLike) else pictures:
        path = Path(given)
        if not path.exists():
            raise PictureError(os.fspath(given), "no such file or folder")
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if not path.is_dir() or file.suffix.lower() in Image.registered_extensions():
                files.setdefault(file.stem, {}).setdefault(file.resolve(), file)
    return {stem: list(found.values()) for stem, found in files.items()}


def _published(
    fingerprints: Sequence[Fingerprint], checkpoint: Checkpoint, path: Path
) -> tuple[list[Fingerprint], list[Fingerprint]]:
    """The fingerprints of the weights, and of others in kernels of the same shapes."""
    net = checkpoint.spec.architecture
    if checkpoint.missing:
        raise CheckpointError(
            f"{path}: expected a classifier to verify; the file lacks {', '.join(checkpoint.missing)}."
        )
    name = BORROWED.get(net.name, net.name)
    fitting = [f for f in fingerprints if ARCHITECTURES[f.weights].parameter_shapes() == net.parameter_shapes()]
    own = [fingerprint for fingerprint in fitting if fingerprint.weights == name]
    if not own:
        known = " or ".join(dict.fromkeys(fingerprint.weights for fingerprint in fingerprints))
        raise ValueError(
            f"{path}: expected weights of {known}, for which numbers are published; received those of "
            f"{net.name} with {net.classes} classes, for which none are."
        )
    return own, [fingerprint for fingerprint in fitting if fingerprint.weights != name]


def _rows(
    fingerprints: Sequence[Fingerprint],
    files: Mapping[str, Sequence[Path]],
    net: Architecture,
    parameters: Parameters,
    softmax: Softmax,
) -> list[Row]:
    """What comes out of each picture that is there."""
    rows = [Row(fingerprint, files.get(fingerprint.picture, [None])[0]) for fingerprint in fingerprints]
    found = _answers(rows, net, parameters, softmax)
    for number, received in found.items():
        fingerprint = fingerprints[number]
        matching = [name for name, scores in fingerprint.mistakes.items() if fingerprint.agrees(received, scores)]
        rows[number] = dataclasses.replace(rows[number], received=received, mistakes=tuple(matching))
    return rows


def _right_as_others(
    fingerprints: Sequence[Fingerprint], files: Mapping[str, Sequence[Path]], parameters: Parameters, softmax: Softmax
) -> list[Fingerprint]:
    """The fingerprints of other networks that the weights have in those networks."""
    found = []
    for name in dict.fromkeys(fingerprint.weights for fingerprint in fingerprints):
        theirs = [fingerprint for fingerprint in fingerprints if fingerprint.weights == name]
        rows = _rows(theirs, files, ARCHITECTURES[name], parameters, softmax)
        found += [row.fingerprint for row in rows if row.right]
    return found


def _answers(
    rows: Sequence[Row], net: Architecture, parameters: Parameters, softmax: Softmax, mutant: Mutant | None = None
) -> dict[int, Probabilities]:
    """By number of the row what the network, or its mutant, makes of its picture.

    Rows without a picture are left out, and those whose network the mutant does not change.
    """
    found = {}
    for recipe in dict.fromkeys(row.fingerprint.recipe for row in rows if row.file):
        network = MUTANTS[recipe](net, parameters) if recipe else (net, parameters)
        if mutant is not None:
            original, network = network, mutant(*network)
            if network[0] == original[0] and network[1] is original[1]:
                continue
        numbers = [i for i, row in enumerate(rows) if row.file and row.fingerprint.recipe == recipe]
        inputs = np.stack([rows[i].fingerprint.protocol(rows[i].file) for i in numbers])
        for i, scores in zip(numbers, softmax(*network, inputs), strict=True):
            classes = {*rows[i].fingerprint.expected, int(scores.argmax())}
            found[i] = {index: float(scores[index]) for index in classes}
    return found


def _runner() -> Softmax:
    """Return a function that runs networks. It holds the last two, which most mutants share."""
    from tfalexnet.networks.build import build_model, set_parameters

    models: dict[Architecture, Any] = {}

    def softmax(net: Architecture, parameters: Parameters, inputs: np.ndarray) -> np.ndarray:
        if net not in models:
            if len(models) == 2:
                del models[next(iter(models))]
                gc.collect()  # Keras models are reference cycles of 244 MB.
            models[net] = build_model(net.with_zero_kernels())
        set_parameters(models[net], parameters)
        return models[net](inputs, training=False).numpy()

    return softmax


def _compressed(checkpoint: Checkpoint) -> bool:
    """Whether the first dense kernel takes its numbers from a codebook."""
    first = next(row.name for row in checkpoint.spec.architecture.layers if isinstance(row, Dense))
    return 1 < np.unique(checkpoint.parameters[first][0][:16]).size <= CODEBOOK


def _diagnosed(rows: Sequence[Row], net: Architecture, parameters: Parameters, softmax: Softmax) -> list[Row]:
    """The rows, with the mutants that put right what is wrong."""
    wrong = [number for number, row in enumerate(rows) if row.wrong]
    cures: dict[int, list[str]] = {number: [] for number in wrong}
    with Progress(len(MUTANTS), "known mistakes") as progress:
        for name, mutant in MUTANTS.items():
            found = _answers([rows[number] for number in wrong], net, parameters, softmax, mutant)
            for place, received in found.items():
                if rows[wrong[place]].accepts(received):
                    cures[wrong[place]].append(name)
            progress.advance(1, name)
    return [dataclasses.replace(row, cures=tuple(cures.get(number, ()))) for number, row in enumerate(rows)]


def _verdict(rows: Sequence[Row]) -> str:
    """What all wrong rows have in common."""
    wrong = [row for row in rows if row.wrong]
    cures = [name for name in MUTANTS if all(name in row.cures for row in wrong)]
    mistakes = [name for name in MUTANTS if all(name in row.mistakes for row in wrong)]
    pictures = ", ".join(row.fingerprint.picture for row in wrong)
    if cures:
        return (
            f"{pictures}: right with {' or '.join(cures)}. That is the one thing wrong with the "
            "weights, or with the network they are run in."
        )
    if mistakes:
        return f"{pictures}: the numbers of {' or '.join(mistakes)}."
    return f"{pictures}: no one known mistake explains the numbers. Are these the published weights?"
