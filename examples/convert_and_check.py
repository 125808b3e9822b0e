"""Convert bvlc_alexnet.npy and check that nothing changed on the way.

    python examples/convert_and_check.py bvlc_alexnet.npy --fingerprints PHOTOS

Ten seconds on two cores. The converted file gives the answers of the .npy itself to the last bit. With
the folder of sealion.jpeg, llama.jpeg and zebra.jpeg of kratzert/finetune_alexnet_with_tensorflow it
also shows the scores published there beside those of your file, which the real weights repeat to three
digits.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags

import tfalexnet
from tfalexnet.caffe_classes import class_names
from tfalexnet.preprocessing import decode

FLAGS = flags.FLAGS
flags.DEFINE_string("fingerprints", None, "Folder with sealion.jpeg, llama.jpeg and zebra.jpeg.")

PUBLISHED = {"sealion.jpeg": 0.9834, "llama.jpeg": 0.9984, "zebra.jpeg": 1.0}


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("expected one argument, the .npy file")
    converted, _ = tfalexnet.convert(argv[1])
    direct, model = tfalexnet.AlexNet(weights=argv[1]), tfalexnet.AlexNet(weights=converted)
    picture = np.random.default_rng(0).uniform(-120, 130, (1, 227, 227, 3)).astype("float32")
    difference = np.abs(direct(picture) - model(picture)).max()
    print(f"{converted}: differs from {argv[1]} by {difference}")
    if FLAGS.fingerprints is None:
        return
    for name, published in PUBLISHED.items():
        pixels = np.asarray(decode(Path(FLAGS.fingerprints) / name))
        # Straight to 227×227, with a rounded mean: the recipe of that notebook.
        resized = tf.image.resize(pixels, (227, 227), antialias=False).numpy()
        scores = model((resized[..., ::-1] - np.array((104, 117, 124), "float32"))[None])[0].numpy()
        print(f"{name:<13} published {published:.4f}, here {scores.max():.4f} {class_names[scores.argmax()]}")


if __name__ == "__main__":
    app.run(main)
