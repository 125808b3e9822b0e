"""Convert a .weights.h5 for Caffe, PyTorch, NumPy or Deep Compression.

    python converters/keras_to_others.py weights/bvlc_alexnet.weights.h5 --output bvlc_alexnet.caffemodel

The end of the output's name chooses: .caffemodel, .npy (caffe-tensorflow), .safetensors (a PyTorch
state dict), .npz, .net (tfalexnet compress makes weights fit it), .weights.h5.
`tfalexnet convert` is the same.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()
