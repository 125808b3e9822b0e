"""Read the graph of an ONNX file without the package onnx.

The file is a protocol buffer (onnx.proto, message ModelProto). It is mapped: nodes are read, and tensors stay bytes of
the file until `Graph.constant` is asked for them.
"""

import functools
import os
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.formats.binary import BFLOAT16, MAX_RANK, map_file, to_float32
from tfalexnet.checkpoints.formats.protobuf import FIXED32, FIXED64, fields, integers

GRAPH, METADATA = 7, 14  # Numbers of fields in ModelProto.
NODE, NAME, INITIALIZER = 1, 2, 5  # In GraphProto.
INPUT, OUTPUT, NODE_NAME, KIND, ATTRIBUTE = 1, 2, 3, 4, 5  # In NodeProto.
ATTRIBUTE_NAME, FLOAT, INTEGER, TENSOR, INTEGERS = 1, 2, 3, 5, 8  # In AttributeProto.
DIMENSIONS, DATA_TYPE, INT32_DATA, TENSOR_NAME, RAW_DATA, LOCATION = 1, 2, 5, 8, 9, 14  # In TensorProto.
EXTERNAL = 1  # The value of LOCATION for numbers in another file.
TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 10: "<f2", 11: "<f8", 16: BFLOAT16}  # By the value of DATA_TYPE.
FLOATS = {4: "<f4", 10: "<f8"}  # float_data and double_data, packed or, by the key of each number, one by one.
RUNS = {4 << 3 | FIXED32: "<f4", 10 << 3 | FIXED64: "<f8"}
# Most fields of a message, nodes and initializers of a graph included. AlexNets have about a hundred. A file that
# consists of fields would take minutes, and many times its size.
MAX_FIELDS = 1 << 11
MAX_NODE_FIELDS = 1 << 7
BLOCK = 1 << 20  # Bytes of packed integers that are decoded at once.
MAX_STEPS = 8  # Between a weight and the node that uses it.


@dataclass(frozen=True)
class Node:
    """One operation: its operator, its name, the names of its inputs and outputs, and its attributes."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """Nodes in the order of computation, and tensors by name, each as the bytes of its message."""

    name: str
    nodes: tuple[Node, ...]
    tensors: dict[str, np.ndarray]
    metadata: dict[str, bytes]

    @functools.cached_property
    def producers(self) -> dict[str, Node]:
        """The node that computes each output."""
        return {output: node for node in self.nodes for output in node.outputs}

    def origin(self, name: str) -> tuple[list[Node], str]:
        """Return the nodes between a value and the tensor it comes from, the last first, and the tensor's name.

        The name is "" if the value depends on an input of the network.
        """
        between: list[Node] = []
        while name not in self.tensors:
            node = self.producers.get(name)
            if node is None or node.kind not in FOLDED or not node.inputs or len(between) == MAX_STEPS:
                return between, ""
            between.append(node)
            name = node.inputs[0]
        return between, name

    def constant(self, name: str) -> np.ndarray | None:
        """Return a value that does not depend on the input, None for another; a view of the file where possible."""
        between, tensor = self.origin(name)
        if not tensor:
            return None
        array = read_tensor(self.tensors[tensor])
        for node in reversed(between):
            array = FOLDED[node.kind](self, node, array)
        return array

    def stored(self, name: str) -> np.ndarray | None:
        """Return a tensor of the file by its name, None if there is none."""
        return read_tensor(self.tensors[name]) if name in self.tensors else None

    def dequantized(self, array: np.ndarray, inputs: tuple[str, ...], axis: int) -> np.ndarray:
        """Return (array − zero point) · scale in float32; `inputs` are the names of scale and zero point.

        A scale, and a zero point, is one number, or one for each index along `axis`.
        """
        scale = self.stored(inputs[0])
        zero = self.stored(inputs[1]) if inputs[1:] and inputs[1] else np.zeros(1, "i4")
        if scale is None or zero is None:
            raise CheckpointError("expected scales and zero points of weights in the file")
        result = array.astype(np.float32)
        for numbers, apply in ((zero, np.subtract), (scale, np.multiply)):
            shape = [1] * array.ndim
            if numbers.size > 1:
                shape[min(axis, array.ndim - 1)] = -1
            apply(result, to_float32(numbers).reshape(shape), out=result)
        return result


def _dequantize(graph: Graph, node: Node, array: np.ndarray) -> np.ndarray:
    return graph.dequantized(array, node.inputs[1:], node.attributes.get("axis", 1))


# Operators that change how a weight is stored, by kind; each takes the graph, the node and the array.
FOLDED = {
    "Identity": lambda _graph, _node, array: array,
    "Cast": lambda _graph, _node, array: to_float32(array),
    "Transpose": lambda _graph, node, array: array.transpose(node.attributes.get("perm")),
    "DequantizeLinear": _dequantize,
}


def read_graph(path: str | os.PathLike) -> Graph:
    """Return the graph of a file.

    Raises:
        CheckpointError: the bytes are no graph, or have more fields than networks like AlexNet.
    """
    name, nodes, tensors, metadata = "", [], {}, {}
    for number, value in fields(map_file(path), MAX_FIELDS):
        if number == METADATA and not isinstance(value, int):
            entry = {inner: text for inner, text in fields(value, MAX_NODE_FIELDS) if not isinstance(text, int)}
            metadata[_text(entry.get(1))] = entry[2].tobytes() if 2 in entry else b""
        if number != GRAPH or isinstance(value, int):
            continue
        for inner, message in fields(value, MAX_FIELDS):
            if isinstance(message, int):
                continue
            if inner == NAME:
                name = _text(message)
            elif inner == NODE:
                nodes.append(_node(message))
            elif inner == INITIALIZER:
                tensors[_tensor_name(message)] = message
    for node in nodes:
        if node.kind == "Constant" and "value" in node.attributes and node.outputs:
            tensors[node.outputs[0]] = node.attributes["value"]
    return Graph(name, tuple(nodes), tensors, metadata)


def _text(value: int | np.ndarray | None) -> str:
    return "" if value is None or isinstance(value, int) else value.tobytes().decode("utf-8", "replace")


def _node(message: np.ndarray) -> Node:
    texts: dict[int, list[str]] = {INPUT: [], OUTPUT: [], NODE_NAME: [], KIND: []}
    attributes = {}
    for number, value in fields(message, MAX_NODE_FIELDS):
        if number in texts:
            texts[number].append(_text(value))
        elif number == ATTRIBUTE and not isinstance(value, int):
            attributes |= _attribute(value)
    kind, name = "".join(texts[KIND][-1:]), "".join(texts[NODE_NAME][-1:])
    return Node(kind, name, tuple(texts[INPUT]), tuple(texts[OUTPUT]), attributes)


def _attribute(message: np.ndarray) -> dict[str, Any]:
    """Return the attribute by its name; nothing for kinds that no layer with weights has, such as texts."""
    name, result = "", None
    for number, value in fields(message, MAX_NODE_FIELDS):
        if number == ATTRIBUTE_NAME:
            name = _text(value)
        elif number == INTEGER and isinstance(value, int):
            result = _signed(value)
        elif number == FLOAT and not isinstance(value, int):
            result = struct.unpack("<f", value.tobytes())[0]
        elif number == TENSOR and not isinstance(value, int):
            result = value
        elif number == INTEGERS:
            result = [*(result or []), *map(_signed, integers(value, MAX_RANK))]
    return {} if result is None else {name: result}


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _tensor_name(message: np.ndarray) -> str:
    return next((_text(value) for number, value in fields(message, MAX_NODE_FIELDS, RUNS) if number == TENSOR_NAME), "")


def read_tensor(message: np.ndarray) -> np.ndarray:
    """Return the array of a TensorProto in its type: a view, unless its numbers are stored one by one.

    Raises:
        CheckpointError: the numbers are in another file, or of a type that weights do not have.
    """
    shape, kind, raw, parts = [], 0, [], []
    for number, value in fields(message, MAX_NODE_FIELDS, RUNS):
        if number == DIMENSIONS:
            shape += integers(value, MAX_RANK)
        elif number == DATA_TYPE:
            kind = value
        elif number == LOCATION and value == EXTERNAL:
            advice = "Write one file with all of it: onnx.save(onnx.load('net.onnx'), 'one.onnx')"
            raise CheckpointError(f"expected weights in this file; received the name of another file. {advice}")
        elif number in FLOATS and not isinstance(value, int):
            parts.append(value.view(FLOATS[number]))
        elif number in (RAW_DATA, INT32_DATA) and not isinstance(value, int):
            raw.append((number, value))
    if kind not in TYPES or len(shape) > MAX_RANK:
        known = "float16, bfloat16, float32, float64 or integers of 8 or 32 bits"
        raise CheckpointError(f"expected weights of {known}; received ONNX's type {kind}, shape {shape[:MAX_RANK]}")
    for number, value in raw:
        parts.append(value.view(TYPES[kind]) if number == RAW_DATA else _unpacked(value, np.dtype(TYPES[kind])))
    numbers = parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, TYPES[kind])])
    return numbers.reshape(shape)


def _unpacked(data: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Return packed integers of variable length in a type of at most 4 bytes; those of 16-bit floats are their bits."""
    bits = np.dtype(f"<u{kind.itemsize}")
    parts, position = [np.empty(0, bits)], 0
    while position < data.size:
        block = data[position : position + BLOCK]
        ends = np.flatnonzero(block < 0x80)
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends - starts[: ends.size] + 1
        if not ends.size or lengths.max() > 10:
            raise CheckpointError("truncated or damaged: expected integers of at most ten bytes")
        numbers = np.zeros(ends.size, np.uint32)
        for place in range(5):  # The rest is the sign.
            longer = lengths > place
            numbers[longer] |= (block[starts[longer] + place] & 0x7F).astype(np.uint32) << np.uint32(7 * place)
        parts.append(numbers.astype(bits))
        position += int(ends[-1]) + 1
    return np.concatenate(parts).view(kind)
