"""ONNX files in the layouts of other tools, made with the package onnx."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfalexnet.networks.spec import Architecture, Conv, Dense, Flatten, Norm, Parameters, Pool

Store = Callable[[np.ndarray, str], object]  # An array and its name to an initializer.


def raw(array: np.ndarray, name: str) -> object:
    """In its own type, as bytes."""
    from onnx import numpy_helper

    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def numbers(kind: str) -> Store:
    """In a type of ONNX, as a list of numbers: float_data, double_data or int32_data."""
    from onnx import TensorProto, helper

    code = getattr(TensorProto, kind)
    return lambda array, name: helper.make_tensor(name, code, array.shape, array.reshape(-1).tolist())


def chw(kernel: np.ndarray, net: Architecture) -> np.ndarray:
    """The rows of a fully connected kernel in the order channel, height, width."""
    return kernel.reshape(*net.flattened, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)


def model(nodes: list, initializers: list, net: Architecture, outputs: str, name: str = "graph", layout="NCHW"):
    from onnx import TensorProto, helper

    height, width, channels = net.input_shape
    shape = [1, channels, height, width] if layout == "NCHW" else [1, height, width, channels]
    ends = [("data_0", shape), (outputs, [1, net.classes])]
    data, result = (helper.make_tensor_value_info(end, TensorProto.FLOAT, size) for end, size in ends)
    graph = helper.make_graph(nodes, name, [data], [result], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def model_zoo(net: Architecture, parameters: Parameters, store: Store = raw, named: bool = True):
    """The layout of the ONNX Model Zoo's bvlcalexnet and caffenet: conv1_w_0 (OIHW), fc6_w_0 (out, in; C, H, W)."""
    from onnx import helper

    nodes, weights, x, first = [], [], "data_0", True

    def node(kind: str, inputs: list[str], **attributes) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"r{len(nodes)}"], f"n{len(nodes)}", **attributes))
        return nodes[-1].output[0]

    for row in net.layers:
        inputs = [x, f"{row.name}_w_0", f"{row.name}_b_0"] if named else [x, f"w{len(nodes)}", f"b{len(nodes)}"]
        if isinstance(row, Conv | Dense):
            kernel, bias = parameters[row.name]
            if isinstance(row, Dense) and first:
                kernel, first = chw(kernel, net), False
            kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
            weights += [store(kernel, inputs[1]), store(bias, inputs[2])]
        if isinstance(row, Conv):
            pad = row.size // 2 if row.padding == "same" else 0
            sizes = {"kernel_shape": [row.size] * 2, "strides": [row.stride] * 2, "pads": [pad] * 4}
            x = node("Conv", inputs, group=row.groups, **sizes)
        elif isinstance(row, Dense):
            x = node("Gemm", inputs, transB=1)
        elif isinstance(row, Norm):
            x = node("LRN", [x], size=row.size, alpha=row.alpha, beta=row.beta, bias=float(row.k))
        elif isinstance(row, Pool):
            x = node("MaxPool", [x], kernel_shape=[row.size] * 2, strides=[row.stride] * 2)
        elif isinstance(row, Flatten):
            weights.append(raw(np.array([0, -1]), "OC2_DUMMY_1"))
            x = node("Reshape", [x, "OC2_DUMMY_1"])
        if getattr(row, "activation", None):
            x = node("Relu", [x])
    return model(nodes, weights, net, node("Softmax", [x], axis=1), net.name if named else "graph")


def tf2onnx(net: Architecture, parameters: Parameters):
    """The layout of tf2onnx for a convolution and a classifier: NHWC pictures, transposes, MatMul and Add."""
    from onnx import helper

    conv, dense = net.weighted
    (kernel, bias), (matrix, offset) = (parameters[row.name] for row in (conv, dense))
    names = [f"StatefulPartitionedCall/net/{row.name}" for row in (conv, dense)]
    steps = [
        ("Transpose", ["data_0"], "x:0", {"perm": [0, 3, 1, 2]}),
        ("Transpose", [f"{names[0]}/convolution/ReadVariableOp:0"], "const_fold_opt__7", {"perm": [3, 2, 0, 1]}),
        ("Conv", ["x:0", "const_fold_opt__7", f"{names[0]}/bias:0"], f"{names[0]}/BiasAdd:0", {}),
        ("Relu", [f"{names[0]}/BiasAdd:0"], "relu:0", {}),
        ("Transpose", ["relu:0"], "nhwc:0", {"perm": [0, 2, 3, 1]}),
        ("Reshape", ["nhwc:0", "shape"], "flat:0", {}),
        ("MatMul", ["flat:0", f"{names[1]}/MatMul/ReadVariableOp:0"], f"{names[1]}/MatMul:0", {}),
        ("Add", [f"{names[1]}/MatMul:0", f"{names[1]}/BiasAdd/ReadVariableOp:0"], "logits:0", {}),
        ("Softmax", ["logits:0"], "softmax:0", {}),
    ]
    nodes = [helper.make_node(kind, inputs, [output], output, **more) for kind, inputs, output, more in steps]
    arrays = {steps[1][1][0]: kernel, f"{names[0]}/bias:0": bias, steps[6][1][1]: matrix, steps[7][1][1]: offset}
    arrays["shape"] = np.array([1, -1])
    return model(nodes, [raw(array, name) for name, array in arrays.items()], net, "softmax:0", layout="NHWC")


def quantised(net: Architecture, parameters: Parameters):
    """The layout of the Model Zoo with kernels of int8 behind a DequantizeLinear each."""
    from onnx import helper

    result = model_zoo(net, parameters)
    kernels = [tensor for tensor in result.graph.initializer if tensor.name.endswith("_w_0")]
    for tensor in kernels:
        name = tensor.name
        result.graph.initializer.remove(tensor)
        shape = tuple(tensor.dims)
        stored = {"q": np.ones(shape, "i1"), "scale": np.float32(0.5), "zero": np.int8(3)}
        result.graph.initializer.extend(raw(np.asarray(array), f"{name}_{part}") for part, array in stored.items())
        node = helper.make_node("DequantizeLinear", [f"{name}_{part}" for part in stored], [name], f"{name}_dequantize")
        result.graph.node.insert(0, node)
    return result


def split(model, bias_behind: bool):
    """Replace each convolution with groups by Split, a convolution for each group, and Concat, as tf2onnx does."""
    from onnx import helper, numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        groups = attributes.pop("group", 1)
        if groups == 1:
            model.graph.node.append(node)
            continue
        x, kernel, bias = node.input
        parts = [f"{x}:{group}" for group in range(groups)]
        model.graph.node.append(helper.make_node("Split", [x], parts, f"{kernel}_split", axis=1))
        for name in (kernel, bias):
            for part, array in enumerate(np.split(numpy_helper.to_array(tensors[name]), groups)):
                model.graph.initializer.append(raw(array, f"{name}:{part}"))
        results = [f"{node.output[0]}:{group}" for group in range(groups)]
        for group, (part, result) in enumerate(zip(parts, results, strict=True)):
            inputs = [part, f"{kernel}:{group}"] + ([] if bias_behind else [f"{bias}:{group}"])
            model.graph.node.append(helper.make_node("Conv", inputs, [result], f"{kernel}_{group}", **attributes))
        joined = f"{node.output[0]}:joined" if bias_behind else node.output[0]
        model.graph.node.append(helper.make_node("Concat", results, [joined], f"{kernel}_concat", axis=1))
        if bias_behind:
            column = numpy_helper.to_array(tensors[bias]).reshape(-1, 1, 1)
            model.graph.initializer.append(raw(column, f"{bias}:column"))
            model.graph.node.append(
                helper.make_node("Add", [joined, f"{bias}:column"], list(node.output), f"{bias}_add")
            )
        for name in (kernel, bias):
            model.graph.initializer.remove(tensors[name])
    return model
