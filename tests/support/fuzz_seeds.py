"""Small files of every format, from which the fuzz test of the readers makes its inputs.

They are written by this package, NumPy, Keras, PyTorch where it is installed, and Caffe where TFALEXNET_TEST_DATA
has a file of it.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import io
import json
import os
import pickle
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from support import ROOT, caffe
from support.fuzz_mutations import fields_of, serialised
from support.nets import random_parameters, write_npy
from tfalexnet.checkpoints.checkpoint import FORMATS, Checkpoint, write_checkpoint
from tfalexnet.checkpoints.formats import Contents, caffemodel, state_dict
from tfalexnet.checkpoints.formats.torch_pth import MAGIC_STREAM
from tfalexnet.checkpoints.spec import ModelSpec
from tfalexnet.images.classes import classes_from_labels
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.spec import Architecture, Conv, Dense, Flatten

HOSTILE = "hostile"  # In the name of a seed that must be refused as it is.

# Two layers, so that most bytes of a file are structure.
NET = Architecture(
    "bvlc_alexnet",
    "A convolution and a classifier, for small files.",
    (3, 3, 3),
    (Conv("conv1", 4, 3), Flatten(), Dense("fc8", 3, None)),
)
SHAPES = NET.parameter_shapes()
PARAMETERS = random_parameters(NET)
PREPARED = Preprocessing("squash", 3, 3, antialias=False, channels="BGR", mean=(104.0, 117.0, 123.0))
Seeds = Iterator[tuple[str, bytes]]


def written(suffix: str, parameters: dict = PARAMETERS) -> Seeds:
    """By the package itself: with a complete spec, with the network only, and without a spec."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{suffix}"
        for preprocessing in (PREPARED, None):
            labels = classes_from_labels(["a", "b", "c"]) if preprocessing else ()
            write_checkpoint(path, Checkpoint(parameters, ModelSpec(NET, preprocessing, labels)))
            yield "complete", path.read_bytes()
        FORMATS[suffix].write(path, Contents(parameters, flatten=FORMATS[suffix].FLATTEN))
        yield "bare", path.read_bytes()


def arrays(kernel: str = "{}.kernel", bias: str = "{}.bias") -> dict[str, np.ndarray]:
    return {
        form.format(name): array
        for name, pair in PARAMETERS.items()
        for form, array in zip((kernel, bias), pair, strict=True)
    }


class Runs:
    def __reduce__(self):
        return os.system, ("true",)


def seeds_npy() -> Seeds:
    yield from written(".npy")
    with tempfile.TemporaryDirectory() as folder:
        for layout in ("tf_alexnet", "caffe-tensorflow"):
            write_npy(Path(folder) / "net.npy", PARAMETERS, layout)
            yield layout, (Path(folder) / "net.npy").read_bytes()
    entries = np.array({name: list(pair) for name, pair in PARAMETERS.items()}, dtype=object)
    head = io.BytesIO()
    np.lib.format.write_array_header_2_0(head, {"descr": "|O", "fortran_order": False, "shape": ()})
    for protocol in (2, 5):
        yield f"protocol{protocol}", head.getvalue() + pickle.dumps(entries, protocol)
    more = {"epoch": 3, "bn": {"mean": np.ones(2)}, "a": [1], "fc9": {"weights": np.ones(2)}}
    entries = np.array({name: list(pair) for name, pair in PARAMETERS.items()} | more, dtype=object)
    yield "more", head.getvalue() + pickle.dumps(entries, 2)
    yield HOSTILE, head.getvalue() + pickle.dumps(np.array({"conv1": [Runs(), Runs()]}, dtype=object), 2)


def seeds_caffemodel() -> Seeds:
    yield from written(".caffemodel")
    for layout in ("new", "old", "double", "unpacked"):
        yield layout, caffe.caffemodel(PARAMETERS, NET, layout)
    folder = os.environ.get("TFALEXNET_TEST_DATA")
    if folder:  # Without its larger layers, of which most bytes would be numbers.
        nodes = fields_of((Path(folder) / "caffe" / "lenet_iter_10000.caffemodel").read_bytes())
        yield "caffe", serialised([node for node in nodes if len(serialised([node])) < 1 << 15])


def seeds_prototxt() -> Seeds:
    """Definitions in the spellings of all years, and for training."""
    for path in sorted((ROOT / "tests" / "fixtures" / "prototxt").glob("*.prototxt")):
        yield path.stem, path.read_bytes()
    yield "train", TRAINING


TRAINING = b"""
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
    data_param { batch_size: 9 } transform_param { crop_size: 30 mirror: true mean_value: 104
    mean_value: [117, 123] scale: 0x1 } }  # comment
layer { name: "conv1" type: "Convolution" bottom: 'data' top: "conv1" convolution_param { num_output: 4
    kernel_h: 3 kernel_w: 3 pad: 1 weight_filler < type: "gaussian" std: .1f > } }
layer { name: "acc" type: "Accuracy" bottom: "conv1" bottom: "label" top: "acc" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" exclude { phase: TEST stage: "x" } }
"""


def torch_arrays() -> dict[str, np.ndarray]:
    return state_dict.arrays(Contents(PARAMETERS, flatten="CHW"))


def seeds_pth() -> Seeds:
    try:
        import torch
    except ImportError:
        yield from seeds_pth_without_torch()
        return
    state = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in torch_arrays().items()}
    training = {"epoch": 3, "state_dict": state, "best": torch.tensor(1.0), "optimizer": {"lr": 0.1, "groups": [1, 2]}}
    others = {"args": argparse.Namespace(a=1), "type": torch.float32, "loss": np.ones(2)}
    others["steps"] = collections.Counter([1])
    for zipped in (True, False):
        for name, entries in (
            ("state", state),
            ("training", training),
            ("nested", {"steps": 1, "model": {"net": {f"module.{name}": tensor for name, tensor in state.items()}}}),
            ("average", {"epoch": 1, "model_ema": state}),
            ("others", {**state, **others}),
            ("half", {name: tensor.bfloat16() for name, tensor in state.items()}),
            (HOSTILE, state | {"x": Runs()}),
        ):
            buffer = io.BytesIO()
            torch.save(entries, buffer, _use_new_zipfile_serialization=zipped)
            yield name, buffer.getvalue()


def text(string: bytes) -> bytes:
    """The opcode of a text."""
    return b"X" + struct.pack("<I", len(string)) + string


def seeds_pth_without_torch() -> Seeds:
    """Both layouts, composed from opcodes."""
    items, storages, declared = b"", [], []
    for key, (name, array) in enumerate(torch_arrays().items()):
        data = np.ascontiguousarray(array, "<f4").tobytes()
        number = str(key).encode()
        strides = [array.size // int(np.prod(array.shape[: axis + 1])) for axis in range(array.ndim)]
        shape, steps = (b"(" + b"".join(b"K" + bytes([n]) for n in each) + b"t" for each in (array.shape, strides))
        reference = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(number) + text(b"cpu")
        declared.append((number, array.size))
        storages.append(data)
        items += text(name.encode()) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + reference + b"K%c" % array.size
        items += b"{view}tQK\x00" + shape + steps + b"\x89ccollections\nOrderedDict\n)RtR"
    body = b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", body.replace(b"{view}", b""))
        archive.writestr("net/byteorder", b"little")
        for key, data in enumerate(storages):
            archive.writestr(f"net/data/{key}", data)
    yield "zip", buffer.getvalue()
    keys = b"\x80\x02](" + b"".join(text(number) for number, _ in declared) + b"e."
    raw = b"".join(struct.pack("<Q", len(data) // 4) + data for data in storages)
    yield "stream", MAGIC_STREAM + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + body.replace(b"{view}", b"N") + keys + raw


def seeds_net() -> Seeds:
    parameters = {
        name: (np.round(kernel / np.abs(kernel).max() * 4).astype("f4"), bias)
        for name, (kernel, bias) in PARAMETERS.items()
    }
    yield from written(".net", parameters)


def seeds_npz() -> Seeds:
    yield from written(".npz")
    for save in (np.savez, np.savez_compressed):
        for forms in (("{}.kernel", "{}.bias"), ("{}/weights", "{}/biases")):
            buffer = io.BytesIO()
            save(buffer, **{name: np.asfortranarray(array.astype(">f8")) for name, array in arrays(*forms).items()})
            yield save.__name__, buffer.getvalue()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays(), objects=np.array({"a": Runs()}, dtype=object))
    yield HOSTILE, buffer.getvalue()


def seeds_safetensors() -> Seeds:
    yield from written(".safetensors")
    bare = dict(written(".safetensors"))["bare"]
    size = int.from_bytes(bare[:8], "little")
    header, numbers = json.loads(bare[8 : 8 + size]), bare[8 + size :]
    header["n"] = {"dtype": "I64", "shape": [2], "data_offsets": [len(numbers), len(numbers) + 16]}
    text = json.dumps(header).encode()
    yield "integers", len(text).to_bytes(8, "little") + text + numbers + bytes(16)
    for entry in header.values():
        if entry.get("dtype") == "F32":
            entry["dtype"] = "BF16"
            entry["shape"][-1] *= 2
    text = json.dumps(header).encode()
    yield "bfloat16", len(text).to_bytes(8, "little") + text + numbers + bytes(16)


def seeds_tensorflow() -> Seeds:
    """Single files of TensorFlow before 0.12. An .index alone is refused, because its numbers are in another file."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default(), tf1.Session() as session:
        named = arrays("{}/weights", "{}/biases")
        named |= {f"{name}/Momentum": array for name, array in named.items()} | {"global_step": np.int64(3)}
        variables = [tf1.Variable(array, name=name, use_resource=False) for name, array in named.items()]
        session.run(tf1.global_variables_initializer())
        for name, saved in (("momentum", variables), ("bare", variables[:4])):
            tf1.train.Saver(saved, write_version=1).save(session, f"{folder}/net.ckpt", write_meta_graph=False)
            yield name, (Path(folder) / "net.ckpt").read_bytes()
        tf1.train.Saver(variables[:4]).save(session, f"{folder}/net.ckpt", write_meta_graph=False)
        yield f"{HOSTILE}-index", (Path(folder) / "net.ckpt.index").read_bytes()


def seeds_tensorflow_bundle() -> Seeds:
    """The .index of TensorFlow 1 and 2; the bytes of the .data-* file beside it do not change."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default(), tf1.Session() as session:
        named = arrays("{}/weights", "{}/biases")
        variables = [tf1.Variable(array, name=name, use_resource=False) for name, array in named.items()]
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(variables).save(session, f"{folder}/net.ckpt", write_meta_graph=False)
        assert (Path(folder) / "net.ckpt.data-00000-of-00001").read_bytes() == BUNDLE
        yield "names", (Path(folder) / "net.ckpt.index").read_bytes()


BUNDLE = b"".join(array.tobytes() for _, array in sorted(arrays("{}/weights", "{}/biases").items()))


def seeds_onnx() -> Seeds:
    """Of this package, and in the layouts of other tools, in all ways to store numbers."""
    try:
        from support import onnx_files
        from tfalexnet.exporters import onnx as exporter

        yield "own", exporter.graph(NET, PARAMETERS).SerializeToString()
    except ImportError:
        return
    for kind in ("FLOAT", "DOUBLE", "BFLOAT16"):
        yield kind, onnx_files.model_zoo(NET, PARAMETERS, onnx_files.numbers(kind)).SerializeToString()
    yield "zoo", onnx_files.model_zoo(NET, PARAMETERS).SerializeToString()
    yield "tf2onnx", onnx_files.tf2onnx(NET, PARAMETERS).SerializeToString()
    yield "quantised", onnx_files.quantised(NET, PARAMETERS).SerializeToString()


def seeds_matconvnet() -> Seeds:
    try:
        from support import matconvnet
    except ImportError:  # SciPy is not installed.
        return
    net = dataclasses.replace(NET, input_shape=(4, 4, 3))  # A kernel of the input's size would be fully connected.
    sizes = {"imageSize": np.array([[4.0, 4, 3]]), "averageImage": np.ones((4, 4, 3), "f4"), "keepAspect": 1.0}
    classes = {"name": ["n00000001"] * 3, "description": ["a", "b", "é"]}
    for spelling in ("old", "new", "net"):
        for packed in (False, True):
            buffer = io.BytesIO()
            layers = matconvnet.layers_of(net, random_parameters(net))
            matconvnet.write(buffer, layers, spelling, sizes, classes, do_compression=packed)
            yield spelling, buffer.getvalue()


def seeds_means() -> Seeds:
    """Caffe's file of a picture, and arrays of NumPy."""
    yield "blob", b"".join(caffemodel.blob(np.ones((1, 3, 5, 6), "f4")))
    for name, array in {
        "picture": np.ones((3, 5, 6), "f4"),
        "numbers": np.ones(3),
        "grey": np.ones((1, 1, 4, 4)),
    }.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        yield name, buffer.getvalue()
    buffer = io.BytesIO()
    np.save(buffer, np.array([Runs()], object), allow_pickle=True)
    yield HOSTILE, buffer.getvalue()


def seeds_archives() -> Seeds:
    """Weights with the names of their classes, and an archive that reaches out of its folder."""
    files = {"net/net.npz": dict(written(".npz"))["bare"], "net/labels.txt": b"a\nb\nc\n", "../../evil.md": b"x"}
    for packed in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", packed) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        yield "zip", buffer.getvalue()
    for mode in ("w", "w:gz", "w:bz2"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            link = tarfile.TarInfo("net/other.npz")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        yield mode.replace(":", "-"), buffer.getvalue()


def replaced(file: h5py.File, **options: object) -> None:
    """Store the kernel of the classifier with other options."""
    group = file["layers/dense/vars"]
    kernel = group["0"][()]
    del group["0"]
    group.create_dataset("0", data=kernel, **options)


def linked(file: h5py.File, link: object) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars/0"] = link


def outside(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file["layers/dense/vars"].create_dataset("0", (4, 3), "f4", external=[("/etc/passwd", 0, 48)])


def virtual(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 3))
    file["layers/dense/vars"].create_virtual_dataset("0", layout)


STRANGE_H5: dict[str, Callable[[h5py.File], None]] = {
    f"{HOSTILE}-chunked": lambda file: replaced(file, chunks=(2, 3), maxshape=(None, None)),
    "attributes": lambda file: file.attrs.update(
        {"a": [1.5, 2], "b": h5py.Empty("f4"), "c": ["x", "y"], "d": np.bytes_(b"z"), "e": file.ref, "f": 3}
    ),
    f"{HOSTILE}-packed": lambda file: replaced(file, chunks=(4, 3), compression="gzip"),
    f"{HOSTILE}-soft": lambda file: linked(file, h5py.SoftLink("/layers/conv2d/vars/0")),
    f"{HOSTILE}-external": lambda file: linked(file, h5py.ExternalLink("/etc/passwd", "/x")),
    f"{HOSTILE}-outside": outside,
    f"{HOSTILE}-virtual": virtual,
}


def seeds_h5() -> Seeds:
    yield from written(".weights.h5")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.weights.h5"
        with contextlib.suppress(ImportError):
            import keras

            layers = [
                keras.layers.Conv2D(4, 3, name="conv1"),
                keras.layers.Flatten(),
                keras.layers.Dense(3, name="fc8"),
            ]
            model = keras.Sequential([keras.Input((3, 3, 2)), *layers])
            model.save_weights(path)
            yield "keras", path.read_bytes()
            nested = keras.Sequential(
                [model, keras.layers.BatchNormalization(), keras.layers.Dense(2, dtype="bfloat16")]
            )
            nested.save_weights(path)
            yield "nested", path.read_bytes()
        bare = dict(written(".weights.h5"))["bare"]
        for name, change in STRANGE_H5.items():
            path.write_bytes(bare)
            with h5py.File(path, "r+") as file:
                change(file)
            yield name, path.read_bytes()


def seeds_caffe_h5() -> Seeds:
    """In Caffe's layout; and, where TFALEXNET_TEST_DATA has it, a file of Caffe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.caffemodel.h5"
        with h5py.File(path, "w") as file:
            for name, (kernel, bias) in PARAMETERS.items():
                file[f"data/{name}/0"] = np.moveaxis(kernel, (3, 2), (0, 1)) if kernel.ndim == 4 else kernel.T
                file[f"data/{name}/1"] = bias
            file.create_group("data/relu1")
        yield "caffe", path.read_bytes()
        with h5py.File(path, "r+") as file:
            file["data/link"] = h5py.ExternalLink("/etc/passwd", "/x")
        yield f"{HOSTILE}-external", path.read_bytes()


def seeds_keras_legacy() -> Seeds:
    """Models and weights in the layout of Keras 2, by Keras 3 and by h5py."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.h5"
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [name.encode() for name in PARAMETERS]
            for name, pair in PARAMETERS.items():
                group = file.create_group(name)
                group.attrs["weight_names"] = [f"{name}/{part}:0".encode() for part in ("kernel", "bias")]
                for part, array in zip(("kernel", "bias"), pair, strict=True):
                    group[f"{name}/{part}:0"] = array
        yield "weights", path.read_bytes()
        with contextlib.suppress(ImportError):
            import keras

            from tfalexnet import AlexNet

            AlexNet(NET).save(path)
            yield "model", path.read_bytes()
            inputs = keras.Input((3, 3, 3))
            flat = keras.layers.Flatten()(keras.layers.Lambda(lambda x: x)(inputs))
            keras.Model(inputs, keras.layers.Dense(3)(flat)).save(path)
            yield f"{HOSTILE}-lambda", path.read_bytes()


def seeds_keras() -> Seeds:
    """Models that Keras saves, with another layer, without the top and packed."""
    try:
        import keras
    except ImportError:
        return
    from tfalexnet import AlexNet

    layers = (keras.layers.Conv2D(4, 3, name="conv1"), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3))
    models = {"one": AlexNet(NET), "top": AlexNet(NET, include_top=False)}
    models[HOSTILE] = keras.Sequential([keras.Input((3, 3, 3)), *layers])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.keras"
        for name, model in models.items():
            model.save(path)
            yield name, path.read_bytes()
        packed = io.BytesIO()
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as copy:
            for member in archive.namelist():
                copy.writestr(member, archive.read(member))
        yield f"{HOSTILE}-packed", packed.getvalue()


# Formats that Pillow writes, and options; those that this version does not write are left out.
PICTURES = {
    "jpeg": ("JPEG", "RGB", {}), "progressive": ("JPEG", "RGB", {"progressive": True}), "cmyk": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGBA", {}), "palette": ("PNG", "P", {}), "deep": ("PNG", "I;16", {}), "gif": ("GIF", "P", {}),
    "bmp": ("BMP", "RGB", {}), "ppm": ("PPM", "RGB", {}), "ico": ("ICO", "RGBA", {}), "tga": ("TGA", "RGB", {}),
    "tiff": ("TIFF", "RGB", {}), "lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}), "float": ("TIFF", "F", {}),
    "webp": ("WEBP", "RGB", {}), "jpeg2000": ("JPEG2000", "RGB", {}), "avif": ("AVIF", "RGB", {}),
}  # fmt: skip


def seeds_pictures() -> Seeds:
    """A small picture in each format, and one that is none."""
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8))
    levels = np.asarray(colours.convert("L"), np.uint16) * 257
    for name, (kind, mode, options) in PICTURES.items():
        buffer = io.BytesIO()
        image = Image.fromarray(levels) if mode == "I;16" else colours.convert(mode)
        with contextlib.suppress(KeyError, OSError):
            image.save(buffer, kind, **options)
            yield name, buffer.getvalue()
    yield f"{HOSTILE}-postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
