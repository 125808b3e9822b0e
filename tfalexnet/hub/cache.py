"""A name is a promise: source, hash, licence, network, preprocessing, classes, measured accuracy."""

from __future__ import annotations

import difflib
import os
import textwrap
from pathlib import Path

from tfalexnet.checkpoints.checkpoint import read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError, keras_h5
from tfalexnet.hub.download import DownloadError, download_file
from tfalexnet.hub.registry import REGISTRY, PublishedWeights
from tfalexnet.io.files import sha256
from tfalexnet.io.locks import file_lock
from tfalexnet.io.terminal import format_table
from tfalexnet.networks.catalog import ARCHITECTURES

SHIPPED = Path(__file__).parent / "shipped"


class WeightsNotFoundError(FileNotFoundError):
    """Weights that are not where they were looked for."""


def cache_folder() -> Path:
    """Where downloads and their conversions are kept: TFALEXNET_HOME, or a folder of the user's cache."""
    home = os.environ.get("TFALEXNET_HOME")
    return Path(home) if home else Path.home() / ".cache" / "tfalexnet"


def search_folders() -> tuple[Path, ...]:
    """Where the files of known names are looked for, in this order."""
    return SHIPPED, Path("weights"), cache_folder()


def default_weights() -> str:
    """Weights for somebody who just wants labels.

    bvlc_alexnet where its converted file is at hand; else the same network in a file of 9 MB, of the
    same accuracy.
    """
    return "bvlc_alexnet" if _converted(REGISTRY["bvlc_alexnet"]) else "deep_compression"


def find_weights(weights: str | os.PathLike | None) -> Path:
    """The file of a path or a known name; what is not on this machine is downloaded and converted.

    Both are done once, into the folder that TFALEXNET_HOME names, however many processes ask. None is
    the `default`.

    Raises:
        WeightsNotFoundError: there is no such file, or it cannot be downloaded; the message says how
            to get it by hand.
        OSError: it cannot be written.
    """
    weights = default_weights() if weights is None else weights
    path = locate_weights(weights)
    if path is not None:
        return _promised(path, REGISTRY.get(os.fspath(weights)))
    known = REGISTRY[os.fspath(weights)]
    converted = cache_folder() / known.file
    with file_lock(converted):
        return locate_weights(weights) or _obtain(known, converted)


def weights_table() -> str:
    """What there is to know of each name, as lines of text."""
    lines = []
    for known in REGISTRY.values():
        rows = [("accuracy", str(known.accuracy)), ("network", known.architecture), ("classes", known.classes)]
        pictures = known.preprocessing.summary() if known.preprocessing else "prepared as the file says"
        rows.append(("pictures", pictures))
        rows.append(("licence", known.licence))
        for source in known.sources:
            rows += [("source", url) for url in source.urls] + [("", str(source))]
        rows.append(("here", str(locate_weights(known.name) or "not yet; downloaded when first used")))
        lines += [known.name, textwrap.indent(format_table(rows), "  ")]
    return "\n".join(lines)


def _promised(path: Path, known: PublishedWeights | None) -> Path:
    """The file, if the network in it is that of its name."""
    said = keras_h5.attributes(path).get("architecture") if known else None
    if known and said != known.architecture:
        raise CheckpointError(
            f"Expected {path} to hold weights of {known.architecture}, as {known.name} does. Received: {said}. "
            f"Move it away, or give it as a file: {path.absolute()}"
        )
    return path


def _obtain(known: PublishedWeights, converted: Path) -> Path:
    """Download the first source that can be had, convert it, and keep what was converted."""
    problems = []
    for source in known.sources:
        name = source.urls[0].rsplit("/", 1)[-1]
        file = cache_folder() / name
        theirs = file.exists()  # Put there by hand, and not to be deleted.
        try:
            download_file(source.urls, file, source.digest, source.size)
        except DownloadError as error:
            problems.append(str(error))
            continue
        try:
            checkpoint = read_checkpoint(file, known.architecture)
        except CheckpointError as error:  # Of a digest that is not certain, this is the better judge.
            problems.append(str(error))
            if not theirs:
                file.unlink()
            continue
        write_checkpoint(converted, checkpoint, source=name, source_sha256=sha256(file))
        if not theirs:
            file.unlink()
        return converted
    looked = ", ".join(str(folder.absolute()) for folder in search_folders()[1:])
    raise WeightsNotFoundError(
        f"The weights {known.name!r} are not on this machine: {known.file} was looked for in {looked}.\n"
        + "\n".join(problems)
        + "\nGet one of these files elsewhere and type\n    "
        + f"tfalexnet convert FILE --architecture {known.architecture} --output {Path('weights', known.file)}"
    )


def locate_weights(weights: str | os.PathLike) -> Path | None:
    """The file of a path, or of a known name; None where that is not on this machine yet.

    Raises:
        WeightsNotFoundError: a path leads nowhere, and is no known name.
    """
    if not isinstance(weights, str | os.PathLike):
        raise TypeError(f"Expected `weights` to be a name or a path. Received: {weights!r}")
    known = REGISTRY.get(os.fspath(weights))
    if known is not None:
        return _converted(known)
    path = Path(weights)
    if path.is_file():
        return path
    raise WeightsNotFoundError(
        f"Expected weights to be a file or one of {', '.join(REGISTRY)}. Received: {os.fspath(weights)!r}; "
        f"{_problem(path)}"
    )


def _problem(path: Path) -> str:
    if path.is_dir():
        return "it is a folder."
    if str(path) in ARCHITECTURES:
        return "a network for which none are published: AlexNet builds it, to be trained."
    close = difflib.get_close_matches(str(path), REGISTRY, 1)
    return f"there is no such file; did you mean {close[0]}?" if close else "there is no such file."


def _converted(known: PublishedWeights) -> Path | None:
    files = (folder / known.file for folder in search_folders())
    return next((file for file in files if file.is_file()), None)
