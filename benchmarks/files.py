"""The same random weights in the file of each implementation, and photos of noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tfalexnet.networks.catalog import BVLC_ALEXNET as NET

Parameters = dict[str, tuple[np.ndarray, np.ndarray]]

SUFFIXES = (".npy", ".weights.h5", ".pt", ".onnx", ".tflite", ".xml", ".int8.xml")
NPY, H5, TORCH, ONNX, LITERT, XML, INT8 = (f"bvlc_alexnet{suffix}" for suffix in SUFFIXES)
PICTURES, PHOTOS = "pictures.npy", "photos"  # Preprocessed, (count, 227, 227, 3), and as files.


def random_parameters() -> Parameters:
    """Return kernels with the deviation of He, and a classifier so small that the softmax does not saturate."""
    generator = np.random.default_rng(2012)
    parameters = {}
    for name, (kernel, bias) in NET.parameter_shapes().items():
        deviation = np.sqrt(2 / np.prod(kernel[:-1])) / (40 if name == "fc8" else 1)
        parameters[name] = (
            generator.standard_normal(kernel, np.float32) * np.float32(deviation),
            generator.standard_normal(bias, np.float32) * np.float32(0.1),
        )
    return parameters


def write_torch(parameters: Parameters, folder: Path) -> None:
    """Write a state dict: kernels (out, in, height, width) and (out, in), the rows of fc6 in the order C, H, W."""
    import torch

    state = {}
    for name, (kernel, bias) in parameters.items():
        if name == "fc6":
            kernel = kernel.reshape(*NET.flattened, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
        state[f"{name}.weight"] = torch.from_numpy(np.ascontiguousarray(kernel))
        state[f"{name}.bias"] = torch.from_numpy(bias)
    torch.save(state, folder / TORCH)


def write(folder: Path, pictures: Path) -> dict[str, Callable]:
    """Write all files that the installed libraries allow, of which int8 is calibrated on `pictures`.

    A `Worker` calls it; there are no tasks.
    """
    import tfalexnet
    from tfalexnet.exporters.export import export

    parameters = random_parameters()
    np.save(folder / NPY, np.array({name: list(pair) for name, pair in parameters.items()}, dtype=object))
    tfalexnet.convert(folder / NPY, folder / H5)
    for file, make in {
        TORCH: lambda: write_torch(parameters, folder),
        # One node for each layer; torch.onnx splits normalisation into several, which OpenVINO computes far slower.
        ONNX: lambda: export(folder / H5, folder / ONNX, "onnx"),
        LITERT: lambda: export(folder / H5, folder / LITERT, "litert"),
        XML: lambda: export(folder / H5, folder / XML, "openvino"),
        INT8: lambda: export(folder / H5, folder / INT8, "openvino", "int8", pictures),
    }.items():
        try:
            make()
        except (ImportError, ValueError) as error:
            print(f"{file} not written: {error}", flush=True)
    return {}


def write_photos(folder: Path, count: int) -> None:
    """Write JPEGs of 500×375, quality 90: noise at five scales, with less contrast at finer scales, as in photos."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        levels = np.zeros((375, 500, 3), np.float32)
        for scale in (1, 4, 16, 64, 256):
            coarse = generator.integers(0, 256, (max(2, 375 // scale), max(2, 500 // scale), 3), "uint8")
            fine = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
            levels += (np.asarray(fine, np.float32) - 127.5) * scale**0.5 / 16
        photo = Image.fromarray(np.clip(levels + 127.5, 0, 255).astype("uint8"))
        photo.save(folder / f"{number:05}.jpg", quality=90)
