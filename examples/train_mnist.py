"""mnist_28 on MNIST, with its source's Adam.

    python examples/train_mnist.py mnist --output runs/mnist

DATA is `mnist`, which Keras downloads, or an .npz with x_train, y_train, x_test and y_test. TIME. RESULT
"""

import sys

from tfalexnet.__main__ import main

if __name__ == "__main__":
    sys.argv[1:] = ["train", *sys.argv[1:], "--architecture", "mnist_28"]
    main()
