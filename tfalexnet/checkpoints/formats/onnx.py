"""Read weights from ONNX files: of `tfalexnet export`, the ONNX Model Zoo, PyTorch and tf2onnx.

An ONNX file holds a graph, not layers. A layer is a node that multiplies by a constant, with its bias, which may be
added by a node of its own. Kernels of convolutions are (out, in, height, width). Quantised kernels are integers with a
scale and a zero point: w = (q − zero point) · scale.

Numbers in other files (ONNX's external data) are refused: no network here reaches the 2 GB for which they were made,
and a downloaded file could name any file of the machine.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tfalexnet.checkpoints.exported import KEY
from tfalexnet.checkpoints.formats import SPEC, CheckpointError, Contents, reading, state_dict
from tfalexnet.checkpoints.formats.binary import to_float32
from tfalexnet.checkpoints.formats.onnx_graph import Graph, Node, read_graph
from tfalexnet.checkpoints.formats.orientation import channels_last
from tfalexnet.networks.spec import Parameters

# ModelProto begins with its version; the second field is a text, a number, the graph or the versions of operators.
SIGNATURE = re.compile(rb"\x08[\x01-\x7f][\x12\x1a\x22\x28\x32\x3a\x42]")

# The inputs of kernel and bias, by operator.
FLOATING = {"Conv": (1, 2), "Gemm": (1, 2), "MatMul": (1, None)}
# In quantised operators the scale of the pictures is input 1, kernel, scale and zero point are inputs 3 to 5.
QUANTISED = {"QLinearConv": (3, 8), "QGemm": (3, 6), "QLinearMatMul": (3, None)}
OPERATORS = FLOATING | QUANTISED
# Other operators with weights.
OTHERS = ("BatchNormalization", "ConvTranspose", "ConvInteger", "MatMulInteger", "PRelu", "InstanceNormalization")
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
# Between the last feature map and the first fully connected layer: operators that keep the order of numbers.
RESHAPING = {"Reshape", "Flatten", "Squeeze", "Dropout", "Identity", "Cast", "Relu", *QUANTISERS}
MAX_LAYERS = 64  # Each may take the time of the largest tensor.
LAYER = re.compile(r"(conv|fc)_?\d+(_\w+)?")  # Names of layers, among others in a path.

FLATTEN = "CHW"  # Of kernels that are not transposed by the graph.


def recognises(path: Path) -> bool:
    """Return whether the file begins as a ModelProto does."""
    with path.open("rb") as file:
        return SIGNATURE.match(file.read(3)) is not None


def read(path: str | os.PathLike) -> Contents:
    """Return kernels and biases by layer; views of the mapped file where it has float32 in one piece.

    Raises:
        CheckpointError: the file is damaged, holds no layers, or keeps its numbers in another file.
        OSError: the file cannot be opened.
    """
    with reading(path, "an .onnx file"):
        graph = read_graph(path)
        layers = _Layers(graph)
        extras = {SPEC: np.frombuffer(graph.metadata[KEY], np.uint8)} if KEY in graph.metadata else {}
        notes = []
        if layers.quantised:
            names = ", ".join(layers.quantised)
            notes = [f"De-quantised: {names}. Their weights are rounded to the steps of integers, not the original's."]
        return Contents(
            layers.parameters,
            extras=extras,
            flatten=layers.flatten,
            resembles=_resembles([node.kind for node in graph.nodes]) or graph.name or None,
            left_out=tuple(layers.left_out),
            notes=tuple(notes),
        )


def _resembles(kinds: list[str]) -> str | None:
    """Return which of Caffe's two networks has operators in this order: CaffeNet pools before it normalises."""
    if "LRN" not in kinds or "MaxPool" not in kinds:
        return None
    return "bvlc_alexnet" if kinds.index("LRN") < kinds.index("MaxPool") else "bvlc_caffenet"


class _Layers:
    """The layers of a graph: parameters, those that are quantised, the rest, and the order of the flattened map."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.consumers: dict[str, Node] = {}
        for node in graph.nodes:
            for name in node.inputs:
                self.consumers.setdefault(name, node)
        self.groups = dict(self._groups())
        self.flatten: str | None = None
        self.parameters: Parameters = {}
        self.quantised: list[str] = []
        self.left_out: list[str] = []
        merged = {conv.outputs[0] for convs, _ in self.groups.values() for conv in convs[1:]}
        nodes = [node for node in graph.nodes if node.kind in OPERATORS and merged.isdisjoint(node.outputs)]
        if len(nodes) > MAX_LAYERS:
            raise CheckpointError(f"expected at most {MAX_LAYERS} layers with weights; received {len(nodes)}")
        used: set[str] = set()
        for node, name in zip(nodes, self._names(nodes), strict=True):
            for part in self._parts(node):
                _, tensor = graph.origin(_kernel_name(part))
                if tensor in used:  # Each use would take the memory of the kernel again.
                    raise CheckpointError(f"two layers use the weights {tensor!r}")
                used |= {tensor} - {""}
            self._add(node, name)
        for node in graph.nodes:
            if node.kind in OTHERS:
                why = "neither a convolution nor fully connected"
                self.left_out.append(f"{node.name or node.outputs[0]} ({node.kind}): {why}")
        self.flatten = self.flatten or FLATTEN

    def _groups(self) -> Iterator[tuple[str, tuple[list[Node], Node]]]:
        """Yield the convolutions of the groups of one, and what joins them, by the output of the first.

        tf2onnx writes Split, a Conv for each group, Concat.
        """
        producers = self.graph.producers
        for node in self.graph.nodes:
            convs = [producers[name] for name in node.inputs if name in producers and producers[name].kind == "Conv"]
            sources = [producers.get(conv.inputs[0]) for conv in convs if conv.inputs]
            is_split = bool(sources) and sources[0] is not None and sources[0].kind == "Split"
            if node.kind == "Concat" and len(node.inputs) == len(sources) > 1 and is_split:
                inputs = tuple(conv.inputs[0] for conv in convs)
                if inputs == sources[0].outputs and all(len(conv.outputs) == 1 for conv in convs):
                    yield convs[0].outputs[0], (convs, node)

    def _parts(self, node: Node) -> list[Node]:
        """Return the convolutions of all groups of a node, mostly the node alone."""
        convs, _ = self.groups.get("".join(node.outputs[:1]), ([node], None))
        return convs

    def _add(self, node: Node, name: str) -> None:
        """Add the layer of a node, or the reason why it is none."""
        kernel, bias = self._joined(node)
        rank = 4 if node.kind.endswith("Conv") else 2
        attributes = node.attributes
        plain = attributes.get("alpha", 1) == attributes.get("beta", 1) == 1 and not attributes.get("transA", 0)
        if kernel is None or kernel.ndim != rank or not plain:
            why = "its weights are computed" if kernel is None else f"no plain kernel of {rank} dimensions"
            self.left_out.append(f"{name} ({node.kind}): {why}")
            return
        kernel = channels_last(kernel) if rank == 4 else kernel
        if bias is None or bias.size != kernel.shape[-1]:
            self.left_out.append(f"{name} ({node.kind}): no bias")
            return
        if rank == 2 and self.flatten is None:
            self.flatten = self._flatten(node)
        if self._is_quantised(node):
            self.quantised.append(name)
        self.parameters[name] = to_float32(kernel), to_float32(bias).reshape(-1)

    def _joined(self, node: Node) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the kernel and the bias of a node; those of its groups follow each other."""
        parts = self._parts(node)
        if len(parts) == 1:
            return self._kernel(node), self._bias(node)
        kernels, biases = [self._kernel(part) for part in parts], [self._bias(part) for part in parts]
        kernel = None if any(each is None for each in kernels) else np.concatenate(kernels)
        if any(each is None for each in biases):
            return kernel, self._added(self.groups[node.outputs[0]][1])
        return kernel, np.concatenate(biases)

    def _is_quantised(self, node: Node) -> bool:
        between, _ = self.graph.origin(_kernel_name(node))
        return node.kind in QUANTISED or any(step.kind == "DequantizeLinear" for step in between)

    def _kernel(self, node: Node) -> np.ndarray | None:
        """Return the kernel, (out, in, height, width) or (in, out), None if it depends on the picture."""
        kernel = self.graph.constant(_kernel_name(node))
        transposed = bool(node.attributes.get("transB", 0))
        if kernel is not None and node.kind in QUANTISED:
            axis = 0 if node.kind == "QLinearConv" or transposed else kernel.ndim - 1
            kernel = self.graph.dequantized(kernel, node.inputs[4:6], axis)
        return kernel.T if kernel is not None and transposed else kernel

    def _bias(self, node: Node) -> np.ndarray | None:
        """Return the bias: an input of the node, or what the next node adds."""
        _, at = OPERATORS[node.kind]
        if at is None or not node.inputs[at : at + 1] or not node.inputs[at]:
            return self._added(node)
        bias = self.graph.constant(node.inputs[at])
        if bias is None or node.kind not in QUANTISED:
            return bias
        # int32 in steps of the product of both scales.
        pictures, weights = (self.graph.stored(node.inputs[at]) for at in (1, 4))
        if pictures is None or weights is None:
            return None
        return bias.astype(np.float32) * to_float32(pictures).reshape(-1) * to_float32(weights).reshape(-1)

    def _added(self, node: Node) -> np.ndarray | None:
        """Return the constant that is added to the output of a node, None if there is none."""
        output = node.outputs[0] if node.outputs else ""
        following = self.consumers.get(output)
        for _ in QUANTISERS:
            if following is not None and following.kind in QUANTISERS and following.outputs:
                output = following.outputs[0]
                following = self.consumers.get(output)
        if following is None or following.kind not in ("Add", "QLinearAdd"):
            return None
        step = 1 if following.kind == "Add" else 3
        for at in range(0, len(following.inputs) // step * step, step):
            constant = None if following.inputs[at] == output else self.graph.constant(following.inputs[at])
            if constant is not None:
                scales = following.inputs[at + 1 : at + 3]
                return constant if step == 1 else self.graph.dequantized(constant, scales, 0)
        return None

    def _flatten(self, node: Node) -> str:
        """Return the order in which the numbers of a feature map reach a fully connected node."""
        name = node.inputs[0]
        for _ in self.graph.nodes:
            before = self.graph.producers.get(name)
            if before is not None and before.kind == "Transpose" and before.attributes.get("perm") == [0, 2, 3, 1]:
                return "HWC"
            if before is None or before.kind not in RESHAPING or not before.inputs:
                break
            name = before.inputs[0]
        return FLATTEN

    def _names(self, nodes: list[Node]) -> list[str]:
        """Return the names of layers that the file states for all nodes, else their numbers in the graph."""
        names = [next(self._stated_names(node), None) for node in nodes]
        if None in names or len(set(names)) < len(names):
            return [f"layer{number}" for number in range(1, len(nodes) + 1)]
        return names

    def _stated_names(self, node: Node) -> Iterator[str]:
        """Yield the names of a layer in those of its kernel, its node and its output."""
        kernel = _kernel_name(node)
        for text in (kernel, self.graph.origin(kernel)[1], node.name, *node.outputs[:1]):
            text = re.sub(r"(_quantized|_DequantizeLinear_Output|:0)+$", "", text)
            layer, part = state_dict.split_name(re.sub(r"_[wW](_\d+)?$", ".W", text))
            within = [name for name in re.split(r"[./:]", layer) if LAYER.fullmatch(name)]
            if within:
                yield within[-1]
            elif part is not None:
                yield layer


def _kernel_name(node: Node) -> str:
    at, _ = OPERATORS[node.kind]
    return node.inputs[at] if len(node.inputs) > at else ""
