"""Files that are no checkpoints are called what they are, and not damaged."""

import gzip
import io
import tarfile
import zipfile

import pytest
from support import caffe
from support.parameters import PARAMETERS

from tfalexnet import CheckpointError
from tfalexnet.checkpoints.checkpoint import read_checkpoint
from tfalexnet.checkpoints.formats import state_dict


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, "text")
    return buffer.getvalue()


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("net.npy"))
    return buffer.getvalue()


FOREIGN = {
    "web page": (b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>", "a web page. The download failed"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\n", "git lfs pull"),
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(600), r"a JPEG picture\.$"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG picture"),
    "gzip": (gzip.compress(b"weights"), "a gzip archive. Unpack it"),
    "tar": (tar(), "a tar archive"),
    "mat": (b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(128), "a .mat file of MATLAB 7.3. Save it in MATLAB"),
    "solver state": (
        b"\x08\x90\x4e" + caffe.field(2, b"net_iter_10000.caffemodel") + caffe.field(3, bytes(40)),
        "a solver state of Caffe .* Give the .caffemodel beside it",
    ),
    "docx": (archive("[Content_Types].xml", "word/document.xml"), "an Office document"),
    "pictures": (archive("cat.jpg", "dog.jpg"), "a zip archive with cat.jpg, dog.jpg. Unpack it"),
    "core ml": (archive("Manifest.json", "Data/model.mlmodel"), "a Core ML package"),
    "torchscript": (archive("net/data.pkl", "net/code/__torch__.py", "net/constants.pkl"), "a TorchScript program"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_message_names_what_the_file_is(kind, tmp_path):
    content, message = FOREIGN[kind]
    (tmp_path / "net.caffemodel").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"expected a checkpoint.*; received {message}|{message}") as caught:
        read_checkpoint(tmp_path / "net.caffemodel")
    assert "damaged" not in str(caught.value)


def test_half_precision_of_caffe_is_named(tmp_path):
    blob = caffe.field(12, bytes(8))
    layer = caffe.field(1, b"conv1") + caffe.field(2, b"Convolution") + caffe.field(7, blob) * 2
    (tmp_path / "net.caffemodel").write_bytes(caffe.field(100, layer))
    with pytest.raises(CheckpointError, match="expected numbers of float32 or float64; received raw numbers"):
        read_checkpoint(tmp_path / "net.caffemodel")


def test_hdf5_of_others_is_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    for name, message in (("learned_net", "a solver state of Caffe.*caffemodel.h5 beside it"), ("#refs#", "MATLAB")):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_group(name)
        with pytest.raises(CheckpointError, match=f"expected layers of Keras 3; received .*{message}"):
            read_checkpoint(tmp_path / "x.h5")


def test_a_state_dict_that_lacks_a_bias_says_which():
    arrays = {"features.0.weight": PARAMETERS["conv1"][0], "features.0.bias": PARAMETERS["conv1"][1]}
    contents = state_dict.contents(arrays | {"features.3.weight": PARAMETERS["conv2"][0]})
    assert contents.left_out == ("conv2 (features.3.weight (5, 5, 6, 32)): no bias",)
