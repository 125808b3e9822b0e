"""Train d2l_fashion_mnist on Fashion-MNIST with the gradient descent of its source.

    python examples/train_fashion_mnist.py fashion_mnist.npz --output runs/fashion_mnist

An epoch takes two minutes on two cores. 12.9 % test error after eight epochs: RESULTS.md.
"""

import sys

from tfalexnet.cli.main import main

DEFAULTS = (
    "--architecture",
    "d2l_fashion_mnist",
    "--batch-size",
    "32",
    "--epochs",
    "8",
    "--precision",
    "mixed_bfloat16",
)

if __name__ == "__main__":
    sys.argv[1:] = ["train", *DEFAULTS, *sys.argv[1:]]
    main()
