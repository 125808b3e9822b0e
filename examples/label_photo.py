"""Label a photo.

    python examples/label_photo.py examples/chelsea.png
    python examples/label_photo.py PHOTO --weights bvlc_alexnet

It takes five seconds on two cores, most of them for the import of TensorFlow. The shipped model has ten
classes; the first line of its answer is cat.
"""

from absl import app, flags

import tfalexnet
from tfalexnet.io.terminal import silence_libraries

FLAGS = flags.FLAGS
flags.DEFINE_string("weights", "cifar10", "A name of `tfalexnet list`, or a file.")


def main(argv: list[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("expected one argument, the photo")
    try:
        predictions = tfalexnet.predict(argv[1], weights=FLAGS.weights)
    except (tfalexnet.PictureError, tfalexnet.CheckpointError, OSError) as error:
        raise SystemExit(str(error)) from None
    for prediction in predictions:
        print(f"{prediction.score:6.1%}  {prediction.label}")


if __name__ == "__main__":
    silence_libraries()  # Before TensorFlow is imported.
    app.run(main)
