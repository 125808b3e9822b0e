"""Recognise common files that are no checkpoints, or checkpoints of unsupported kinds, to say what they are."""

import re
import zipfile
from pathlib import Path

from tfalexnet.checkpoints.formats import keras_model, npz

_UNPACK = "Unpack it and give the file of weights, or give it to `tfalexnet convert`"
PACKED = ("a gzip", "a bzip2", "a tar")  # Descriptions of archives that `tfalexnet convert` reads, beside .zip.
# What begins in this way, and what to do; the first match is used.
SIGNATURES = {
    rb"(?i)\s*(<!--.*?-->\s*)?<(!doctype html|html|head)": (
        "a web page",
        "The download failed; download the file again",
    ),
    rb"version https://git-lfs": ("a pointer of Git LFS", "Get the file itself with `git lfs pull`"),
    rb"\xff\xd8\xff": ("a JPEG picture", ""),
    rb"\x89PNG\r\n": ("a PNG picture", ""),
    rb"GIF8[79]a": ("a GIF picture", ""),
    rb"RIFF....WEBP": ("a WebP picture", ""),
    rb"%PDF-": ("a PDF document", ""),
    rb"\x1f\x8b": ("a gzip archive", _UNPACK),
    rb"BZh[1-9]1AY": ("a bzip2 archive", _UNPACK),
    rb"\xfd7zXZ\0": ("an xz archive", _UNPACK),
    rb"7z\xbc\xaf\x27\x1c": ("a 7z archive", _UNPACK),
    rb"Rar!\x1a\x07": ("a RAR archive", _UNPACK),
    rb".{257}ustar": ("a tar archive", _UNPACK),
    rb"\x08[\x80-\xff]*[\0-\x7f]\x12[\x80-\xff]*[\0-\x7f][^\0]{0,512}?\.caffemodel": (
        "a solver state of Caffe (.solverstate)",
        "Give the .caffemodel beside it",
    ),
    rb"model_checkpoint_path: ": ("TensorFlow's list of checkpoints", "Give the .index file of one"),
    rb"\n[\x80-\xff]*[\0-\x7f]\x12[\x80-\xff]*[\0-\x7f]\n.\n.[A-Z]\w+\x12": (
        "a graph of TensorFlow without weights (.meta)",
        "Give the .index file beside it, or the file without a suffix",
    ),
    rb"MATLAB 7\.3 MAT-file": ("a .mat file of MATLAB 7.3", "Save it in MATLAB with save('NAME.mat', '-v7')"),
}
# What holds a member of this name; archives with other members are named by their first ones.
MEMBERS = {
    r".*/constants\.pkl": (
        "a TorchScript program",
        "Save its weights: torch.save(torch.jit.load(file).state_dict(), 'weights.pth')",
    ),
    r"\[Content_Types\]\.xml|word/.*": ("an Office document", ""),
    r"(.*/)?Manifest\.json": ("a Core ML package", "Save its arrays with numpy.savez, see docs/formats.md"),
}
WEIGHTS = rf".*{npz.PICKLE.decode()}|{re.escape(keras_model.WEIGHTS)}"


def describe(path: Path) -> tuple[str, str] | None:
    """Return what a file is and an advice, which may be empty; None for what may be a checkpoint."""
    with path.open("rb") as file:
        start = file.read(1 << 12)
    if start.startswith(npz.MAGIC):
        return _describe_archive(path)
    return next((what for signature, what in SIGNATURES.items() if re.match(signature, start, re.DOTALL)), None)


def _describe_archive(path: Path) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # A damaged archive can raise anything; its reader explains it.
        return None
    for pattern, what in MEMBERS.items():
        if any(re.fullmatch(pattern, name) for name in names):
            return what
    # A .npz holds arrays only, and one alone is called like conv1.kernel; net.npy is a file that was packed.
    is_npz = all(name.endswith(".npy") for name in names) and "".join(names).count(".") > 1
    if is_npz or any(re.fullmatch(WEIGHTS, name) for name in names):
        return None
    return f"a zip archive with {', '.join(names[:3])[:100] or 'nothing'}", _UNPACK
