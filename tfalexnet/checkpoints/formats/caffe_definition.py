"""Read the definition of a network inside a `.caffemodel`, in the form of `prototxt`.

The numbers of the fields are those of src/caffe/proto/caffe.proto. Fields that no reader uses, and the blobs of the
weights among them, are skipped.
"""

from typing import Any

import numpy as np

from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.formats.protobuf import fields, read_varint
from tfalexnet.checkpoints.formats.prototxt import DEEPEST, MOST_VALUES, Message

Schema = dict[int, tuple[str, Any]]
"""Name and kind of each field by its number: int, bool, float, str, the names of an enumeration, or a schema."""

_PHASES, _POOLS, _REGIONS = ("TRAIN", "TEST"), ("MAX", "AVE", "STOCHASTIC"), ("ACROSS_CHANNELS", "WITHIN_CHANNEL")
_TYPES = (
    *("NONE", "ACCURACY", "BNLL", "CONCAT", "CONVOLUTION", "DATA", "DROPOUT", "EUCLIDEAN_LOSS", "FLATTEN"),
    *("HDF5_DATA", "HDF5_OUTPUT", "IM2COL", "IMAGE_DATA", "INFOGAIN_LOSS", "INNER_PRODUCT", "LRN"),
    *("MULTINOMIAL_LOGISTIC_LOSS", "POOLING", "RELU", "SIGMOID", "SOFTMAX", "SOFTMAX_LOSS", "SPLIT", "TANH"),
    *("WINDOW_DATA", "ELTWISE", "POWER", "SIGMOID_CROSS_ENTROPY_LOSS", "HINGE_LOSS", "MEMORY_DATA", "ARGMAX"),
    *("THRESHOLD", "DUMMY_DATA", "SLICE", "MVN", "ABSVAL", "SILENCE", "CONTRASTIVE_LOSS", "EXP", "DECONVOLUTION"),
)
_SHAPE: Schema = {1: ("dim", int)}
_RULE: Schema = {1: ("phase", _PHASES), 4: ("stage", str)}
_FILLER: Schema = {1: ("type", str), 2: ("value", float), 6: ("std", float)}
_TRANSFORM: Schema = {1: ("scale", float), 3: ("crop_size", int), 4: ("mean_file", str), 5: ("mean_value", float)}
_DATA: Schema = {2: ("scale", float), 3: ("mean_file", str), 5: ("crop_size", int)}
_KERNEL: Schema = {1: ("num_output", int), 2: ("bias_term", bool)}
_CONVOLUTION: Schema = _KERNEL | {
    **{3: ("pad", int), 4: ("kernel_size", int), 5: ("group", int), 6: ("stride", int)},
    **{7: ("weight_filler", _FILLER), 8: ("bias_filler", _FILLER), 9: ("pad_h", int), 10: ("pad_w", int)},
    **{11: ("kernel_h", int), 12: ("kernel_w", int), 13: ("stride_h", int), 14: ("stride_w", int)},
    **{16: ("axis", int), 17: ("force_nd_im2col", bool), 18: ("dilation", int)},
}
_INNER_PRODUCT: Schema = _KERNEL | {
    **{3: ("weight_filler", _FILLER), 4: ("bias_filler", _FILLER), 5: ("axis", int), 6: ("transpose", bool)}
}
_POOLING: Schema = {
    **{1: ("pool", _POOLS), 2: ("kernel_size", int), 3: ("stride", int), 4: ("pad", int), 5: ("kernel_h", int)},
    **{6: ("kernel_w", int), 7: ("stride_h", int), 8: ("stride_w", int), 9: ("pad_h", int), 10: ("pad_w", int)},
    **{12: ("global_pooling", bool), 13: ("round_mode", ("CEIL", "FLOOR"))},
}
_LRN: Schema = {
    **{1: ("local_size", int), 2: ("alpha", float), 3: ("beta", float), 4: ("norm_region", _REGIONS), 5: ("k", float)}
}
# By the name of the message: its schema, and its number in `layers` of 2014 and in `layer`.
_PARAMETERS: dict[str, tuple[Schema, int | None, int]] = {
    "convolution_param": (_CONVOLUTION, 10, 106),
    "pooling_param": (_POOLING, 19, 121),
    "lrn_param": (_LRN, 18, 118),
    "inner_product_param": (_INNER_PRODUCT, 17, 117),
    "dropout_param": ({1: ("dropout_ratio", float)}, 12, 108),
    "relu_param": ({1: ("negative_slope", float)}, 30, 123),
    "softmax_param": ({2: ("axis", int)}, 39, 125),
    "flatten_param": ({1: ("axis", int), 2: ("end_axis", int)}, None, 135),
    "input_param": ({1: ("shape", _SHAPE)}, None, 143),
    "data_param": (_DATA, 11, 107),
    "image_data_param": (_DATA | {9: ("new_height", int), 10: ("new_width", int)}, 15, 115),
    "memory_data_param": ({2: ("channels", int), 3: ("height", int), 4: ("width", int)}, 22, 119),
    "transform_param": (_TRANSFORM, 36, 100),
}
_LAYER_OF_2013: Schema = {
    **{
        1: ("name", str),
        2: ("type", str),
        3: ("num_output", int),
        4: ("biasterm", bool),
        5: ("weight_filler", _FILLER),
    },
    **{6: ("bias_filler", _FILLER), 7: ("pad", int), 8: ("kernelsize", int), 9: ("group", int), 10: ("stride", int)},
    **{11: ("pool", _POOLS), 12: ("dropout_ratio", float), 13: ("local_size", int), 14: ("alpha", float)},
    **{15: ("beta", float), 17: ("scale", float), 18: ("meanfile", str), 20: ("cropsize", int), 22: ("k", float)},
}
_LAYER_OF_2014: Schema = {
    **{1: ("layer", _LAYER_OF_2013), 2: ("bottom", str), 3: ("top", str), 4: ("name", str), 5: ("type", _TYPES)},
    **{32: ("include", _RULE), 33: ("exclude", _RULE)},
    **{old: (name, schema) for name, (schema, old, _) in _PARAMETERS.items() if old},
}
_LAYER: Schema = {
    **{1: ("name", str), 2: ("type", str), 3: ("bottom", str), 4: ("top", str), 8: ("include", _RULE)},
    **{9: ("exclude", _RULE)},
    **{new: (name, schema) for name, (schema, _, new) in _PARAMETERS.items()},
}
_NET: Schema = {
    **{1: ("name", str), 2: ("layers", _LAYER_OF_2014), 3: ("input", str), 4: ("input_dim", int)},
    **{8: ("input_shape", _SHAPE), 100: ("layer", _LAYER)},
}


def read(message: np.ndarray, limit: int) -> Message | None:
    """Return the definition in the bytes of a `.caffemodel`, None where its layers state weights only.

    Args:
        message: the bytes, uint8.
        limit: most fields of each message.

    Raises:
        CheckpointError: the bytes are not such a message, or hold more than `MOST_VALUES` values.
    """
    definition = _Decoder(limit).message(message, _NET, DEEPEST)
    layers = definition.get("layer", []) + definition.get("layers", [])
    return definition if any("bottom" in layer for layer in layers) else None


class _Decoder:
    """Decodes messages, and counts their values."""

    def __init__(self, limit: int) -> None:
        self.limit, self.values = limit, 0

    def message(self, data: np.ndarray, schema: Schema, depth: int) -> Message:
        decoded: Message = {}
        for number, value in fields(data, self.limit):
            if number not in schema:
                continue
            name, kind = schema[number]
            values = decoded.setdefault(name, [])
            if kind in (int, bool) and not isinstance(value, int):
                self.packed(value, values)
                continue
            self.count()
            values.append(self.value(name, kind, value, depth))
        return decoded

    def value(self, name: str, kind: Any, value: int | np.ndarray, depth: int) -> Any:
        if isinstance(value, int):
            if isinstance(kind, tuple):
                return kind[value] if value < len(kind) else f"type {value}"
            if kind in (int, bool):
                return kind(value - (1 << 64) if value >> 63 else value)
        elif isinstance(kind, dict):
            return self.message(value, kind, depth - 1)
        elif kind is str:
            return value.tobytes().decode("utf-8", "replace")
        elif kind is float and len(value) == 4:
            # The decimal number of fewest digits, which is the one that the prototxt states.
            return float(str(value.view("<f4")[0]))
        raise CheckpointError(f"expected another type of `{name}`")

    def packed(self, data: np.ndarray, values: list[Any]) -> None:
        """Append the integers of a packed field."""
        position = 0
        while position < len(data):
            self.count()
            value, position = read_varint(data, position)
            values.append(value)

    def count(self) -> None:
        self.values += 1
        if self.values > MOST_VALUES:
            raise CheckpointError(f"expected a definition of at most {MOST_VALUES} values")
