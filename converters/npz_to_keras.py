"""Convert a NumPy archive (.npz) of kernels and biases to Keras weights.

    python converters/npz_to_keras.py weights.npz --architecture bvlc_alexnet

Accepted names of arrays: conv1.kernel and conv1.bias, or conv1/weights and conv1/biases (channels last), or
conv1.weight and conv1.bias (channels first, as in PyTorch).
The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()
