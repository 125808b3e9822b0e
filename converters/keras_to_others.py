"""Convert Keras weights (.weights.h5) for Caffe, PyTorch, NumPy or Deep Compression.

    python converters/keras_to_others.py weights/bvlc_alexnet.weights.h5 --output bvlc_alexnet.caffemodel

The suffix of the output selects the format: .caffemodel, .npy (caffe-tensorflow), .safetensors (a PyTorch
state dict), .npz, .weights.h5, or .net (Deep Compression; compress the weights first: `tfalexnet compress`).
The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()
