"""Write a `.tflite` file for LiteRT (TensorFlow Lite), for telephones and small machines."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.exported import KEY, Samples
from tfalexnet.exporters import savedmodel

NAME, BESIDE, LAYOUT, MARKER = "{}.tflite", (), "NHWC", ""
PACKAGES: tuple[str, ...] = ()
PRECISIONS = ("float32", "float16", "int8")
# The operations of the normalisation within a channel, whose squares exceed 8 bits. The normalisation across channels
# is one operation of LiteRT, which exists in float32 only.
IN_FLOAT = ("SQUARE", "PAD", "AVERAGE_POOL_2D", "MUL", "ADD", "RSQRT", "SQRT")


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, samples: Samples | None) -> None:
    """Write the network in one file, which is a ZIP archive too, as LiteRT's own metadata format makes it.

    The archive holds tfalexnet.json and labels.txt, which interpreters ignore. In float16 the weights take half the
    bytes and become float32 when they are read. In int8 the products are computed in integers, the normalisation in
    float32; inputs and outputs stay float32.
    """
    import tensorflow as tf

    module = savedmodel.network(checkpoint, "float32")
    function = module.probabilities.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(_quantize(converter, samples) if precision == "int8" else converter.convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{KEY}.json", description)
        archive.writestr("labels.txt", "".join(f"{label}\n" for _, label in checkpoint.spec.classes))


def _quantize(converter: Any, samples: Samples) -> bytes:
    """Return the file with 8-bit integers; `samples` calibrate the ranges of activations."""
    import tensorflow as tf

    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.representative_dataset = lambda: ([sample] for sample in samples())
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=[*IN_FLOAT])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's class uses its own deprecated interpreter.
        quantizer = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=converter.representative_dataset, debug_options=options
        )
    return quantizer.get_nondebug_quantized_model()
