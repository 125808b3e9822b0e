"""Convert Caffe weights in a NumPy file, such as bvlc_alexnet.npy, for Keras.

    python converters/caffe_npy_to_keras.py bvlc_alexnet.npy

244 MB take about a second and become weights/bvlc_alexnet.weights.h5.
`tfalexnet convert` is the same.
"""

import sys

from tfalexnet.cli.main import main

if __name__ == "__main__":
    sys.argv[1:1] = ["convert"]
    main()
