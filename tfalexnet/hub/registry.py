"""The weights that have a name: source, digest, licence, network and accuracy of each."""

from dataclasses import dataclass

from tfalexnet.hub.digest import Digest

FIRST = "2026-11-21"  # The day of this registry's first entries.
IMAGENET = "the 1000 classes of ILSVRC 2012 by sorted WordNet id"


@dataclass(frozen=True)
class Source:
    """A published file.

    Attributes:
        urls: addresses of the same bytes, tried in this order.
        digest: of the file.
        size: in bytes; None if it is not published.
        stated_by: who states the digest, each in another place.
        since: the day on which the digest was recorded here, as YYYY-MM-DD.
        measured: whether the digest was computed here too, from a download.
    """

    urls: tuple[str, ...]
    digest: Digest
    size: int | None = None
    stated_by: tuple[str, ...] = ()
    since: str = ""
    measured: bool = False

    @property
    def file(self) -> str:
        """Name of the file, the same at each address."""
        return self.urls[0].rsplit("/", 1)[-1]

    def __str__(self) -> str:
        certain = "" if self.digest.certain else ", stated by one source only"
        size = f", {self.size:,} bytes" if self.size else ""
        return f"{self.digest.algorithm} {self.digest.hexadecimal}{certain}{size}"

    @property
    def evidence(self) -> str:
        """What the digest is worth."""
        measured = "measured here" if self.measured else "not measured here"
        return f"hash stated by {' and by '.join(self.stated_by) or 'nobody'}; recorded {self.since}, {measured}"


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


def _onnx_model_zoo(path: str, sha256: str, size: int) -> Source:
    """Return a file of the ONNX Model Zoo, which served its files from GitHub until July 2025."""
    folder = "https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/validated/vision/classification"
    stated_by = ("onnx/models on GitHub, in its Git LFS pointer", "its ONNX_HUB_MANIFEST.json")
    return Source((f"{folder}/{path}",), Digest("sha256", sha256), size, stated_by, "2026-11-26")


def _caffe(file: str, sha1: str, model: str) -> Source:
    stated_by = (f"BVLC/caffe, models/{model}/readme.md",)
    url = f"http://dl.caffe.berkeleyvision.org/{file}"
    return Source((url,), Digest("sha1", sha1), stated_by=stated_by, since=FIRST)


_PUBLISHED = (
    # BVLC/caffe, models/bvlc_alexnet/readme.md; the .onnx and M. Guerzhoy's .npy are conversions of it.
    PublishedWeights(
        "bvlc_alexnet",
        "bvlc_alexnet",
        "released for unrestricted use",
        Accuracy(57.1, 80.2, f"{CENTRE_CROP}; Caffe's readme"),
        (
            _onnx_model_zoo(
                "alexnet/model/bvlcalexnet-12.onnx",
                "6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945",
                243_863_787,
            ),
            _caffe("bvlc_alexnet.caffemodel", "9116a64c0fbe4459d18f4bb6b56d647b63920377", "bvlc_alexnet"),
            Source(
                ("https://www.cs.toronto.edu/~guerzhoy/tf_alexnet/bvlc_alexnet.npy",),
                Digest("sha256", "1294ef51496c52f2e4879ee3b5e1da22c35d61f3240937491b4469403d5428cc", certain=False),
                stated_by=("one user of the file, not its publisher",),
                since=FIRST,
            ),
        ),
    ),
    PublishedWeights(
        "bvlc_caffenet",
        "bvlc_caffenet",
        "released for unrestricted use",
        Accuracy(57.4, 80.4, f"{CENTRE_CROP}; Caffe's readme"),
        (
            _onnx_model_zoo(
                "caffenet/model/caffenet-12.onnx",
                "ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb",
                243_863_798,
            ),
            _caffe(
                "bvlc_reference_caffenet.caffemodel",
                "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
                "bvlc_reference_caffenet",
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
                ("torchvision, its first eight digits in the file's name", "several users of the file"),
                FIRST,
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
                ("songhan/Deep-Compression-AlexNet on GitHub, as the file's id in Git",),
                FIRST,
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
