"""Train the two towers of 2012 on two devices, and print the device of each variable.

    python examples/two_devices.py
    python examples/two_devices.py --logical_cpus

The first command requires two GPUs; the second uses two logical devices of one processor and takes 6 seconds
on two cores. Each line shows half of a kernel: the first half is on the first device, the second half on the
second. fc8 is undivided, on the first device. The momentum after a training step is on the same devices.
"""

import numpy as np
from absl import app, flags

import tfalexnet
from tfalexnet.io.terminal import silence_libraries

FLAGS = flags.FLAGS
flags.DEFINE_bool("logical_cpus", False, "Use two logical devices of the processor.")


def main(_: list[str]) -> None:
    import keras

    devices = ("/GPU:0", "/GPU:1")
    if FLAGS.logical_cpus:
        devices = ("/CPU:0", "/CPU:1")
    try:
        model = tfalexnet.AlexNet("krizhevsky2012", devices=devices)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy")
    pictures = np.random.default_rng(0).normal(0, 60, (8, 227, 227, 3)).astype("float32")
    model.fit(pictures, np.arange(8), verbose=0)
    momentum = {v.path: v.value.device for v in model.optimizer.variables}
    for variable in model.trainable_variables:
        if "kernel" not in variable.path:
            continue
        slot = next(device for path, device in momentum.items() if variable.path.replace("/", "_") in path)
        shape = "×".join(map(str, variable.shape))
        print(f"{variable.path:<16} {shape:<12} on {variable.value.device[-5:]}, its momentum on {slot[-5:]}")


if __name__ == "__main__":
    silence_libraries()  # Before TensorFlow is imported.
    app.run(main)
