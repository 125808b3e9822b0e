"""Convert Caffe weights in a NumPy file, such as bvlc_alexnet.npy, to Keras weights.

    python converters/caffe_npy_to_keras.py bvlc_alexnet.npy

Writes weights/bvlc_alexnet.weights.h5. A file of 244 MB takes about a second.
The same as `tfalexnet convert`.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()
