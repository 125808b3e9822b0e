"""Write a SavedModel: from the bytes of pictures to labels, for TensorFlow Serving."""

from collections.abc import Callable
from pathlib import Path

from tfalexnet.checkpoints.checkpoint import Checkpoint
from tfalexnet.checkpoints.exported import INPUTS, KEY, OUTPUTS, Samples
from tfalexnet.checkpoints.formats import CheckpointError
from tfalexnet.checkpoints.spec import wnids_of
from tfalexnet.images.preprocessing import Preprocessing
from tfalexnet.networks.layer_names import PROBABILITIES

MARKER = "saved_model.pb"
NAME, BESIDE, LAYOUT = "{}/1", (), "NHWC"  # TensorFlow Serving expects a numbered version in the folder of a model.
PACKAGES: tuple[str, ...] = ()
PRECISIONS = ("float32", "bfloat16")
TOP = 5
DECODED_AT_ONCE = 32  # Pictures of a batch decoded in parallel, if there are enough cores.
BMP_BITS = (24, 32)  # Bits of a pixel, stored at bytes 28 and 29 of a file.
GREY = (19595, 38470, 7471)  # ITU-R 601 in units of 2^−16, as Pillow converts (src/libImaging/Convert.c).


def write(path: Path, checkpoint: Checkpoint, description: str, precision: str, _: Samples | None = None) -> None:
    """Write a folder with two signatures; the description is in assets.extra/tfalexnet.json.

    `serving_default` takes `image_bytes`, (batch,), complete files of JPEG, PNG, BMP or GIF (the first frame), and
    returns the best five classes: `classes`, `wnids` if all classes have one, `indices`, `scores`. `probabilities`
    takes `inputs`, preprocessed pictures. In contrast to `tfalexnet.predict`, EXIF orientation is not applied and
    transparency is not laid on white; where the preprocessing is antialiased, levels differ by up to 1. BMP files
    must have 24 or 32 bits a pixel, since TensorFlow reads the indices of a palette as levels. If one picture of a
    batch cannot be read, the batch fails with `invalid argument`.

    Raises:
        CheckpointError: the preprocessing of the network is unknown.
    """
    import tensorflow as tf

    spec = checkpoint.spec
    if spec.preprocessing is None:
        raise CheckpointError(
            f"Expected weights that state the preprocessing of {spec.architecture.name}, for a SavedModel that takes "
            "pictures. These do not; the other formats take preprocessed ones."
        )
    prepare, module = preparation(spec.preprocessing), network(checkpoint, precision)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def label(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        signature = tf.TensorSpec(spec.architecture.input_shape, tf.float32)
        x = tf.map_fn(prepare, image_bytes, fn_output_signature=signature, parallel_iterations=DECODED_AT_ONCE)
        scores, indices = tf.math.top_k(module.probabilities(x)[OUTPUTS], min(TOP, spec.architecture.classes))
        labels = tf.gather([label for _, label in spec.classes], indices)
        outputs = {"classes": labels, "indices": indices, "scores": scores}
        if wnids := wnids_of(spec.classes):
            outputs["wnids"] = tf.gather(wnids, indices)
        return outputs

    tf.saved_model.save(module, str(path), signatures={"serving_default": label, OUTPUTS: module.probabilities})
    extra = path / "assets.extra"  # TensorFlow's folder for files that its runtimes do not read.
    extra.mkdir()
    (extra / f"{KEY}.json").write_text(description, "utf-8")


def network(checkpoint: Checkpoint, precision: str):
    """Return a `tf.Module` with the network: `probabilities` is a `tf.function` of preprocessed pictures."""
    import tensorflow as tf

    from tfalexnet.runtimes.tensorflow import freeze

    net = checkpoint.spec.architecture
    # Runtimes lack XLA; a graph cannot hold constants of 2 GB.
    compute = freeze(net, checkpoint.parameters, [PROBABILITIES], precision, sliced=False, hold=tf.Variable)
    module = tf.Module()
    module.probabilities = tf.function(
        lambda inputs: {OUTPUTS: compute(inputs)[0]},
        input_signature=[tf.TensorSpec((None, *net.input_shape), tf.float32, name=INPUTS)],
    )
    module.matrices = module.probabilities.get_concrete_function().variables
    return module


def preparation(preprocessing: Preprocessing) -> Callable:
    """Return `Preprocessing` as a function of the bytes of one picture, in operations of TensorFlow."""
    import tensorflow as tf

    size, crop = preprocessing.size, preprocessing.crop

    def decode(data: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.io.is_jpeg(data),
            # Bit-identical to Pillow's decoder.
            lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: decode_other(data),
        )

    def decode_other(data: tf.Tensor) -> tf.Tensor:
        bits = tf.cond(
            tf.strings.substr(data, 0, 2) == "BM",
            lambda: tf.io.decode_raw(tf.strings.substr(data, 28, 2), tf.uint16)[0],  # Both are little-endian.
            lambda: tf.constant(BMP_BITS[0], tf.uint16),
        )
        expected = f"Expected a BMP of {' or '.join(map(str, BMP_BITS))} bits a pixel. Received, in bits:"
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_any(bits == BMP_BITS), [expected, bits])]):
            return tf.io.decode_image(data, channels=3, expand_animations=False)

    def prepare(data: tf.Tensor) -> tf.Tensor:
        pixels = decode(data)
        if preprocessing.channels == "L":
            grey = tf.reduce_sum(tf.cast(pixels, tf.int32) * GREY, axis=-1, keepdims=True)
            pixels = tf.bitwise.right_shift(grey + 0x8000, 16)
        sides = tf.shape(pixels)[:2]
        longer = tf.maximum(size, sides * size // tf.reduce_min(sides))
        new = {"squash": [size, size], "shorter side": longer, "none": sides}[preprocessing.resize]
        pixels = tf.image.resize(tf.cast(pixels, tf.float32), new, antialias=preprocessing.antialias)
        if preprocessing.antialias:
            pixels = tf.round(pixels)
        corner = tf.cast(tf.round((tf.shape(pixels)[:2] - size) / 2), tf.int32) + (size - crop) // 2
        pixels = tf.slice(pixels, tf.concat([corner, [0]], axis=0), [crop, crop, -1])
        return preprocessing.normalize(tf.ensure_shape(pixels, preprocessing.shape))

    return prepare
