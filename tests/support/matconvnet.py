"""MatConvNet: its structs of layers, files as its importer of Caffe writes them, and its answers in NumPy.

The layout is that of utils/import-caffe.py of MatConvNet, and of vl_simplenn_tidy.m, which renames the fields of 2014.
The answers follow the equations of vlfeat.org/matconvnet/functions; windows of pooling are clipped to the map.
"""

import numpy as np
import scipy.io

from tfalexnet.networks.spec import Architecture, Conv, Dense, Norm, Parameters, Pool

ONE = np.array([[1.0]])


def small_layers(seed: int = 0) -> list[dict]:
    """A chain with groups, padding on one side, both kinds of pooling and two fully connected layers, of 25×25×3."""
    generator = np.random.default_rng(seed)

    def conv(name: str, *shape: int, **fields: object) -> dict:
        kernel = generator.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:3])))
        bias = generator.standard_normal((1, shape[3]), np.float32)
        return {"type": "conv", "name": name, "weights": [kernel, bias]} | fields

    return [
        conv("conv1", 7, 7, 3, 8, stride=[2, 2], pad=[0, 0, 0, 0]),
        {"type": "relu", "name": "relu1"},
        {"type": "normalize", "name": "norm1", "param": [5, 2, 0.02, 0.75]},
        {"type": "pool", "name": "pool1", "method": "max", "pool": [3, 3], "stride": [2, 2], "pad": [0, 1, 0, 1]},
        conv("conv2", 3, 3, 4, 12, stride=[1, 1], pad=[1, 1, 1, 1]),
        {"type": "relu", "name": "relu2"},
        {"type": "pool", "name": "pool2", "method": "avg", "pool": [2, 2], "stride": [2, 2], "pad": [0, 1, 0, 1]},
        conv("fc3", 3, 3, 12, 20, stride=[1, 1], pad=[0, 0, 0, 0]),
        {"type": "relu", "name": "relu3"},
        {"type": "dropout", "name": "drop3", "rate": 0.5},
        conv("fc4", 1, 1, 20, 5),
        {"type": "softmax", "name": "prob"},
    ]


def layers_of(net: Architecture, parameters: Parameters) -> list[dict]:
    """The layers of a network of the catalog, as the importer writes them: the first kernel reads R, G, B."""
    layers = []
    flattened = net.flattened
    for row in net.layers:
        if isinstance(row, Conv | Dense):
            kernel, bias = parameters[row.name]
            if isinstance(row, Dense):
                kernel = kernel.reshape(*flattened, row.units)
                flattened = (1, 1, row.units)
            kernel = kernel[:, :, ::-1] if not layers else kernel
            pad = row.size // 2 if isinstance(row, Conv) and row.padding == "same" else 0
            stride = row.stride if isinstance(row, Conv) else 1
            layers.append({"type": "conv", "name": row.name, "weights": [kernel, bias[None]]})
            layers[-1] |= {"stride": [stride] * 2, "pad": [pad] * 4}
            if row.activation:
                layers.append({"type": "relu", "name": f"relu_{row.name}"})
        elif isinstance(row, Norm):
            layers.append({"type": "normalize", "param": [row.size, row.k, row.alpha / row.size, row.beta]})
        elif isinstance(row, Pool):
            pad = [0, 1] * 2 if row.padding == "same" else [0] * 4
            pool = {"type": "pool", "method": {"average": "avg"}.get(row.kind, "max"), "pool": [row.size] * 2}
            layers.append(pool | {"stride": [row.stride] * 2, "pad": pad})
    return [*layers, {"type": "softmax"}]


def cell(entries: list) -> np.ndarray:
    """A row of cells."""
    cells = np.empty((1, len(entries)), object)
    for at, entry in enumerate(entries):
        cells[0, at] = entry
    return cells


def write(path, layers: list[dict], spelling: str, normalization: dict, classes: dict, **options: object) -> None:
    """Write a file as of 2014 ("old"), as of 2015 ("new") or with everything in `net`, as training does ("net")."""
    structs = []
    for layer in layers:
        fields = {key: value for key, value in layer.items() if key != "weights"}
        struct = {key: np.array([value], float) if isinstance(value, list) else value for key, value in fields.items()}
        if "weights" in layer:
            kernel, bias = layer["weights"]
            struct |= {"filters": kernel, "biases": bias} if spelling == "old" else {"weights": cell([kernel, bias])}
        structs.append(struct)
    meta = {"normalization": normalization, "classes": {key: cell(texts) for key, texts in classes.items()}}
    net = {"layers": cell(structs)} | (meta if spelling == "old" else {"meta": meta})
    scipy.io.savemat(path, {"net": net, "stats": ONE} if spelling == "net" else net, oned_as="row", **options)


def answer(layers: list[dict], picture: np.ndarray) -> np.ndarray:
    """The softmax of a network for a prepared picture, (height, width, channels)."""
    x = picture.astype(np.float64)
    for layer in layers:
        top, bottom, left, right = (int(pad) for pad in layer.get("pad", [0] * 4))
        stride = int(layer.get("stride", [1])[0])
        if layer["type"] == "conv":
            kernel, bias = layer["weights"]
            size, channels, filters = kernel.shape[0], kernel.shape[2], kernel.shape[3]
            x = np.pad(x, ((top, bottom), (left, right), (0, 0)))
            groups = x.shape[2] // channels
            sides = [(side - size) // stride + 1 for side in x.shape[:2]]
            y = np.empty((*sides, filters))
            for row, column, out in np.ndindex(*y.shape):
                first = out // (filters // groups) * channels
                window = x[row * stride :, column * stride :][:size, :size, first : first + channels]
                y[row, column, out] = (window * kernel[..., out]).sum() + bias[0, out]
            x = y
        elif layer["type"] == "relu":
            x = np.maximum(x, 0)
        elif layer["type"] == "normalize":
            size, k, alpha, beta = layer["param"]
            half = (int(size) - 1) // 2
            sums = [(x[..., max(at - half, 0) : at + half + 1] ** 2).sum(axis=-1) for at in range(x.shape[2])]
            x = x / (k + alpha * np.stack(sums, axis=-1)) ** beta
        elif layer["type"] == "pool":
            size = int(layer["pool"][0])
            height, width = x.shape[:2]
            sides = (height + top + bottom - size) // stride + 1, (width + left + right - size) // stride + 1
            y = np.empty((*sides, x.shape[2]))
            reduce = {"max": np.max, "avg": np.mean}[layer["method"]]
            for row, column in np.ndindex(*sides):
                first, start = row * stride - top, column * stride - left
                y[row, column] = reduce(x[max(first, 0) : first + size, max(start, 0) : start + size], axis=(0, 1))
            x = y
    exponentials = np.exp(x.ravel() - x.max())
    return exponentials / exponentials.sum()
