"""d2l_fashion_mnist on Fashion-MNIST, with its source's gradient descent.

    python examples/train_fashion_mnist.py fashion_mnist.npz --output runs/fashion_mnist

Not run to its end yet. RESULTS.md has what was.
"""

import sys

from tfalexnet.__main__ import main

if __name__ == "__main__":
    sys.argv[1:] = [
        "train",
        *sys.argv[1:],
        "--architecture",
        "d2l_fashion_mnist",
        "--batch-size",
        "32",
        "--epochs",
        "8",
        "--precision",
        "mixed_bfloat16",
    ]
    main()
