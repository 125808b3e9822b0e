"""LiteRT (TensorFlow Lite): a file for telephones and small machines, out and in."""

from __future__ import annotations

import os
import threading
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfalexnet.checkpoints import Checkpoint
from tfalexnet.exports import INPUTS, KEY, OUTPUTS, Samples, need, parsed, savedmodel
from tfalexnet.formats import CheckpointError, reading
from tfalexnet.processors import cores

NAME, BESIDE, LAYOUT = "{}.tflite", (), "NHWC"
PRECISIONS = ("float32", "float16", "int8")
# What normalisation within a channel is made of: squares have no place in 8 bits. Across channels LiteRT
# has an operation of its own, in float32 alone.
IN_FLOAT = ("SQUARE", "PAD", "AVERAGE_POOL_2D", "MUL", "ADD", "RSQRT", "SQRT")
MAGIC = b"TFL3"  # At byte 4, where a FlatBuffer says what it is.
LARGEST = 1 << 25  # Bytes of a description: the mean picture in decimal digits, and the names of many classes.


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


def recognises(path: Path) -> bool:
    """Whether a file is a network for LiteRT."""
    with path.open("rb") as file:
        return file.read(8)[4:] == MAGIC


def read(path: Path, _: str = "float32") -> tuple[Checkpoint, str, Callable[[np.ndarray], list[np.ndarray]]]:
    """What a file of `write` says of itself, its precision, and its function; TensorFlow is not needed.

    The file's own precision is all there is, whatever is asked for.

    Returns:
        A checkpoint without parameters, the precision, and a function from preprocessed pictures,
        float32 (batch, height, width, channels), to a list of their probabilities, which threads may share.

    Raises:
        CheckpointError: the file is damaged, or not one of `write`.
        ValueError: the package ai-edge-litert is not installed.
    """
    need("ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    with reading(path, "a network that tfalexnet exported for LiteRT"):
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo(f"{KEY}.json")
            if entry.file_size > LARGEST:
                raise CheckpointError(f"expected a description of at most {LARGEST:,} bytes; received more")
            checkpoint, precision = parsed(archive.read(entry))
        runner = Interpreter(os.fspath(path), num_threads=cores()).get_signature_runner()
        taken, given = runner.get_input_details(), runner.get_output_details()
        shapes = [[*taken[INPUTS]["shape"][1:]], [*given[OUTPUTS]["shape"][1:]]]
        wanted = [[*checkpoint.architecture.input_shape], [checkpoint.architecture.classes]]
        if shapes != wanted:
            raise CheckpointError(f"expected inputs and outputs of {wanted}, as it says; received {shapes}")
    alone = threading.Lock()

    def function(inputs: np.ndarray) -> list[np.ndarray]:
        with alone:
            return [runner(**{INPUTS: np.asarray(inputs, np.float32)})[OUTPUTS]]

    return checkpoint, precision, function
