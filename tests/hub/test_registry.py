"""The registry of weights: complete, and equal to what others state about the published files."""

import re
from datetime import date

import numpy as np
import pytest
from support import ROOT

from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.spec import published_preprocessing
from tfalexnet.hub.cache import SHIPPED
from tfalexnet.hub.registry import REGISTRY
from tfalexnet.networks.catalog import ARCHITECTURES

README = (ROOT / "weights" / "README.md").read_text("utf-8")
DOCUMENTED = (ROOT / "docs" / "weights.md").read_text("utf-8")

# {name: (resizing, sides before and after the crop, channels, scale of the levels 0-255, mean, std)}
# Caffe: examples/imagenet/readme.md, the models' train_val.prototxt, and ilsvrc_2012_mean.npy averaged by channel.
# torchvision: the transforms of AlexNet_Weights.IMAGENET1K_V1, whose mean and std are of levels 0-1.
CAFFE = ("squash", 256, 227, "BGR", 1, (104.0069879317889, 116.66876761696767, 122.6789143406786), (1,))
TORCHVISION = ("shorter side", 256, 224, "RGB", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PREPROCESSING = {
    "bvlc_alexnet": CAFFE,
    "bvlc_caffenet": CAFFE,
    "deep_compression": CAFFE,
    "one_weird_trick": TORCHVISION,
}


@pytest.mark.parametrize("name", REGISTRY)
def test_an_entry_is_complete_and_agrees_with_the_documentation(name):
    published = REGISTRY[name]
    assert published.name == name and published.licence and published.accuracy.protocol
    assert 50 < published.accuracy.top1 < (published.accuracy.top5 or 100)
    (row,) = re.findall(rf"^\| `{name}` \| (.*)\|$", README, re.M)
    for source in published.sources:
        assert source.urls and source.digest.hexadecimal in row
        assert all(url.startswith(("http://", "https://")) for url in source.urls)
        assert {url.rsplit("/", 1)[-1] for url in source.urls} == {source.file}
    assert published.sources or (SHIPPED / published.file).is_file()
    (row,) = re.findall(rf"^\| `{name}` \| (.*)\|$", DOCUMENTED, re.M)
    top5 = f"{published.accuracy.top5:.1f}" if published.accuracy.top5 else "–"
    assert row.startswith(f"`{published.architecture}` | {published.accuracy.top1:.1f} / {top5} |")


@pytest.mark.parametrize("source", [source for item in REGISTRY.values() for source in item.sources], ids=str)
def test_a_source_states_what_its_hash_is_worth(source):
    """A hash that no publisher states, and nobody here measured, is not certain."""
    assert source.stated_by and date.fromisoformat(source.since) >= date(2026, 11, 21)
    by_publisher = any(
        who.startswith(("onnx/models", "BVLC/caffe", "torchvision", "songhan/")) for who in source.stated_by
    )
    assert source.digest.certain == (by_publisher or source.measured)
    measured = "measured here" if source.measured else "not measured here"
    assert source.evidence.endswith(f"recorded {source.since}, {measured}")
    assert all(who in source.evidence for who in source.stated_by)


def test_the_first_source_of_bvlcs_weights_is_the_onnx_model_zoo():
    """Hashes and sizes as in the Git LFS pointers of onnx/models, and in its ONNX_HUB_MANIFEST.json."""
    pointers = {
        "bvlc_alexnet": (
            "alexnet/model/bvlcalexnet-12.onnx",
            "version https://git-lfs.github.com/spec/v1\n"
            "oid sha256:6b0da9510f27f234ee96a85dc3809dd210150fdefad87f6850f9788513216945\nsize 243863787\n",
        ),
        "bvlc_caffenet": (
            "caffenet/model/caffenet-12.onnx",
            "version https://git-lfs.github.com/spec/v1\n"
            "oid sha256:ea563e5c47d1f58e1717cf1a2d8bf288b8adc07af0ad228b622096cd243aeecb\nsize 243863798\n",
        ),
    }
    for name, (path, pointer) in pointers.items():
        first, *others = REGISTRY[name].sources
        oid, size = re.search(r"oid (\w+:\w+)\nsize (\d+)", pointer).groups()
        assert (f"{first.digest.algorithm}:{first.digest.hexadecimal}", str(first.size)) == (oid, size)
        (url,) = first.urls
        assert url.startswith("https://huggingface.co/onnxmodelzoo/legacy_models/resolve/main/validated/")
        assert url.endswith(f"vision/classification/{path}") and len(first.stated_by) == 2
        assert others and all("onnx" not in source.file for source in others)


@pytest.mark.parametrize("name", PREPROCESSING)
def test_the_preprocessing_is_that_of_the_publisher(name):
    resizing, side, crop, channels, scale, mean, std = PREPROCESSING[name]
    published = published_preprocessing(REGISTRY[name].architecture)
    assert (published.resize, published.size, published.crop, published.channels) == (resizing, side, crop, channels)
    np.testing.assert_allclose(published.scale, scale)
    np.testing.assert_allclose(published.mean, mean, atol=1e-4)
    np.testing.assert_allclose(published.std, std)
    assert published.shape == ARCHITECTURES[REGISTRY[name].architecture].input_shape


def test_the_shipped_file_holds_what_its_entry_states():
    spec = read_checkpoint(SHIPPED / REGISTRY["cifar10"].file).spec
    assert spec.architecture == ARCHITECTURES[REGISTRY["cifar10"].architecture]
    names = "airplane automobile bird cat deer dog frog horse ship truck"  # batches.meta.txt of CIFAR-10.
    assert [label for _, label in spec.classes] == names.split()
    assert spec.preprocessing.shape == (32, 32, 3)


def test_the_size_of_the_deep_compression_file_follows_from_its_counts():
    counts = (29388, 118492, 309138, 247913, 163904, 4665474, 1959380, 1061645)  # The first 32 bytes of the file.
    size = 4 * 8
    for count, (kernel, bias) in zip(counts, ARCHITECTURES["bvlc_alexnet"].parameter_shapes().values(), strict=True):
        bits = 8 if len(kernel) == 4 else 4
        size += 4 * 2**bits + 4 * bias[0] + -(-count * bits // 8) + -(-count * 4 // 8)
    assert size == REGISTRY["deep_compression"].sources[0].size


@pytest.mark.data
def test_the_means_are_those_of_caffes_mean_file(data):
    mean = np.load(data / "caffe" / "ilsvrc_2012_mean.npy").mean(axis=(1, 2))  # B, G, R
    np.testing.assert_allclose(published_preprocessing("bvlc_alexnet").mean, mean, atol=1e-4)
