"""The layers of a definition of Caffe in one form, whatever the spelling of its year, and its input.

The three spellings are `layer { type: "Convolution" }`, `layers { type: CONVOLUTION }` of 2014, and
`layers { layer { type: "conv" } }` of 2013.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.formats.prototxt import Message
from tfalexnet.io.terminal import escape
from tfalexnet.networks.row_json import LARGEST_SIZE
from tfalexnet.networks.spec import Parameters

# Kinds of layers in small letters without underscores, so that the spellings of all years are equal.
ALIASES = {"conv": "convolution", "pool": "pooling", "images": "imagedata"}
# Layers that state the shape of pictures, with the message that may do so.
DATA = {
    "input": "input_param",
    "data": "data_param",
    "imagedata": "image_data_param",
    "memorydata": "memory_data_param",
    "hdf5data": "hdf5_data_param",
    "windowdata": "window_data_param",
    "dummydata": "dummy_data_param",
}
# Names of fields in 2013, whose layers state all fields in one message.
RENAMED = {"kernelsize": "kernel_size", "biasterm": "bias_term", "cropsize": "crop_size", "meanfile": "mean_file"}
# Fields whose values must be these, since a row cannot state others.
FIXED = {
    "bias_term": (True,),
    "axis": (1,),
    "end_axis": (-1,),
    "transpose": (False,),
    "dilation": (1,),
    "force_nd_im2col": (False,),
    "negative_slope": (0,),
    "round_mode": ("CEIL", 0),
    "ceil_mode": (True,),
}
LACKS_SIZE = (
    "expected the size of its pictures; received a definition without it. Give the deploy.prototxt (--prototxt), or "
    "the pixels of a side (--crop)"
)


@dataclass(frozen=True)
class CaffeLayer:
    """A layer of Caffe.

    Attributes:
        name: as the definition states it.
        kind: its type in small letters without underscores, such as "innerproduct".
        spelled: its type as the definition spells it.
        bottoms: the names of the blobs that it reads.
        tops: the names of the blobs that it writes.
        fields: its message.
    """

    name: str
    kind: str
    spelled: str
    bottoms: list[str]
    tops: list[str]
    fields: Message

    def __str__(self) -> str:
        return f"{escape(self.name, limit=100)} ({escape(self.spelled, limit=100)})"

    def parameters(self, *names: str) -> Message:
        """Return the fields of the messages of these names, and of the layer, which held all fields in 2013."""
        fields = dict(self.fields)
        for name in names:
            message = last(self.fields, name, {})
            if not isinstance(message, dict):
                raise self.error(f"`{name}` with fields", message)
            fields |= message
        for key, allowed in FIXED.items():
            for value in fields.get(key, []):
                if value not in allowed:
                    raise self.error(f"`{key}` to be {allowed[0]}", value)
        return fields

    def error(self, expected: str, received: Any) -> CheckpointError:
        """Return the error that the layer is not as expected."""
        return CheckpointError(f"{self}: expected {expected}; received {escape(str(received), limit=100)}")

    def number(self, fields: Message, name: str, default: float | None = None) -> float:
        """Return the last value of a field, a number."""
        value = last(fields, name, default)
        if type(value) not in (int, float):
            raise self.error(f"a number as `{name}`", "none" if value is None else value)
        return value

    def size(self, fields: Message, name: str, default: int | None = None) -> int:
        """Return the last value of a field, an integer that a row may have, or 0."""
        value = self.number(fields, name, default)
        if type(value) is not int or not 0 <= value <= LARGEST_SIZE:
            raise self.error(f"`{name}` to be an integer from 0 to {LARGEST_SIZE}", value)
        return value

    def side(self, fields: Message, name: str, default: int | None = None) -> int:
        """Return kernel size, stride or padding, which must be equal in both directions."""
        stem = name.removesuffix("_size")
        values = {self.size({name: [value]}, name) for value in fields.get(name, [])}
        values |= {self.size(fields, key) for key in (f"{stem}_h", f"{stem}_w") if key in fields}
        if len(values) > 1:
            raise self.error(f"the same `{name}` in both directions", " and ".join(map(str, sorted(values))))
        return values.pop() if values else self.size({}, name, default)


def last(message: Message, name: str, default: Any = None) -> Any:
    """Return the last value of a field, which is the one that counts if there are several."""
    return (message.get(name) or [default])[-1]


def text(message: Message, name: str) -> str:
    """Return the last value of a field if it is text, else an empty text."""
    value = last(message, name)
    return value if isinstance(value, str) else ""


def read_layers(definition: Message) -> Iterator[CaffeLayer]:
    """Yield the layers of a definition in any of the three spellings."""
    for entry in definition.get("layer") or definition.get("layers") or []:
        if not isinstance(entry, dict):
            raise CheckpointError("expected layers with fields")
        inner = last(entry, "layer")
        if isinstance(inner, dict):
            entry = entry | {RENAMED.get(name, name): values for name, values in inner.items()}
        spelled = str(last(entry, "type", ""))
        kind = spelled.lower().replace("_", "")
        blobs = [[str(blob) for blob in entry.get(end, [])] for end in ("bottom", "top")]
        yield CaffeLayer(text(entry, "name"), ALIASES.get(kind, kind), spelled, *blobs, entry)


def is_tested(layer: CaffeLayer) -> bool:
    """Return whether a layer is part of the network for testing, by its rules `include` and `exclude`."""

    def holds(rule: Any) -> bool:
        return isinstance(rule, dict) and last(rule, "phase", "TEST") == "TEST" and not rule.get("stage")

    included, excluded = layer.fields.get("include", []), layer.fields.get("exclude", [])
    return any(map(holds, included)) if included else not any(map(holds, excluded))


def read_input(
    definition: Message, layers: list[CaffeLayer], parameters: Parameters, side: int | None
) -> tuple[str, tuple[int, int, int], CaffeLayer | None]:
    """Return the name of the pictures' blob, their shape, and the layer that reads them in training.

    Args:
        definition: Caffe's message NetParameter.
        layers: its layers.
        parameters: the weights by Caffe's names, whose shapes state the channels where the definition does not.
        side: height and width of the pictures, used where the definition does not state them.
    """
    if definition.get("input"):
        shape = definition.get("input_shape", [{}])[0]
        return str(definition["input"][0]), _shape(shape, definition.get("input_dim", [])[:4]), None
    sources = [layer for layer in layers if layer.kind in DATA and layer.tops]
    if not sources:
        raise CheckpointError("expected an input or a layer of data; received none")
    data = next(filter(is_tested, sources), sources[0])
    stated = data.parameters(DATA[data.kind], "transform_param")
    if data.kind == "input":
        return data.tops[0], _shape(stated.get("shape", [{}])[0], []), None
    crop = data.size(stated, "crop_size", 0)
    height, width = (
        crop or data.size(stated, name, 0) or data.size(stated, f"new_{name}", 0) or side
        for name in ("height", "width")
    )
    if not height or not width:
        raise CheckpointError(LACKS_SIZE)
    return data.tops[0], (height, width, data.size(stated, "channels", 0) or _channels(layers, parameters)), data


def _shape(shape: Any, legacy: list[Any]) -> tuple[int, int, int]:
    """Return (height, width, channels) of a message with batch, channels, height, width, or of the four numbers."""
    dims = (shape.get("dim") if isinstance(shape, dict) else None) or legacy
    if len(dims) != 4 or not all(type(size) is int and 0 < size <= LARGEST_SIZE for size in dims[1:]):
        raise CheckpointError(f"expected an input of batch, channels, height, width; received {str(dims)[:100]}")
    _, channels, height, width = dims
    return height, width, channels


def _channels(layers: list[CaffeLayer], parameters: Parameters) -> int:
    """Return the channels that the first convolution reads, 3 where its weights are not there."""
    first = next((layer for layer in layers if layer.kind == "convolution"), None)
    kernel, _ = parameters.get(first.name if first else "", (None, None))
    if kernel is None or kernel.ndim != 4:
        return 3
    return kernel.shape[2] * first.size(first.parameters("convolution_param"), "group", 1)
