"""Find the file of weights by name or path; named weights are downloaded and converted once."""

import contextlib
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

from tfalexnet.checkpoints.checkpoint import UNVERIFIED, read_checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import CheckpointError, keras_h5
from tfalexnet.checkpoints.spec import published_preprocessing
from tfalexnet.hub.model_file import save_model_file
from tfalexnet.hub.registry import REGISTRY, PublishedWeights, Source
from tfalexnet.io.files import sha256
from tfalexnet.io.locks import file_lock
from tfalexnet.io.terminal import format_table, suggestion
from tfalexnet.networks.catalog import ARCHITECTURES

if TYPE_CHECKING:
    import keras

Weights = Union[str, os.PathLike, "keras.Model"]
"""Weights that a user gives: a published name, a file in any format that is read, the folder of a training, or a model
that `AlexNet` built."""

RUN_MODEL = "model.weights.h5"  # The file of the trained model in the folder of a training.

SHIPPED = Path(__file__).parent / "shipped"


class WeightsNotFoundError(FileNotFoundError):
    """Weights that can neither be found nor downloaded."""


def cache_folder() -> Path:
    """Return the folder of downloaded and converted files: TFALEXNET_HOME, else `~/.cache/tfalexnet`.

    A user without a home folder, as in containers, gets `weights` in the working folder.
    """
    try:
        return Path(os.environ.get("TFALEXNET_HOME") or "~/.cache/tfalexnet").expanduser()
    except RuntimeError:  # HOME is not set, and the user's id has no entry in the system's list.
        return Path("weights")


def search_folders() -> tuple[Path, ...]:
    """Return the folders in which named weights are looked up, in this order."""
    return SHIPPED, Path("weights"), cache_folder()


def default_weights() -> str:
    """Return the name of the weights that are used where none are given.

    These are bvlc_alexnet if its converted file exists, else deep_compression: the same network with the same
    accuracy in a file of 9 MB.
    """
    return "bvlc_alexnet" if _converted_file(REGISTRY["bvlc_alexnet"]) else "deep_compression"


def find_weights(weights: Weights | None) -> Path:
    """Return the file of a path or a name; named weights are downloaded and converted if they are missing.

    Download and conversion happen once, into `cache_folder()`, however many processes ask at the same time. None is
    `default_weights()`. The present weights of a Keras model are written to a temporary file.

    Raises:
        WeightsNotFoundError: there is no such file, or it cannot be downloaded; the message states how to get it
            by hand.
        CheckpointError: a file with the name of published weights holds another network, or `AlexNet` did not build
            the model.
        OSError: the file cannot be written.
    """
    weights = default_weights() if weights is None else weights
    path = locate_weights(weights)
    published = REGISTRY.get(os.fspath(weights)) if isinstance(weights, str | os.PathLike) else None
    if path is None:
        converted = cache_folder() / published.file
        with _explain_cache_errors(), file_lock(converted):
            return locate_weights(weights) or _download(published, converted)
    stated = keras_h5.attributes(path).get("architecture") if published else None
    if published and stated != published.architecture:
        raise CheckpointError(
            f"Expected {path} to hold weights of {published.architecture}, as {published.name} does. Received: "
            f"{stated}. Move it away, or give it as a file: {path.absolute()}"
        )
    return path


@contextlib.contextmanager
def _explain_cache_errors() -> Iterator[None]:
    """Add to the system's error about the cache folder how another one is chosen."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, WeightsNotFoundError):
            raise
        text = f"{os.strerror(error.errno)}. Downloaded weights are kept in {cache_folder()}; TFALEXNET_HOME moves it"
        raise OSError(error.errno, text, error.filename) from error


def locate_weights(weights: Weights) -> Path | None:
    """Return the file of a path, a name or a model, None for named weights that are not on this machine yet.

    Raises:
        WeightsNotFoundError: it is neither a file nor a name of the registry.
    """
    if hasattr(weights, "save_weights"):
        return save_model_file(weights)
    if not isinstance(weights, str | os.PathLike):
        raise TypeError(f"Expected `weights` to be a name, a path or a keras.Model. Received: {weights!r}")
    name, path = os.fspath(weights), Path(weights)
    if name in REGISTRY:
        return _converted_file(REGISTRY[name])
    if path.is_file():
        return path
    if (path / RUN_MODEL).is_file():
        return path / RUN_MODEL
    index = Path(f"{name}.index")  # TensorFlow calls the files NAME.index and NAME.data-* by NAME.
    if index.is_file():
        return index
    if path.is_dir():
        problem = f"it is a folder without {RUN_MODEL}, which a training writes at its end."
    elif name == "imagenet":  # As in keras.applications.
        problem = "several are trained on ImageNet; bvlc_alexnet are those of the default architecture."
    elif name in ARCHITECTURES:
        problem = "no weights are published for this network; AlexNet builds it with new ones."
    else:
        problem = f"there is no such file{suggestion(name, REGISTRY) or '.'}"
    raise WeightsNotFoundError(
        f"Expected weights to be a file or one of {', '.join(REGISTRY)}. Received: {name!r}; {problem}"
    )


def identify_published(path: Path, architecture: str) -> PublishedWeights | None:
    """Return the published weights that a file holds, None if it holds others.

    Args:
        path: a file that ships, a published file, or a `.weights.h5` that was converted from one, under any name.
        architecture: name of the network that the weights run in; published weights of others are not compared.
    """
    stated = keras_h5.attributes(path) if keras_h5.recognises(path) else {}
    for published in REGISTRY.values():
        if published.architecture != architecture:
            continue
        if any(_is_source(path, stated, source) for source in published.sources):
            return published
        if not published.sources and path.samefile(SHIPPED / published.file):
            return published
    return None


def _is_source(path: Path, stated: dict[str, Any], source: Source) -> bool:
    """Return whether a file is a published one, or states that it was converted from it."""
    if "source" not in stated:
        return source.size in (None, path.stat().st_size) and source.digest.matches(path)
    if source.digest.algorithm == "sha256":
        return stated.get("source_sha256") == source.digest.hexadecimal
    return stated["source"] == source.file


def weights_table() -> str:
    """Return all facts of each name of the registry, as lines of text."""
    lines = []
    for published in REGISTRY.values():
        preprocessing = published_preprocessing(published.architecture).summary()
        rows = [("accuracy", str(published.accuracy)), ("network", published.architecture)]
        rows += [("classes", published.classes), ("pictures", preprocessing), ("licence", published.licence)]
        for source in published.sources:
            rows += [("source", url) for url in source.urls] + [("", str(source)), ("", source.evidence)]
        path = locate_weights(published.name)
        unverified = ", unverified" if path and UNVERIFIED in keras_h5.attributes(path) else ""
        rows.append(("here", f"{path or 'not yet; downloaded when first used'}{unverified}"))
        lines += [published.name, textwrap.indent(format_table(rows), "  ")]
    return "\n".join(lines)


def _converted_file(published: PublishedWeights) -> Path | None:
    files = (folder / published.file for folder in search_folders())
    return next((file for file in files if file.is_file()), None)


def _download(published: PublishedWeights, converted: Path) -> Path:
    """Download the first available source, convert it, and keep the converted file only.

    A source that the user put in the cache comes before those that would be downloaded.
    """
    from tfalexnet.hub.download import DownloadError, download_file  # It imports http.client.

    problems = []
    for source in sorted(published.sources, key=lambda source: not (cache_folder() / source.file).exists()):
        file = cache_folder() / source.file
        put_by_user = file.exists()  # Such a file is not deleted.
        try:
            download_file(source.urls, file, source.digest, source.size)
            checkpoint = read_checkpoint(file, published.architecture)
        except (DownloadError, CheckpointError) as error:  # The second is possible if the digest is not certain.
            problems.append(str(error))
            if not put_by_user:
                file.unlink(missing_ok=True)
            continue
        marks = {} if source.digest.certain else {UNVERIFIED: f"only one source states the digest of {source.file}"}
        write_checkpoint(converted, checkpoint, source=source.file, source_sha256=sha256(file), **marks)
        if not put_by_user:
            file.unlink()
        return converted
    searched = ", ".join(str(folder.absolute()) for folder in search_folders() if folder != SHIPPED)
    raise WeightsNotFoundError(
        f"The weights {published.name!r} are not on this machine: {published.file} was searched in {searched}.\n"
        + "\n".join(problems)
        + "\nGet one of these files elsewhere and type\n    tfalexnet convert FILE "
        + f"--architecture {published.architecture} --output {Path('weights', published.file)}"
        + "\nThe weights of cifar10, for ten classes, ship with the package."
    )
