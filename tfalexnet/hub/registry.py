"""The weights that have a name: source, digest, licence, network and accuracy of each."""

from dataclasses import dataclass

from tfalexnet.hub.digest import Digest

IMAGENET = "the 1000 classes of ILSVRC 2012 by sorted WordNet id"


@dataclass(frozen=True)
class Source:
    """A published file.

    Attributes:
        urls: addresses of the same bytes, tried in this order.
        digest: of the file.
        size: in bytes; None if it is not published.
    """

    urls: tuple[str, ...]
    digest: Digest
    size: int | None = None

    @property
    def file(self) -> str:
        """Name of the file, the same at each address."""
        return self.urls[0].rsplit("/", 1)[-1]

    def __str__(self) -> str:
        certain = "" if self.digest.certain else ", stated by one source only"
        size = f", {self.size:,} bytes" if self.size else ""
        return f"{self.digest.algorithm} {self.digest.hexadecimal}{certain}{size}"


@dataclass(frozen=True)
class Accuracy:
    """Accuracy in per cent of pictures, and the protocol of the measurement."""

    top1: float
    top5: float | None
    protocol: str

    def __str__(self) -> str:
        top5 = f", {self.top5} % top-5" if self.top5 else ""
        return f"{self.top1} % top-1{top5} ({self.protocol})"


@dataclass(frozen=True)
class PublishedWeights:
    """Weights with a name.

    Attributes:
        name: the name that users type.
        architecture: the name of their network; `published_preprocessing` of it is theirs.
        licence: as its owner states it.
        accuracy: published, or measured for weights trained here.
        sources: the published files, each of which gives these weights; none for weights that ship.
        classes: the classes and the source of their names.
    """

    name: str
    architecture: str
    licence: str
    accuracy: Accuracy
    sources: tuple[Source, ...] = ()
    classes: str = IMAGENET

    @property
    def file(self) -> str:
        """Name of the converted file."""
        return f"{self.name}.weights.h5"


CENTRE_CROP = "ImageNet validation, centre crop"

_PUBLISHED = (
    # BVLC/caffe, models/bvlc_alexnet/readme.md; the .npy is M. Guerzhoy's conversion of it.
    PublishedWeights(
        "bvlc_alexnet",
        "bvlc_alexnet",
        "released for unrestricted use",
        Accuracy(57.1, 80.2, f"{CENTRE_CROP}; Caffe's readme"),
        (
            Source(
                ("http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel",),
                Digest("sha1", "9116a64c0fbe4459d18f4bb6b56d647b63920377"),
            ),
            Source(
                ("https://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",),
                Digest("sha256", "1294ef51496c52f2e4879ee3b5e1da22c35d61f3240937491b4469403d5428cc", certain=False),
            ),
        ),
    ),
    PublishedWeights(
        "bvlc_caffenet",
        "bvlc_caffenet",
        "released for unrestricted use",
        Accuracy(57.4, 80.4, f"{CENTRE_CROP}; Caffe's readme"),
        (
            Source(
                ("http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel",),
                Digest("sha1", "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46"),
            ),
        ),
    ),
    PublishedWeights(
        "one_weird_trick",
        "one_weird_trick",
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
    # BVLC's weights, pruned, clustered and retrained. The size follows from the counts in the file's header.
    PublishedWeights(
        "deep_compression",
        "bvlc_alexnet",
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
    PublishedWeights(
        "cifar10",
        "cifar10_18pct",
        "Apache-2.0",
        Accuracy(83.09, None, "CIFAR-10, 10,000 pictures, single view; trained by examples/train_cifar10.py"),
        classes="the 10 classes of CIFAR-10, in the file",
    ),
)
REGISTRY = {published.name: published for published in _PUBLISHED}
