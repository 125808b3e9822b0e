"""A name is a promise: source, hash, licence, network, preprocessing, classes, measured accuracy."""

from __future__ import annotations

import difflib
import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

from tfalexnet import checkpoints, preprocessing
from tfalexnet.architectures import ARCHITECTURES
from tfalexnet.download import Digest, DownloadError, alone, fetch
from tfalexnet.files import sha256
from tfalexnet.formats import CheckpointError, keras_h5
from tfalexnet.preprocessing import Preprocessing
from tfalexnet.tables import aligned


@dataclass(frozen=True)
class Source:
    """A file that is published somewhere.

    Attributes:
        urls: the same bytes at each, tried in this order.
        digest: of the whole file.
        size: bytes; None where nobody states it.
    """

    urls: tuple[str, ...]
    digest: Digest
    size: int | None = None

    def __str__(self) -> str:
        certain = "" if self.digest.certain else ", stated by one source only"
        size = f", {self.size:,} bytes" if self.size else ""
        return f"{self.digest.algorithm} {self.digest.hexadecimal}{certain}{size}"


@dataclass(frozen=True)
class Accuracy:
    """What weights reach, in per cent of pictures, and how that was measured."""

    top1: float
    top5: float | None
    protocol: str

    def __str__(self) -> str:
        top5 = f", {self.top5} % top-5" if self.top5 else ""
        return f"{self.top1} % top-1{top5} ({self.protocol})"


@dataclass(frozen=True)
class Known:
    """Weights with a name.

    Attributes:
        name: what users write.
        architecture: the network they belong to.
        preprocessing: what its pictures become; None: the file says.
        classes: where the names of the outputs are from.
        licence: in the words of their owner.
        accuracy: published or measured here.
        sources: the published files, any of which will do; none for what ships.
    """

    name: str
    architecture: str
    preprocessing: Preprocessing | None
    classes: str
    licence: str
    accuracy: Accuracy
    sources: tuple[Source, ...] = ()

    @property
    def file(self) -> str:
        """The name of the converted file."""
        return f"{self.name}.weights.h5"


IMAGENET = "the 1000 classes of ILSVRC 2012 by sorted WordNet id"
CENTRE_CROP = "ImageNet validation, centre crop"

KNOWN = {
    known.name: known
    for known in (
        # BVLC/caffe, models/bvlc_alexnet/readme.md; the .npy is M. Guerzhoy's conversion of it.
        Known(
            "bvlc_alexnet",
            "bvlc_alexnet",
            preprocessing.BVLC,
            IMAGENET,
            "released for unrestricted use",
            Accuracy(57.1, 80.2, f"{CENTRE_CROP}; Caffe's readme"),
            (
                Source(
                    ("http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",),
                    Digest("sha1", "9116a64c0fbe4459d18f4bb6b56d647b63920377"),
                ),
                Source(
                    (
                        "https://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",
                        "http://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",
                    ),
                    Digest(
                        "sha256",
                        "1294ef51496c52f2e4879ee3b5e1da22c35d61f3240937491b4469403d5428cc",
                        certain=False,
                    ),
                ),
            ),
        ),
        Known(
            "bvlc_caffenet",
            "bvlc_caffenet",
            preprocessing.BVLC,
            IMAGENET,
            "released for unrestricted use",
            Accuracy(57.4, 80.4, f"{CENTRE_CROP}; Caffe's readme"),
            (
                Source(
                    ("http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel",),
                    Digest("sha1", "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46"),
                ),
            ),
        ),
        Known(
            "one_weird_trick",
            "one_weird_trick",
            preprocessing.TORCHVISION,
            IMAGENET,
            "BSD-3-Clause, as torchvision",
            Accuracy(56.522, 79.066, f"{CENTRE_CROP} 224; torchvision"),
            (
                Source(
                    ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",),
                    Digest("sha256", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
                    244_408_911,
                ),
            ),
        ),
        # BVLC's weights, pruned, clustered and trained anew; the size follows from the counts in
        # its header.
        Known(
            "deep_compression",
            "bvlc_alexnet",
            preprocessing.BVLC,
            IMAGENET,
            "BSD 2-Clause, of its repository; of BVLC's weights: released for unrestricted use",
            Accuracy(57.074, 80.254, f"{CENTRE_CROP}; songhan/Deep-Compression-AlexNet"),
            (
                Source(
                    (
                        "https://raw.githubusercontent.com/songhan/Deep-Compression-AlexNet/master/AlexNet_compressed.net",
                        "https://github.com/songhan/Deep-Compression-AlexNet/raw/master/AlexNet_compressed.net",
                    ),
                    Digest("git", "ea0d14e98edfbcbfba995003c94d7259fa23b6cc"),
                    9_037_369,
                ),
            ),
        ),
        Known(
            "cifar10",
            "cifar10_18pct",
            None,
            "the 10 classes of CIFAR-10, in the file",
            "Apache-2.0",
            Accuracy(83.09, None, "CIFAR-10, 10,000 pictures, single view; trained by examples/train_cifar10.py"),
        ),
    )
}

SHIPPED = Path(__file__).parent / "shipped"


class WeightsNotFoundError(FileNotFoundError):
    """Weights that are not where they were looked for."""


def cache() -> Path:
    """Where downloads and their conversions are kept: TFALEXNET_HOME, or a folder of the user's cache."""
    home = os.environ.get("TFALEXNET_HOME")
    return Path(home) if home else Path.home() / ".cache" / "tfalexnet"


def folders() -> tuple[Path, ...]:
    """Where the files of known names are looked for, in this order."""
    return SHIPPED, Path("weights"), cache()


def default() -> str:
    """Weights for somebody who just wants labels.

    bvlc_alexnet where its converted file is at hand; else the same network in a file of 9 MB, of the
    same accuracy.
    """
    return "bvlc_alexnet" if _converted(KNOWN["bvlc_alexnet"]) else "deep_compression"


def find(weights: str | os.PathLike | None) -> Path:
    """The file of a path or a known name; what is not on this machine is downloaded and converted.

    Both are done once, into the folder that TFALEXNET_HOME names, however many processes ask. None is
    the `default`.

    Raises:
        WeightsNotFoundError: there is no such file, or it cannot be downloaded; the message says how
            to get it by hand.
        OSError: it cannot be written.
    """
    weights = default() if weights is None else weights
    path = locate(weights)
    if path is not None:
        return _promised(path, KNOWN.get(os.fspath(weights)))
    known = KNOWN[os.fspath(weights)]
    converted = cache() / known.file
    with alone(converted):
        return locate(weights) or _obtain(known, converted)


def table() -> str:
    """What there is to know of each name, as lines of text."""
    lines = []
    for known in KNOWN.values():
        rows = [("accuracy", str(known.accuracy)), ("network", known.architecture), ("classes", known.classes)]
        rows.append(("pictures", known.preprocessing.words() if known.preprocessing else "prepared as the file says"))
        rows.append(("licence", known.licence))
        for source in known.sources:
            rows += [("source", url) for url in source.urls] + [("", str(source))]
        rows.append(("here", str(locate(known.name) or "not yet; downloaded when first used")))
        lines += [known.name, textwrap.indent(aligned(rows), "  ")]
    return "\n".join(lines)


def _promised(path: Path, known: Known | None) -> Path:
    """The file, if the network in it is that of its name."""
    said = keras_h5.attributes(path).get("architecture") if known else None
    if known and said != known.architecture:
        raise CheckpointError(
            f"Expected {path} to hold weights of {known.architecture}, as {known.name} does. Received: {said}. "
            f"Move it away, or give it as a file: {path.absolute()}"
        )
    return path


def _obtain(known: Known, converted: Path) -> Path:
    """Download the first source that can be had, convert it, and keep what was converted."""
    problems = []
    for source in known.sources:
        name = source.urls[0].rsplit("/", 1)[-1]
        file = cache() / name
        theirs = file.exists()  # Put there by hand, and not to be deleted.
        try:
            fetch(source.urls, file, source.digest, source.size)
        except DownloadError as error:
            problems.append(str(error))
            continue
        try:
            checkpoint = checkpoints.read(file, known.architecture)
        except CheckpointError as error:  # Of a digest that is not certain, this is the better judge.
            problems.append(str(error))
            if not theirs:
                file.unlink()
            continue
        checkpoints.write(converted, checkpoint, source=name, source_sha256=sha256(file))
        if not theirs:
            file.unlink()
        return converted
    looked = ", ".join(str(folder.absolute()) for folder in folders()[1:])
    raise WeightsNotFoundError(
        f"The weights {known.name!r} are not on this machine: {known.file} was looked for in {looked}.\n"
        + "\n".join(problems)
        + "\nGet one of these files elsewhere and type\n    "
        + f"tfalexnet convert FILE --architecture {known.architecture} --output {Path('weights', known.file)}"
    )


def locate(weights: str | os.PathLike) -> Path | None:
    """The file of a path, or of a known name; None where that is not on this machine yet.

    Raises:
        WeightsNotFoundError: a path leads nowhere, and is no known name.
    """
    if not isinstance(weights, str | os.PathLike):
        raise TypeError(f"Expected `weights` to be a name or a path. Received: {weights!r}")
    known = KNOWN.get(os.fspath(weights))
    if known is not None:
        return _converted(known)
    path = Path(weights)
    if path.is_file():
        return path
    raise WeightsNotFoundError(
        f"Expected weights to be a file or one of {', '.join(KNOWN)}. Received: {os.fspath(weights)!r}; "
        f"{_problem(path)}"
    )


def _problem(path: Path) -> str:
    if path.is_dir():
        return "it is a folder."
    if str(path) in ARCHITECTURES:
        return "a network for which none are published: AlexNet builds it, to be trained."
    close = difflib.get_close_matches(str(path), KNOWN, 1)
    return f"there is no such file; did you mean {close[0]}?" if close else "there is no such file."


def _converted(known: Known) -> Path | None:
    files = (folder / known.file for folder in folders())
    return next((file for file in files if file.is_file()), None)
