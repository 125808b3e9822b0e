"""Fine-tune on a folder of photos: one folder for each class.

    python examples/fine_tune_folder.py PHOTOS --weights weights/bvlc_alexnet.weights.h5

All layers but the last are kept as they are; a new classifier learns the folder's classes. The result,
fine_tuned.weights.h5, brings its class names and its preprocessing along:

    tfalexnet predict PHOTO --weights fine_tuned.weights.h5

A minute for 1000 photos and 2 epochs on two cores. Without --weights every layer learns from nothing,
which shows that all runs and no more.
"""

import os
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import tfalexnet
from tfalexnet import checkpoints, classes
from tfalexnet.architectures import BVLC_ALEXNET
from tfalexnet.pictures import pictures_in
from tfalexnet.preprocessing import BVLC

FLAGS = flags.FLAGS
flags.DEFINE_string("weights", None, "Weights of bvlc_alexnet to start from: a known name or a file.")
flags.DEFINE_integer("epochs", 2, "Passes through the photos.", lower_bound=1)
flags.DEFINE_string("output", "fine_tuned.weights.h5", "The file to write.")


def batches(files: list[tuple[Path, int]]) -> tf.data.Dataset:
    """Photos prepared exactly as `predict` prepares them, and their classes."""

    def read(file: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = tf.numpy_function(lambda name: BVLC(os.fsdecode(name)), [file], tf.float32)
        return tf.ensure_shape(pixels, BVLC.shape), label

    paths, labels = ([str(path) for path, _ in files], [label for _, label in files])
    return tf.data.Dataset.from_tensor_slices((paths, labels)).map(read, 2).batch(32).prefetch(2)


def main(argv: list[str]) -> None:
    if len(argv) != 2 or not Path(argv[1]).is_dir():
        raise app.UsageError("expected one argument, a folder with one folder of photos for each class")
    names = sorted(path.name for path in Path(argv[1]).iterdir() if path.is_dir())
    files = [(file, i) for i, name in enumerate(names) for file in pictures_in(Path(argv[1], name))]
    if len(names) < 2 or len(files) < 10:
        raise app.UsageError(f"expected at least 2 classes and 10 photos; received {len(names)} and {len(files)}")
    np.random.default_rng(2012).shuffle(files)
    validation, training = batches(files[: len(files) // 10]), batches(files[len(files) // 10 :])

    model = tfalexnet.AlexNet(weights=FLAGS.weights, classes=len(names))
    if FLAGS.weights:
        for layer in model.layers[:-1]:
            layer.trainable = False
    rate = 1e-3 if FLAGS.weights else 1e-2
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(training, validation_data=validation, epochs=FLAGS.epochs)

    parameters = {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.weights}
    net = BVLC_ALEXNET.with_classes(len(names))
    checkpoints.write(FLAGS.output, checkpoints.Checkpoint(parameters, net, BVLC, classes.named(names)))
    print(f"Next: tfalexnet predict PHOTO --weights {FLAGS.output}")


if __name__ == "__main__":
    app.run(main)
