"""Fine-tune on a folder of photos: one folder for each class.

    python examples/fine_tune_folder.py PHOTOS --weights weights/bvlc_alexnet.weights.h5

All layers but the last are kept as they are; a new classifier learns the folder's classes. The result,
fine_tuned.weights.h5, brings its class names and its preprocessing along:

    tfalexnet predict PHOTO --weights fine_tuned.weights.h5

A minute for 1000 photos and 2 epochs on two cores. Without --weights every layer learns from nothing,
which shows that all runs and no more.
"""

from pathlib import Path

import keras
from absl import app, flags

import tfalexnet
from tfalexnet import checkpoints, classes, preprocessing
from tfalexnet.architectures import BVLC_ALEXNET
from tfalexnet.formats import keras_h5

FLAGS = flags.FLAGS
flags.DEFINE_string("weights", None, "Converted weights of bvlc_alexnet to start from.")
flags.DEFINE_integer("epochs", 2, "Passes through the photos.", lower_bound=1)
flags.DEFINE_string("output", "fine_tuned.weights.h5", "The file to write.")


def main(argv: list[str]) -> None:
    if len(argv) != 2 or not Path(argv[1]).is_dir():
        raise app.UsageError("expected one argument, a folder with one folder of photos for each class")
    photos = keras.utils.image_dataset_from_directory(
        argv[1], image_size=(256, 256), batch_size=32, seed=2012, validation_split=0.1, subset="both"
    )
    names = photos[0].class_names

    def centre(pictures, labels):
        return tfalexnet.preprocess_input(pictures[:, 14:241, 14:241]), labels

    training, validation = (part.map(centre).prefetch(2) for part in photos)
    model = tfalexnet.AlexNet(classes=len(names))
    if FLAGS.weights:
        model.load_weights(FLAGS.weights, skip_mismatch=True)
        for layer in model.layers[:-1]:
            layer.trainable = False
    rate = 1e-3 if FLAGS.weights else 1e-2
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(training, validation_data=validation, epochs=FLAGS.epochs)

    parameters = {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.weights}
    net = BVLC_ALEXNET.with_classes(len(names))
    checkpoint = checkpoints.Checkpoint(parameters, net, preprocessing.BVLC, classes.named(names))
    keras_h5.write(FLAGS.output, parameters, *checkpoints.attributes(checkpoint))
    print(f"Next: tfalexnet predict PHOTO --weights {FLAGS.output}")


if __name__ == "__main__":
    app.run(main)
