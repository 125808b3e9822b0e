"""LiteRT (TensorFlow Lite): a file for telephones and small machines, out and in."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.description import KEY, Samples
from tfalexnet.exporters import savedmodel

NAME, BESIDE, LAYOUT = "{}.tflite", (), "NHWC"
PRECISIONS = ("float32", "float16", "int8")
# What normalisation within a channel is made of: squares have no place in 8 bits. Across channels LiteRT
# has an operation of its own, in float32 alone.
IN_FLOAT = ("SQUARE", "PAD", "AVERAGE_POOL_2D", "MUL", "ADD", "RSQRT", "SQRT")


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, samples: Samples | None) -> None:
    """The network in one file, which is a ZIP archive too, as LiteRT's own metadata makes it.

    In the archive are tfalexnet.json and labels.txt; whoever reads the network does not see them.
    In float16 the weights are kept in half the bytes and become float32 when they are read. In int8 the
    products are computed in whole numbers, normalisation in float32; inputs and outputs stay float32.
    """
    import tensorflow as tf

    module = savedmodel.network(checkpoint, "float32")
    function = module.probabilities.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    path.write_bytes(CONVERSIONS[precision](converter, samples))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{KEY}.json", description)
        archive.writestr("labels.txt", "".join(f"{label}\n" for _, label in checkpoint.classes))


def _float16(converter: Any, _: Samples | None) -> bytes:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _int8(converter: Any, samples: Samples | None) -> bytes:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.representative_dataset = lambda: ([sample] for sample in samples())
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=[*IN_FLOAT])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That TensorFlow's interpreter, which its own class uses, will go.
        quantizer = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=converter.representative_dataset, debug_options=options
        )
    return quantizer.get_nondebug_quantized_model()


CONVERSIONS = {"float32": lambda converter, _: converter.convert(), "float16": _float16, "int8": _int8}
