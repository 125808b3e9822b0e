"""Write the files of Caffe: the prototxt of a table, and its weights as a caffemodel."""

import numpy as np

from tfalexnet.networks import spec


def prototxt(net: spec.Architecture) -> str:
    """The deploy.prototxt of a table, as Caffe defines its layers."""
    height, width, channels = net.input_shape
    text = [f'input: "data" input_dim: 1 input_dim: {channels} input_dim: {height} input_dim: {width}']
    bottom = "data"

    def layer(name: str, kind: str, parameters: str, top: str | None = None) -> str:
        top = top or name
        text.append(f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {parameters} }}')
        return top

    for row in net.layers:
        match row:
            case spec.Conv():
                pad = row.size // 2 if row.padding == "same" else 0
                bottom = layer(
                    row.name,
                    "Convolution",
                    f"convolution_param {{ num_output: {row.filters} kernel_size: {row.size} "
                    f"stride: {row.stride} pad: {pad} group: {row.groups} }}",
                )
            case spec.Dense():
                bottom = layer(row.name, "InnerProduct", f"inner_product_param {{ num_output: {row.units} }}")
            case spec.Norm():
                region = row.region.upper()
                bottom = layer(
                    row.name,
                    "LRN",
                    f"lrn_param {{ local_size: {row.size} alpha: {row.alpha} beta: {row.beta} k: {row.k} "
                    f"norm_region: {region} }}",
                )
            case spec.Pool():
                kind = {"max": "MAX", "average": "AVE"}[row.kind]
                bottom = layer(
                    row.name,
                    "Pooling",
                    f"pooling_param {{ pool: {kind} kernel_size: {row.size} stride: {row.stride} }}",
                )
            case spec.Flatten() | spec.Dropout():
                continue  # Implied by InnerProduct; nothing at test time.
        if getattr(row, "activation", None) == "relu":
            bottom = layer(f"relu_{row.name}", "ReLU", "")
    layer("prob", "Softmax", "")
    return "\n".join(text)


def caffemodel(parameters: dict, net: spec.Architecture, layout: str = "new") -> bytes:
    """The weights in Caffe's order of axes.

    Layouts: "new"; "old", that of 2014 with numbers for types and four dimensions for every blob; "double" and
    "unpacked", the new one as other writers write it.
    """
    layers = []
    for name, (kernel, bias) in parameters.items():
        kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else channels_first(kernel, net, name).T
        kind = "Convolution" if kernel.ndim == 4 else "InnerProduct"
        if layout == "old":
            blobs = b"".join(field(6, old_blob(array)) for array in (kernel, bias))
            number = varint(5 << 3) + varint({"Convolution": 4, "InnerProduct": 14}[kind])
            layers.append(field(2, field(4, name.encode()) + number + blobs))
        else:
            blobs = b"".join(field(7, blob(array, layout)) for array in (kernel, bias))
            layers.append(field(100, field(1, name.encode()) + field(2, kind.encode()) + blobs))
    return field(1, b"net") + b"".join(layers)


def channels_first(kernel: np.ndarray, net: spec.Architecture, name: str) -> np.ndarray:
    """The rows of the first fully connected kernel in the order channel, height, width."""
    first = next(row.name for row in net.layers if isinstance(row, spec.Dense))
    if name != first:
        return kernel
    channels = [row.filters for row in net.layers if isinstance(row, spec.Conv)][-1]
    side = round((kernel.shape[0] / channels) ** 0.5)
    return kernel.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)


def blob(array: np.ndarray, layout: str = "new") -> bytes:
    shape = field(7, field(1, b"".join(map(varint, array.shape))))
    if layout == "double":
        return shape + field(8, np.ascontiguousarray(array, "<f8").tobytes())
    return shape + numbers(array, packed=layout != "unpacked")


def old_blob(array: np.ndarray) -> bytes:
    shape = (1,) * (4 - array.ndim) + array.shape
    fields = b"".join(varint(number << 3) + varint(size) for number, size in enumerate(shape, 1))
    return fields + numbers(array, packed=True)


def numbers(array: np.ndarray, packed: bool) -> bytes:
    if packed:
        return field(5, np.ascontiguousarray(array, "<f4").tobytes())
    each = np.empty(array.size, [("key", "u1"), ("number", "<f4")])
    each["key"], each["number"] = 5 << 3 | 5, array.reshape(-1)
    return each.tobytes()


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])
