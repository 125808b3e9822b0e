"""SavedModel: from the bytes of pictures to labels, as TensorFlow Serving takes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.description import INPUTS, KEY, OUTPUTS, Samples, wnids
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.layer_names import PROBABILITIES

NAME, BESIDE, LAYOUT = "{}/1", (), "NHWC"  # TensorFlow Serving looks for versions, numbers, in a folder.
PRECISIONS = ("float32", "bfloat16")
TOP = 5
DECODED_AT_ONCE = 32  # Pictures of a batch that are decoded at a time, if there are cores for it.
BMP_BITS = (24, 32)  # Of a pixel, at bytes 28 and 29 of a file.
GREY = (19595, 38470, 7471)  # ITU-R 601 in units of 2^−16, as Pillow converts (src/libImaging/Convert.c).


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, _: Samples | None = None) -> None:
    """A folder with two signatures; the description is in assets.extra/tfalexnet.json.

    `serving_default` takes `image_bytes`, (batch,) whole files of JPEG, PNG, BMP or GIF, whose first frame
    counts, and gives the best five classes: `classes`, `wnids` where there are any, `indices`, `scores`.
    `probabilities` takes `inputs`, preprocessed pictures. Unlike in `tfalexnet.predict`, EXIF orientation
    is not applied and transparency not laid on white; and where preprocessing is antialiased, levels
    differ by up to 1. BMPs have 24 or 32 bits a pixel: TensorFlow takes a palette's numbers for levels.
    A picture that cannot be read fails the whole batch, as `invalid argument`.

    Raises:
        CheckpointError: nobody says how the network wants its pictures.
    """
    import tensorflow as tf

    net, process, names = checkpoint.architecture, checkpoint.preprocessing, checkpoint.classes
    if process is None:
        raise CheckpointError(
            f"Expected weights that say how {net.name} wants its pictures, for a SavedModel that takes pictures. "
            "These do not; the other formats take preprocessed ones."
        )
    prepare, module = preparation(process), network(checkpoint, precision)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def label(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        kind = tf.TensorSpec(process.shape, tf.float32)
        x = tf.map_fn(prepare, image_bytes, fn_output_signature=kind, parallel_iterations=DECODED_AT_ONCE)
        scores, indices = tf.math.top_k(module.probabilities(x)[OUTPUTS], min(TOP, net.classes))
        found = {"classes": tf.gather([label for _, label in names], indices), "indices": indices, "scores": scores}
        if ids := wnids(names):
            found["wnids"] = tf.gather(ids, indices)
        return found

    tf.saved_model.save(module, str(path), signatures={"serving_default": label, OUTPUTS: module.probabilities})
    extra = path / "assets.extra"  # TensorFlow's place for what its runtimes do not read.
    extra.mkdir()
    (extra / f"{KEY}.json").write_text(description, "utf-8")


def network(checkpoint: Checkpoint, precision: str):
    """A `tf.Module` that holds the network: `probabilities` is a `tf.function` of preprocessed pictures."""
    import tensorflow as tf

    from tfalexnet.runtimes.tensorflow import freeze

    net = checkpoint.architecture
    # Runtimes have no XLA; a graph cannot hold matrices of 2 GB.
    compute = freeze(net, checkpoint.parameters, [PROBABILITIES], precision, sliced=False, hold=tf.Variable)
    module = tf.Module()
    module.probabilities = tf.function(
        lambda inputs: {OUTPUTS: compute(inputs)[0]},
        input_signature=[tf.TensorSpec((None, *net.input_shape), tf.float32, name=INPUTS)],
    )
    module.matrices = module.probabilities.get_concrete_function().variables
    return module


def preparation(process: Preprocessing) -> Callable:
    """What `Preprocessing` does to the bytes of one picture, in operations of TensorFlow."""
    import tensorflow as tf

    def decode(data: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.io.is_jpeg(data),
            lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),  # Pillow's, to the bit.
            lambda: decode_other(data),
        )

    def decode_other(data: tf.Tensor) -> tf.Tensor:
        bits = tf.cond(
            tf.strings.substr(data, 0, 2) == "BM",
            lambda: tf.io.decode_raw(tf.strings.substr(data, 28, 2), tf.uint16)[0],  # Little-endian, both.
            lambda: tf.constant(BMP_BITS[0], tf.uint16),
        )
        expected = f"Expected a BMP of {' or '.join(map(str, BMP_BITS))} bits a pixel. Received, in bits:"
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_any(bits == BMP_BITS), [expected, bits])]):
            return tf.io.decode_image(data, channels=3, expand_animations=False)

    def prepare(data: tf.Tensor) -> tf.Tensor:
        pixels = decode(data)
        if process.channels == "L":
            grey = tf.reduce_sum(tf.cast(pixels, tf.int32) * GREY, axis=-1, keepdims=True)
            pixels = tf.bitwise.right_shift(grey + 0x8000, 16)
        sides = tf.shape(pixels)[:2]
        new = [process.size] * 2
        if process.resize == "shorter side":
            new = tf.maximum(process.size, sides * process.size // tf.reduce_min(sides))
        pixels = tf.image.resize(tf.cast(pixels, tf.float32), new, antialias=process.antialias)
        if process.antialias:
            pixels = tf.round(pixels)
        top, left = tf.unstack((tf.shape(pixels)[:2] - process.size) // 2 + (process.size - process.crop) // 2)
        pixels = pixels[top : top + process.crop, left : left + process.crop]
        return process.normalize(tf.ensure_shape(pixels, process.shape))

    return prepare
